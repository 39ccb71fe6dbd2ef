"""What is measured while a training runs, and which of it chooses the weights that are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rerank_bench.errors import ConfigError
from rerank_bench.training.examples import Examples
from rerank_bench.training.held_out import CHOOSING, LOSS, can_classify
from rerank_bench.training.recipe import Recipe

Evaluate = Callable[[Path], Mapping[str, float]]
"""Checkpoint folder -> name -> value; higher is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What is measured while a training runs."""

    held_out: Examples | None = None
    """Examples for ``loss`` and, if they are labelled pairs, for the measures of pair classification."""
    evaluate: Evaluate | None = None
    """Measures a checkpoint; called with a folder whose content is that of the checkpoint."""
    best_by: str | None = None
    """Name of the value that chooses the checkpoint to keep; ``None`` keeps the last."""

    @property
    def measures(self) -> bool:
        """Whether there is anything to measure."""
        return self.held_out is not None or self.evaluate is not None


def check_watch(watch: Watch, recipe: Recipe) -> None:
    """Raise if weights are to be chosen by what is not measured.

    Raises:
        ConfigError: Says what is measured.
    """
    if recipe.patience is not None and (watch.best_by is None or recipe.eval_steps is None):
        msg = "patience counts evaluations without a better value; say how often (--eval-steps) and what (--best-by)"
        raise ConfigError(msg)
    if watch.best_by is None:
        return
    known = []
    if watch.held_out is not None:
        known += [LOSS, *(CHOOSING if can_classify(watch.held_out) else ())]
    if watch.best_by not in known and watch.evaluate is None:
        shown = ", ".join(known) or "nothing: there are neither evaluation data sets nor held-out examples"
        msg = f"best_by is {watch.best_by!r}, which is not measured; measured here: {shown}"
        raise ConfigError(msg)
