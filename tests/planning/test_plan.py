"""What a plan counts, against what the run then says it did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_models import write_encoder, write_sequence_classifier
from tiny_static import write_static_embedding
from typer.testing import CliRunner, Result

from rerank_bench.cli.app import app
from rerank_bench.pipeline.request import RunConfig
from rerank_bench.pipeline.scores import score_texts
from rerank_bench.planning import plan
from rerank_bench.planning.plan import plan_run
from rerank_bench.planning.records import Plan
from rerank_bench.scoring.model_memo import scores_folder

TINY = Path(__file__).parents[1] / "data" / "tiny"


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "80"})


def run_tiny(model: object, *options: object) -> dict[str, Any]:
    result = invoke("run", "-m", model, "-d", TINY, "--device", "cpu", "--json", "-q", "--out", "out", *options)
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    return dict(found)


def plan_tiny(*models: object, **options: Any) -> Plan:
    return plan_run(
        RunConfig(models=tuple(map(str, models)), datasets=(str(TINY),), scorer={"device": "cpu"}, **options)
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sequence_classifier(tmp_path_factory.mktemp("models") / "reranker", seed=2)


def test_pairs_and_tokens_are_those_of_the_run(model: Path) -> None:
    planned = plan_tiny(model, depth=4)
    assert not list(scores_folder().glob("*.sqlite"))  # a plan stores nothing
    result = run_tiny(model, "--depth", 4)
    (job,) = result["scoring"]["jobs"]
    (dataset,), (found,) = planned.datasets, planned.models
    assert dataset.basis == "lists"
    assert dataset.pairs == found.pairs == job["num_pairs"] == result["datasets"]["tiny"]["counts"]["pairs"]
    assert found.tokens == job["num_tokens"]
    assert found.stored_pairs == 0
    assert found.measured_pairs == job["num_items"]
    assert found.flops == pytest.approx(job["tflops_per_second"] * 1e12 * job["compute_seconds"], rel=1e-6)
    assert found.score_seconds is not None
    assert 0 < found.score_seconds < 100 * job["score_seconds"]
    assert found.processor_seconds is not None
    assert 0 < found.processor_seconds < 100 * job["score_seconds"]
    assert found.busy_share is not None
    assert 0 <= found.busy_share < 1


def test_what_is_stored_costs_nothing(model: Path) -> None:
    run_tiny(model, "--depth", 2)
    part = plan_tiny(model, depth=4).models[0]
    whole = plan_tiny(model, depth=2).models[0]
    assert 0 < part.stored_pairs < part.pairs
    assert whole.stored_pairs == whole.pairs
    assert (whole.tokens, whole.seconds, whole.measured_pairs) == (0, 0.0, 0)


@pytest.mark.parametrize("write", [write_encoder, write_static_embedding])
def test_models_that_read_each_text_alone(tmp_path: Path, write: Any) -> None:
    encoder = write(tmp_path / "encoder")
    found = plan_tiny(encoder, depth=4).models[0]
    (job,) = run_tiny(encoder, "--depth", 4)["scoring"]["jobs"]
    assert found.tokens == job["num_tokens"]


@pytest.mark.parametrize("write", [write_encoder, write_sequence_classifier])
def test_a_large_run_is_counted_job_by_job(tmp_path: Path, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is scored: a text that stands in two jobs is encoded in both."""
    together = plan_tiny(write(tmp_path / "model"), depth=4).models[0]
    monkeypatch.setattr(plan, "JOB_PAIRS", 10)
    defaults = score_texts.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "job_pairs", 10)
    found = plan_tiny(tmp_path / "model", depth=4).models[0]
    jobs = run_tiny(tmp_path / "model", "--depth", 4)["scoring"]["jobs"]
    assert len(jobs) > 1
    assert found.tokens == sum(job["num_tokens"] for job in jobs)
    assert found.tokens is not None
    assert together.tokens is not None
    assert (found.tokens > together.tokens) == (write is write_encoder)


