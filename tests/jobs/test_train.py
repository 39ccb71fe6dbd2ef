"""Whole trainings: what is measured on the way is what ``run`` measures; what is wrong with a request is said."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from tiny_training import list_rows, pair_rows, write_jsonl

from rerank_bench.errors import ConfigError, DataError
from rerank_bench.jobs.train import check_data, run_training
from rerank_bench.jobs.training_data import load_training_data
from rerank_bench.pipeline.run import run
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


def test_two_values_of_one_name_are_refused(tiny_base: Path, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "train.jsonl", list_rows(8))
    values: dict[str, Any] = {"model": str(tiny_base), "sources": [str(data)], "loss": "lambda", "batch_size": 4}
    request = request_of(**values, evaluate=[f"{TINY},depth=5", f"{TINY},view=injected,depth=5"], eval_steps=1)
    with pytest.raises(
        ConfigError, match=r"--evaluate .*tiny: 'tiny RR@10' is measured by an earlier entry, too; drop one"
    ):
        run_training(request, tmp_path / "out")


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
