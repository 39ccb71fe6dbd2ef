"""All checkpoints of a training, measured one after the other: rows of a leaderboard, and a learning curve.

Scores are stored, so a checkpoint that was measured before costs nothing; while a training runs, its checkpoints so far
can be measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rerank_bench.errors import DataError
from rerank_bench.pipeline.request import RunConfig
from rerank_bench.pipeline.run import run_models
from rerank_bench.progress import note
from rerank_bench.records import View
from rerank_bench.reporting.learning_curve import LearningCurve, build_curves, write_curves
from rerank_bench.training.job_folder import CHECKPOINT_PREFIX, RECORD, read_job

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_MAX_HEADER_BYTES = 100_000_000


class FoundCheckpoint(NamedTuple):
    """One folder of a series."""

    folder: Path
    step: int | None
    """``None`` for the final weights where nothing says how many steps they took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSeries:
    """What measuring a series made."""

    view: View
    conditions: str
    """View, first stage, depth, protocol."""
    curves: Sequence[LearningCurve]
    skipped: Mapping[str, str]
    """Folder that was left out -> why."""
    leaderboard: Path | None
    pictures: Sequence[Path]

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {
            "view": self.view,
            "conditions": self.conditions,
            "curves": [curve.as_dict() for curve in self.curves],
            "skipped": dict(self.skipped),
            "leaderboard": str(self.leaderboard),
            "pictures": [str(path) for path in self.pictures],
        }


def evaluate_series(folder: Path, config: RunConfig) -> CheckpointSeries:
    """Measure every checkpoint of a training and draw the curve.

    Args:
        folder: The training's: ``checkpoint-N`` folders, and the final weights where it is finished.
        config: How, and on what; its models are replaced, and ``out`` is where results and picture go.

    Raises:
        DataError: The folder holds no whole checkpoint.
        RerankBenchError: What is wrong with the request or a model.
    """
    from dataclasses import replace

    found, skipped = find_checkpoints(folder)
    for name, problem in skipped.items():
        note(f"{name} is left out: {problem}")
    out = config.out or Path("runs") / f"{folder.resolve().name}-checkpoints"
    models = tuple(str(checkpoint.folder) for checkpoint in found)
    # A clone's own leaderboard is for models, not for the steps of one; the argument CSV can still name it.
    config = replace(config, models=models, out=out, leaderboard=config.leaderboard or out / "leaderboard.csv")
    report = run_models(config)
    results = [outcome.result for outcome in report.outcomes]
    results, steps, kept = _merge_final(results, found)
    block = next(iter(results[0]["datasets"].values()))
    conditions = (
        f"view {config.view} · first stage {block['first_stage']['name']}, depth {block['depth']} · "
        f"protocol {results[0]['protocol_version']}"
    )
    curves = build_curves(results, steps, kept, view=config.view)
    pictures = write_curves(out, curves, [f"{folder.resolve().name} · {conditions}"])
    return CheckpointSeries(
        view=config.view,
        conditions=conditions,
        curves=curves,
        skipped=skipped,
        leaderboard=report.leaderboard,
        pictures=pictures,
    )


def _merge_final(
    results: Sequence[Mapping[str, Any]], found: Sequence[FoundCheckpoint]
) -> tuple[list[Mapping[str, Any]], list[int | None], list[bool]]:
    """Return results, steps and which is kept; final weights that are a checkpoint's are that checkpoint."""
    weights = [result["model"]["weights_fingerprint"] for result in results]
    has_final = not found[-1].folder.name.startswith(CHECKPOINT_PREFIX)
    kept = [has_final and fingerprint == weights[-1] for fingerprint in weights]
    last = -1 if has_final and kept.count(True) > 1 else len(results)
    return list(results[:last]), [checkpoint.step for checkpoint in found[:last]], kept[:last]


def find_checkpoints(folder: Path) -> tuple[list[FoundCheckpoint], dict[str, str]]:
    """Return the whole checkpoints by step, the final weights last; and the others, each with what is wrong with it.

    Raises:
        DataError: There is no such folder, or it holds no whole checkpoint.
    """
    if not folder.is_dir():
        msg = f"{folder}: no such folder; expected that of a training, with {CHECKPOINT_PREFIX}N folders in it"
        raise DataError(msg)
    numbered = {
        int(number): path
        for path in folder.glob(f"{CHECKPOINT_PREFIX}*")
        if (number := path.name.removeprefix(CHECKPOINT_PREFIX)).isdecimal() and path.is_dir()
    }
    found, skipped = [], {}
    for step, path in sorted(numbered.items()):
        problem = _find_problem(path, is_final=False)
        if problem is None:
            found.append(FoundCheckpoint(path, step))
        else:
            skipped[str(path)] = problem
    if (folder / "config.json").is_file():
        problem = _find_problem(folder, is_final=True)
        if problem is None:
            found.append(FoundCheckpoint(folder, _final_step(folder)))
        else:
            skipped[str(folder)] = problem
    if not found:
        shown = "; ".join(f"{name}: {problem}" for name, problem in skipped.items())
        msg = f"{folder}: holds no whole checkpoint ({shown or f'there is no {CHECKPOINT_PREFIX}N folder in it'})"
        raise DataError(msg)
    return found, skipped


def _final_step(folder: Path) -> int | None:
    if not (folder / RECORD).is_file():
        return None
    outcome = read_job(folder).get("outcome")
    return None if outcome is None else int(outcome["saved_step"])


def _find_problem(folder: Path, *, is_final: bool) -> str | None:
    """Return what a checkpoint lacks, ``None`` for a whole one; trainers write the state last, after the weights."""
    if not (folder / "config.json").is_file():
        return "it has no config.json"
    weights = _weight_files(folder)
    if not weights:
        return f"it has no weights ({' or '.join(WEIGHTS)})"
    for path in weights:
        if not path.is_file():
            return f"{path.name} is missing"
        if path.suffix == ".safetensors" and not _is_whole_safetensors(path):
            return f"{path.name} is cut short"
    if not is_final and not _read_object(folder / "trainer_state.json"):
        return "trainer_state.json, which is written last, is missing or cut short"
    return None


def _weight_files(folder: Path) -> list[Path]:
    """Return the files of weights that are there, or that an index names."""
    names = [name for name in WEIGHTS if (folder / name).is_file()]
    for index in (folder / name for name in INDEXES if (folder / name).is_file()):
        shards = _read_object(index).get("weight_map")
        # An index that cannot be read stands for shards that nobody can find.
        names += shards.values() if isinstance(shards, dict) else [index.name.removesuffix(".index.json")]
    return [folder / str(name) for name in dict.fromkeys(names)]


def _read_object(path: Path) -> dict[str, Any]:
    """Return a JSON object, empty where there is none to be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_whole_safetensors(path: Path) -> bool:
    """Return whether the file is as long as its header says (8 bytes of length, a JSON header, the tensors)."""
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        if header_bytes > _MAX_HEADER_BYTES:
            return False
        try:
            header = json.loads(file.read(header_bytes))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, AttributeError, KeyError, TypeError, IndexError):
            return False
    return path.stat().st_size == 8 + header_bytes + max(ends, default=0)
