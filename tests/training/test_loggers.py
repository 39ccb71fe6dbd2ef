"""Logs beside ``log.csv``, read back with each package's own reader."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from tiny_training import examples_of, pair_rows

from rerank_bench.errors import ConfigError, EnvironmentMissingError
from rerank_bench.training.loggers import LOGGERS, check_loggers
from rerank_bench.training.recipe import Recipe
from rerank_bench.training.trainer import train
from rerank_bench.training.watch import Watch


def run(base: Path, folder: Path, *log_to: str, **values: Any) -> list[dict[str, str]]:
    """Train four steps, and return the rows of ``log.csv``."""
    defaults: dict[str, Any] = {"batch_size": 4, "precision": "float32", "log_steps": 1, "eval_steps": 2}
    recipe = Recipe(model=str(base), **(defaults | values))
    examples = examples_of(folder.parent, pair_rows(16))
    train(recipe, examples, folder, job={}, watch=Watch(held_out=examples), device="cpu", log_to=log_to)
    return list(csv.DictReader((folder / "log.csv").read_text().splitlines()))


def test_tensorboard_has_the_values_of_the_log(tiny_base: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = run(tiny_base, tmp_path / "out", "tensorboard", "tensorboard")
    (file,) = (tmp_path / "out" / "tensorboard").iterdir()  # named twice, written once
    events = EventAccumulator(str(file))
    events.Reload()
    for tag, column in (("train/loss", "loss"), ("train/learning_rate", "learning_rate"), ("eval/f1", "f1")):
        expected = {int(row["step"]): float(row[column]) for row in rows if row[column]}
        assert {event.step: event.value for event in events.Scalars(tag)} == pytest.approx(expected, rel=1e-6), tag
    assert len(events.Scalars("train/loss")) == 4


def test_wandb_logs_offline(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    run(tiny_base, tmp_path / "out", "wandb")
    (file,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    content = file.read_bytes()
    assert b"train/loss" in content
    assert b"eval/f1" in content


def test_trackio_has_the_values_of_the_log(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    rows = run(tiny_base, tmp_path / "out", "trackio")
    assert not capsys.readouterr().out  # stdout is for results
    from trackio.sqlite_storage import SQLiteStorage

    logs = SQLiteStorage.get_logs("rerank-bench", "out")
    found = {log["train/global_step"]: log["train/loss"] for log in logs if "train/loss" in log}
    assert found == pytest.approx({int(row["step"]): float(row["loss"]) for row in rows if row["loss"]})


def test_what_is_missing_names_the_command_that_installs_it(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    absent = {"wandb", "trackio"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name in absent else find_spec(name, *rest)
    )
    with pytest.raises(EnvironmentMissingError, match=r"not installed; run: pip install wandb trackio$"):
        run(tiny_base, tmp_path / "out", "wandb", "trackio")
    with pytest.raises(ConfigError, match="unknown logger 'tensorbord'; did you mean 'tensorboard'"):
        check_loggers(["tensorbord"])
    assert not (tmp_path / "out").exists()
    assert set(LOGGERS) > absent


def test_a_logger_that_cannot_begin_says_so(tiny_base: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    out = tmp_path / "out"
    out.mkdir()
    (out / "training.json").write_text(json.dumps({"state": "running", "job": {}}))
    (out / "tensorboard").write_text("in the way")
    with pytest.raises(
        EnvironmentMissingError, match=r"--log-to tensorboard: cannot begin \(.*\); set it up, or leave"
    ):
        run(tiny_base, out, "tensorboard")
