"""Values of several runs on the same queries, side by side: what differences, intervals and tests are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rerank_bench.comparison.sources import RunSource
from rerank_bench.errors import ComparisonError
from rerank_bench.evaluation.measures import ValuesByQuery
from rerank_bench.evaluation.significance import Floats
from rerank_bench.records import View


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AlignedValues:
    """One data set: a measure's values of all runs, query by query."""

    dataset: str
    query_ids: tuple[str, ...]
    """n ids, sorted: resamples are drawn by position, and the order of a file's lines must not decide them."""
    values: Floats
    """(n, R) float64, one column per run."""

    def differences(self, first: int, second: int) -> Floats:
        """Return (n, 1) float64: values of run ``second`` minus those of run ``first`` (positions from 0).

        One such array per data set is what ``evaluation.significance`` calls strata.
        """
        return self.values[:, [second]] - self.values[:, [first]]


def align_runs(
    sources: Sequence[RunSource], datasets: Sequence[str], *, measure: str, view: View = "end_to_end"
) -> dict[str, AlignedValues]:
    """Return data set -> the values of all runs on its queries.

    Args:
        sources: R runs, as ``comparability.check_comparable`` found them comparable.
        datasets: Data sets that each of them has.
        measure: Any ir-measures name.
        view: The view to compare in.

    Raises:
        ComparisonError: A run lacks queries that another one has, or the measure or the view.
        ConfigError: The measure is unknown.
        DataError: A file of a run is missing or broken.
    """
    return {dataset: _align_dataset(sources, dataset, measure, view) for dataset in datasets}


def _align_dataset(sources: Sequence[RunSource], dataset: str, measure: str, view: View) -> AlignedValues:
    columns = {source.label: source.query_values(dataset, measure, view) for source in sources}
    _check_same_queries(dataset, columns)
    query_ids = tuple(sorted(next(iter(columns.values()))))
    values = np.array([[column[query_id] for column in columns.values()] for query_id in query_ids])  # (n, R)
    return AlignedValues(dataset=dataset, query_ids=query_ids, values=values)


def _check_same_queries(dataset: str, columns: Mapping[str, ValuesByQuery]) -> None:
    (first, expected), *others = columns.items()
    for label, found in others:
        for fuller, poorer, gap in ((first, label, expected.keys() - found), (label, first, found.keys() - expected)):
            if gap:
                examples = ", ".join(map(repr, sorted(gap)[:3]))
                msg = (
                    f"queries of {dataset}: {poorer} lacks {len(gap)} of the {len(columns[fuller])} that {fuller} has "
                    f"(first: {examples}); run both over the same queries"
                )
                raise ComparisonError(msg)
