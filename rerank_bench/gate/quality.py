"""``quality``: is another checkpoint worse?  One primary hypothesis, four verdicts (docs/decisions, the gate's statistics).

The primary hypothesis is about the macro mean over the data sets, resampled within each of them.  What every data set
shows by itself is informational, with one exception: a catastrophe, which the mean over many would hide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rerank_bench.evaluation.significance import (
    DEFAULT_SEED,
    RESAMPLES,
    TIE,
    Floats,
    Strata,
    bca_intervals,
    count_signs,
    holm_adjust,
    mean_of_means,
    sign_flip_p_values,
    standard_error,
)
from rerank_bench.evaluation.summaries import interval_of
from rerank_bench.gate.verdicts import DatasetDifference, Difference, QualityResult, Verdict

CATASTROPHIC_DROP = 0.10
CATASTROPHE_SHARE = 0.1
"""The part of alpha at which a catastrophe must be significant: thirteen more tests must not make more false alarms."""
POWER = 0.80


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What ``quality`` judges by."""

    min_drop: float
    """A smaller drop is not called regressed, however sure it is."""
    alpha: float
    """The share of unchanged models that may be called regressed."""
    margin: float
    """``pass`` says that the run is not worse by this much."""


PairedValues = Mapping[str, tuple[Floats, Floats]]
"""Data set -> ((n,) baseline, (n,) run): the values of the same queries, in one order."""


def judge_quality(
    values: PairedValues, thresholds: Thresholds, *, seed: int = DEFAULT_SEED, resamples: int = RESAMPLES
) -> QualityResult:
    """Return the verdict on a run whose values per query stand beside the baseline's.

    Args:
        values: At least one data set with at least one query; their order does not matter.
        thresholds: What to judge by.
        seed: Seeds the bootstrap and the sign flips.
        resamples: The number of each.
    """
    names = sorted(values)
    before = [values[name][0][:, None] for name in names]
    after = [values[name][1][:, None] for name in names]
    generators = np.random.default_rng(seed).spawn(1 + len(names))
    if len(names) == 1:  # the data set is the suite: drawn anew, its bounds would differ in the last digits shown
        generators[1:] = np.random.default_rng(seed).spawn(1)
    primary = _difference(before, after, thresholds, generators[0], resamples, flips=resamples)
    datasets = _judge_datasets(names, before, after, thresholds, generators[1:], resamples)
    visible = _smallest_visible_drop([b - a for a, b in zip(before, after, strict=True)], thresholds)
    verdict, reason = _decide(primary, datasets, thresholds)
    return QualityResult(
        verdict=verdict, reason=reason, primary=primary, smallest_visible_drop=visible, datasets=datasets
    )


def _difference(
    before: Strata, after: Strata, thresholds: Thresholds, rng: np.random.Generator, resamples: int, *, flips: int
) -> Difference:
    differences = [b - a for a, b in zip(before, after, strict=True)]
    bootstrap_rng, flip_rng = rng.spawn(2)
    intervals = bca_intervals(differences, rng=bootstrap_rng, resamples=resamples, confidence=1 - 2 * thresholds.alpha)
    better, equal, worse = count_signs(np.concatenate(differences)[:, 0])
    baseline, run = float(mean_of_means(before)[0]), float(mean_of_means(after)[0])
    return Difference(
        num_queries=sum(map(len, differences)),
        baseline=baseline,
        run=run,
        difference=run - baseline,
        interval=None if intervals is None else interval_of(intervals[0]),
        p=float(sign_flip_p_values(differences, rng=flip_rng, flips=flips, alternative="less")[0]),
        better=better,
        equal=equal,
        worse=worse,
    )


def _judge_datasets(
    names: Sequence[str],
    before: Strata,
    after: Strata,
    thresholds: Thresholds,
    generators: Sequence[np.random.Generator],
    resamples: int,
) -> list[DatasetDifference]:
    level = CATASTROPHE_SHARE * thresholds.alpha
    # No p-value is below 1 / (flips + 1), and Holm multiplies the smallest by the number of data sets: with too few
    # flips no drop could ever be significant.
    enough = max(resamples, math.ceil(4 * len(names) / level))
    found = []
    for a, b, rng in zip(before, after, generators, strict=True):
        flips = enough if _has_fallen(float((b - a).mean())) else resamples
        found.append(_difference([a], [b], thresholds, rng, resamples, flips=flips))
    adjusted = holm_adjust([difference.p for difference in found])
    return [
        DatasetDifference(
            name=name,
            p_adjusted=float(p),
            is_catastrophic=_has_fallen(difference.difference) and bool(p < level),
            **{field: getattr(difference, field) for field in Difference.__dataclass_fields__},
        )
        for name, difference, p in zip(names, found, adjusted, strict=True)
    ]


def _has_fallen(difference: float) -> bool:
    return difference <= -CATASTROPHIC_DROP + TIE


def _smallest_visible_drop(differences: Strata, thresholds: Thresholds) -> float | None:
    """Return the true drop that is called regressed with 80% power.

    A drop is called so from max(z(1 − alpha)·SE, min_drop) on; the true one must lie z(0.80)·SE beyond.  At alpha 0.05
    that is 2.49·SE (protocol, section 6) unless ``min_drop`` is the harder of the two.
    """
    from scipy.special import ndtri

    error = float(standard_error(differences)[0])
    if not error > TIE:  # NaN too: one query; 0: no query differs, or all by the same amount
        return None
    limit = max(float(ndtri(1 - thresholds.alpha)) * error, thresholds.min_drop)
    return limit + float(ndtri(POWER)) * error


def _decide(primary: Difference, datasets: Sequence[DatasetDifference], thresholds: Thresholds) -> tuple[Verdict, str]:
    """Return the first verdict that holds, in the order regressed, improved, pass, inconclusive."""
    drop = -primary.difference
    lower = -math.inf if primary.interval is None else primary.interval[0]
    # A difference of exactly min_drop counts, though 0.6 − 0.605 is a last digit short of it.
    if primary.p < thresholds.alpha and drop >= thresholds.min_drop - TIE:
        return "regressed", (
            f"the mean fell by {drop:.4f} (p = {primary.p:.2g}, below alpha {thresholds.alpha:g}; a drop counts from "
            f"{thresholds.min_drop:g} on)"
        )
    fallen = [dataset for dataset in datasets if dataset.is_catastrophic]
    if fallen:
        worst = min(fallen, key=lambda dataset: dataset.difference)
        others = f" and {len(fallen) - 1} more" if len(fallen) > 1 else ""
        return "regressed", (
            f"a catastrophic drop on {worst.name}{others}: {-worst.difference:.4f} "
            f"(Holm-adjusted p = {worst.p_adjusted:.2g}), though not of the mean"
        )
    if lower > TIE:
        return "improved", f"the lower bound of the difference, {lower:+.4f}, is above 0"
    if lower > -thresholds.margin + TIE:
        return "pass", f"the lower bound of the difference, {lower:+.4f}, is above the margin −{thresholds.margin:g}"
    if primary.interval is None:
        return "inconclusive", "a data set with one query says nothing of the noise"
    return "inconclusive", (
        f"no drop is proven, but one of {-lower:.4f} is not ruled out (the margin is {thresholds.margin:g})"
    )
