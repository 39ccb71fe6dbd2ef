"""Measures a checkpoint on its way exactly as ``rerank-bench run`` would: by what that calls.

Data sets and candidates are loaded for the first evaluation and kept: a later one costs its forward passes.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rerank_bench.data.suites import find_dataset, load_suites
from rerank_bench.errors import ConfigError, describe_unknown
from rerank_bench.pipeline.candidates import PreparedDataset, prepare_datasets
from rerank_bench.pipeline.request import Request, RunConfig, resolve_request
from rerank_bench.pipeline.results import run_model
from rerank_bench.pipeline.run import open_scorers
from rerank_bench.progress import Advance, use_reporter
from rerank_bench.reporting.run_folder import file_stem
from rerank_bench.scoring.specs import parse_model_spec
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
    sets: Sequence[EvaluationSet], *, scorer: Mapping[str, Any], keep: Path | None = None
) -> Callable[[Path], Mapping[str, float]]:
    """Return a function from a checkpoint's folder to values by name.

    The values are ``NAME nDCG@10`` and ``NAME RR@10`` of every data set, in the view that was asked for, and
    ``nDCG@10``, the unweighted mean of the former.

    Args:
        sets: What to evaluate on; names are looked up now.
        scorer: Fields of ``ScorerConfig``, such as ``dtype`` and ``device``.
        keep: Folder for the results in full, a file per weights and entry of ``sets``; ``None``: they are dropped.

    Raises:
        ConfigError: A name is neither a suite nor a data set nor a folder; or, when the function is called, two entries
            measure the same data set, whose values would have one name.
    """
    chosen = [_Evaluation(evaluation, as_suite=is_suite(evaluation.name), scorer=scorer) for evaluation in sets]

    def evaluate(folder: Path) -> dict[str, float]:
        values: dict[str, float] = {}
        for number, evaluation in enumerate(chosen):
            result = evaluation.measure(folder)
            found = _values(result, evaluation.asked)
            twice = sorted(values.keys() & found.keys())
            if twice:
                msg = f"--evaluate {evaluation.asked.name}: {twice[0]!r} is measured by an earlier entry, too; drop one of the two"
                raise ConfigError(msg)
            values |= found
            if keep is not None:
                weights = result["model"]["weights_fingerprint"][:_FINGERPRINT_DIGITS]
                write_json(keep / f"{weights}-{number}-{file_stem(Path(evaluation.asked.name).name)}.json", result)
        gains = [value for name, value in values.items() if name.endswith(MEASURES[0])]
        return {MEAN: sum(gains) / len(gains), **values}

    return evaluate


class _Evaluation:
    """One evaluation, its data loaded once; the folders of its models are written over one another and dropped."""

    def __init__(self, asked: EvaluationSet, *, as_suite: bool, scorer: Mapping[str, Any]) -> None:
        self.asked = asked
        self._config = RunConfig(
            datasets=() if as_suite else (asked.name,),
            suites=(asked.name,) if as_suite else (),
            first_stage=asked.first_stage,
            depth=asked.depth,
            view=asked.view,
            limit=asked.limit,
            use_cache=False,  # the weights of one step are never scored with again
            scorer=scorer,
        )

    @cached_property
    def _request(self) -> Request:
        return resolve_request(self._config)

    @cached_property
    def _prepared(self) -> list[PreparedDataset]:
        return prepare_datasets(self._request)

    def measure(self, folder: Path) -> Mapping[str, Any]:
        """Return the content of ``result.json``."""
        with tempfile.TemporaryDirectory() as out, use_reporter(_Silent()):
            request = replace(self._request, models=[parse_model_spec(str(folder))], out=Path(out))
            (scorer,) = open_scorers(request)
            (outcome,) = run_model(request.models[0], scorer, self._prepared, request)
        return outcome.result


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


def _values(result: Mapping[str, Any], evaluation: EvaluationSet) -> dict[str, float]:
    values: dict[str, float] = {}
    for name, block in result["datasets"].items():
        measures = block["views"][evaluation.view]["measures"]
        values |= {f"{name} {measure}": measures[measure]["reranked"] for measure in MEASURES if measure in measures}
    return values
