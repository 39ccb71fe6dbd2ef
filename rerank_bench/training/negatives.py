"""Hard negatives: which of a query's nearest documents are taken, as ``mine_hard_negatives`` defines the options.

For every query K documents with scores come in, the K best of a retriever (rescored by a cross-encoder, or not).  Then::

    1. the query's positives, other copies of them, and the query's own text are taken out
    2. margins and thresholds take out more: score > lowest positive − absolute margin;
       score > lowest positive − |lowest positive| · relative margin; score > max_score; score < min_score
    3. what is left is ordered by score; range_min skips the first ones, range_max cuts behind
    4. the first num_negatives are taken (``top``), or as many drawn without replacement (``random``)

Source: Sentence Transformers 6.2, ``sentence_transformers.util.mine_hard_negatives``.  Different from there: the taking
out of other copies and of the query's own text (it knows equal texts only), a seed, and equal scores keep the order in
which they came.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import ConfigError, describe_unknown

Sampling = Literal["top", "random"]
NOTHING = -1
"""Position where there is no document."""
CANDIDATES_PER_NEGATIVE = 10
"""Without a ``range_max``: candidates per negative where margins or thresholds will take some out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NegativeChoice:
    """Which of the candidates become negatives.

    Raises:
        ConfigError: A value out of range, or a window too small for the negatives asked for.
    """

    num_negatives: int = 5
    range_min: int = 0
    """Candidates that are skipped from the top."""
    range_max: int | None = None
    """Rank of the last candidate; ``None`` chooses (see ``resolve_range_max``)."""
    absolute_margin: float | None = None
    """A negative scores at least so much less than the lowest positive; a negative number allows it to score more."""
    relative_margin: float | None = None
    """The same as a share of the lowest positive's magnitude."""
    max_score: float | None = None
    min_score: float | None = None
    sampling: Sampling = "top"
    seed: int = 12
    """Draws under ``random``."""
    include_positives: bool = False
    """Leave positives among the candidates: the ranking as it is, for evaluation."""

    def __post_init__(self) -> None:
        if self.sampling not in get_args(Sampling):
            raise ConfigError(describe_unknown("sampling", [self.sampling], get_args(Sampling)))
        for name, least in (("num_negatives", 1), ("range_min", 0)):
            if getattr(self, name) < least:
                msg = f"{name} is {getattr(self, name)}, expected at least {least}"
                raise ConfigError(msg)
        if self.range_max is not None and self.range_max - self.range_min < self.num_negatives:
            msg = (
                f"range_min {self.range_min} and range_max {self.range_max} leave {self.range_max - self.range_min} "
                f"candidates, too few for {self.num_negatives} negatives; widen the range"
            )
            raise ConfigError(msg)
        for name in ("absolute_margin", "relative_margin", "max_score", "min_score"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                msg = f"{name} is {value}, expected a finite number"
                raise ConfigError(msg)

    @property
    def has_margin(self) -> bool:
        """Whether the scores of the positives are needed."""
        return self.absolute_margin is not None or self.relative_margin is not None

    @property
    def takes_out(self) -> bool:
        """Whether scores take candidates out."""
        return self.has_margin or self.max_score is not None or self.min_score is not None

    def resolve_range_max(self, max_positives: int) -> int:
        """Return ``range_max``, or the peer's choice for it: enough for what the options will take out.

        Args:
            max_positives: The most positives that any query has.
        """
        if self.range_max is not None:
            return self.range_max
        wanted = self.num_negatives * (CANDIDATES_PER_NEGATIVE if self.takes_out else 1)
        return self.range_min + wanted + max_positives

    def describe(self) -> dict[str, Any]:
        """Return every field, JSON-able."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """K candidates of Q queries, best first; a row that has fewer is filled with ``NOTHING``."""

    positions: NDArray[np.int32]
    """(Q, K)"""
    scores: NDArray[np.float32]
    """(Q, K)"""
    is_excluded: NDArray[np.bool_]
    """(Q, K): positives, their copies, and the query's own text."""


@dataclass(frozen=True, slots=True, eq=False)
class Negatives:
    """The negatives of Q queries, best first; a row that has fewer is filled with ``NOTHING``."""

    positions: NDArray[np.int32]
    """(Q, n)"""
    scores: NDArray[np.float32]
    """(Q, n); −inf where there is none."""
    taken_out: dict[str, int]
    """Reason -> candidates that it took out; one that several reasons fit counts for the first."""

    @property
    def counts(self) -> NDArray[np.int64]:
        """(Q,) negatives of each query."""
        return np.asarray((self.positions != NOTHING).sum(axis=1))


def choose_negatives(
    choice: NegativeChoice, candidates: Candidates, lowest_positive: NDArray[np.float32] | None, *, range_max: int
) -> Negatives:
    """Return the negatives of every query.

    Args:
        choice: The options.
        candidates: K per query.
        lowest_positive: (Q,) float32 score of each query's lowest positive; ``None`` where no margin is asked for.
        range_max: As ``choice.resolve_range_max`` returns it.
    """
    scores = np.where(candidates.positions == NOTHING, -np.inf, candidates.scores).astype(np.float32)
    taken_out: dict[str, int] = {}

    def take_out(reason: str, is_out: NDArray[np.bool_]) -> None:
        is_new = is_out & np.isfinite(scores)
        taken_out[reason] = int(is_new.sum())
        scores[is_new] = -np.inf

    if not choice.include_positives:
        take_out("positive", candidates.is_excluded)
    for reason, highest in _upper_limits(choice, lowest_positive).items():
        take_out(reason, scores > highest)
    if choice.min_score is not None:
        take_out("min_score", scores < np.float32(choice.min_score))
    order = np.argsort(-scores, axis=1, kind="stable")[:, choice.range_min : range_max]
    ranked = np.take_along_axis(scores, order, axis=1)  # (Q, W), −inf at the end
    columns = _chosen_columns(choice, ranked)  # (Q, n)
    chosen = np.take_along_axis(ranked, columns, axis=1)
    places = np.take_along_axis(order, columns, axis=1)
    positions = np.take_along_axis(candidates.positions, places, axis=1)
    return Negatives(np.where(np.isfinite(chosen), positions, NOTHING), chosen, taken_out)


def _upper_limits(
    choice: NegativeChoice, lowest_positive: NDArray[np.float32] | None
) -> dict[str, NDArray[np.float32] | np.float32]:
    """Return reason -> (Q, 1) or () float32: a candidate above it is no negative."""
    limits: dict[str, NDArray[np.float32] | np.float32] = {}
    if choice.has_margin:
        if lowest_positive is None:
            msg = "margins need the scores of the positives"
            raise ValueError(msg)
        positive = lowest_positive[:, None].astype(np.float32)
        if choice.absolute_margin is not None:
            limits["absolute_margin"] = positive - np.float32(choice.absolute_margin)
        if choice.relative_margin is not None:
            limits["relative_margin"] = np.subtract(
                positive, np.abs(positive) * np.float32(choice.relative_margin), dtype=np.float32
            )
    if choice.max_score is not None:
        limits["max_score"] = np.float32(choice.max_score)
    return limits


def _chosen_columns(choice: NegativeChoice, ranked: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return (Q, n) columns of (Q, W) scores, ascending, so that the negatives stay ordered."""
    num_queries, width = ranked.shape
    count = min(choice.num_negatives, width)
    if choice.sampling == "top":
        return np.broadcast_to(np.arange(count), (num_queries, count))
    # One number per candidate, the smallest win: what a query gets depends on the seed and its place alone.
    keys = np.random.default_rng(choice.seed).random((num_queries, width))
    keys[~np.isfinite(ranked)] = 2.0  # behind every candidate that is left
    return np.sort(np.argsort(keys, axis=1, kind="stable")[:, :count], axis=1)
