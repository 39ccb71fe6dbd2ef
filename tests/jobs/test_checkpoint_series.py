"""Series of checkpoints: in numeric order, the same values as run's, half-written ones named, nothing scored twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_job import TINY
from typer.testing import CliRunner

from rerank_bench.cli.app import app
from rerank_bench.errors import DataError
from rerank_bench.jobs.checkpoint_series import CheckpointSeries, evaluate_series, find_checkpoints
from rerank_bench.pipeline.request import RunConfig
from rerank_bench.reporting.leaderboard import read_leaderboard


@pytest.fixture
def job(tiny_job: Path, tmp_path: Path) -> Path:
    """A finished training with checkpoints 2, 4 and 6, to be changed."""
    return Path(shutil.copytree(tiny_job, tmp_path / "job"))


def evaluate(job: Path, out: Path, **values: Any) -> CheckpointSeries:
    config = RunConfig(datasets=(str(TINY),), depth=5, scorer={"device": "cpu"}, out=out, **values)
    return evaluate_series(job, config)


def test_the_curve_has_the_values_that_the_training_logged(job: Path, tmp_path: Path) -> None:
    series = evaluate(job, tmp_path / "out")
    (curve,) = series.curves
    logged = {
        int(cells[0]): cells for cells in (line.split(",") for line in (job / "log.csv").read_text().splitlines()[1:])
    }
    column = (job / "log.csv").read_text().splitlines()[0].split(",").index("tiny nDCG@10")
    assert [point.step for point in curve.points] == [2, 4, 6]
    for point in curve.points:
        assert point.step is not None
        assert point.value == float(logged[point.step][column])
    saved = json.loads((job / "training.json").read_text())["outcome"]["saved_step"]
    assert [point.step for point in curve.points if point.is_kept] == [saved]
    assert series.leaderboard == tmp_path / "out" / "leaderboard.csv"
    models = set(read_leaderboard(series.leaderboard)["model"])
    assert models == {"checkpoint-2", "checkpoint-4", "checkpoint-6", "job"}
    assert [path.name for path in series.pictures] == ["learning-curve.png", "learning-curve.svg"]


def test_the_leaderboard_of_the_working_directory_is_left_alone(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    local = tmp_path / "leaderboards" / "results.csv"
    local.parent.mkdir()
    local.touch()
    assert evaluate(job, tmp_path / "out").leaderboard == tmp_path / "out" / "leaderboard.csv"
    assert local.read_bytes() == b""


def test_what_was_measured_before_is_not_scored_again(job: Path, tmp_path: Path) -> None:
    first = evaluate(job, tmp_path / "one")
    second = evaluate(job, tmp_path / "two")
    assert second.curves == first.curves
    for path in (tmp_path / "two").glob("*/result.json"):
        jobs = json.loads(path.read_text())["scoring"]["jobs"]
        assert all(job["num_pairs_from_store"] == job["num_pairs"] for job in jobs), path


def test_final_weights_of_a_checkpoint_that_is_gone_stand_at_their_step(job: Path, tmp_path: Path) -> None:
    saved = json.loads((job / "training.json").read_text())["outcome"]["saved_step"]
    shutil.rmtree(job / f"checkpoint-{saved}")
    (curve,) = evaluate(job, tmp_path / "out").curves
    assert [point.step for point in curve.points] == [2, 4, 6]
    assert [(point.step, point.model) for point in curve.points if point.is_kept] == [(saved, "job")]


def test_final_weights_of_a_foreign_training_have_no_step(job: Path, tmp_path: Path) -> None:
    saved = json.loads((job / "training.json").read_text())["outcome"]["saved_step"]
    shutil.rmtree(job / f"checkpoint-{saved}")
    (job / "training.json").unlink()
    (curve,) = evaluate(job, tmp_path / "out").curves
    assert curve.points[-1].step is None
    assert curve.points[-1].is_kept


def test_checkpoints_are_in_numeric_order(job: Path) -> None:
    (job / "checkpoint-2").rename(job / "checkpoint-10")
    (job / "checkpoint-best").mkdir()
    found, skipped = find_checkpoints(job)
    assert [checkpoint.folder.name for checkpoint in found] == ["checkpoint-4", "checkpoint-6", "checkpoint-10", "job"]
    assert not skipped


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize(
    ("name", "damage", "problem"),
    [
        ("config.json", Path.unlink, "it has no config.json"),
        ("model.safetensors", Path.unlink, "it has no weights (model.safetensors or pytorch_model.bin)"),
        ("model.safetensors", cut, "model.safetensors is cut short"),
        ("model.safetensors", lambda path: path.write_bytes(b"\xff" * 20), "model.safetensors is cut short"),
        ("trainer_state.json", Path.unlink, "trainer_state.json, which is written last, is missing or cut short"),
        ("trainer_state.json", cut, "trainer_state.json, which is written last, is missing or cut short"),
    ],
)
def test_a_half_written_checkpoint_is_named_and_left_out(job: Path, name: str, damage: Any, problem: str) -> None:
    damage(job / "checkpoint-4" / name)
    found, skipped = find_checkpoints(job)
    assert [checkpoint.step for checkpoint in found[:-1]] == [2, 6]
    assert skipped == {str(job / "checkpoint-4"): problem}


def test_a_missing_shard_is_named(job: Path) -> None:
    index = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
    folder = job / "checkpoint-4"
    (folder / "model.safetensors").rename(folder / "model-1-of-2.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert find_checkpoints(job)[1] == {str(folder): "model-2-of-2.safetensors is missing"}
    (folder / "model.safetensors.index.json").write_text("{")
    assert find_checkpoints(job)[1] == {str(folder): "model.safetensors is missing"}


def test_a_folder_without_checkpoints_is_refused(tmp_path: Path, job: Path) -> None:
    with pytest.raises(DataError, match="no such folder; expected that of a training"):
        find_checkpoints(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no whole checkpoint \(there is no checkpoint-N folder in it\)"):
        find_checkpoints(tmp_path / "empty")
    for path in job.rglob("config.json"):
        path.unlink()
    with pytest.raises(DataError, match=r"holds no whole checkpoint \(.*checkpoint-2: it has no config\.json"):
        find_checkpoints(job)


def test_the_command_prints_the_table_and_names_what_it_left_out(job: Path, tmp_path: Path) -> None:
    def invoke(*arguments: object) -> Any:
        return CliRunner().invoke(app, ["leaderboard", *map(str, arguments)])

    cut(job / "checkpoint-6" / "model.safetensors")
    given = ("--checkpoints", job, "--dataset", TINY, "--depth", 5, "--device", "cpu", "--out", tmp_path / "out")
    shown = invoke(*given, "board.csv")
    assert shown.exit_code == 0, shown.output
    assert "checkpoint-6 is left out: model.safetensors is cut short" in " ".join(shown.stderr.split())
    assert max(map(len, shown.stdout.splitlines()[:-2])) <= 80
    assert "learning-curve.png" in shown.stdout
    assert Path("board.csv").is_file()
    curves = json.loads(invoke(*given, "--json").stdout)["curves"]
    assert [point["step"] for point in curves[0]["points"]][:2] == [2, 4]
    for point in curves[0]["points"]:
        assert f"{point['value']:.4f} ({point['delta']:+.4f})" in shown.stdout
    assert invoke("leaderboard.csv", "--suite", "nanobeir").exit_code == 2
    assert "--depth: says how checkpoints are measured" in invoke("--depth", 5).stderr
    assert "--check: does not go with --checkpoints" in invoke(*given, "--check").stderr
