"""The whole mission once: first stage, a training, a measurement, a leaderboard, a gate.

Five commands, one after the other, in one process: each step calls the function that its command calls, and says how
the command is written.  The commands name what lies in the tour's folder, which is the working directory meanwhile, so
they do the same, with the same figures, when they are typed there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rerank_bench.errors import ConfigError
from rerank_bench.gate.gating import check_gate
from rerank_bench.gate.verdicts import GateReport
from rerank_bench.jobs.train import run_training
from rerank_bench.pipeline.candidates import summarise_candidates
from rerank_bench.pipeline.request import RunConfig
from rerank_bench.pipeline.run import RunReport, run_models
from rerank_bench.progress import note
from rerank_bench.reporting.page import LeaderboardPage, render_page
from rerank_bench.training.job_folder import FINISHED, RECORD, read_job
from rerank_bench.training.presets import preset
from rerank_bench.training.request import TrainingRequest, override

DEFAULT_FOLDER = Path("rerank-bench-quickstart")
PRESET = "pydocs"
DEFAULT_STEPS = 200
"""A number of steps, never of minutes: the same weights on a slow machine and on a fast one."""
EVAL_STEPS = 100
"""Steps between evaluations; each leaves a checkpoint, which a killed training goes on from."""
HELD_OUT = 25
"""Queries that these evaluations ask: enough to see that it learns.  The 200 of the preset take 25 s each time on two cores."""

DATASET = "pydocs"
DEPTH = 30
"""Less than the 100 that ``run`` takes unasked: on two cores the new reranker reads some 90 pairs in a second."""
CANDIDATES = Path("candidates.trec.gz")
CHECKPOINT = Path("reranker")
RUNS = Path("runs")
LEADERBOARD = RUNS / "leaderboard.csv"
"""Where ``run`` puts it in a folder that has no leaderboard of its own."""
BASELINE = "first-stage"
MODELS = (BASELINE, "demo", str(CHECKPOINT))
NUM_STEPS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickstartConfig:
    """What one tour does."""

    folder: Path = DEFAULT_FOLDER
    """Where everything is written; new, empty, or that of a tour, which goes on."""
    max_steps: int = DEFAULT_STEPS
    """Optimizer steps of the training."""
    seed: int | None = None
    """Of the training; ``None``: the preset's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One of the five."""

    title: str
    command: str
    """As it is typed in the tour's folder."""
    seconds: float
    """Of this process: what was done before costs nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickstartReport:
    """What a tour made; paths are relative to its folder."""

    folder: Path
    checkpoint: Path
    steps: Sequence[Step]
    candidates: Mapping[str, Any]
    """What ``rerank-bench candidates --json`` prints."""
    training: Mapping[str, Any]
    """What ``rerank-bench train --json`` prints."""
    run: RunReport
    page: LeaderboardPage
    gate: GateReport

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {
            "folder": str(self.folder),
            "checkpoint": str(self.checkpoint),
            "steps": [dataclasses.asdict(step) for step in self.steps],
            "candidates": dict(self.candidates),
            "training": dict(self.training),
            "results": [dict(outcome.result) for outcome in self.run.outcomes],
            "leaderboard": str(self.run.leaderboard),
            "page": str(self.page.page),
            "pictures": [str(path) for path in self.page.plots],
            "gate": self.gate.as_dict(),
        }


def run_quickstart(config: QuickstartConfig) -> QuickstartReport:
    """Do the five steps, or what is left of them: a finished training and stored scores are used again.

    The working directory of the process is the folder until this returns.

    Raises:
        ConfigError: The folder holds something else, or a training with another recipe.
        RerankBenchError: What a step met.
    """
    request, options = _training_request(config)
    _check_folder(config.folder)
    finished = _finished_training(config.folder, request)
    config.folder.mkdir(parents=True, exist_ok=True)
    tour = _Tour()
    depth = ("--depth", str(DEPTH))
    with contextlib.chdir(config.folder):
        with tour.step("find candidates with BM25", "candidates", DATASET, *depth, "--out", CANDIDATES):
            candidates = summarise_candidates(DATASET, depth=DEPTH, out=CANDIDATES)
        with tour.step("train a cross-encoder", "train", "--preset", PRESET, *options, "--out", CHECKPOINT):
            training = finished or run_training(request, CHECKPOINT).as_dict()
        models = [text for model in MODELS for text in ("--model", model)]
        with tour.step("rerank with each model, and measure", "run", *models, *depth, "--out", RUNS):
            report = run_models(RunConfig(models=MODELS, depth=DEPTH, out=RUNS))
        with tour.step("render the leaderboard", "leaderboard", LEADERBOARD):
            page = render_page(LEADERBOARD)
        sides = {"baseline": RUNS / BASELINE, "run": RUNS / CHECKPOINT}
        with tour.step("may it be released?", "gate", "--baseline", sides["baseline"], "--run", sides["run"]):
            gate = check_gate(**sides)
    return QuickstartReport(
        folder=config.folder,
        checkpoint=CHECKPOINT,
        steps=tour.steps,
        candidates=candidates,
        training=training,
        run=report,
        page=page,
        gate=gate,
    )


@dataclass(slots=True)
class _Tour:
    """The steps so far."""

    steps: list[Step] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, title: str, *arguments: str | Path) -> Iterator[None]:
        """Announce a command, and time the block that does the same."""
        command = shlex.join(["rerank-bench", *map(str, arguments)])
        note(f"{len(self.steps) + 1} of {NUM_STEPS}, {title}: {command}")
        started = time.perf_counter()
        yield
        self.steps.append(Step(title=title, command=command, seconds=time.perf_counter() - started))


def _training_request(config: QuickstartConfig) -> tuple[TrainingRequest, list[str]]:
    """Return the training, and the options of ``train`` that make it of the preset."""
    base = preset(PRESET)
    values = {"max_steps": config.max_steps, "eval_steps": EVAL_STEPS, "seed": config.seed}
    changed: dict[str, Any] = {name: n for name, n in values.items() if n not in {None, getattr(base.recipe, name)}}
    needed = config.max_steps * base.recipe.batch_size
    if base.data.limit is not None and base.data.limit > needed:  # what no step reads needs no labels
        changed["limit"] = needed
    if base.data.held_out != HELD_OUT:
        changed["held_out"] = HELD_OUT
    options = [text for name, value in changed.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    return override(base, changed), options


def _check_folder(folder: Path) -> None:
    """Raise if a folder holds anything that a tour does not write; hidden files do not count.

    Raises:
        ConfigError: It does, or is a file.
    """
    if not folder.exists():
        return
    own = {CANDIDATES.name, CHECKPOINT.name, RUNS.name}
    others = [path.name for path in folder.iterdir()] if folder.is_dir() else None
    if others is None or (others := [name for name in sorted(others) if name not in own and not name.startswith(".")]):
        found = "is a file" if others is None else f"holds {', '.join(others[:3])}, which no quickstart wrote"
        msg = f"{folder}: {found}; choose a new folder with --out"
        raise ConfigError(msg)


def _finished_training(folder: Path, request: TrainingRequest) -> Mapping[str, Any] | None:
    """Return the outcome of a training that an earlier tour finished, ``None`` where there is something left to do.

    Raises:
        ConfigError: There is a training with another recipe.
    """
    checkpoint = folder / CHECKPOINT
    if not (checkpoint / RECORD).is_file():
        return None
    record = read_job(checkpoint)
    found, wanted = record["job"]["recipe"], json.loads(json.dumps(request.recipe.describe()))
    differing = [f"{name} {found.get(name)}, not {value}" for name, value in wanted.items() if found.get(name) != value]
    if differing:
        msg = f"{checkpoint} was trained with {'; '.join(differing)}; choose another folder with --out, or remove {folder}"
        raise ConfigError(msg)
    if record["state"] != FINISHED:
        return None
    note(f"{checkpoint} is trained already")
    return dict(record["outcome"])
