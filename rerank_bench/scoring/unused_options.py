"""Options that do nothing for some of the models of a command, said in a note.

An option that a checkpoint's family does not take is an error when it is loaded (``loaded_scorer.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from rerank_bench.progress import note
from rerank_bench.scoring.external_options import ExternalOptions
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.specs import ModelSpec, SpecKind

_OF_CHECKPOINTS = frozenset(field.name for field in fields(ScorerConfig)) - {"external"}
_OF_ENDPOINTS = frozenset(f"external_{field.name}" for field in fields(ExternalOptions))
_USED: Mapping[SpecKind, frozenset[str]] = {
    "baseline": frozenset(),
    "run": frozenset({"allow_missing_queries"}),
    "callable": frozenset({"batch_tokens"}),
    "external": _OF_ENDPOINTS | {"revision"},
    "hub": _OF_CHECKPOINTS,
    "local": _OF_CHECKPOINTS - {"revision"},
    "demo": _OF_CHECKPOINTS - {"revision"},
}
"""Kind of model -> the options that change anything for it."""

_SPELLINGS = {
    "external_docs_per_request": "--external-docs",
    "external_timeout_seconds": "--external-timeout",
    "ray": "--engine ray",
}
"""Options that are called otherwise on the command line than in Python."""


def note_unused_options(
    models: Sequence[ModelSpec], scorer: ScorerConfig, *, allow_missing_queries: bool = False
) -> None:
    """Say in a note which options that were given do nothing for which models.

    Args:
        models: All models of the command.
        scorer: Only what differs from the defaults was given.
        allow_missing_queries: Whether ``--allow-missing-queries`` was.
    """
    given = [*_given(scorer, ScorerConfig()), *(["allow_missing_queries"] if allow_missing_queries else [])]
    models_by_options: dict[tuple[str, ...], list[str]] = {}
    for model in models:
        unused = tuple(name for name in given if _is_unused(name, model, models))
        if unused:
            models_by_options.setdefault(unused, []).append(model.text)
    for unused, names in models_by_options.items():
        options = ", ".join(_SPELLINGS.get(name, f"--{name.replace('_', '-')}") for name in unused)
        note(f"{options}: no effect on {', '.join(names)}")


def _is_unused(name: str, model: ModelSpec, models: Sequence[ModelSpec]) -> bool:
    """Return whether an option does nothing for a model and might have been meant for it.

    Nobody expects a baseline beside other models to take their options, nor other models to take a stored run's.
    """
    if model.scores_texts and name != "allow_missing_queries":
        return name not in _USED[model.kind]
    return not any(name in _USED[other.kind] for other in models)


def _given(config: Any, default: Any, prefix: str = "") -> list[str]:
    """Return the names of the fields that differ, those of an endpoint with ``external_`` before them."""
    names = []
    for field in fields(config):
        value, usual = getattr(config, field.name), getattr(default, field.name)
        if isinstance(value, ExternalOptions):
            names += _given(value, usual, "external_")
        elif value != usual:
            names.append(prefix + field.name)
    return names
