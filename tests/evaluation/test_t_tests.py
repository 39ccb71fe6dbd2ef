"""Student's t equals scipy's and statsmodels', and says the right thing where nothing varies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from rerank_bench.evaluation.t_tests import paired_t_p_values, satterthwaite


def test_one_data_set_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(3)
    before, after = rng.random((40, 3)), rng.random((40, 3)) + np.array([0.0, 0.1, 0.4])
    expected = stats.ttest_rel(after, before).pvalue
    assert paired_t_p_values([after - before]) == pytest.approx(expected, rel=1e-9)


def test_two_data_sets_are_welchs_test_of_one_against_the_other_turned_round() -> None:
    """The mean of two means is 0 when the first mean equals minus the second: Welch's test says so, too."""
    rng = np.random.default_rng(5)
    first, second = rng.normal(0.1, 0.3, size=(12, 1)), rng.normal(0.05, 0.1, size=(30, 1))
    _, expected, _ = CompareMeans(DescrStatsW(first[:, 0]), DescrStatsW(-second[:, 0])).ttest_ind(usevar="unequal")
    assert paired_t_p_values([first, second])[0] == pytest.approx(expected, rel=1e-9)


def test_differences_without_variation() -> None:
    assert paired_t_p_values([np.zeros((9, 1)), np.zeros((4, 1))]).tolist() == [1.0]
    assert paired_t_p_values([np.full((9, 1), 0.25)]).tolist() == [0.0]
    assert np.isnan(paired_t_p_values([np.ones((1, 1)), np.ones((5, 1))])).tolist() == [True]


def test_degrees_of_freedom_lie_between_the_smallest_and_the_sum() -> None:
    assert satterthwaite([0.3], [7]) == pytest.approx(7)
    assert satterthwaite([0.5, 0.5], [4, 4]) == pytest.approx(8)
    assert 4 < satterthwaite([0.9, 0.1], [4, 100]) < 104
    assert satterthwaite([0.0, 0.0], [4, 4]) == np.inf
