"""Pairs of several data sets in one job: grouping, errors that name the data set, scores that do not depend on it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny_models import write_encoder, write_sequence_classifier
from watcher import Watcher

from rerank_bench.errors import InvalidScoreError
from rerank_bench.pipeline.candidates import PreparedDataset, prepare_datasets
from rerank_bench.pipeline.request import RunConfig, resolve_request
from rerank_bench.pipeline.run import run
from rerank_bench.pipeline.scores import ScoringPass, score_texts
from rerank_bench.pipeline.scoring_jobs import group_datasets, number_distinct, plan_jobs, split_dataset
from rerank_bench.progress import use_reporter
from rerank_bench.records import Run
from rerank_bench.scoring.lazy_scorer import LazyScorer, open_scorer
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.specs import parse_model_spec
from rerank_bench.trec_io import read_run

TINY = Path(__file__).parents[1] / "data" / "tiny"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sequence_classifier(tmp_path_factory.mktemp("models") / "reranker", seed=2)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A collection with some of tiny's documents under their ids, and with one query."""
    folder = tmp_path / "other"
    shutil.copytree(TINY, folder)
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq-moon\tmoon\t1\n")
    (folder / "queries.jsonl").write_text('{"_id": "q-moon", "text": "why does the moon pull water up the shore"}\n')
    return folder


def sizes(*groups: list[int]) -> list[Any]:
    return [SimpleNamespace(pool={"q": range(size)}) for group in groups for size in group]


@pytest.mark.parametrize(
    ("groups", "bound"),
    [
        ([[3, 4, 3]], 10),
        ([[3, 4], [4]], 10),
        ([[1], [11], [2, 8]], 10),
        ([[11], [11]], 10),
        ([[1, 0], [1], [1]], 1),
        ([], 10),
    ],
)
def test_data_sets_are_grouped_in_their_order_up_to_the_bound(groups: list[list[int]], bound: int) -> None:
    prepared = sizes(*groups)
    found = list(group_datasets(prepared, bound))
    assert [[len(ready.pool["q"]) for ready in group] for group in found] == groups
    assert [ready for group in found for ready in group] == prepared


def test_one_job_scores_all_data_sets_with_one_bar(tmp_path: Path, other: Path, model: Path) -> None:
    watcher = Watcher()
    with use_reporter(watcher):
        report = run([str(model)], datasets=[TINY, other], out=tmp_path / "out", scorer={"device": "cpu"})
    result = report.outcomes[0].result
    (job,) = result["scoring"]["jobs"]
    assert job["datasets"] == ["tiny", "other"]
    assert [task for task in watcher.tasks if task[0].startswith("score")] == [
        ("score 2 data sets", job["num_distinct_pairs"], "pairs")
    ]
    assert result["scoring"]["model_load_seconds"] > 0
    assert result["scoring"]["depth"] == 100
    for name in job["datasets"]:
        timing = result["datasets"][name]["timing"]
        assert timing["num_pairs"] == result["datasets"][name]["counts"]["pairs"] > 0
        assert timing["num_tokens"] > timing["num_pairs"]


def runs_of(folder: Path) -> dict[str, Run]:
    return {name: read_run(folder / f"{name}.run.trec.gz") for name in ("tiny", "other")}


