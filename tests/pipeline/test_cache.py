"""Stored scores as a user meets them: smaller depths, new measures, ``--no-cache``, ``cache info`` and ``cache clear``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import write_sequence_classifier
from typer.testing import CliRunner, Result

from rerank_bench.cli.app import app
from rerank_bench.cli.render_cache import format_bytes
from rerank_bench.data.datasets import load_dataset
from rerank_bench.first_stage.bm25 import BM25Config
from rerank_bench.first_stage.index_store import indexes_folder, open_index
from rerank_bench.reporting.leaderboard import read_leaderboard

TINY = Path(__file__).parents[1] / "data" / "tiny"
Invoke = Callable[..., Result]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sequence_classifier(tmp_path_factory.mktemp("models") / "reranker", seed=2)


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Invoke:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: object) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code in {0, 2}, result.output
        return result

    return call


def run(invoke: Invoke, model: Path, *options: object) -> dict[str, Any]:
    result = invoke("run", "-m", model, "-d", TINY, "--device", "cpu", "--json", "--quiet", *options)
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    return dict(found)


def timing_of(result: dict[str, Any]) -> dict[str, Any]:
    """What is said of the data set, and of the job that scored it."""
    (job,) = result["scoring"]["jobs"]
    timing = result["datasets"]["tiny"]["timing"]
    assert {name: job[name] for name in timing.keys() & job.keys() - {"num_tokens"}} == {
        name: timing[name] for name in timing.keys() & job.keys() - {"num_tokens"}
    }
    return {**job, **timing}


def test_smaller_depths_and_new_measures_cost_no_scoring(invoke: Invoke, model: Path) -> None:
    deep = run(invoke, model, "--depth", 10, "--out", "deep")
    assert timing_of(deep)["num_pairs_from_store"] == 0
    assert timing_of(deep)["pairs_per_second"] > 0
    assert deep["request"]["cache"] is True
    measured = run(invoke, model, "--depth", 10, "--measure", "nDCG@3", "--out", "measured")
    shallow = run(invoke, model, "--depth", 1, "--out", "shallow")
    for result in (measured, shallow):
        timing = timing_of(result)
        assert timing["num_pairs_from_store"] == timing["num_pairs"] > 0
        assert (timing["pairs_per_second"], timing["tokens_per_second"]) == (None, None)
        assert timing["tokenise_seconds"] + timing["score_seconds"] == 0
    assert measured["model"] == deep["model"]
    fresh = run(invoke, model, "--depth", 1, "--no-cache", "--out", "fresh")
    assert fresh["datasets"]["tiny"]["views"] == shallow["datasets"]["tiny"]["views"]


def test_scores_of_other_numbers_of_threads_are_used_and_told(invoke: Invoke, model: Path) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        first = run(invoke, model, "--depth", 1)
        torch.set_num_threads(2)
        fresh = run(invoke, model, "--depth", 10, "--no-cache", "--out", "fresh")
        mixed = invoke("run", "-m", model, "-d", TINY, "--device", "cpu", "--depth", 10, "--out", "mixed", "--json")
    finally:
        torch.set_num_threads(before)
    (result,) = json.loads(mixed.stdout)
    assert timing_of(first)["cpu_threads"] == [1]
    assert timing_of(fresh)["cpu_threads"] == [2]
    assert timing_of(result)["cpu_threads"] == [1, 2]
    assert 0 < timing_of(result)["num_pairs_from_store"] < timing_of(result)["num_pairs"]
    assert "were computed with different numbers of threads (1, 2)" in " ".join(mixed.stderr.split())
    values = [found["datasets"]["tiny"]["views"]["end_to_end"]["measures"]["nDCG@10"] for found in (fresh, result)]
    assert values[0] == values[1], "last digits of scores, not more"


def test_a_run_without_scoring_has_no_speed_in_the_leaderboard(invoke: Invoke, model: Path) -> None:
    run(invoke, model, "--out", "first")
    (speed,) = read_leaderboard(Path("first/leaderboard.csv"))["pairs_per_second"].unique()
    assert speed > 0
    run(invoke, model, "--out", "second")
    assert read_leaderboard(Path("second/leaderboard.csv"))["pairs_per_second"].isna().all()
    shown = invoke("leaderboard", "second/leaderboard.csv")
    assert shown.exit_code == 0
    assert "reranker" in shown.stdout


def test_no_cache_scores_afresh_and_stores_nothing(invoke: Invoke, model: Path) -> None:
    result = run(invoke, model, "--no-cache", "--out", "afresh")
    assert result["request"]["cache"] is False
    assert timing_of(result)["num_pairs_from_store"] == 0
    assert not (Path(os.environ["RERANK_BENCH_CACHE"]) / "scores").exists()
    stored = run(invoke, model, "--out", "stored")
    again = run(invoke, model, "--no-cache", "--out", "again")
    assert timing_of(again)["num_pairs_from_store"] == 0
    assert again["datasets"]["tiny"]["views"] == stored["datasets"]["tiny"]["views"]


def test_the_cache_is_shown_and_cleared_by_parts(invoke: Invoke, model: Path) -> None:
    empty = json.loads(invoke("cache", "info", "--json").stdout)
    assert (empty["scores"], empty["candidates"]) == ({"bytes": 0, "stores": []}, {"bytes": 0, "lists": []})
    timing = timing_of(run(invoke, model, "--out", "out"))
    found = json.loads(invoke("cache", "info", "--json").stdout)
    (store,) = found["scores"]["stores"]
    assert (store["name"], store["scores"]) == ("reranker", timing["num_distinct_pairs"])
    assert found["scores"]["bytes"] > store["bytes"] > 0
    assert len(found["candidates"]["lists"]) == 1
    shown = invoke("cache", "info").stdout
    assert str(timing["num_distinct_pairs"]) in shown
    assert "reranker" in shown
    assert "1 lists" not in shown

    assert invoke("cache", "clear", "--scores").stdout.startswith("freed ")
    left = json.loads(invoke("cache", "info", "--json").stdout)
    assert (left["scores"]["stores"], len(left["candidates"]["lists"])) == ([], 1)
    freed = json.loads(invoke("cache", "clear", "--all", "--json").stdout)["freed_bytes"]
    assert freed == found["candidates"]["bytes"]
    assert json.loads(invoke("cache", "info", "--json").stdout) == empty
    assert timing_of(run(invoke, model, "--out", "out"))["num_pairs_from_store"] == 0


def test_a_damaged_store_is_listed(invoke: Invoke, model: Path) -> None:
    run(invoke, model, "--out", "out")
    folder = Path(os.environ["RERANK_BENCH_CACHE"]) / "scores"
    (path,) = folder.glob("*.sqlite")
    path.write_bytes(b"garbage" * 500)
    assert "damaged" in invoke("cache", "info").stdout
    assert timing_of(run(invoke, model, "--out", "out"))["num_pairs_from_store"] == 0
    stores = json.loads(invoke("cache", "info", "--json").stdout)["scores"]["stores"]
    assert sorted(store["problem"] is None for store in stores) == [False, True]


def test_indices_are_shown_and_cleared(invoke: Invoke) -> None:
    dataset = load_dataset(TINY)
    open_index(dataset, BM25Config(), min_docs=1)
    (path,) = indexes_folder().iterdir()
    found = json.loads(invoke("cache", "info", "--json").stdout)["indexes"]
    assert found == {"bytes": path.stat().st_size, "collections": 1}
    assert f"indexes     {format_bytes(found['bytes'])}, 1 collection\n" in invoke("cache", "info").stdout
    invoke("cache", "clear", "--candidates", "--scores", "--vectors")
    assert path.exists()
    freed = json.loads(invoke("cache", "clear", "--indexes", "--json").stdout)["freed_bytes"]
    assert freed == found["bytes"]
    assert not path.exists()


def test_clearing_nothing_is_an_error(invoke: Invoke) -> None:
    result = invoke("cache", "clear")
    assert result.exit_code == 2
    assert "nothing was chosen; pass --scores, --candidates, --indexes, --vectors, --training or --all" in result.stderr


def test_other_files_in_the_cache_folder_are_left_alone(invoke: Invoke, model: Path) -> None:
    run(invoke, model, "--out", "out")
    own = Path(os.environ["RERANK_BENCH_CACHE"]) / "mine.txt"
    own.write_text("kept")
    invoke("cache", "clear", "--all")
    assert [path.name for path in own.parent.iterdir()] == ["mine.txt"]
