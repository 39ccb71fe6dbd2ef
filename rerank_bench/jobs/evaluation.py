"""Measures a checkpoint on its way exactly as ``rerank-bench run`` would: by calling it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rerank_bench.data.suites import find_dataset, load_suites
from rerank_bench.errors import ConfigError, describe_unknown
from rerank_bench.pipeline.run import run
from rerank_bench.progress import Advance, use_reporter
from rerank_bench.reporting.run_folder import file_stem
from rerank_bench.storage import write_json
from rerank_bench.training.request import MEAN, EvaluationSet

MEASURES = ("nDCG@10", "RR@10")
_FINGERPRINT_DIGITS = 12


class _Silent:
    """Shows nothing: an evaluation inside a training is reported by its values."""

    def task(self, description: str, total: int | None, unit: str) -> AbstractContextManager[Advance]:  # noqa: ARG002
        """Show no bar."""
        return _no_task()

    def note(self, message: str) -> None:
        """Show no line."""


@contextlib.contextmanager
def _no_task() -> Iterator[Advance]:
    yield lambda _units: None


def make_evaluate(
    sets: Sequence[EvaluationSet], *, dtype: str, device: str, keep: Path | None = None
) -> Callable[[Path], Mapping[str, float]]:
    """Return a function from a checkpoint's folder to values by name.

    The values are ``NAME nDCG@10`` and ``NAME RR@10`` of every data set, in the view that was asked for, and
    ``nDCG@10``, the unweighted mean of the former.

    Args:
        sets: What to evaluate on; names are looked up now.
        dtype: As ``rerank-bench run --dtype``.
        device: As ``rerank-bench run --device``.
        keep: Folder for the results in full, a file per weights and entry of ``sets``; ``None``: they are dropped.

    Raises:
        ConfigError: A name is neither a suite nor a data set nor a folder.
    """
    chosen = [(evaluation, is_suite(evaluation.name)) for evaluation in sets]

    def evaluate(folder: Path) -> dict[str, float]:
        values: dict[str, float] = {}
        for number, (evaluation, as_suite) in enumerate(chosen):
            result = _evaluate_set(folder, evaluation, as_suite=as_suite, dtype=dtype, device=device)
            values |= _values(result, evaluation)
            if keep is not None:
                weights = result["model"]["weights_fingerprint"][:_FINGERPRINT_DIGITS]
                write_json(keep / f"{weights}-{number}-{file_stem(Path(evaluation.name).name)}.json", result)
        gains = [value for name, value in values.items() if name.endswith(MEASURES[0])]
        return {MEAN: sum(gains) / len(gains), **values}

    return evaluate


def is_suite(name: str) -> bool:
    """Return whether a name is a suite's; data sets come first.

    Raises:
        ConfigError: It is neither a suite nor a data set nor a folder.
    """
    if find_dataset(name) is not None:
        return False
    suites = load_suites()
    if name.casefold() in {suite.casefold() for suite in suites}:
        return True
    raise ConfigError(describe_unknown("evaluation data set or suite", [name], suites))


def _evaluate_set(
    folder: Path, evaluation: EvaluationSet, *, as_suite: bool, dtype: str, device: str
) -> Mapping[str, Any]:
    """Return the content of ``result.json``."""
    with tempfile.TemporaryDirectory() as out, use_reporter(_Silent()):
        report = run(
            models=[str(folder)],
            datasets=[] if as_suite else [evaluation.name],
            suites=[evaluation.name] if as_suite else [],
            first_stage=evaluation.first_stage,
            depth=evaluation.depth,
            view=evaluation.view,
            limit=evaluation.limit,
            out=out,
            leaderboard=Path(out) / "leaderboard.csv",
            use_cache=False,  # the weights of one step are never scored with again
            scorer={"dtype": dtype, "device": device},
        )
    return report.outcomes[0].result


def _values(result: Mapping[str, Any], evaluation: EvaluationSet) -> dict[str, float]:
    values: dict[str, float] = {}
    for name, block in result["datasets"].items():
        measures = block["views"][evaluation.view]["measures"]
        values |= {f"{name} {measure}": measures[measure]["reranked"] for measure in MEASURES if measure in measures}
    return values