def test_the_few_pairs_that_a_stored_run_lacks_are_counted(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though they stand in a later job, and none of them under a query whose pairs would be counted."""
    run_tiny(model, "--depth", 3)
    exact = plan_tiny(model, depth=4).models[0]
    monkeypatch.setattr(plan, "JOB_PAIRS", 5)
    monkeypatch.setattr(plan, "COUNTED_PAIRS", 1)
    found = plan_tiny(model, depth=4).models[0]
    assert exact.pairs - exact.stored_pairs > 0
    assert (found.pairs, found.stored_pairs) == (exact.pairs, exact.stored_pairs)
    assert exact.tokens is not None
    assert found.tokens is not None
    assert exact.tokens / 4 < found.tokens < 4 * exact.tokens


def test_texts_are_not_counted_once_per_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = write_static_embedding(tmp_path / "encoder")
    whole = plan_tiny(encoder, depth=4).models[0]
    monkeypatch.setattr(plan, "COUNTED_PAIRS", 10)  # every third query or so is counted
    monkeypatch.setattr(plan, "LEAST_COUNTED_PAIRS", 5)
    part = plan_tiny(encoder, depth=4).models[0]
    assert part.measured_pairs < whole.measured_pairs
    assert part.tokens == pytest.approx(whole.tokens, rel=0.25)


def test_baselines_and_functions(tmp_path: Path) -> None:
    oracle, function = plan_tiny("oracle", "word_overlap:score", depth=4).models
    assert oracle.seconds == 0.0
    assert function.seconds is None
    assert function.note == "neither its tokens nor its speed are known before it runs"
    assert not list(tmp_path.iterdir())


def test_data_that_are_not_here_are_counted_by_their_manifest(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = {"models": (str(model),), "scorer": {"device": "cpu"}}
    alone = plan_run(RunConfig(datasets=("gooaq-dev-st",), depth=30, **config))  # type: ignore[arg-type]
    assert alone.datasets[0].basis == "counts"
    assert alone.datasets[0].documents is None
    assert alone.models[0].pairs == 30_000
    beside = plan_run(RunConfig(datasets=(str(TINY), "gooaq-dev-st"), depth=30, **config))  # type: ignore[arg-type]
    here = plan_tiny(model, depth=30)
    tokens = here.models[0].tokens
    assert tokens is not None
    share = beside.models[0].pairs / here.models[0].pairs
    assert beside.models[0].tokens == pytest.approx(tokens * share, rel=1e-6)


def test_a_dense_first_stage_is_not_searched_for_a_plan(tmp_path: Path, model: Path) -> None:
    static = write_static_embedding(tmp_path / "static")
    planned = plan_tiny(model, depth=3, first_stage=f"fusion:bm25+dense:{static}", limit=2)
    assert planned.datasets[0].basis == "sample"
    assert planned.datasets[0].queries == 2
    assert planned.datasets[0].pairs >= 6


def test_the_command_and_the_dry_run_show_the_same(model: Path) -> None:
    arguments = ["-m", model, "-m", "random", "-d", TINY, "--depth", 4, "--device", "cpu", "-q"]
    shown, dry = invoke("plan", *arguments), invoke("run", *arguments, "--dry-run")
    for result in (shown, dry):
        assert result.exit_code == 0, result.output
        assert "Nothing was run. First stage bm25, depth 4" in result.stdout
        assert "candidate lists" in result.stdout
        assert max(map(len, result.stdout.splitlines()[:12])) <= 80
    as_json = json.loads(invoke("plan", *arguments, "--json").stdout)
    dry_json = json.loads(invoke("run", *arguments, "--dry-run", "--json").stdout)
    assert as_json["datasets"] == dry_json["datasets"]
    assert [entry["tokens"] for entry in as_json["models"]] == [entry["tokens"] for entry in dry_json["models"]]
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-d", "nowhere-at-all"], "unknown data set 'nowhere-at-all'"),
        (["-m", "nowhere/at-all:x"], "nowhere/at-all:x"),
        (["-d", TINY, "--first-stage", "bm26"], "unknown first stage 'bm26'"),
        (["-d", TINY, "--depth", "0"], "depth is 0"),
    ],
)
def test_a_wrong_request_is_named(options: list[object], message: str) -> None:
    result = invoke("plan", "-q", *options)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
