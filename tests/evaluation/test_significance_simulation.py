"""The table of docs/protocol.md, section 6, simulated anew: false alarms and power of the tests that we report."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "significance.py"


@pytest.fixture(scope="module")
def significance() -> ModuleType:
    spec = importlib.util.spec_from_file_location("significance_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_queries", "alarms", "powers"),
    [(50, (0.40, 0.05), (0.17, 0.36, 0.94)), (649, (0.16, 0.06), (0.80, 1.00, 1.00)), (2000, (0.05, 0.07), (1, 1, 1))],
)
def test_the_table_of_the_protocol(
    significance: ModuleType, num_queries: int, alarms: tuple[float, ...], powers: tuple[float, ...]
) -> None:
    """True change by rule; its digits came from fewer repetitions, hence a tolerance of 3 points."""
    changes = significance.CHANGES
    shares = significance.simulate((num_queries,), changes, trials=2000, rng=np.random.default_rng(3), resamples=3000)
    naive, tested = significance.RULES[:2]
    assert (shares[0.0][naive], shares[0.0][tested]) == pytest.approx(alarms, abs=0.03)
    assert [shares[change][tested] for change in changes[1:]] == pytest.approx(powers, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(("sizes", "left_out"), [((50,), 0.075), ((50,) * 13, 0.06), ((20, 300), 0.12)])
def test_the_level_is_held(significance: ModuleType, sizes: tuple[int, ...], left_out: float) -> None:
    """Type-I errors of the tests within 5 ± 1%; the interval leaves out 0 more often where queries are few."""
    shares = significance.simulate(sizes, [0.0], trials=4000, rng=np.random.default_rng(4), resamples=3000)[0.0]
    for rule in ("one-sided p < 0.05", "two-sided p < 0.05", "paired t p < 0.05"):
        assert 0.04 <= shares[rule] <= 0.06, (rule, shares[rule])
    assert 0.04 <= shares["95% interval without 0"] <= left_out


def test_the_rules_agree_on_a_clear_case(significance: ModuleType) -> None:
    shares = significance.simulate((100,), [0.0, -1.0], trials=20, rng=np.random.default_rng(0), resamples=300)
    assert set(shares[-1.0].values()) == {1.0}
    assert shares[0.0]["two-sided p < 0.05"] < 0.5
