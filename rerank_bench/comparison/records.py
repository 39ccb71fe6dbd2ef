"""What a comparison says: frozen values, and their JSON (docs/compare.md has the shape)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rerank_bench.records import PROTOCOL_VERSION, View

COMPARISON_SCHEMA = 1
"""Version of the JSON's shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRun:
    """A run, or several runs of one model under different seeds."""

    label: str
    locations: tuple[str, ...]
    """What the user named; one place per seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """Two runs on one data set, or on a suite: ``run`` minus ``reference``."""

    run: str
    reference: str
    """Labels."""
    value: float
    reference_value: float
    difference: float
    ci: tuple[float, float] | None
    """95% interval of the difference; ``None`` with fewer than two queries in a data set."""
    p: float
    """Two-sided: sign flips, or the two-level bootstrap over seeds and queries."""
    p_t: float | None
    """Two-sided: paired t-test; ``None`` with fewer than two queries in a data set."""
    p_adjusted: float
    """``p``, adjusted by Holm for all pairs of the comparison."""
    better: int
    equal: int
    worse: int
    """Numbers of queries, seen from ``run``."""
    sd: float | None
    """Standard deviation of the per-query differences (n − 1)."""
    mde: float | None
    """The smallest true difference that would be found with 80% power, two-sided 5%, without adjustment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """A data set, or the unweighted mean over the data sets of a suite."""

    name: str
    kind: Literal["dataset", "suite"]
    datasets: tuple[str, ...]
    num_queries: int
    values: Mapping[str, float]
    """Label -> mean, in the order of the runs."""
    pairs: tuple[PairedDifference, ...]
    groups: Mapping[str, tuple[str, ...]] | None
    """Label -> letters: two runs share one if and only if their ``p_adjusted`` is at least alpha.  ``None`` where not
    all pairs are compared (``baseline``), or there is only one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that a comparison shows."""

    measure: str
    view: View
    alpha: float
    baseline: str | None
    """Label of the run that all others are compared with; ``None`` where every pair is compared."""
    runs: tuple[ComparedRun, ...]
    is_over_seeds: bool
    scopes: tuple[Scope, ...]
    """Data sets, then suites."""
    notes: tuple[str, ...]
    """What the reader must know: what was not checked, what the tests cannot see."""
    resamples: int
    flips: int
    seed: int

    @property
    def num_pairs(self) -> int:
        """How many p-values Holm's adjustment runs over."""
        return sum(len(scope.pairs) for scope in self.scopes)


def comparison_to_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as ``--json`` prints it; every key is always there, ``None`` where there is no value."""
    return {
        "schema_version": COMPARISON_SCHEMA,
        "protocol_version": PROTOCOL_VERSION,
        **dataclasses.asdict(comparison),
        "num_pairs": comparison.num_pairs,
    }
