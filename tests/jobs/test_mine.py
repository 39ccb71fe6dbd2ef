"""Mining from end to end: sources, shapes, files that ``train`` reads back, the report, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_pairs import some_pairs, some_texts, write_static_embedding
from typer.testing import CliRunner

from rerank_bench.cli.app import app
from rerank_bench.errors import ConfigError, DataError
from rerank_bench.jobs import mining_candidates
from rerank_bench.jobs.mine import MiningReport, MiningRequest, mine
from rerank_bench.jobs.mining_sources import SourceRequest, hash_normalised
from rerank_bench.training.mined import OutputForm
from rerank_bench.training.negatives import NegativeChoice
from rerank_bench.training.request import DataRequest
from rerank_bench.training.shapes import build_examples
from rerank_bench.training.tables import read_files

PAIRS = some_pairs(12)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "pairs.jsonl", [{"query": q, "positive": d} for q, d in PAIRS])


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    return str(write_static_embedding(tmp_path / "static"))


def run_mine(data: Path, out: Path, *, source: dict[str, Any] | None = None, **options: Any) -> MiningReport:
    form = {name: options.pop(name) for name in ("shape", "with_scores") if name in options}
    models = {name: options.pop(name) for name in ("retriever", "rescorer", "score_scale") if name in options}
    return mine(
        MiningRequest(
            source=SourceRequest(data=DataRequest(sources=(str(data),)), **(source or {})),
            form=OutputForm(path=out, **form),
            choice=NegativeChoice(**options),
            scorer={"device": "cpu"},
            **models,
        )
    )


# --- BM25 -------------------------------------------------------------------------------------------------------


def test_bm25_negatives_are_the_best_of_an_independent_bm25(tmp_path: Path, data: Path) -> None:
    import bm25s

    from rerank_bench.first_stage.analysis import AnalyzerConfig, tokenize_queries

    out = tmp_path / "mined.jsonl"
    run_mine(data, out, num_negatives=3, shape="lists")
    corpus = list(dict.fromkeys(d for _, d in PAIRS))
    analyzer = AnalyzerConfig()
    index = bm25s.BM25(method="lucene")
    index.index(tokenize_queries(corpus, analyzer), show_progress=False)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["query"] for row in rows] == list(dict.fromkeys(q for q, _ in PAIRS))
    for row in rows:
        positives = [d for q, d in PAIRS if q == row["query"]]
        (terms,) = tokenize_queries([row["query"]], analyzer)
        known = [term for term in terms if any(term in doc for doc in tokenize_queries(corpus, analyzer))]
        scores = np.asarray(index.get_scores(known), dtype=np.float32)
        order = [i for i in np.argsort(-scores, kind="stable") if corpus[i] not in positives and scores[i] > 0]
        assert row["documents"] == positives + [corpus[i] for i in order[:3]]
        assert row["labels"] == [1] * len(positives) + [0] * min(3, len(order))


def test_queries_with_fewer_negatives_are_counted(tmp_path: Path) -> None:
    rows = [{"query": "alpha", "positive": "alpha one"}, {"query": "alpha beta", "positive": "beta two"}]
    data = write_rows(tmp_path / "pairs.jsonl", rows)
    corpus = write_rows(tmp_path / "c.jsonl", [{"text": "alpha three"}, {"text": " "}, {"text": "gamma"}])
    report = run_mine(data, tmp_path / "out.jsonl", source={"corpus": str(corpus)}, num_negatives=3, shape="lists")
    # alpha: one (three); alpha beta: two (one, three).  Nothing else shares a term with them.
    assert report.negatives_per_query == {1: 1, 2: 1}
    assert (report.num_short, report.left_out_queries, report.num_rows) == (2, 0, 2)
    assert (report.num_documents, report.num_blank_documents, report.num_negatives) == (4, 1, 3)
    assert json.loads((tmp_path / "out.jsonl.meta.json").read_text())["num_short"] == 2
    # Tuples leave both out: nothing to write, and what stands there stays.
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for name in ("out.jsonl", "new.parquet"):
        with pytest.raises(DataError, match="no query has enough negatives for a row of the shape 'tuples'; widen"):
            run_mine(data, tmp_path / name, source={"corpus": str(corpus)}, num_negatives=3, shape="tuples")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_copies_of_positives_and_the_query_itself_are_no_negatives(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "pairs.jsonl", [{"query": "Stop it", "positive": "Stop ﬁle  now"}])
    texts = ["stop  it", "STOP file now", "stop\u00a0file NOW", "stop here"]
    corpus = write_rows(tmp_path / "c.jsonl", [{"text": text} for text in texts])
    report = run_mine(data, tmp_path / "out.jsonl", source={"corpus": str(corpus)}, num_negatives=1, range_max=9)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["document"], row["label"]) for row in rows] == [("Stop ﬁle  now", 1), ("stop here", 0)]
    assert report.taken_out["positive"] == 4
    keys = hash_normalised(["ﬁ X", "FI  x", "fi y"])
    assert keys[0] == keys[1] != keys[2]


# --- shapes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("shape", ["pairs", "lists", "triplets", "tuples"])
@pytest.mark.parametrize("with_scores", [False, True])
def test_training_reads_every_form_back(
    tmp_path: Path,
    data: Path,
    encoder: str,
    suffix: str,
    shape: str,
    with_scores: bool,  # noqa: FBT001 - a case
) -> None:
    out = tmp_path / f"mined{suffix}"
    options: dict[str, Any] = {
        "num_negatives": 3,
        "range_max": 12,
        "retriever": encoder,
        "shape": shape,
        "with_scores": with_scores,
    }
    if suffix in {".csv", ".tsv"} and (shape == "lists" or (with_scores and shape != "pairs")):
        with pytest.raises(ConfigError, match="cannot hold lists"):
            run_mine(data, out, **options)
        return
    report = run_mine(data, out, **options)
    examples = build_examples(read_files([out]))
    assert examples.shape == shape
    assert len(examples) == report.num_rows
    by_query: dict[str, dict[str, float]] = {}
    for group in (examples[i] for i in range(len(examples))):
        by_query.setdefault(group.query, {}).update(zip(group.docs, group.labels, strict=True))
    for query, values in by_query.items():
        positives = {d for q, d in PAIRS if q == query}
        assert positives < set(values)
        assert len(values) == len(positives) + 3
        if not with_scores:
            assert {doc for doc, value in values.items() if value == 1} == positives
    if with_scores:
        from rerank_bench.scoring.loaded_scorer import load_scorer

        flat = [(query, doc, value) for query, values in by_query.items() for doc, value in values.items()]
        expected = load_scorer(encoder, device="cpu").score([(query, doc) for query, doc, _ in flat])
        np.testing.assert_allclose([value for _, _, value in flat], expected, atol=2e-6)


def test_mining_twice_gives_the_same_bytes(tmp_path: Path, data: Path, encoder: str) -> None:
    for name in ("a", "b"):
        run_mine(data, tmp_path / f"{name}.jsonl", retriever=encoder, num_negatives=2, sampling="random", range_max=11)
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_chunks_change_nothing(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {
        "num_negatives": 3,
        "rescorer": "word_overlap:score",
        "shape": "lists",
        "with_scores": True,
    }
    run_mine(data, tmp_path / "whole.jsonl", **options)
    monkeypatch.setattr(mining_candidates, "BLOCK_QUERIES", 2)
    monkeypatch.setattr("rerank_bench.training.mined.CHUNK_QUERIES", 3)
    run_mine(data, tmp_path / "chunked.jsonl", **options)
    assert (tmp_path / "whole.jsonl").read_bytes() == (tmp_path / "chunked.jsonl").read_bytes()


# --- sources ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        [{"question": q, "answer": d} for q, d in PAIRS],
        [{"sentence1": q, "sentence2": d, "score": 0.5} for q, d in PAIRS],
        [{"query": q, "documents": [d, "never"], "labels": [2, 0]} for q, d in PAIRS],
        [{"anchor": q, "positive": d, "negative": "never"} for q, d in PAIRS],
        [
            {"query": q, "positive": d, "negative_1": "never", "negative_2": "ever", "label": [1.0, 3.0]}
            for q, d in PAIRS
        ],
    ],
    ids=["unlabelled pairs", "pairs", "lists", "triplets", "tuples"],
)
def test_every_shape_gives_the_same_positives(tmp_path: Path, data: Path, rows: list[dict[str, Any]]) -> None:
    corpus = write_rows(tmp_path / "c.jsonl", [{"text": text} for text in some_texts(30, seed=5)])
    expected, found = tmp_path / "expected.jsonl", tmp_path / "found.jsonl"
    run_mine(data, expected, source={"corpus": str(corpus)}, num_negatives=2)
    run_mine(write_rows(tmp_path / "d.jsonl", rows), found, source={"corpus": str(corpus)}, num_negatives=2)
    assert found.read_bytes() == expected.read_bytes()


def test_a_data_set_gives_pairs_and_corpus(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    write_rows(folder / "corpus.jsonl", [{"_id": f"d{i}", "text": f"stop word{i}"} for i in range(5)])
    write_rows(folder / "queries.jsonl", [{"_id": "q1", "text": "stop"}, {"_id": "q2", "text": "go"}])
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td3\t1\nq1\td4\t0\n")
    request = MiningRequest(
        source=SourceRequest(dataset=str(folder)),
        form=OutputForm(path=tmp_path / "m.jsonl", shape="tuples"),
        choice=NegativeChoice(num_negatives=4),
    )
    report = mine(request)
    (row,) = [json.loads(line) for line in request.form.path.read_text().splitlines()]
    assert row["positive"] == "stop word3"
    assert {row[f"negative_{n}"] for n in range(1, 5)} == {f"stop word{n}" for n in (0, 1, 2, 4)}
    assert (report.num_queries, report.num_without_positive) == (1, 1)


# --- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"absolute_margin": 0.0}, r"--absolute-margin: BM25's scores have no common scale"),
        ({"with_scores": True}, r"--scores: BM25's scores"),
        ({"include_positives": True}, "which only the shape lists can hold; found pairs"),
        ({"shape": "quads"}, "unknown shape 'quads'"),
        ({"score_scale": "logit"}, r"--score-scale logit is for a rescorer's scores"),
        ({"rescorer": "word_overlap:score", "score_scale": "odds"}, "unknown score scale 'odds'"),
        ({"retriever": "bm52"}, "unknown model 'bm52'"),
        ({"retriever": "word_overlap:score"}, "which does not make one vector of a text"),
        ({"source": {"corpus": "nowhere"}}, "nowhere"),
        ({"source": {"corpus": "nowhere.jsonl"}}, r"nowhere\.jsonl: no such file"),
        ({"source": {"corpus": "nowhere", "corpus_column": "x"}}, "is for a corpus file; 'nowhere' is a data set"),
        ({"source": {"corpus_column": "x"}}, "name one with --corpus"),
        ({"source": {"dataset": "pydocs"}}, "one of the two"),
        ({"source": {"split": "train"}}, "--split train is for --dataset"),
    ],
)
def test_requests_that_cannot_be_met(tmp_path: Path, data: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        run_mine(data, tmp_path / "out.jsonl", **options)
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"query": "a", "document": "b", "label": 0}], "no document is labelled above 0"),
        ([{"query": "a", "positive": " "}, {"query": "b", "positive": "c"}], "empty text"),
        ([{"query": "a", "positive": "b"}], "1 distinct texts to find negatives in"),
        ([{"question": "a", "reply": "b"}], "no column holds the documents"),
        ([{"query": "a", "positive": 3}], "column 'positive' holds int64, expected texts"),
    ],
)
def test_data_that_cannot_be_mined(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        run_mine(write_rows(tmp_path / "bad.jsonl", rows), tmp_path / "out.jsonl")


@pytest.mark.parametrize(
    ("table", "column", "message"),
    [
        ({"a": ["x"], "b": ["y"]}, None, "no column is known to hold the texts"),
        ({"text": ["x"], "passage": ["y"]}, None, "text and passage could all be the texts"),
        ({"text": ["x"]}, "txt", "unknown column 'txt'; did you mean 'text'"),
        ({"text": [1]}, None, "column 'text' holds int64, expected texts"),
    ],
)
def test_a_corpus_that_cannot_be_read(
    tmp_path: Path, data: Path, table: dict[str, list[Any]], column: str | None, message: str
) -> None:
    pq.write_table(pa.table(table), tmp_path / "c.parquet")
    source = {"corpus": str(tmp_path / "c.parquet"), "corpus_column": column}
    with pytest.raises(DataError, match=message):
        run_mine(data, tmp_path / "out.jsonl", source=source)


@pytest.mark.parametrize(
    ("name", "message"), [("out.txt", "expected a name ending in"), ("out.parquet.gz", "compressed already")]
)
def test_names_that_say_no_format(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OutputForm(path=tmp_path / name)


# --- the command ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--dataset", "pydocs", "--columns", "query=q"]], ids=["neither", "both"])
def test_the_command_wants_one_source(tmp_path: Path, options: list[str]) -> None:
    result = CliRunner().invoke(app, ["mine", "--out", str(tmp_path / "out.jsonl"), *options])
    assert result.exit_code == 2
    assert "one of the two" in " ".join(result.output.split())


def test_the_command_prints_what_it_did(tmp_path: Path, data: Path, encoder: str) -> None:
    out = tmp_path / "mined.parquet"
    arguments = ["mine", "--data", str(data), "--out", str(out), "--retriever", encoder, "--device", "cpu"]
    arguments += ["--absolute-margin", "0", "--range-max", "100", "--shape", "tuples", "--negatives", "2"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "12 with 16 positives" in result.output
    assert "too close to the lowest positive (absolute margin)" in " ".join(result.output.split())
    printed = json.loads(CliRunner().invoke(app, [*arguments, "--json", "--quiet"]).stdout)
    assert printed["num_rows"] == pq.read_table(out).num_rows
    meta = json.loads((tmp_path / "mined.parquet.meta.json").read_text())
    assert meta["request"]["choice"]["absolute_margin"] == 0
    assert meta["models"]["retriever"]["family"] == "static-embedding"
