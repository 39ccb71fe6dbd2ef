"""A recipe's loss as a function, and what each loss asks of the data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rerank_bench.errors import DataError
from rerank_bench.training.examples import Examples
from rerank_bench.training.recipe import LossRecipe

if TYPE_CHECKING:
    from torch import Tensor

LossFunction = Callable[["Tensor", "Tensor", "Tensor"], "Tensor"]
"""(scores, labels, mask), each (B, G), to () float32."""

MAX_GRADE = 30.0
"""Gains are 2^label − 1: beyond this they fill float32's digits."""
MAX_NAMED = 3
MIN_GROUP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a loss asks of the labels."""

    groups: bool
    """Several documents per query."""
    low: float = -math.inf
    high: float = math.inf
    positive: bool = False
    """A label above 0 in every group."""
    difference: bool = False
    """Two different labels in every group."""

    @property
    def range(self) -> str:
        """The labels that are allowed, in words."""
        if math.isinf(self.high):
            return f"at least {self.low:g}"
        return f"at most {self.high:g}" if math.isinf(self.low) else f"from {self.low:g} to {self.high:g}"


NEEDS: dict[str, Needs] = {
    "bce": Needs(groups=False, low=0.0, high=1.0),
    "mse": Needs(groups=False),
    "margin-mse": Needs(groups=True),
    "pairwise-mse": Needs(groups=True),
    "lambda": Needs(groups=True, high=MAX_GRADE, difference=True),
    "listnet": Needs(groups=True, difference=True),
    "cross-entropy": Needs(groups=True, low=0.0, positive=True, difference=True),
}


def loss_function(recipe: LossRecipe) -> LossFunction:
    """Return the loss with its options bound."""
    from functools import partial

    from rerank_bench.training import lambda_loss, losses

    if recipe.name == "lambda":
        return partial(
            lambda_loss.lambda_loss,
            weighting=recipe.weighting,
            sigma=recipe.sigma,
            eps=recipe.eps,
            k=recipe.k,
            log_base=recipe.log_base,
        )
    if recipe.name == "bce":
        return partial(losses.binary_cross_entropy, pos_weight=recipe.pos_weight)
    return {
        "mse": losses.mean_squared_error,
        "margin-mse": losses.margin_mse,
        "pairwise-mse": losses.pairwise_mse,
        "listnet": losses.list_net,
        "cross-entropy": losses.group_cross_entropy,
    }[recipe.name]


def check_usable(examples: Examples, held_out: Examples | None, recipe: LossRecipe) -> None:
    """Raise where the training's or the held-out examples do not suit the loss, or a text is empty.

    Raises:
        DataError: The first such examples are named with file and line.
    """
    check_texts(examples)
    check_examples(examples, recipe)
    if held_out is not None:
        check_texts(held_out)
        check_held_out(held_out, recipe)


def check_examples(examples: Examples, recipe: LossRecipe) -> None:
    """Raise where the data do not suit the loss.

    Raises:
        DataError: Pairs where groups are needed, labels out of range, all labels equal, a group without a positive or
            without a difference; the first such examples are named with file and line.
    """
    needs = NEEDS[recipe.name]
    _check_form(examples, recipe)
    if np.ptp(examples.labels) == 0:
        msg = (
            f"{examples.source}, loss {recipe.name!r}: all {len(examples.labels):,} labels are {examples.labels[0]:g}; there "
            "is nothing to learn"
        )
        raise DataError(msg)
    flat = unusable_groups(examples, recipe)
    what = "no label above 0" if needs.positive else "equal labels" if needs.difference else "fewer than two documents"
    _refuse(
        examples,
        flat.tolist(),
        lambda i: f"labels {_shown(examples[i].labels)}",
        f"a group with {what} teaches the loss {recipe.name!r} nothing; remove it, or pass --drop-unusable",
    )


def check_held_out(examples: Examples, recipe: LossRecipe) -> None:
    """Raise where held-out examples have no value under the loss; equal labels have one, though they teach nothing.

    Raises:
        DataError: Pairs where groups are needed, labels out of range, a group without a positive or of one document; the first
            such examples are named with file and line.
    """
    needs = NEEDS[recipe.name]
    _check_form(examples, recipe)
    highest = np.maximum.reduceat(examples.labels, examples.offsets[:-1])  # (N,)
    has_none = (
        highest <= 0 if needs.positive else (examples.sizes < MIN_GROUP) & (needs.groups and not needs.difference)
    )
    _refuse(
        examples,
        np.flatnonzero(has_none).tolist(),
        lambda i: f"labels {_shown(examples[i].labels)}",
        f"held out, but without a value under the loss {recipe.name!r}; remove it",
    )


def _check_form(examples: Examples, recipe: LossRecipe) -> None:
    needs = NEEDS[recipe.name]
    where = f"{examples.source}, loss {recipe.name!r}"
    if needs.groups and examples.is_pairs:
        msg = (
            f"{where}: compares the documents of a query, but every example has one document ({examples.shape}); give "
            "lists (query, docs, labels), triplets or tuples, or choose bce or mse"
        )
        raise DataError(msg)
    outside = (examples.labels < needs.low) | (examples.labels > needs.high)  # (M,)
    owners = np.repeat(np.arange(len(examples)), examples.sizes)
    _refuse(
        examples,
        np.unique(owners[outside]).tolist(),
        lambda i: f"labels {_shown(examples[i].labels)}",
        f"expected {needs.range} for the loss {recipe.name!r}",
    )


def unusable_groups(examples: Examples, recipe: LossRecipe) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the indices of groups that the loss learns nothing from: all labels equal, none above 0, or one document."""
    needs = NEEDS[recipe.name]
    if not needs.difference:
        return np.flatnonzero(examples.sizes < MIN_GROUP) if needs.groups else np.empty(0, dtype=np.int64)
    starts = examples.offsets[:-1]
    lowest = np.minimum.reduceat(examples.labels, starts)  # (N,)
    highest = np.maximum.reduceat(examples.labels, starts)
    is_bad = lowest == highest
    if needs.positive:
        is_bad |= highest <= 0
    return np.flatnonzero(is_bad)


def empty_texts(examples: Examples) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the indices of examples whose query or one of whose documents is empty or white space."""
    import pyarrow.compute as pc

    def is_blank(column: object) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        trimmed = pc.utf8_trim_whitespace(column)
        return np.asarray(pc.equal(pc.utf8_length(trimmed), 0).to_numpy(zero_copy_only=False), dtype=bool)

    owners = np.repeat(np.arange(len(examples)), examples.sizes)
    return np.union1d(np.flatnonzero(is_blank(examples.queries)), owners[is_blank(examples.docs)])


def check_texts(examples: Examples) -> None:
    """Raise where a text is empty.

    Raises:
        DataError: The first such examples are named with file and line.
    """
    _refuse(
        examples,
        empty_texts(examples).tolist(),
        lambda _i: "an empty text",
        "query and documents need words; remove the row, or pass --drop-unusable",
    )


def _shown(labels: list[float]) -> str:
    head = ", ".join(f"{label:g}" for label in labels[:6])
    return f"{head}, …" if len(labels) > 6 else head


def _refuse(examples: Examples, bad: list[int], found: Callable[[int], str], expected: str) -> None:
    if not bad:
        return
    named = "; ".join(f"{examples.place(i)}: {found(i)}" for i in bad[:MAX_NAMED])
    more = f" (and {len(bad) - MAX_NAMED:,} more)" if len(bad) > MAX_NAMED else ""
    msg = f"{named}{more}; {expected}"
    raise DataError(msg)
