"""From per-query values to summaries, for one data set or for a suite of them; and their JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from rerank_bench.evaluation.significance import (
    MDE_TWO_SIDED,
    Floats,
    Strata,
    bca_intervals,
    count_signs,
    mean_of_means,
    sign_flip_p_values,
    standard_error,
)
from rerank_bench.records import MeasureSummary, TieReport, ViewEvaluation

MIN_HEADROOM = 1e-9
"""Below this the ceiling is reached, up to rounding, and no share of it can be given."""


def summarise_columns(
    first_stage: Strata,
    reranked: Strata,
    ceilings: Sequence[float | None],
    *,
    seed: int,
    resamples: int,
    flips: int | None = None,
) -> list[MeasureSummary]:
    """Return one summary per column, all columns sharing their resamples.

    With several data sets the means are unweighted means of the data sets' means, better / equal / worse and ``sd``
    run over all queries, and the interval, the p-value and the smallest detectable difference are stratified.

    Args:
        first_stage: One (n_d, M) array per data set: values before reranking.
        reranked: The same after it, query by query.
        ceilings: M ceilings.
        seed: Seeds the bootstrap and the sign flips.
        resamples: The number of each.
        flips: The number of sign flips where it is another: many comparisons at once need smaller p-values.
    """
    differences = [after - before for before, after in zip(first_stage, reranked, strict=True)]
    before, after = mean_of_means(first_stage), mean_of_means(reranked)  # (M,)
    # Two generators, so that neither result depends on how much the other one draws.
    bootstrap_rng, flip_rng = np.random.default_rng(seed).spawn(2)
    intervals = bca_intervals(differences, rng=bootstrap_rng, resamples=resamples)
    p_values = sign_flip_p_values(differences, rng=flip_rng, flips=flips or resamples)
    errors = standard_error(differences)
    pooled = np.concatenate(differences)  # (n, M)
    summaries = []
    for column, ceiling in enumerate(ceilings):
        better, equal, worse = count_signs(pooled[:, column])
        delta = float(after[column] - before[column])
        summaries.append(
            MeasureSummary(
                first_stage=float(before[column]),
                reranked=float(after[column]),
                delta=delta,
                ci=None if intervals is None else interval_of(intervals[column]),
                p=float(p_values[column]),
                ceiling=ceiling,
                headroom_used=_headroom_used(float(before[column]), delta, ceiling),
                better=better,
                equal=equal,
                worse=worse,
                sd=float(pooled[:, column].std(ddof=1)) if len(pooled) > 1 else None,
                mde=float(MDE_TWO_SIDED * errors[column]) if np.isfinite(errors[column]) else None,
            )
        )
    return summaries


def interval_of(pair: Floats) -> tuple[float, float]:
    """Return a (2,) array as two floats."""
    return float(pair[0]), float(pair[1])


def _headroom_used(first_stage: float, delta: float, ceiling: float | None) -> float | None:
    if ceiling is None or ceiling - first_stage < MIN_HEADROOM:
        return None
    return delta / (ceiling - first_stage)


def view_to_json(view: ViewEvaluation) -> dict[str, Any]:
    """Return a view as ``result.json`` holds it: ``{"measures": {name: {first_stage, reranked, delta, ci, …}}}``."""
    return {"measures": {name: measure_to_json(summary) for name, summary in view.measures.items()}}


def measure_to_json(summary: MeasureSummary) -> dict[str, Any]:
    """Return a summary's fields, the interval as a list of two numbers or ``None``."""
    fields = dataclasses.asdict(summary)
    fields["ci"] = None if summary.ci is None else list(summary.ci)
    return fields


def ties_to_json(ties: TieReport) -> dict[str, Any]:
    """Return the fields of a tie report."""
    return dataclasses.asdict(ties)
