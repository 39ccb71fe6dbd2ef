"""``repro``: do the same weights give the same scores under other code, another dtype, engine or machine?

The decision is about the measure, as float noise reorders near ties whatever one does: |difference of the macro means|
against a tolerance, which ``calibrate`` measures from repeated runs.  What the scores themselves did stands beside it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerank_bench.comparison.sources import FolderSource
from rerank_bench.errors import ComparisonError
from rerank_bench.evaluation.significance import TIE, mean
from rerank_bench.gate.baseline import BaselineSource
from rerank_bench.gate.verdicts import DatasetAgreement, ReproResult, Verdict
from rerank_bench.records import Run

TOP = 10
"""Changes are counted among the documents down to this rank."""
HEADROOM = 2.0
"""A calibrated tolerance is this many times the largest difference seen: a few runs do not show the largest there is."""

Side = BaselineSource | FolderSource
"""What keeps scores: a baseline file, or a run folder."""
Means = Mapping[str, tuple[float, float]]
"""Data set -> (baseline, run): means of the measure."""
Rankings = Callable[[str], tuple[Run, Run]]
"""Data set -> (baseline, run): the scores of the same candidates."""


def check_reproducible(baseline: Side, run: Side) -> None:
    """Raise unless both runs were scored without the store, with the same weights.

    A run that takes its scores from the store is compared with what was stored, that is, with itself.

    Raises:
        ComparisonError: Names the field, and what to do.
    """
    for source in (baseline, run):
        if (source.result or {})["request"].get("cache", True):
            msg = (
                f"request.cache: {source.location} was scored with the score store, so its scores may be those of an "
                f"earlier run; run it again with `rerank-bench run --no-cache`"
            )
            raise ComparisonError(msg)
    before, after = ((source.result or {})["model"].get("weights_fingerprint") for source in (baseline, run))
    if before != after:
        msg = (
            f"weights_fingerprint: the baseline has {before}, the run {after}; repro compares the same weights: "
            f"use --mode quality for another checkpoint"
        )
        raise ComparisonError(msg)


def _ranking_of(side: Side, dataset: str) -> Run:
    return side.ranking(dataset) if isinstance(side, BaselineSource) else side.stored.reranked(dataset)


def rankings_of(baseline: Side, run: Side) -> Rankings:
    """Return the function that reads both runs' scores of a data set."""
    return lambda dataset: (_ranking_of(baseline, dataset), _ranking_of(run, dataset))


def judge_repro(
    means: Means,
    rankings: Rankings,
    *,
    tolerance: float,
    max_score_difference: float | None,
) -> ReproResult:
    """Return whether a run reproduces the baseline.

    Args:
        means: Data set -> means of the measure.
        rankings: The scores.
        tolerance: The largest |difference of the macro means| that passes.
        max_score_difference: The largest |difference of scores| that passes; ``None``: any.

    Raises:
        ComparisonError: A query or a document was scored in one run only.
    """
    datasets = [_agreement(name, means[name], *rankings(name)) for name in means]
    baseline, run = (mean([pair[side] for pair in means.values()]) for side in (0, 1))
    largest = max((dataset.max_score_difference for dataset in datasets), default=0.0)
    verdict: Verdict = "reproduced"
    reason = f"|difference of means| is {abs(run - baseline):.2g}, within the tolerance {tolerance:g}"
    if max_score_difference is not None and largest > max_score_difference:
        verdict = "changed"
        reason = f"the scores differ by up to {largest:.3g}, allowed is {max_score_difference:g}"
    if abs(run - baseline) > tolerance + TIE:
        verdict = "changed"
        reason = f"|difference of means| is {abs(run - baseline):.4f}, above the tolerance {tolerance:g}"
    return ReproResult(
        verdict=verdict,
        reason=reason,
        baseline=baseline,
        run=run,
        difference=run - baseline,
        max_score_difference=largest,
        datasets=datasets,
    )


