"""The training data of a request, ready to train on: read, parted, cleaned of what is to be left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rerank_bench.data.datasets import load_dataset
from rerank_bench.data.suites import resolve_datasets
from rerank_bench.errors import ConfigError, DataError
from rerank_bench.jobs.built_data import is_built, read_built_rows
from rerank_bench.jobs.docstring_data import build_docstring_data
from rerank_bench.jobs.evaluation import is_suite
from rerank_bench.jobs.raw_rows import read_rows
from rerank_bench.progress import note
from rerank_bench.training.contamination import Contamination, EvaluationTexts, contaminated, find_contamination
from rerank_bench.training.examples import Examples, split_examples
from rerank_bench.training.loss_choice import empty_texts, unusable_groups
from rerank_bench.training.request import DOCSTRINGS, EvaluationSet, TrainingRequest
from rerank_bench.training.shapes import build_examples, parse_columns
from rerank_bench.training.tables import read_files


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """What is trained on, and what was done to get there."""

    training: Examples
    held_out: Examples | None
    evaluations: tuple[EvaluationSet, ...]
    """Those of the request, and any that came with the data."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Reason -> examples that were left out."""
    contamination: Sequence[Contamination] = ()
    built: Mapping[str, Any] | None = None
    """What data that were built are made from; ``None`` for all others."""

    def identity(self) -> dict[str, Any]:
        """Return what the weights depend on, JSON-able."""
        return {
            "examples": len(self.training),
            "fingerprint": self.training.fingerprint(),
            "held_out": None if self.held_out is None else self.held_out.fingerprint(),
        }


def load_training_data(request: TrainingRequest) -> TrainingData:
    """Return the data of a request.

    Raises:
        ConfigError: Sources that contradict each other, or an unknown evaluation data set.
        DataError: The data cannot be read, do not fit a shape, or nothing is left of them.
    """
    for evaluation in request.evaluations:
        is_suite(evaluation.name)  # an unknown name is told before anything is read
    data = request.data
    if data.sources == (DOCSTRINGS,):
        groups, search_task = build_docstring_data(data)
        return _finish(request, groups, None, (*request.evaluations, *search_task), {})
    built = None
    if is_built(data):
        rows, built = read_built_rows(data.sources[0], device=request.device)
    else:
        rows = read_rows(data)
    examples = build_examples(rows, parse_columns(data.columns))
    if data.first_rows is not None:
        examples = _first(examples, data.first_rows)
    dropped: dict[str, int] = {}
    if data.drop_unusable:
        examples = _without(examples, "empty text", empty_texts(examples), dropped)
        examples = _without(examples, "nothing to learn", unusable_groups(examples, request.recipe.loss), dropped)
    held_out = None
    if isinstance(data.held_out, Path):
        held_out = build_examples(read_files([data.held_out]), parse_columns(data.columns))
    elif data.held_out is not None:
        if data.held_out >= len(examples):
            msg = f"{examples.source}: {data.held_out:,} of {len(examples):,} examples cannot be held out"
            raise ConfigError(msg)
        examples, held_out = split_examples(examples, num_held_out=data.held_out, seed=data.split_seed)
    return replace(_finish(request, examples, held_out, request.evaluations, dropped), built=built)


def _finish(
    request: TrainingRequest,
    examples: Examples,
    held_out: Examples | None,
    evaluations: tuple[EvaluationSet, ...],
    dropped: dict[str, int],
) -> TrainingData:
    """Look for texts of the evaluation data sets, leave out what is to be left out, and cut to the limit."""
    found = find_contamination(examples, _evaluation_texts(request.evaluations)) if request.evaluations else []
    for contamination in found:
        if len(contamination.queries) or len(contamination.docs):
            note(
                f"{contamination.name}: {len(contamination.queries):,} training examples have one of its queries, "
                f"{len(contamination.docs):,} one of its documents; --drop-contaminated queries (or all) leaves them out"
            )
    if request.data.drop_contaminated != "none":
        bad = contaminated(found, include_docs=request.data.drop_contaminated == "all")
        examples = _without(examples, "in an evaluation data set", bad, dropped)
    if request.data.limit is not None:
        examples = _first(examples, request.data.limit)
    return TrainingData(
        training=examples, held_out=held_out, evaluations=evaluations, dropped=dropped, contamination=found
    )


def _evaluation_texts(evaluations: Sequence[EvaluationSet]) -> list[EvaluationTexts]:
    names = [e.name for e in evaluations if not is_suite(e.name)]
    suites = [e.name for e in evaluations if is_suite(e.name)]
    texts = []
    for name in resolve_datasets(names, suites).datasets:
        dataset = load_dataset(name)
        docs = (text.as_py() for text in dataset.collection.texts)
        texts.append(EvaluationTexts(name=dataset.name, queries=list(dataset.queries.values()), docs=docs))
    return texts


def _first(examples: Examples, count: int) -> Examples:
    return examples.take(np.arange(min(count, len(examples))))


def _without(
    examples: Examples, reason: str, bad: np.ndarray[Any, np.dtype[np.int64]], dropped: dict[str, int]
) -> Examples:
    """Return the examples without some, counted by reason.

    Raises:
        DataError: None would be left.
    """
    if not len(bad):
        return examples
    if len(bad) == len(examples):
        msg = f"{examples.source}: every one of the {len(examples):,} examples would be left out ({reason})"
        raise DataError(msg)
    dropped[reason] = len(bad)
    note(f"{len(bad):,} of {len(examples):,} training examples are left out: {reason}")
    return examples.take(np.setdiff1d(np.arange(len(examples)), bad))
