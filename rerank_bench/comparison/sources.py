"""The runs that are compared: a run folder, or a TREC run with judgements; both say the same things of themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rerank_bench.data.fingerprints import fingerprint_qrels
from rerank_bench.errors import ComparisonError, DataError, describe_unknown
from rerank_bench.evaluation.measures import ValuesByQuery, evaluate_run, has_positive, parse_measures
from rerank_bench.evaluation.views import COMPATIBILITY_MEASURES
from rerank_bench.records import EMPTY_DOCS, PROTOCOL_VERSION, Qrels, Run, View
from rerank_bench.reporting.stored_result import StoredResult

IDENTITY_FIELDS = ("protocol", "corpus", "queries", "qrels", "candidates", "depth")
"""What must agree between two runs of one data set, in the order in which a disagreement is reported."""

Identity = Mapping[str, str | int | None]
"""One value for each of ``IDENTITY_FIELDS``; ``None`` where the run does not say."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunSource(ABC):
    """One run of a comparison."""

    label: str
    """What tables call it; different from the labels of the other runs."""
    location: str
    """What the user named."""
    datasets: tuple[str, ...]
    """Names of its data sets, in the order of the run."""

    suites: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Suite -> names of its data sets, of suites that the run covers whole."""
    result: Mapping[str, Any] | None = None
    """The content of ``result.json``; ``None`` for a TREC run."""

    @property
    def is_comparable(self) -> bool:
        """False for a run over part of the queries (``--limit``), which compares with nothing."""
        return self.result is None or bool(self.result["comparable"])

    def identity(self, dataset: str) -> Identity:
        """Return what must agree for a data set's values to compare."""
        self._check_dataset(dataset)
        return self._identity(dataset)

    def query_values(self, dataset: str, measure: str, view: View) -> ValuesByQuery:
        """Return query_id -> value of the reranked run, over the queries that the mean runs over.

        What is stored is read; another measure is computed from the stored ranking and the judgements.

        Args:
            dataset: One of ``datasets``.
            measure: Any ir-measures name in ``end_to_end``; the other views have nDCG@10, RR@10 and AP.
            view: A TREC run has ``end_to_end`` only.

        Raises:
            ComparisonError: The run has no such data set, view or measure, or lacks judged queries.
            ConfigError: The measure is unknown.
            DataError: A file of the run is missing or broken.
        """
        self._check_dataset(dataset)
        (name,) = parse_measures([measure])
        if view != "end_to_end" and name not in COMPATIBILITY_MEASURES:
            known = ", ".join(COMPATIBILITY_MEASURES)
            msg = f"measure {name}: view {view} has {known} only; take one of them, or --view end_to_end"
            raise ComparisonError(msg)
        return self._query_values(dataset, name, view)

    @abstractmethod
    def _identity(self, dataset: str) -> Identity: ...

    @abstractmethod
    def _query_values(self, dataset: str, measure: str, view: View) -> ValuesByQuery: ...

    def _check_dataset(self, dataset: str) -> None:
        if dataset not in self.datasets:
            raise ComparisonError(f"{self.label}: " + describe_unknown("data set", [dataset], self.datasets))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FolderSource(RunSource):
    """A run folder, or those of its data sets that a row of a leaderboard names."""

    stored: StoredResult

    def _identity(self, dataset: str) -> Identity:
        result = self.stored.result
        block = result["datasets"][dataset]
        prints = block["fingerprints"]
        fingerprints = {name: prints[name] for name in ("corpus", "queries", "qrels", "candidates")}
        return {"protocol": result["protocol_version"], **fingerprints, "depth": block["depth"]}

    def _query_values(self, dataset: str, measure: str, view: View) -> ValuesByQuery:
        values = self.stored.query_values(dataset, view)
        if measure in values:
            return {query_id: reranked for query_id, (_, reranked) in values[measure].items()}
        if view != "end_to_end" or not values:
            msg = f"{self.stored.folder}: no stored values of {measure} on {dataset}, view {view}; run it again"
            raise DataError(msg)
        query_ids = next(iter(values.values())).keys()  # of any measure: all run over the same queries
        return _evaluate(self.stored.reranked(dataset), self.stored.qrels(dataset), query_ids, measure)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrecSource(RunSource):
    """A TREC run of one data set; where its candidates came from is not known."""

    path: Path
    run: Run
    qrels: Qrels
    allow_missing_queries: bool = False
    """Whether a judged query that the run lacks counts 0."""

    def _identity(self, dataset: str) -> Identity:  # noqa: ARG002  it has one data set
        unknown = dict.fromkeys(IDENTITY_FIELDS)
        return {**unknown, "protocol": PROTOCOL_VERSION, "qrels": fingerprint_qrels(self.qrels)}

    def _query_values(self, dataset: str, measure: str, view: View) -> ValuesByQuery:
        if view != "end_to_end":
            msg = f"view {view}: {self.label} is a TREC run, which has the view end_to_end only; leave --view out"
            raise ComparisonError(msg)
        judged = [query_id for query_id, grades in self.qrels.items() if has_positive(grades)]
        missing = [query_id for query_id in judged if query_id not in self.run]
        if len(missing) == len(judged) or (missing and not self.allow_missing_queries):
            examples = ", ".join(map(repr, missing[:3]))
            advice = (
                "complete the run, or let them count 0 with --allow-missing-queries"
                if len(missing) < len(judged)
                else f"it has {', '.join(map(repr, list(self.run)[:3])) or 'no query at all'}; is it of this data set?"
            )
            msg = (
                f"queries: {self.label} lacks {len(missing)} of {len(judged)} judged queries of {dataset} "
                f"(first: {examples}); {advice}"
            )
            raise ComparisonError(msg)
        return _evaluate(self.run, self.qrels, judged, measure)


def _evaluate(run: Run, qrels: Qrels, query_ids: Collection[str], measure: str) -> ValuesByQuery:
    """Return the values of a measure; a query without documents counts 0."""
    return evaluate_run(qrels, {query_id: run.get(query_id, EMPTY_DOCS) for query_id in query_ids}, [measure])[measure]
