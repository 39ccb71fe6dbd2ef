"""Intervals and p-values against scipy and statsmodels, and where they degenerate."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from rerank_bench.evaluation import significance
from rerank_bench.evaluation.significance import (
    MDE_ONE_SIDED,
    MDE_TWO_SIDED,
    Alternative,
    Floats,
    bca_intervals,
    bootstrap_means,
    count_signs,
    holm_adjust,
    mean_of_means,
    sign_flip_p_values,
    standard_error,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def skewed_differences(num_queries: int, seed: int) -> Floats:
    """(n,) like differences of nDCG: many zeros, a skewed rest."""
    source = rng(seed)
    values = source.beta(0.6, 2.0, size=num_queries) - 0.15
    return np.where(source.random(num_queries) < 0.3, 0.0, values)


@pytest.mark.parametrize("num_queries", [12, 50, 300])
def test_interval_equals_scipys(num_queries: int) -> None:
    differences = skewed_differences(num_queries, seed=num_queries)
    ours = bca_intervals([differences[:, None]], rng=rng(), resamples=20_000)
    assert ours is not None
    theirs = stats.bootstrap((differences,), np.mean, method="BCa", n_resamples=20_000, rng=rng(1)).confidence_interval
    # Two sets of 20,000 resamples place a limit within about 2% of the interval's width of each other.
    tolerance = 0.03 * (theirs.high - theirs.low)
    assert ours[0] == pytest.approx([theirs.low, theirs.high], abs=tolerance)


def test_interval_of_few_distinct_values_equals_scipys() -> None:
    """P@1 changes in 4 queries of 40: a fifth of the resamples have the very mean of the sample."""
    differences = np.zeros(40)
    differences[:4] = [1.0, 1.0, 1.0, -1.0]
    ours = bca_intervals([differences[:, None]], rng=rng(), resamples=50_000)
    assert ours is not None
    theirs = stats.bootstrap((differences,), np.mean, method="BCa", n_resamples=50_000, rng=rng(1)).confidence_interval
    assert ours[0] == pytest.approx([theirs.low, theirs.high], abs=1e-9)


def test_paired_interval_equals_scipys_over_pairs() -> None:
    source = rng(5)
    before, after = source.random(80), source.random(80) ** 0.7
    ours = bca_intervals([(after - before)[:, None]], rng=rng(), resamples=20_000)
    assert ours is not None
    theirs = stats.bootstrap(
        (after, before),
        lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis),
        method="BCa",
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        rng=rng(1),
    ).confidence_interval
    assert ours[0] == pytest.approx([theirs.low, theirs.high], abs=0.03 * (theirs.high - theirs.low))


def test_stratified_interval_equals_scipys_over_several_samples() -> None:
    strata = [skewed_differences(n, seed=n) + shift for n, shift in ((20, 0.0), (50, 0.1), (90, -0.05))]
    ours = bca_intervals([values[:, None] for values in strata], rng=rng(), resamples=20_000)
    assert ours is not None
    theirs = stats.bootstrap(
        strata,
        lambda *samples, axis: np.mean([np.mean(s, axis=axis) for s in samples], axis=0),
        method="BCa",
        n_resamples=20_000,
        vectorized=True,
        rng=rng(1),
    ).confidence_interval
    assert ours[0] == pytest.approx([theirs.low, theirs.high], abs=0.03 * (theirs.high - theirs.low))


def test_columns_share_their_resamples() -> None:
    """A column's interval is the same whichever columns stand beside it, and a multiple has the multiple interval."""
    first = skewed_differences(40, seed=1)
    alone = bca_intervals([first[:, None]], rng=rng(3), resamples=999)
    together = bca_intervals([np.stack([rng(9).random(40), first, -2 * first], axis=1)], rng=rng(3), resamples=999)
    assert alone is not None
    assert together is not None
    assert together[1] == pytest.approx(alone[0], abs=1e-12)
    assert together[2][::-1] == pytest.approx(-2 * alone[0], abs=1e-3)


def test_bootstrap_covers_the_true_mean_about_as_often_as_it_says() -> None:
    source = rng(7)
    samples = source.exponential(size=(60, 400)) - 1.0  # 400 experiments of 60 queries, true mean 0
    intervals = bca_intervals([samples], rng=rng(), resamples=2_000)
    assert intervals is not None
    covered = int(((intervals[:, 0] <= 0) & (intervals[:, 1] >= 0)).sum())
    # 400 experiments at 94% (what BCa reaches on so skewed a sample): three standard errors are 3.6%.
    assert 0.90 <= covered / 400 <= 0.985


def test_resamples_of_a_suite_weigh_data_sets_alike() -> None:
    strata = [np.full((3, 1), 1.0), np.full((300, 1), 0.0)]
    assert mean_of_means(strata) == pytest.approx([0.5])
    assert bootstrap_means(strata, resamples=20, rng=rng()) == pytest.approx(np.full((20, 1), 0.5))


def test_standard_error_and_smallest_detectable_difference() -> None:
    first, second = skewed_differences(20, seed=1)[:, None], skewed_differences(50, seed=2)[:, None]
    assert standard_error([first]) == pytest.approx([stats.sem(first[:, 0])])
    by_hand = np.sqrt(first.var(ddof=1) / 20 + second.var(ddof=1) / 50) / 2
    assert standard_error([first, second]) == pytest.approx([by_hand])
    assert np.isnan(standard_error([first, np.ones((1, 1))])).all()
    assert stats.norm.ppf(0.975) + stats.norm.ppf(0.8) == pytest.approx(MDE_TWO_SIDED, abs=0.005)
    assert stats.norm.ppf(0.95) + stats.norm.ppf(0.8) == pytest.approx(MDE_ONE_SIDED, abs=0.005)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("shift", [-0.04, 0.0, 0.03])
