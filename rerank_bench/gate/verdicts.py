"""What a gate says, as plain records: a verdict, the figures it stands on, the tripwires that tripped; and their JSON.

A lost gate is a report, not an exception.  What cannot be compared at all is one (``ComparisonError``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Mode = Literal["quality", "repro"]
MODES: tuple[Mode, ...] = ("quality", "repro")

Verdict = Literal["regressed", "improved", "pass", "inconclusive", "reproduced", "changed", "tripped"]
"""``quality`` says one of the first four, ``repro`` one of the next two; ``tripped``: a tripwire left nothing to judge."""

LOST_VERDICTS: frozenset[Verdict] = frozenset({"regressed", "changed", "tripped"})

Level = Literal["fail", "warn", "off"]
LEVELS: tuple[Level, ...] = ("fail", "warn", "off")

EXIT_LOST = 1
EXIT_INCONCLUSIVE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Run minus baseline over the same queries, with what is known of it."""

    num_queries: int
    baseline: float
    run: float
    difference: float
    interval: tuple[float, float] | None
    """Two-sided, of confidence 1 − 2·alpha; ``None`` where a data set has fewer than two queries."""
    p: float
    """One-sided sign-flip p-value: how often chance alone would show such a drop."""
    better: int
    equal: int
    worse: int
    """Numbers of queries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetDifference(Difference):
    """The same for one data set: informational, but for a catastrophe."""

    name: str
    p_adjusted: float
    """Holm-adjusted over the data sets."""
    is_catastrophic: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityResult:
    """What ``quality`` found: one primary hypothesis, and every data set beside it."""

    verdict: Verdict
    reason: str
    """Why this verdict, in one sentence with its figures."""
    primary: Difference
    """Of the macro mean over the data sets."""
    smallest_visible_drop: float | None
    """The true drop that this gate would call regressed in 80% of cases; ``None`` where no noise could be measured."""
    datasets: Sequence[DatasetDifference]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetAgreement:
    """How far the scores of two runs over one data set agree."""

    name: str
    num_queries: int
    num_pairs: int
    max_score_difference: float
    mean_score_difference: float
    """Of the absolute differences."""
    changed_top: int
    """Queries whose first ten documents, in their order, are not the same."""
    mean_rank_correlation: float | None
    """Spearman's, over the queries with at least two candidates."""
    min_rank_correlation: float | None
    baseline: float
    run: float
    difference: float
    """Of the measure's means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproResult:
    """What ``repro`` found."""

    verdict: Verdict
    reason: str
    baseline: float
    run: float
    difference: float
    """Of the macro means."""
    max_score_difference: float
    datasets: Sequence[DatasetAgreement]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """A tripwire that tripped."""

    tripwire: str
    dataset: str | None
    """``None``: the mean over all data sets."""
    level: Level
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """One gate's outcome."""

    name: str
    mode: Mode
    measure: str
    view: str
    baseline: str
    """What the run is held against: path and model."""
    run: str
    datasets: Sequence[str]
    settings: Mapping[str, Any]
    """The thresholds that were used."""
    trips: Sequence[Trip]
    result: QualityResult | ReproResult | None
    """``None``: a tripwire left nothing to judge."""
    is_strict: bool

    @property
    def verdict(self) -> Verdict:
        """What the figures say; a tripwire may lose the gate all the same."""
        return self.result.verdict if self.result is not None else "tripped"

    @property
    def difference(self) -> float | None:
        """Run minus baseline, of the mean over the data sets; ``None`` where nothing could be judged."""
        if isinstance(self.result, QualityResult):
            return self.result.primary.difference
        return None if self.result is None else self.result.difference

    @property
    def is_lost(self) -> bool:
        """Whether the run is worse than the gate allows."""
        return self.verdict in LOST_VERDICTS or any(trip.level == "fail" for trip in self.trips)

    @property
    def is_undecided(self) -> bool:
        """Whether the gate is not lost, but the data cannot tell whether it should be."""
        return not self.is_lost and self.verdict == "inconclusive"

    @property
    def exit_code(self) -> int:
        """0, 1 when lost, 4 when undecided and strict."""
        if self.is_lost:
            return EXIT_LOST
        return EXIT_INCONCLUSIVE if self.is_undecided and self.is_strict else 0

    @property
    def outcome(self) -> str:
        """``lost``, ``undecided`` or ``won``, in a word."""
        return "lost" if self.is_lost else "undecided" if self.is_undecided else "won"

    def as_dict(self) -> dict[str, Any]:
        """Return the report, JSON-able."""
        return {
            "gate": self.name,
            "outcome": self.outcome,
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "mode": self.mode,
            "measure": self.measure,
            "view": self.view,
            "baseline": self.baseline,
            "run": self.run,
            "datasets": list(self.datasets),
            "settings": dict(self.settings),
            "tripwires": [dataclasses.asdict(trip) for trip in self.trips],
            "result": None if self.result is None else _plain(dataclasses.asdict(self.result)),
        }


def _plain(value: Any) -> Any:
    """Return tuples as lists, as JSON reads them back."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
