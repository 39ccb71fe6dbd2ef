"""Uncertainty of means over queries: BCa bootstrap, sign-flip permutation, Holm (docs/protocol.md, section 6).

Everything works on *strata*: one (n_d, M) array per data set, n_d queries by M columns (a column is a measure in a
view), and on the mean over data sets of the mean over queries.  One data set is one stratum.  All columns of a call
share their resamples, so twelve columns cost what one does.  There is no Wilcoxon test here: its null hypothesis is
not about the mean (Urbano, Lima and Hanjalic, 2019, https://doi.org/10.1145/3331184.3331259).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Strata = Sequence[Floats]
"""One (n_d, M) float64 array per data set."""

Alternative = Literal["two-sided", "greater", "less"]

RESAMPLES = 10_000
DEFAULT_SEED = 12
CONFIDENCE = 0.95

MDE_TWO_SIDED = 2.80
"""z(0.975) + z(0.80): the true mean, in standard errors, that a two-sided 5% test finds with 80% power."""
MDE_ONE_SIDED = 2.49
"""z(0.95) + z(0.80): the same for a one-sided test."""

CHUNK_ELEMENTS = 4_000_000
"""Resamples are drawn in chunks of at most this many elements (32 MB of float64), whatever the number of queries."""

TIE = 1e-12
"""Values nearer than this are equal: sums of the same numbers differ by rounding, and differ between BLAS builds."""


def mean(values: Collection[float]) -> float:
    """Return the mean of at least one number, from the correctly rounded sum.

    numpy's sum depends on the order of the numbers and on how the array lies in memory, so that a run at its ceiling
    could be above it by the last digit, and one run have two means.
    """
    return math.fsum(values) / len(values)


def mean_of_means(strata: Strata) -> Floats:
    """Return (M,): the mean over data sets of the mean over queries."""
    num_columns = strata[0].shape[1]
    return np.array([mean([mean(values[:, column].tolist()) for values in strata]) for column in range(num_columns)])


def standard_error(strata: Strata) -> Floats:
    """Return (M,): sqrt(Σ s_d² / n_d) / D; NaN where a data set has fewer than two queries."""
    if any(len(values) < 2 for values in strata):
        return np.full(strata[0].shape[1], np.nan)
    variances = [values.var(axis=0, ddof=1) / len(values) for values in strata]
    return np.asarray(np.sqrt(np.sum(variances, axis=0)) / len(strata))


def bootstrap_means(strata: Strata, *, resamples: int, rng: np.random.Generator) -> Floats:
    """Return (resamples, M): the mean of means of data drawn with replacement, within each data set."""
    total = np.zeros((resamples, strata[0].shape[1]))
    for values in strata:
        num_queries = len(values)
        for rows in _row_chunks(resamples, num_queries):
            num_rows = rows.stop - rows.start
            drawn = rng.integers(0, num_queries, size=(num_rows, num_queries))
            # How often each query was drawn, in each resample: one matrix product then serves all columns.
            drawn += np.arange(num_rows)[:, None] * num_queries
            counts = np.bincount(drawn.ravel(), minlength=num_rows * num_queries).reshape(num_rows, num_queries)
            total[rows] += counts.astype(np.float64) @ values / num_queries
    return total / len(strata)


def bca_intervals(
    strata: Strata, *, rng: np.random.Generator, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> Floats | None:
    """Return (M, 2): the interval of the mean of means, bias-corrected and accelerated bootstrap.

    A column without any variation has the interval (mean, mean).

    Args:
        strata: The values, or the per-query differences.
        rng: The source of the resamples.
        resamples: Their number.
        confidence: The share of intervals that shall cover the true mean, half of the others missing it on either side.

    Returns:
        ``None`` when a data set has fewer than two queries: nothing is known of its variation.

    References:
        Efron, "Better Bootstrap Confidence Intervals", 1987, https://doi.org/10.1080/01621459.1987.10478410; for
        several data sets the acceleration sums each one's jackknife influences, as in Davison and Hinkley,
        "Bootstrap Methods and their Application", 1997, section 5.3.2.
    """
    from scipy.special import ndtr, ndtri

    if any(len(values) < 2 for values in strata):
        return None
    means = mean_of_means(strata)  # (M,)
    estimates = bootstrap_means(strata, resamples=resamples, rng=rng)  # (B, M)
    below = (estimates < means - TIE).mean(axis=0)
    tied = (np.abs(estimates - means) <= TIE).mean(axis=0)
    # Never 0 or 1: with two or three queries every resample may lie on one side.
    share = np.clip(below + tied / 2, 0.5 / resamples, 1 - 0.5 / resamples)
    bias = ndtri(share)  # (M,)
    tail = (1 - confidence) / 2
    limits = ndtri(np.array([[tail], [1 - tail]])) + bias  # (2, M)
    quantiles = ndtr(bias + limits / (1 - _acceleration(strata) * limits))  # (2, M)
    intervals = np.empty((len(means), 2))
    for column in range(len(means)):
        intervals[column] = np.quantile(estimates[:, column], quantiles[:, column])
    constant = np.all([np.ptp(values, axis=0) <= TIE for values in strata], axis=0)
    intervals[constant] = means[constant, None]
    return intervals


def _acceleration(strata: Strata) -> Floats:
    """Return (M,): the skewness of the jackknife influences over six; 0 for a column without variation."""
    cubes, squares = 0.0, 0.0
    for values in strata:
        influence = (values - values.mean(axis=0)) / len(values)  # (n_d, M); the factor 1 / D cancels
        cubes = cubes + (influence**3).sum(axis=0)
        squares = squares + (influence**2).sum(axis=0)
    spread = np.asarray(squares) ** 1.5
    return np.divide(cubes, 6 * spread, out=np.zeros_like(spread), where=spread > TIE**3)


def sign_flip_p_values(
    strata: Strata,
    *,
    rng: np.random.Generator,
    flips: int = RESAMPLES,
    alternative: Alternative = "two-sided",
) -> Floats:
    """Return (M,): the p-value of the mean of means against the hypothesis that each difference may change its sign.

    One is added to numerator and denominator, so that the test holds its level and p is never 0 (Phipson and Smyth,
    2010, https://doi.org/10.2202/1544-6115.1585).

    Args:
        strata: The per-query differences.
        rng: The source of the signs.
        flips: The number of sign patterns drawn.
        alternative: ``greater`` asks whether the mean is above 0, ``less`` whether it is below.
    """
    # Weighted so that data sets count alike in a plain sum over all queries.
    differences = np.concatenate([values / len(values) for values in strata])  # (n, M)
    observed = differences.sum(axis=0)  # (M,)
    extreme = np.zeros(differences.shape[1], dtype=np.int64)
    for rows in _row_chunks(flips, len(differences)):
        flipped = _random_signs(rows.stop - rows.start, len(differences), rng) @ differences  # (rows, M)
        if alternative == "two-sided":
            extreme += (np.abs(flipped) >= np.abs(observed) - TIE).sum(axis=0)
        elif alternative == "greater":
            extreme += (flipped >= observed - TIE).sum(axis=0)
        else:
            extreme += (flipped <= observed + TIE).sum(axis=0)
    return (extreme + 1) / (flips + 1)


def _random_signs(rows: int, columns: int, rng: np.random.Generator) -> Floats:
    """Return (rows, columns) of −1.0 and 1.0, one random bit each."""
    packed = np.frombuffer(rng.bytes(rows * math.ceil(columns / 8)), dtype=np.uint8)
    bits = np.unpackbits(packed.reshape(rows, -1), axis=1, count=columns)
    return bits.astype(np.float64) * 2 - 1


def _row_chunks(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, CHUNK_ELEMENTS // max(columns, 1))
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))


def holm_adjust(p_values: ArrayLike) -> Floats:
    """Return the p-values, (n,), adjusted for n comparisons at once.

    References:
        Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979, https://www.jstor.org/stable/4615733
    """
    raw = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    factors = len(raw) - np.arange(len(raw))
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(np.maximum.accumulate(raw[order] * factors), 1.0)
    return adjusted


def count_signs(differences: Floats) -> tuple[int, int, int]:
    """Return how many of the (n,) differences are above, at and below 0."""
    better, worse = int((differences > TIE).sum()), int((differences < -TIE).sum())
    return better, len(differences) - better - worse, worse