def _agreement(name: str, means: tuple[float, float], before: Run, after: Run) -> DatasetAgreement:
    _check_same(name, "queries", before.keys(), after.keys())
    gaps, correlations, changed = [], [], 0
    for query_id, docs in before.items():
        other = after[query_id]
        _check_same(f"{name}, query {query_id!r}", "documents", docs.doc_ids, other.doc_ids)
        rank_of = {doc_id: rank for rank, doc_id in enumerate(other.doc_ids)}
        rows = np.array([rank_of[doc_id] for doc_id in docs.doc_ids], dtype=np.int64)  # (n,) ranks there, in order here
        gaps.append(np.abs(docs.scores.astype(np.float64) - other.scores[rows].astype(np.float64)))
        changed += docs.doc_ids[:TOP] != other.doc_ids[:TOP]
        if len(docs) > 1:
            correlations.append(rank_correlation(rows))
    joined = np.concatenate(gaps) if gaps else np.zeros(0)
    return DatasetAgreement(
        name=name,
        num_queries=len(before),
        num_pairs=len(joined),
        max_score_difference=float(joined.max(initial=0.0)),
        mean_score_difference=float(joined.mean()) if len(joined) else 0.0,
        changed_top=changed,
        mean_rank_correlation=mean(correlations) if correlations else None,
        min_rank_correlation=min(correlations) if correlations else None,
        baseline=means[0],
        run=means[1],
        difference=means[1] - means[0],
    )


def rank_correlation(ranks: NDArray[np.int64]) -> float:
    """Return Spearman's correlation of a list's order with another one: 1 − 6·Σd² / (n³ − n).

    Args:
        ranks: (n,) int64, n at least 2: the other list's ranks, from 0, of the documents in this list's order.
    """
    gaps = ranks - np.arange(len(ranks))
    return 1.0 - 6.0 * float((gaps * gaps).sum()) / (len(ranks) ** 3 - len(ranks))


def _check_same(where: str, what: str, before: Iterable[str], after: Iterable[str]) -> None:
    known, found = set(before), set(after)
    for side, gap in (("the run", known - found), ("the baseline", found - known)):
        if gap:
            examples = ", ".join(map(repr, sorted(gap)[:3]))
            msg = f"{what} of {where}: {side} lacks {len(gap)} (first: {examples}); score the same candidates again"
            raise ComparisonError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How far repeated runs of the same weights lie apart."""

    num_runs: int
    measure: str
    largest_difference: float
    """Of the macro means of any two runs."""
    largest_score_difference: float
    """Of one pair's scores in any two runs."""
    tolerance: float
    """What to set: twice the largest difference, rounded up to two digits."""
    max_score_difference: float
    """The same for the scores."""


def calibrate(sources: Sequence[Side], means: Sequence[Mapping[str, float]], measure: str) -> Calibration:
    """Return the tolerance that repeated runs suggest.

    Args:
        sources: At least two runs.
        means: Of each run, data set -> mean of the measure.
        measure: The measure's name.

    Raises:
        ComparisonError: The runs are of other weights, or were scored with the store.
    """
    largest, largest_score = 0.0, 0.0
    for (first, second), (before, after) in zip(
        itertools.combinations(sources, 2), itertools.combinations(means, 2), strict=True
    ):
        check_reproducible(first, second)
        result = judge_repro(
            {name: (before[name], after[name]) for name in before},
            rankings_of(first, second),
            tolerance=math.inf,
            max_score_difference=None,
        )
        largest = max(largest, abs(result.difference))
        largest_score = max(largest_score, result.max_score_difference)
    return Calibration(
        num_runs=len(sources),
        measure=measure,
        largest_difference=largest,
        largest_score_difference=largest_score,
        tolerance=round_up(HEADROOM * largest),
        max_score_difference=round_up(HEADROOM * largest_score),
    )


def round_up(value: float) -> float:
    """Return the next number of two significant digits that is not below ``value``."""
    if value <= TIE:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / unit - 1e-9) * unit:.2g}")
