"""Whole trainings: what is measured on the way is what ``run`` measures, and every preset runs on data of its layout."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loopback_hub import LoopbackHub, Repository, data_set_files, use_hub
from tiny_training import list_rows, pair_rows, write_jsonl

from rerank_bench.errors import ConfigError, DataError
from rerank_bench.jobs.train import check_data, default_folder, run_training
from rerank_bench.jobs.training_data import load_training_data
from rerank_bench.pipeline.run import run
from rerank_bench.training.docstrings import Docstring, describe_distributions
from rerank_bench.training.presets import PRESETS, preset
from rerank_bench.training.request import TrainingRequest, override, parse_choices

TINY = Path(__file__).parents[1] / "data" / "tiny"


def request_of(base: TrainingRequest | None = None, **values: Any) -> TrainingRequest:
    """A request as the command line makes it."""
    return override(base, parse_choices({"device": "cpu", "precision": "float32"} | values))


def last_row(folder: Path) -> dict[str, str]:
    return list(csv.DictReader((folder / "log.csv").read_text().splitlines()))[-1]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("view", ["end_to_end", "injected"])
def test_the_value_in_the_log_is_what_run_measures(view: Any, dtype: str, tiny_base: Path, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "train.jsonl", list_rows(8))
    request = request_of(
        model=str(tiny_base),
        sources=[str(data)],
        loss="lambda",
        batch_size=4,
        learning_rate=1e-3,
        evaluate=[f"{TINY},view={view},depth=5"],
        eval_steps=1,
        eval_dtype=dtype,
        best_by="nDCG@10",
    )
    out = tmp_path / "out"
    outcome = run_training(request, out)
    for folder, value in (
        (out, outcome.best_value),
        (out / "checkpoint-2", float(last_row(out)["nDCG@10"])),
    ):
        report = run(
            models=[str(folder)],
            datasets=[TINY],
            depth=5,
            out=tmp_path / folder.name,
            use_cache=False,
            scorer={"dtype": dtype, "device": "cpu"},
        )
        measures = report.outcomes[0].result["datasets"]["tiny"]["views"][view]["measures"]
        assert measures["nDCG@10"]["reranked"] == value
    record = json.loads((out / "training.json").read_text())
    assert record["about"]["shape"] == "lists"
    assert record["job"]["evaluations"] == [
        {"name": "tiny", "view": view, "first_stage": "bm25", "depth": 5, "limit": None}
    ]


def test_rows_of_the_evaluation_sets_are_reported_and_can_be_left_out(tiny_base: Path, tmp_path: Path) -> None:
    queries = [json.loads(line)["text"] for line in (TINY / "queries.jsonl").read_text().splitlines()]
    docs = [json.loads(line)["text"] for line in (TINY / "corpus.jsonl").read_text().splitlines()]
    rows = pair_rows(9)
    rows[1] |= {"query": queries[0].upper()}
    rows[4] |= {"document": docs[2]}  # it has no title, which would be part of its text
    data = write_jsonl(tmp_path / "train.jsonl", rows)
    values: dict[str, Any] = {"model": str(tiny_base), "sources": [str(data)], "evaluate": [str(TINY)]}
    report = check_data(request_of(**values))
    assert report.contamination["tiny"]["queries"] == 1
    assert report.contamination["tiny"]["documents"] == 1
    assert "train.jsonl, line 2: query" in report.contamination["tiny"]["examples"][0]
    for which, kept in (("none", 9), ("queries", 8), ("all", 7)):
        assert len(load_training_data(request_of(**values, drop_contaminated=which)).training) == kept


def test_unusable_rows_are_left_out_on_request(tiny_base: Path, tmp_path: Path) -> None:
    rows = list_rows(6)
    rows[0] |= {"query": " "}
    rows[3] |= {"labels": [0, 0, 0]}
    values: dict[str, Any] = {
        "model": str(tiny_base),
        "sources": [str(write_jsonl(tmp_path / "a.jsonl", rows))],
        "loss": "lambda",
    }
    with pytest.raises(DataError, match="line 1: an empty text"):
        check_data(request_of(**values))
    data = load_training_data(request_of(**values, drop_unusable=True))
    assert data.dropped == {"empty text": 1, "nothing to learn": 1}
    assert data.training.rows.tolist() == [1, 2, 4, 5]
    flat = [row | {"labels": [0] * len(row["docs"])} for row in rows]
    bad = values | {"sources": [str(write_jsonl(tmp_path / "b.jsonl", flat))]}
    with pytest.raises(DataError, match=r"every one of the 5 examples would be left out \(nothing to learn\)"):
        load_training_data(request_of(**bad, drop_unusable=True))


def test_examples_are_set_aside_as_published_scripts_do(tiny_base: Path, tmp_path: Path) -> None:
    import datasets

    rows = pair_rows(20)
    values: dict[str, Any] = {"model": str(tiny_base), "sources": [str(write_jsonl(tmp_path / "a.jsonl", rows))]}
    data = load_training_data(request_of(**values, first_rows=15, held_out="4", limit=10))
    expected = datasets.Dataset.from_list(rows[:15]).train_test_split(test_size=4, seed=12)
    assert data.held_out is not None
    assert [data.held_out[i].query for i in range(4)] == expected["test"]["query"]
    assert [data.training[i].query for i in range(10)] == expected["train"]["query"][:10]
    dev = write_jsonl(tmp_path / "dev.jsonl", pair_rows(3, seed=9))
    from_file = load_training_data(request_of(**values, held_out=str(dev)))
    assert from_file.held_out is not None
    assert (len(from_file.held_out), len(from_file.training)) == (3, 20)
    with pytest.raises(ConfigError, match="20 of 20 examples cannot be held out"):
        load_training_data(request_of(**values, held_out="20"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "nothing says what to train: name a --preset, or a --model with --data"),
        ({"model": "demo"}, "no training data: name files or a hub data set with --data"),
        ({"model": "demo", "sources": ["a.jsonl", "b/c"]}, "expected files, or one hub data set"),
        ({"model": "demo", "sources": ["gone.jsonl"]}, r"gone\.jsonl: no such file"),
        ({"model": "demo", "sources": ["a.jsonl"], "data_config": "x"}, "--data-config is for hub data sets"),
        ({"model": "demo", "evaluate": ["tinny"]}, "unknown evaluation data set or suite 'tinny'"),
        (
            {"model": "demo", "evaluate": ["x,dept=3"]},
            "unknown option of the evaluation 'x' 'dept'; did you mean 'depth'",
        ),
        ({"model": "demo", "evaluate": ["x,depth=0"]}, "depth is '0', expected a whole number"),
        ({"model": "demo", "evaluate": ["x,view=injeced"]}, "unknown view 'injeced'; did you mean 'injected'"),
        ({"model": "demo", "held_out": "0"}, "held_out is 0"),
        ({"model": "demo", "limit": 0}, "limit is 0"),
        ({"model": "demo", "drop_contaminated": "docs"}, "unknown choice for drop_contaminated 'docs'"),
        ({"model": "demo", "bach_size": 3}, "unknown field of a training 'bach_size'; did you mean 'batch_size'"),
    ],
)
def test_bad_requests(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        run_training(request_of(**values), tmp_path / "out")


# --- presets ----------------------------------------------------------------------------------------------------


def test_presets_have_the_published_values() -> None:
    """The figures of the model cards, typed in once more."""
    published: dict[str, tuple[Any, ...]] = {
        "msmarco-bce": ("bce", 128, 2e-5, 0.1, 1, None, "bfloat16", 12),
        "msmarco-lambda": ("lambda", 16, 2e-5, 0.1, 1, 500, "bfloat16", 12),
        "gooaq-bce": ("bce", 16, 2e-5, 0.1, 1, 4000, "bfloat16", 12),
        "pairs-bce": ("bce", 16, 5e-5, 0.0, 3, 500, "float32", 42),
    }
    for name, (loss, batch, rate, warmup, epochs, eval_steps, precision, seed) in published.items():
        recipe = preset(name).recipe
        found = (recipe.loss.name, recipe.batch_size, recipe.learning_rate, recipe.warmup, recipe.epochs)
        assert found == (loss, batch, rate, warmup, epochs), name
        assert (recipe.precision, recipe.seed) == (precision, seed)
        assert eval_steps is None or recipe.eval_steps == eval_steps
        assert recipe.schedule == "linear"
    lambda_loss = preset("msmarco-lambda").recipe.loss.describe()
    assert lambda_loss == {
        "name": "lambda",
        "weighting": "ndcg2++",
        "sigma": 1.0,
        "eps": 1e-10,
        "k": None,
        "log_base": "binary",
    }
    assert preset("msmarco-lambda").recipe.mini_batch == 16
    assert preset("gooaq-bce").recipe.loss.pos_weight == 5.0
    assert preset("pairs-bce").recipe.max_length == 512
    assert [p.preset for p in PRESETS.values()] == list(PRESETS)
    with pytest.raises(ConfigError, match="unknown preset 'gooaq'; did you mean 'gooaq-bce'"):
        preset("gooaq")
    assert default_folder(preset("pydocs")) == Path("models/pydocs")


def test_every_field_of_a_preset_can_be_overridden() -> None:
    changed = request_of(
        preset("msmarco-lambda"), loss="lambda", sigma=2.0, batch_size=4, evaluate=["none"], best_by="none", seed=1
    )
    assert changed.recipe.loss.describe()["sigma"] == 2.0
    assert (changed.recipe.batch_size, changed.recipe.seed, changed.recipe.mini_batch) == (4, 1, 16)
    assert (changed.evaluations, changed.best_by) == ((), None)
    other = request_of(preset("gooaq-bce"), loss="mse")
    assert other.recipe.loss.describe() == {"name": "mse"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"columns": ["query=x"]}, "columns does not go with docstrings"),
        ({"first_rows": 9, "drop_unusable": True}, "first_rows, drop_unusable does not go with docstrings"),
        ({"held_out": "dev.jsonl"}, "held_out is a file, expected a number"),
    ],
)
def test_options_that_docstrings_have_no_use_for(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_training_data(request_of(preset("pydocs"), **values))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        use_hub(monkeypatch, hub, tmp_path / "home")
        yield hub


def test_preset_msmarco_bce_on_its_repository(hub: LoopbackHub, tiny_base: Path, tmp_path: Path) -> None:
    rows = pair_rows(24)
    columns = {
        "query": [row["query"] for row in rows],
        "passage": [row["document"] for row in rows],
        "score": [row["label"] for row in rows],
    }
    request = preset("msmarco-bce")
    (source,), revision = request.data.sources, str(request.data.revision)
    hub.repositories["dataset", source] = Repository({revision: data_set_files({"labeled-pair": columns})})
    small = request_of(
        request,
        model=str(tiny_base),
        held_out="4",
        batch_size=8,
        eval_steps=2,
        evaluate=[str(TINY)],
    )
    outcome = run_training(small, tmp_path / "out")
    assert outcome.steps == 3  # 20 pairs in batches of 8
    assert outcome.values.keys() >= {"nDCG@10", "tiny nDCG@10", "held-out loss", "average_precision"}
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert record["about"]["source"] == f"{source}@{revision[:12]} (labeled-pair, train)"
    assert record["about"]["preset"] == "msmarco-bce"


def test_preset_msmarco_lambda_on_lists(tiny_base: Path, tmp_path: Path) -> None:
    data = tmp_path / "lists.parquet"
    pq.write_table(pa.Table.from_pylist(list_rows(12, sizes=(3, 10, 5))), data)
    request = request_of(
        preset("msmarco-lambda"),
        sources=[str(data)],
        model=str(tiny_base),
        held_out="3",
        batch_size=4,
        evaluate=[f"{TINY},depth=4"],
    )
    outcome = run_training(request, tmp_path / "out")
    assert outcome.steps == 3
    assert outcome.best_by == "nDCG@10"
    assert "held-out loss" in outcome.values


def test_preset_gooaq_bce_on_mined_pairs(tiny_base: Path, tmp_path: Path) -> None:
    rows = [{"question": r["query"], "answer": r["document"], "label": r["label"]} for r in pair_rows(12)]
    request = request_of(
        preset("gooaq-bce"),
        sources=[str(write_jsonl(tmp_path / "mined.jsonl", rows))],
        model=str(tiny_base),
        batch_size=4,
        evaluate=[f"{TINY},view=retrieved,depth=30"],
        best_by="tiny nDCG@10",
    )
    outcome = run_training(request, tmp_path / "out")
    assert outcome.steps == 3
    assert outcome.best_value == outcome.values["tiny nDCG@10"]


def test_preset_pairs_bce_on_labelled_pairs(tiny_base: Path, tmp_path: Path) -> None:
    def table(name: str, count: int, seed: int) -> str:
        rows = [
            {"sentence_0": r["query"], "sentence_1": r["document"], "label": r["label"]} for r in pair_rows(count, seed)
        ]
        lines = ["sentence_0,sentence_1,label", *(",".join(map(str, row.values())) for row in rows)]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return str(tmp_path / name)

    request = request_of(
        preset("pairs-bce"),
        sources=[table("train.csv", 12, 0)],
        held_out=table("dev.csv", 9, 1),
        model=str(tiny_base),
        batch_size=4,
        max_length=32,
        eval_steps=3,
    )
    outcome = run_training(request, tmp_path / "out")
    assert outcome.steps == 9
    assert outcome.best_by == "average_precision"
    assert outcome.best_value == outcome.values["average_precision"]


def test_preset_pydocs_on_docstrings(tiny_base: Path, tmp_path: Path) -> None:
    from rerank_bench.jobs.docstring_data import CACHE_VERSION
    from rerank_bench.storage import cache_folder, fingerprint_items

    found = [Docstring(f"m.f{i}", "", row["query"], row["document"]) for i, row in enumerate(pair_rows(30, seed=5))]
    key = fingerprint_items([CACHE_VERSION, *describe_distributions()])[:16]
    cached = cache_folder() / "training" / f"docstrings-{key}.jsonl.gz"
    cached.parent.mkdir(parents=True)
    with gzip.open(cached, "wt") as file:
        file.writelines(json.dumps(docstring) + "\n" for docstring in found)
    request = request_of(preset("pydocs"), model=str(tiny_base), held_out="6", max_steps=2, eval_steps=1, max_length=32)
    outcome = run_training(request, tmp_path / "out")
    assert outcome.steps == 2
    assert outcome.best_by == "held-out RR@10"
    assert outcome.best_value == outcome.values["held-out RR@10"]
    data = load_training_data(request)
    assert data.training.sizes.tolist() == [5] * 24
    # BM25's own best documents are the negatives of a query that shares words with enough of them.
    again = load_training_data(request)
    assert data.training.fingerprint() == again.training.fingerprint()