@pytest.mark.parametrize("family", ["classifier", "encoder"])
@pytest.mark.parametrize("use_cache", [True, False])
def test_scores_do_not_depend_on_what_is_scored_together(
    tmp_path: Path, other: Path, model: Path, *, family: str, use_cache: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = str(model if family == "classifier" else write_encoder(tmp_path / "encoder"))
    options: dict[str, Any] = {"scorer": {"device": "cpu", "batch_tokens": 60}, "use_cache": use_cache}
    options["limit"] = 100  # more than there are: saves the leaderboard and its pictures

    def scored(out: str, datasets: list[Path]) -> tuple[dict[str, Any], Path]:
        monkeypatch.setenv("RERANK_BENCH_CACHE", str(tmp_path / f"cache-{out}"))  # nothing is taken from another one
        outcome = run([spec], datasets=datasets, out=tmp_path / out, **options).outcomes[0]
        return dict(outcome.result), outcome.folder

    together, folder = scored("together", [TINY, other])
    swapped, swapped_folder = scored("swapped", [other, TINY])
    assert [result["scoring"]["jobs"][0]["datasets"] for result in (together, swapped)] == [
        ["tiny", "other"],
        ["other", "tiny"],
    ]
    expected = runs_of(folder)
    for name, dataset in (("tiny", TINY), ("other", other)):
        alone, alone_folder = scored(f"alone-{name}", [dataset])
        for result, own_folder in ((swapped, swapped_folder), (alone, alone_folder)):
            assert_close(read_run(own_folder / f"{name}.run.trec.gz"), expected[name])
            facts, wanted = (block["datasets"][name]["timing"] for block in (result, together))
            for field in ("num_pairs", "num_distinct_pairs", "num_tokens", "truncated_share"):
                assert facts[field] == wanted[field], field


def assert_close(ranked: Run, expected: Run) -> None:
    assert ranked.keys() == expected.keys()
    for query_id, docs in ranked.items():
        scores = dict(zip(docs.doc_ids, docs.scores.tolist(), strict=True))
        wanted = dict(zip(expected[query_id].doc_ids, expected[query_id].scores.tolist(), strict=True))
        assert scores == pytest.approx(wanted, abs=1e-5)


def test_more_pairs_than_the_bound_are_several_jobs(
    tmp_path: Path, other: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"datasets": [TINY, other], "use_cache": False, "limit": 100}
    options["scorer"] = {"device": "cpu"}
    together = run([str(model)], out=tmp_path / "a", **options).outcomes[0]
    bound_jobs(monkeypatch, together.result["datasets"]["tiny"]["counts"]["pairs"])
    apart = run([str(model)], out=tmp_path / "b", **options).outcomes[0]
    assert [job["datasets"] for job in apart.result["scoring"]["jobs"]] == [["tiny"], ["other"]]
    for name, ranked in runs_of(apart.folder).items():
        assert_close(ranked, runs_of(together.folder)[name])
    jobs = apart.result["scoring"]["jobs"]
    assert [job["num_pairs"] for job in jobs] == [
        apart.result["datasets"][n]["counts"]["pairs"] for n in ("tiny", "other")
    ]


def bound_jobs(monkeypatch: pytest.MonkeyPatch, job_pairs: int) -> None:
    def bounded(scorer: LazyScorer, prepared: list[PreparedDataset]) -> ScoringPass:
        return score_texts(scorer, prepared, job_pairs=job_pairs)

    monkeypatch.setattr("rerank_bench.pipeline.results.score_texts", bounded)


def large(tmp_path: Path) -> Path:
    """Tiny with its queries several times over: under other ids, with the same texts and judgements."""
    folder = tmp_path / "large"
    shutil.copytree(TINY, folder)
    queries = [json.loads(line) for line in (TINY / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    judged = (TINY / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()
    copies = [{**query, "_id": f"{query['_id']}-{copy}"} for copy in range(3) for query in queries]
    (folder / "queries.jsonl").write_text("".join(json.dumps(query) + "\n" for query in copies), encoding="utf-8")
    lines = [line.replace("\t", f"-{copy}\t", 1) for copy in range(3) for line in judged[1:]]
    (folder / "qrels" / "test.tsv").write_text("\n".join([judged[0], *lines, ""]), encoding="utf-8")
    return folder


@pytest.mark.parametrize("job_pairs", [1, 7, 20, 1000])
def test_a_large_data_set_is_split_by_queries(tmp_path: Path, job_pairs: int) -> None:
    (ready,) = prepare_datasets(resolve_request(RunConfig(models=("random",), datasets=(str(large(tmp_path)),))))
    pairs = [(query_id, doc_id) for query_id, doc_ids in ready.pool.items() for doc_id in doc_ids]
    parts = list(split_dataset(ready, job_pairs))
    found = np.zeros(len(pairs), dtype=np.int64)
    texts: list[set[str]] = []
    for part, rows in parts:
        own = [(query_id, doc_id) for query_id, doc_ids in part.pool.items() for doc_id in doc_ids]
        assert [pairs[row] for row in np.arange(len(pairs))[rows].tolist()] == own
        found[rows] += 1
        texts.append({ready.dataset.queries[query_id] for query_id in part.pool})
        assert len(own) <= job_pairs or len(texts[-1]) == 1
    assert (found == 1).all()
    assert sum(map(len, texts)) == len(set(ready.dataset.queries.values()))
    assert (len(parts) == 1) == (job_pairs >= len(pairs))


@pytest.mark.parametrize(("family", "use_cache"), [("classifier", True), ("encoder", False)])
def test_parts_of_a_data_set_give_the_result_of_the_whole(
    tmp_path: Path, model: Path, *, family: str, use_cache: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = str(model if family == "classifier" else write_encoder(tmp_path / "encoder"))
    options: dict[str, Any] = {"datasets": [large(tmp_path)], "use_cache": use_cache, "limit": 100, "depth": [2, 5]}
    options["scorer"] = {"device": "cpu"}
    whole = run([spec], out=tmp_path / "whole", **options).outcomes
    monkeypatch.setenv("RERANK_BENCH_CACHE", str(tmp_path / "another cache"))
    bound_jobs(monkeypatch, 20)
    watcher = Watcher()
    with use_reporter(watcher):
        parted = run([spec], out=tmp_path / "parted", **options).outcomes
    assert len(whole[0].result["scoring"]["jobs"]) == 1
    jobs = parted[0].result["scoring"]["jobs"]
    assert len(jobs) > 1
    num_pairs = parted[1].result["datasets"]["large"]["counts"]["pairs"]
    assert sum(job["num_pairs"] for job in jobs) == num_pairs
    # A bi-encoder has two bars, for queries and documents.
    bars = dict.fromkeys(text.partition(":")[0] for text, _, _ in watcher.tasks if text.startswith("score"))
    done = np.cumsum([job["num_pairs"] for job in jobs[:-1]]).tolist()
    assert list(bars) == ["score large", *(f"score large, {count} of {num_pairs} done" for count in done)]
    for one, other in zip(whole, parted, strict=True):
        assert_close(read_run(other.folder / "large.run.trec.gz"), read_run(one.folder / "large.run.trec.gz"))
        facts, wanted = (outcome.result["datasets"]["large"]["timing"] for outcome in (other, one))
        for field in ("num_pairs", "num_distinct_pairs", "num_tokens", "truncated_share", "num_pairs_from_store"):
            assert facts[field] == wanted[field], field
        assert facts["num_distinct_pairs"] <= facts["num_pairs"] // 3


def test_equal_pairs_have_one_number_and_others_have_another(tmp_path: Path) -> None:
    folders = (str(large(tmp_path)), str(TINY))
    prepared = prepare_datasets(resolve_request(RunConfig(models=("random",), datasets=folders)))
    texts = []
    for ready in prepared:
        collection = ready.dataset.collection
        text_of = collection.texts_of(collection.doc_ids.to_pylist())
        texts.append(
            [(ready.dataset.queries[query_id], text_of[d]) for query_id, docs in ready.pool.items() for d in docs]
        )
    for job_pairs in (1, 30, 10_000):
        for numbers, own in zip(number_distinct(prepared, job_pairs=job_pairs), texts, strict=True):
            assert len(set(zip(numbers.tolist(), own, strict=True))) == len(set(own)) == len(set(numbers.tolist()))


def test_an_endpoint_is_asked_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers are kept until a whole request is answered: parts that are done would be asked for again."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lengths_of.py").write_text("def score(pairs):\n    return [len(doc) for _, doc in pairs]\n")
    for spec, takes_parts in (("http://127.0.0.1:9/rerank", False), ("lengths_of:score", True)):
        scorer = open_scorer(parse_model_spec(spec), config=ScorerConfig(device="cpu"))
        assert scorer.takes_parts is takes_parts
    (ready,) = prepare_datasets(resolve_request(RunConfig(models=("random",), datasets=(str(large(tmp_path)),))))
    assert [[part.number for part in job] for job in plan_jobs([ready, ready], None)] == [[0, 1]]
    assert [[part.number for part in job] for job in plan_jobs([ready, ready], 100_000)] == [[0, 1]]


def test_an_error_names_the_data_set_too(tmp_path: Path, other: Path) -> None:
    (other / "corpus.jsonl").write_text('{"_id": "moon", "text": "Tides are made by the moon over water"}\n')
    for datasets in ([TINY, other], [other, TINY]):
        with pytest.raises(InvalidScoreError, match=r"other, query 'q-moon', document 'moon': score is nan"):
            run(["word_overlap:nan_on_moon"], datasets=datasets, out=tmp_path / "out")


def test_what_a_function_reads_is_not_known(tmp_path: Path) -> None:
    timing = run(["word_overlap:score"], datasets=[TINY], out=tmp_path).outcomes[0].result["datasets"]["tiny"]["timing"]
    assert (timing["num_tokens"], timing["truncated_share"]) == (None, None)
    assert timing["num_pairs"] > timing["num_distinct_pairs"] > 0


def test_truncation_is_told_per_data_set_at_no_new_scoring(tmp_path: Path, other: Path, model: Path) -> None:
    long = " ".join(["water"] * 200)
    (other / "corpus.jsonl").write_text(f'{{"_id": "moon", "text": "water"}}\n{{"_id": "long", "text": "{long}"}}\n')
    options: dict[str, Any] = {"scorer": {"device": "cpu", "max_length": 50}, "limit": 100}
    for out, datasets in (("together", [TINY, other]), ("alone", [other])):
        blocks = run([str(model)], datasets=datasets, out=tmp_path / out, **options).outcomes[0].result["datasets"]
        assert blocks["other"]["timing"]["truncated_share"] == 0.5, out
        assert blocks["other"]["timing"]["num_tokens"] > 50
    assert blocks["other"]["timing"]["num_pairs_from_store"] == 2
