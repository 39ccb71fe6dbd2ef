"""What an explanation is made of; plain values, which the terminal, Markdown, JSON and HTML render alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from rerank_bench.forensics.truncation import Reader
from rerank_bench.records import MeasureSummary, View


class Happening(StrEnum):
    """What became of a query's relevant documents from before to after; exactly one holds."""

    left = "left"
    first_lower = "first_lower"
    others_lower = "others_lower"
    entered = "entered"
    first_higher = "first_higher"
    others_higher = "others_higher"
    equal = "equal"
    unreachable = "unreachable"


@dataclass(frozen=True, slots=True)
class Split:
    """What one side loses on one query, or on average, against the ideal ranking; ``ideal − value`` in two parts."""

    ideal: float
    """Value of the ranking of all judged documents by falling grade; 1 for nDCG."""
    ceiling: float
    """Value of the best order of the documents that the side ranked."""
    value: float

    @property
    def not_retrieved(self) -> float:
        """The part that no reranker can win back: relevant documents that are not among the candidates."""
        return self.ideal - self.ceiling

    @property
    def misranked(self) -> float:
        """The part that a better order of the same documents would win back."""
        return self.ceiling - self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class DocMove:
    """One document of a query: where it stood before, and after.  Ranks count from 1, ``None``: not in the list."""

    doc_id: str
    grade: int | None
    """``None``: not judged."""
    first_stage_rank: int | None
    before_rank: int | None
    after_rank: int | None
    before_score: float | None
    after_score: float | None
    would_be_rank: int | None = None
    """Of a relevant document that is no candidate: where its score would have put it after."""
    is_tied: bool = False
    """Whether another document of the query has the same score after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryExplanation:
    """One query: its values, the moves of its relevant documents, and what stands above them."""

    dataset: str
    query_id: str
    before: float
    after: float
    before_split: Split | None
    """``None`` for a measure whose best order is not known."""
    after_split: Split | None
    happening: Happening
    mover: DocMove | None
    """The relevant document whose move weighs most, by grade and by the discount of its ranks."""
    relevant: Sequence[DocMove]
    """The relevant documents that weigh most, best rank first."""
    num_relevant: int
    best_first_stage_rank: int | None
    """Of its best-placed relevant document in the first stage; ``None``: all missed."""
    best_doc_id: str
    """That document; with all missed, the one of the highest grade."""
    above: Sequence[DocMove]
    """The first documents that stand, after, above the best-placed relevant one and are not relevant."""
    num_above: int
    num_above_unjudged: int

    @property
    def delta(self) -> float:
        """Value after minus value before."""
        return self.after - self.before

    @property
    def shown_docs(self) -> Sequence[DocMove]:
        """Every document that a rendering of this query shows."""
        return [*self.relevant, *self.above]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The queries that share a feature; every query counts the same, whatever its data set."""

    num_queries: int
    before: float
    after: float
    delta: float
    interval: tuple[float, float] | None
    """95% BCa interval of the delta; ``None`` with fewer than two queries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slicing:
    """All queries, cut by one feature."""

    title: str
    slices: Mapping[str, Slice]
    """Label -> slice, in the feature's own order; empty ones are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How much one kind of happening adds to the mean difference."""

    happening: Happening
    num_queries: int
    contribution: float
    """The shares of all happenings sum to the mean difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSummary:
    """One data set, or the unweighted mean of several."""

    name: str
    num_queries: int
    summary: MeasureSummary
    """``first_stage`` is the side before, ``reranked`` the side after."""
    before_split: Split | None
    after_split: Split | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SideLabel:
    """How a rendering calls a side."""

    short: str
    """A column's title: ``A``, ``B``, ``first``, ``run``."""
    long: str
    """The whole name: model and folder."""


@dataclass(frozen=True, slots=True)
class DatasetTexts:
    """Texts of one data set, of the queries and documents that are needed; both empty where there are none."""

    queries: Mapping[str, str] = field(default_factory=dict)
    docs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Two sides over one or several data sets."""

    kind: Literal["diff", "inspect"]
    measure: str
    cutoff: int | None
    """The measure's own; ``None`` where it reads the whole list."""
    view: View
    before: SideLabel
    after: SideLabel
    settings: Mapping[str, tuple[str, str]]
    """What differs between the two runs' settings: name -> (before, after)."""
    datasets: Sequence[DatasetSummary]
    mean: DatasetSummary | None
    """The mean over data sets; ``None`` with only one."""
    shares: Sequence[Share]
    slicings: Sequence[Slicing]
    queries: Sequence[QueryExplanation]
    """Every query, the worst first."""
    texts: Mapping[str, DatasetTexts]
    """Data set -> texts."""
    readers: Mapping[str, tuple[Reader, Reader]]
    """Data set -> how much the model of each side reads."""
    notes: Sequence[str]
    """What the reader must know: texts that are not there, data sets left out."""

    @property
    def overall(self) -> DatasetSummary:
        """The headline: the mean, or the only data set."""
        return self.mean or self.datasets[0]