def test_p_value_equals_scipys(alternative: Alternative, shift: float) -> None:
    differences = rng(11).normal(shift, 0.2, size=60)
    differences[:15] = 0.0
    ours = sign_flip_p_values([differences[:, None]], rng=rng(), flips=20_000, alternative=alternative)[0]
    theirs = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=20_000, alternative=alternative, rng=rng(1)
    ).pvalue
    error = 4 * np.sqrt(2 * max(theirs * (1 - theirs), 1e-4) / 20_000)
    assert ours == pytest.approx(theirs, abs=error)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_p_value_equals_the_enumeration_of_all_signs(alternative: Alternative) -> None:
    differences = np.array([0.5, 0.25, -0.25, 0.0, 0.125, 0.5])
    sums = np.array(list(itertools.product([-1.0, 1.0], repeat=6))) @ differences
    observed = differences.sum()
    extreme = {
        "two-sided": np.abs(sums) >= abs(observed),
        "greater": sums >= observed,
        "less": sums <= observed,
    }[alternative]
    ours = sign_flip_p_values([differences[:, None]], rng=rng(), flips=40_000, alternative=alternative)[0]
    assert ours == pytest.approx(extreme.mean(), abs=0.01)


def test_a_suites_p_value_weighs_data_sets_alike() -> None:
    small, large = rng(1).normal(0.2, 0.3, size=8), rng(2).normal(0.0, 0.3, size=400)
    ours = sign_flip_p_values([small[:, None], large[:, None]], rng=rng(), flips=20_000)[0]
    weighted = np.concatenate([small / 8, large / 400])
    theirs = stats.permutation_test(
        (weighted,), np.sum, permutation_type="samples", n_resamples=20_000, rng=rng(1)
    ).pvalue
    assert ours == pytest.approx(theirs, abs=0.01)
    unweighted = sign_flip_p_values([np.concatenate([small, large])[:, None]], rng=rng(), flips=20_000)[0]
    assert abs(unweighted - theirs) > 0.05  # the case tells the two apart


def test_p_value_is_never_zero_and_is_seeded() -> None:
    differences = np.full((200, 1), 0.3)
    assert sign_flip_p_values([differences], rng=rng(), flips=999)[0] == pytest.approx(1 / 1000)
    values = skewed_differences(30, seed=4)[:, None]
    assert sign_flip_p_values([values], rng=rng(1), flips=99) == sign_flip_p_values([values], rng=rng(1), flips=99)


def test_p_values_are_uniform_when_nothing_differs() -> None:
    samples = rng(3).laplace(size=(40, 500))
    p_values = sign_flip_p_values([samples], rng=rng(), flips=2_000)
    assert stats.kstest(p_values, "uniform").pvalue > 0.001


def test_no_difference_at_all() -> None:
    zeros = np.zeros((50, 2))
    intervals = bca_intervals([zeros], rng=rng(), resamples=200)
    assert intervals is not None
    assert intervals.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert sign_flip_p_values([zeros], rng=rng(), flips=200).tolist() == [1.0, 1.0]
    assert count_signs(zeros[:, 0]) == (0, 50, 0)


def test_the_same_difference_everywhere() -> None:
    same = np.full((50, 1), 0.1)
    intervals = bca_intervals([same], rng=rng(), resamples=200)
    assert intervals is not None
    assert intervals[0] == pytest.approx([0.1, 0.1])
    assert sign_flip_p_values([same], rng=rng(), flips=999)[0] == pytest.approx(0.001)


def test_a_single_query_has_no_interval_and_no_evidence() -> None:
    assert bca_intervals([np.array([[0.4]])], rng=rng(), resamples=200) is None
    assert bca_intervals([np.zeros((5, 1)), np.array([[0.4]])], rng=rng(), resamples=200) is None
    assert sign_flip_p_values([np.array([[0.4]])], rng=rng(), flips=200).tolist() == [1.0]


@pytest.mark.parametrize("values", [[0.0, 1.0], [0.0, 0.0, 1.0], [-1.0, 1.0]])
def test_an_interval_of_very_few_queries_is_finite_and_holds_the_mean(values: list[float]) -> None:
    intervals = bca_intervals([np.array(values)[:, None]], rng=rng(), resamples=2_000)
    assert intervals is not None
    low, high = intervals[0]
    assert min(values) <= low <= np.mean(values) <= high <= max(values)


def test_differences_of_rounding_are_no_differences() -> None:
    assert count_signs(np.array([0.1 + 0.2 - 0.3, 1e-3, -1e-3, 0.0])) == (1, 2, 1)


def test_many_queries_stay_within_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    values = rng().normal(size=(100_000, 2))
    monkeypatch.setattr(significance, "CHUNK_ELEMENTS", 1_000_000)
    tracemalloc.start()
    try:
        bca_intervals([values], rng=rng(), resamples=40)
        sign_flip_p_values([values], rng=rng(), flips=40)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Four arrays of a chunk's size, and the values themselves; all 40 resamples at once would take 128 MB.
    assert peak_bytes < 50_000_000


def test_chunks_do_not_change_a_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    values = skewed_differences(50, seed=8)[:, None]
    whole = bootstrap_means([values], resamples=300, rng=rng())
    monkeypatch.setattr(significance, "CHUNK_ELEMENTS", 1_000)
    assert bootstrap_means([values], resamples=300, rng=rng()) == pytest.approx(whole)


def test_holm_equals_statsmodels() -> None:
    p_values = rng(2).random(13) ** 3
    assert holm_adjust(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])
    assert holm_adjust([0.01]) == pytest.approx([0.01])
    assert holm_adjust([]).shape == (0,)
