"""Runs of one model under several seeds: which belong together, and what is known of their difference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from run_folders import write_run_of

from rerank_bench.comparison.compare import CompareConfig, compare_runs
from rerank_bench.comparison.opening import open_sources
from rerank_bench.comparison.seeds import compare_groups, group_runs
from rerank_bench.comparison.sources import RunSource
from rerank_bench.errors import ConfigError
from rerank_bench.evaluation.significance import bca_intervals
from rerank_bench.evaluation.t_tests import paired_t_p_values


def open_at(folder: Path, places: list[str]) -> list[RunSource]:
    for seed, place in enumerate(places):
        write_run_of(folder / place, Path(place).name, {"alpha": 8}, skill=1 + ("b" in place), seed=seed)
    return open_sources([str(folder / place) for place in places])


@pytest.mark.parametrize(
    ("places", "group_by", "groups"),
    [
        (["a-seed1", "b-seed1", "a-seed2"], "seed", {"a": (0, 2), "b": (1,)}),
        (["a_seed=1", "a.Seed_22", "b"], "seed", {"a": (0, 1), "b": (2,)}),
        (["a/seed1", "a/seed2", "b/seed1"], "seed", {"a": (0, 1), "b": (2,)}),
        (["seed3-a", "seed4-a", "b"], "seed", {"a": (0, 1), "b": (2,)}),
        (["x/a-seed1", "y/a-seed1", "y/a-seed2"], "seed", {"x": (0,), "y": (1, 2)}),
        (["a-run1-b", "a-run2-b", "linseed1"], r"run\d", {"a-b": (0, 1), "linseed1": (2,)}),
    ],
)
def test_runs_are_grouped_by_what_is_left_of_their_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: list[str], group_by: str, groups: dict[str, tuple[int]]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert group_runs(open_at(Path(), places), group_by) == groups


@pytest.mark.parametrize(
    ("group_by", "message"),
    [
        ("seed", r"--group-by 'seed' \(.*\) is in none of the places a, b; call the runs of one model NAME-seed1"),
        ("(", r"--group-by '\(' is not a regular expression: .*; write 'seed'"),
        ("[ab]", r"nothing is left of 'a' without \[ab\]"),
    ],
)
def test_a_grouping_that_does_not_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group_by: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        group_runs(open_at(Path(), ["a", "b"]), group_by)


def test_means_over_seeds_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sources = open_at(Path(), ["a-seed1", "a-seed2", "b-seed1"])
    comparison = compare_runs(sources, CompareConfig(group_by="seed"))
    (scope,) = comparison.scopes
    (pair,) = scope.pairs
    by_run = [np.mean(list(source.query_values("alpha", "nDCG@10", "end_to_end").values())) for source in sources]
    assert (pair.reference, pair.run) == ("a", "b")
    assert pair.reference_value == pytest.approx((by_run[0] + by_run[1]) / 2)
    assert pair.difference == pytest.approx(by_run[2] - (by_run[0] + by_run[1]) / 2)
    assert pair.ci is not None
    assert pair.ci[0] < pair.difference < pair.ci[1]
    assert comparison.notes == ("one run only of b: how much it would vary with another seed is not known",)
    single = compare_runs(sources[1:], CompareConfig(group_by="seed"))
    assert single.is_over_seeds
    assert single.notes == ("one run only of a, b: how much it would vary with another seed is not known",)
    with pytest.raises(ConfigError, match="at least two runs, found a; name another one"):
        compare_runs(sources[:2], CompareConfig(group_by="seed"))


def test_groups_of_one_run_are_a_comparison_over_queries_alone() -> None:
    rng = np.random.default_rng(8)
    strata = [rng.random((60, 2)), rng.random((90, 2))]
    found = compare_groups(strata, [[0], [1]], [(0, 1)], rng=rng)
    differences = [values[:, 1:] - values[:, :1] for values in strata]
    expected = bca_intervals(differences, rng=rng)
    assert expected is not None
    assert found.intervals is not None
    assert found.intervals[0] == pytest.approx(expected[0], abs=0.004)
    assert found.p_t == pytest.approx(paired_t_p_values(differences))


def test_seeds_that_vary_widen_the_interval() -> None:
    rng = np.random.default_rng(4)
    queries = rng.random((200, 1))

    def interval(seed_sd: float) -> float:
        shifts = np.array([-1, 0, 1, -1, 0, 1]) * seed_sd
        values = queries + shifts + np.random.default_rng(1).normal(0, 0.01, size=(200, 6))
        found = compare_groups([values], [[0, 1, 2], [3, 4, 5]], [(0, 1)], rng=np.random.default_rng(2))
        assert found.intervals is not None
        return float(np.ptp(found.intervals[0]))

    # Two groups of three with standard deviation 0.05: error 0.05 * sqrt(2 / 3), t with 4 degrees of freedom 2.776.
    assert interval(0.05) == pytest.approx(2 * 2.776 * 0.05 * (2 / 3) ** 0.5, rel=0.1)
    assert interval(0.0) < 0.1 * interval(0.05)


def test_runs_that_are_all_alike_differ_by_nothing() -> None:
    values = np.random.default_rng(0).random((20, 1)).repeat(4, axis=1)
    found = compare_groups([values], [[0, 1], [2, 3]], [(0, 1)], rng=np.random.default_rng(0))
    assert found.intervals is not None
    assert found.intervals.tolist() == [[0, 0]]
    assert (found.p_values.tolist(), found.p_t.tolist()) == ([1], [1])


def test_one_query_says_nothing() -> None:
    found = compare_groups([np.array([[0.1, 0.2, 0.9]])], [[0, 1], [2]], [(0, 1)], rng=np.random.default_rng(0))
    assert found.intervals is None
    assert found.p_values.tolist() == [1]
    assert np.isnan(found.p_t).all()


@pytest.mark.slow
@pytest.mark.parametrize(("num_seeds", "seed_sd"), [(2, 0.02), (3, 0.02), (3, 0.0), (5, 0.006)])
def test_the_level_is_held_with_few_seeds(num_seeds: int, seed_sd: float) -> None:
    """Under a true null hypothesis at most 7% are rejected at 5%, whether seeds or queries vary more."""
    rng = np.random.default_rng([num_seeds, 11])
    rejected = []
    for _ in range(1000):
        queries = rng.normal(0, 0.1, size=(100, 2)).repeat(num_seeds, axis=1)
        values = queries + rng.normal(0, seed_sd, size=2 * num_seeds) + rng.normal(0, 0.05, size=queries.shape)
        groups = [range(num_seeds), range(num_seeds, 2 * num_seeds)]
        found = compare_groups([values], groups, [(0, 1)], rng=rng, resamples=999)
        rejected.append(found.p_values[0] < 0.05)
    assert np.mean(rejected) <= 0.07
