"""The folder of one training job: what it is (``training.json``), how far it came, its log.

``training.json`` is written before the first step, and again at the end with the outcome, after the final weights; its
``state`` says which.  The same command finds an unfinished job in its folder and goes on; another job is refused.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rerank_bench.errors import ConfigError, DataError
from rerank_bench.storage import read_json, write_json, write_text

RECORD = "training.json"
LOG = "log.csv"
CHECKPOINT_PREFIX = "checkpoint-"
FIRST_COLUMNS = ("step", "epoch", "loss", "learning_rate", "grad_norm", "seconds")
HELD_OUT_LOSS = "held-out loss"
RUNNING, FINISHED = "running", "finished"


def open_job(folder: Path, job: Mapping[str, Any], about: Mapping[str, Any]) -> Path | None:
    """Take a folder for a job; return the checkpoint to go on from, ``None`` to begin.

    Args:
        folder: Made if it does not exist.
        job: What decides the weights: recipe and data, JSON-able.
        about: What else the record says: where the data came from, versions; a difference there is no other job.

    Raises:
        ConfigError: The folder holds something else, another job, or this one finished.
    """
    check_folder(folder)
    record = folder / RECORD
    if not record.is_file():
        write_json(record, {"state": RUNNING, "job": job, "about": about})
        return None
    found = read_json(record)
    if not isinstance(found, dict) or "job" not in found:
        msg = f"{record}: is not the record of a training; choose another folder with --out"
        raise ConfigError(msg)
    differing = _differences(found["job"], json.loads(json.dumps(job)))
    if differing:
        shown = "; ".join(differing[:4]) + (f" and {len(differing) - 4} more" if len(differing) > 4 else "")
        msg = f"{folder} holds another training: {shown}. Choose another folder with --out, or remove this one"
        raise ConfigError(msg)
    if found.get("state") == FINISHED:
        msg = f"{folder} holds this very training, finished; remove the folder to train again"
        raise ConfigError(msg)
    return last_checkpoint(folder)


def check_folder(folder: Path) -> None:
    """Raise if a folder holds something else than a training.

    Raises:
        ConfigError: It is a file, or has content and no record of a training; hidden files do not count.
    """
    if not folder.exists() or (folder / RECORD).is_file():
        return
    # Another process of the same job may be writing the record at this moment, under a hidden name.
    if not folder.is_dir() or any(not path.name.startswith(".") for path in folder.iterdir()):
        msg = f"{folder}: is not empty and holds no {RECORD}; choose another folder with --out"
        raise ConfigError(msg)


def finish_job(folder: Path, outcome: Mapping[str, Any], **facts: Any) -> None:
    """Mark a job as finished, with all that is known of it by then, in one write: a kill leaves all of it or nothing."""
    write_json(folder / RECORD, {**read_job(folder), **facts, "state": FINISHED, "outcome": outcome})


def read_job(folder: Path) -> dict[str, Any]:
    """Return the record of a training: ``state``, ``job``, ``about`` and, when it is finished, ``outcome``.

    Raises:
        DataError: There is none.
    """
    found = read_json(folder / RECORD)
    if not isinstance(found, dict):
        msg = f"{folder / RECORD}: expected an object"
        raise DataError(msg)
    return found


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint; a kill may have left half of a newer one, which does not count."""
    whole = [path for path in folder.glob(f"{CHECKPOINT_PREFIX}*") if _is_whole(path)]
    return max(whole, key=lambda path: int(path.name.removeprefix(CHECKPOINT_PREFIX)), default=None)


def _is_whole(checkpoint: Path) -> bool:
    """Return whether the trainer's state, which is written last, is there and can be read."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return checkpoint.name.removeprefix(CHECKPOINT_PREFIX).isdigit()


def _differences(found: Any, wanted: Any, name: str = "") -> list[str]:
    """Return ``field is X there and Y here`` for every differing field."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        names = dict.fromkeys([*found, *wanted])
        return [
            line
            for key in names
            for line in _differences(found.get(key), wanted.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if found == wanted else [f"{name} is {_short(found)} there and {_short(wanted)} here"]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"


# --- the log ----------------------------------------------------------------------------------------------------


def merge_history(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per step from the trainer's history; values of an evaluation lose their prefix ``eval_``."""
    rows: dict[int, dict[str, Any]] = {}
    for entry in history:
        if "train_runtime" in entry:
            continue
        row = rows.setdefault(int(entry["step"]), {"step": int(entry["step"])})
        row |= {column_name(name): value for name, value in entry.items() if name != "step"}
    return [rows[step] for step in sorted(rows)]


def column_name(name: str) -> str:
    """Return a value's column: without ``eval_``; the held-out loss has another one than the training's."""
    return HELD_OUT_LOSS if name == "eval_loss" else name.removeprefix("eval_")


def write_log(folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write ``log.csv`` anew: one row per step with loss, rate and the values of evaluations."""
    rows = merge_history(history)
    others = dict.fromkeys(name for row in rows for name in row if name not in FIRST_COLUMNS)
    columns = [*(name for name in FIRST_COLUMNS if any(name in row for row in rows)), *others]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / LOG, text.getvalue())
