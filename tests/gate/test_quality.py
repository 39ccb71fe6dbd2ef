"""Four verdicts, their order, what they stand on; and how often they are wrong."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from rerank_bench.evaluation.significance import Floats
from rerank_bench.gate.quality import Thresholds, judge_quality

Values = dict[str, tuple[Floats, Floats]]
THRESHOLDS = Thresholds(min_drop=0.005, alpha=0.05, margin=0.02)


def paired(shift: float, *, sizes: tuple[int, ...] = (60, 40), sd: float = 0.05, seed: int = 0) -> Values:
    """Differences with exactly the mean ``shift`` and the standard deviation ``sd`` in every data set."""
    rng = np.random.default_rng(seed)
    values = {}
    for number, size in enumerate(sizes):
        noise = rng.normal(size=size)
        noise = sd * (noise - noise.mean()) / noise.std(ddof=1)
        before = rng.uniform(0.2, 0.8, size=size)
        values[f"set{number}"] = (before, before + noise + shift)
    return values


@pytest.mark.parametrize(
    ("shift", "sd", "verdict"),
    [
        (-0.05, 0.05, "regressed"),
        (0.05, 0.05, "improved"),
        (0.0, 0.05, "pass"),
        (0.0, 0.5, "inconclusive"),
        (-0.03, 0.5, "inconclusive"),
        (-0.004, 0.005, "pass"),  # surely worse, but by less than min_drop
        (-0.005, 0.005, "regressed"),  # by exactly min_drop
        (-0.010, 0.005, "regressed"),  # regressed goes before pass: −0.01 is surely above the margin too
    ],
)
def test_verdicts(shift: float, sd: float, verdict: str) -> None:
    result = judge_quality(paired(shift, sd=sd), THRESHOLDS)
    assert result.verdict == verdict
    assert result.primary.difference == pytest.approx(shift, abs=1e-12)
    assert result.primary.num_queries == 100


def test_regressed_goes_before_pass_where_both_would_hold() -> None:
    result = judge_quality(paired(-0.010, sd=0.005), THRESHOLDS)
    assert result.primary.interval is not None
    assert result.primary.interval[0] > -THRESHOLDS.margin
    assert result.primary.p < THRESHOLDS.alpha


def test_figures_equal_scipys() -> None:
    (before, after) = paired(-0.02, sizes=(50,), sd=0.08)["set0"]
    result = judge_quality({"only": (before, after)}, THRESHOLDS)
    differences = after - before
    theirs = stats.bootstrap(
        (differences,), np.mean, confidence_level=0.90, method="BCa", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert result.primary.interval == pytest.approx((theirs.low, theirs.high), abs=0.05 * (theirs.high - theirs.low))
    flipped = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        alternative="less",
        n_resamples=20_000,
        rng=np.random.default_rng(2),
    )
    # The standard error of a share near p among 10,000 is at most 0.005.
    assert result.primary.p == pytest.approx(flipped.pvalue, abs=0.02)
    error = stats.sem(differences)
    visible = stats.norm.ppf(0.95) * error + stats.norm.ppf(0.80) * error
    assert result.smallest_visible_drop == pytest.approx(visible, rel=1e-12)
    assert visible == pytest.approx(2.49 * error, rel=2e-3)


def test_the_macro_mean_weighs_data_sets_alike() -> None:
    values = paired(-0.05, sizes=(200,)) | {"small": paired(0.15, sizes=(20,), seed=3)["set0"]}
    result = judge_quality(values, THRESHOLDS)
    assert result.primary.difference == pytest.approx(0.05)
    errors = [stats.sem(after - before) for before, after in values.values()]
    error = np.hypot(*errors) / 2
    assert result.smallest_visible_drop == pytest.approx(error * (stats.norm.ppf(0.95) + stats.norm.ppf(0.80)))


def test_min_drop_limits_what_can_be_seen() -> None:
    result = judge_quality(paired(0.0, sd=0.001), THRESHOLDS)
    error = 0.001 * np.sqrt(1 / 60 + 1 / 40) / 2
    assert result.smallest_visible_drop == pytest.approx(0.005 + stats.norm.ppf(0.80) * error)


def test_the_order_of_data_sets_changes_nothing() -> None:
    values = paired(-0.01)
    assert judge_quality(values, THRESHOLDS) == judge_quality(dict(reversed(values.items())), THRESHOLDS)


def test_a_data_set_alone_has_the_bounds_and_p_of_the_mean() -> None:
    rng = np.random.default_rng(5)
    before = rng.random(40)
    result = judge_quality({"a": (before, before + rng.normal(0, 0.1, 40))}, THRESHOLDS)
    (alone,) = result.datasets
    assert (alone.interval, alone.p) == (result.primary.interval, result.primary.p)


def test_identical_runs_pass() -> None:
    values = {name: (before, before) for name, (before, _) in paired(0.0).items()}
    result = judge_quality(values, THRESHOLDS)
    assert (result.verdict, result.primary.difference, result.primary.p) == ("pass", 0.0, 1.0)
    assert result.primary.interval == (0.0, 0.0)
    assert (result.primary.better, result.primary.equal, result.primary.worse) == (0, 100, 0)
    assert result.smallest_visible_drop is None


def test_the_same_drop_in_every_query_is_seen_though_there_is_no_noise() -> None:
    values = {name: (before, before - 0.01) for name, (before, _) in paired(0.0).items()}
    assert judge_quality(values, THRESHOLDS).verdict == "regressed"


@pytest.mark.parametrize("shift", [-0.5, 0.0, 0.5])
def test_one_query_is_inconclusive(shift: float) -> None:
    before = np.array([0.5])
    result = judge_quality({"one": (before, before + shift)}, THRESHOLDS)
    assert result.verdict == "inconclusive"
    assert "one query" in result.reason
    assert result.primary.interval is None
    assert result.smallest_visible_drop is None


def test_p_values_of_data_sets_are_holms() -> None:
    values = {
        f"set{i}": paired(shift, sizes=(40,), sd=0.1, seed=i)["set0"] for i, shift in enumerate((-0.03, 0, -0.01))
    }
    result = judge_quality(values, THRESHOLDS)
    raw = [dataset.p for dataset in result.datasets]
    assert [dataset.p_adjusted for dataset in result.datasets] == pytest.approx(multipletests(raw, method="holm")[1])
    assert [dataset.name for dataset in result.datasets] == ["set0", "set1", "set2"]


def with_collapse(drop: float, num_others: int = 12) -> Values:
    values = {f"set{i:02}": paired(0.012, sizes=(50,), sd=0.1, seed=i)["set0"] for i in range(num_others)}
    return values | {"fallen": paired(-drop, sizes=(50,), sd=0.1, seed=99)["set0"]}


def test_a_catastrophe_fails_though_the_mean_rose() -> None:
    result = judge_quality(with_collapse(0.12), THRESHOLDS)
    assert result.primary.difference > 0
    assert [dataset.name for dataset in result.datasets if dataset.is_catastrophic] == ["fallen"]
    assert result.verdict == "regressed"
    assert "catastrophic drop on fallen: 0.1200" in result.reason


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.001])
def test_a_collapse_is_seen_at_any_alpha(alpha: float) -> None:
    thresholds = Thresholds(min_drop=0.005, alpha=alpha, margin=0.02)
    result = judge_quality(with_collapse(0.3), thresholds)
    assert [dataset.name for dataset in result.datasets if dataset.is_catastrophic] == ["fallen"]


def test_a_drop_below_a_tenth_is_no_catastrophe_however_sure() -> None:
    result = judge_quality(with_collapse(0.099), THRESHOLDS)
    assert not any(dataset.is_catastrophic for dataset in result.datasets)
    assert result.verdict in {"pass", "improved"}


def test_a_large_drop_that_chance_explains_is_no_catastrophe() -> None:
    values = paired(0.01, sizes=(50,), sd=0.05) | {"few": paired(-0.15, sizes=(6,), sd=0.3, seed=5)["set0"]}
    assert not any(dataset.is_catastrophic for dataset in judge_quality(values, THRESHOLDS).datasets)


def simulate(change: float, sizes: tuple[int, ...], *, repetitions: int) -> dict[str, float]:
    """Share of each verdict where per-query differences have the standard deviation 0.25 of two models (protocol, 6)."""
    rng = np.random.default_rng(20261121)
    verdicts = []
    for number in range(repetitions):
        values = {f"set{i:02}": (np.zeros(size), rng.normal(change, 0.25, size=size)) for i, size in enumerate(sizes)}
        verdicts.append(judge_quality(values, THRESHOLDS, seed=number, resamples=1_000).verdict)
    return {name: verdicts.count(name) / repetitions for name in set(verdicts)}


NANOBEIR = (50,) * 12 + (49,)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "sizes", "expected"),
    [
        (0.0, (50,), 0.05),
        (0.0, NANOBEIR, 0.05),
        (-0.025, (50,), 0.17),
        (-0.025, NANOBEIR, 0.80),
        (-0.047, (50,), 0.36),
        (-0.047, NANOBEIR, 1.00),
        (-0.118, (50,), 0.94),
    ],
)
def test_how_often_a_change_is_called_regressed(change: float, sizes: tuple[int, ...], expected: float) -> None:
    """The table of the protocol, section 6."""
    repetitions = 1_000
    share = simulate(change, sizes, repetitions=repetitions).get("regressed", 0.0)
    error = 3 * np.sqrt(max(expected * (1 - expected), 0.01) / repetitions)
    assert expected - error - 0.005 <= share <= expected + error + 0.005  # the table's digits are whole per cent


@pytest.mark.slow
def test_catastrophes_add_few_false_alarms() -> None:
    """At most CATASTROPHE_SHARE of alpha, 0.005.  Only where a data set fell by 0.10 need the gate be asked."""
    rng = np.random.default_rng(1)
    repetitions, found = 4_000, 0
    for _ in range(repetitions):
        values = {f"set{i:02}": (np.zeros(size), rng.normal(0.0, 0.25, size=size)) for i, size in enumerate(NANOBEIR)}
        if min(after.mean() for _, after in values.values()) <= -0.10:
            found += "catastrophic" in judge_quality(values, THRESHOLDS, resamples=1_000).reason
    assert 0 < found / repetitions <= 0.005 + 3 * np.sqrt(0.005 / repetitions)


@pytest.mark.slow
def test_pass_and_improved_are_wrong_in_one_of_twenty() -> None:
    """What `pass` rules out, a drop of the margin, and what `improved` claims are each true at the level alpha."""
    at_margin = simulate(-0.02, (200,) * 4, repetitions=1_000)
    assert at_margin.get("pass", 0) + at_margin.get("improved", 0) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1_000)
    unchanged = simulate(0.0, (200,) * 4, repetitions=1_000)
    assert unchanged["improved"] <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1_000)


@pytest.mark.slow
def test_the_smallest_visible_drop_is_seen_in_four_of_five_cases() -> None:
    error = 0.25 / np.sqrt(sum(NANOBEIR))
    share = simulate(-2.49 * error, NANOBEIR, repetitions=1_000)["regressed"]
    assert share == pytest.approx(0.80, abs=0.04)
