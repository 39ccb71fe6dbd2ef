"""The evaluation of a run that was made elsewhere: ``rerank-bench evaluate RUN --qrels FILE``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rerank_bench.errors import DataError
from rerank_bench.evaluation.evaluate import select_queries
from rerank_bench.evaluation.measures import STANDARD_MEASURES, evaluate_run, parse_measures
from rerank_bench.evaluation.significance import DEFAULT_SEED, RESAMPLES, bca_intervals, mean
from rerank_bench.evaluation.summaries import interval_of, ties_to_json
from rerank_bench.evaluation.ties import report_ties
from rerank_bench.records import EMPTY_DOCS, Qrels, Run, TieReport


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanSummary:
    """One measure of a stored run."""

    mean: float
    ci: tuple[float, float] | None
    """95% BCa interval of the mean; ``None`` with fewer than two queries."""
    sd: float | None
    """Standard deviation of the per-query values (n − 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRunEvaluation:
    """A stored run against judgements."""

    measures: Mapping[str, MeanSummary]
    per_query: Mapping[str, Mapping[str, float]]
    """measure -> query_id -> value, over the queries that the mean runs over."""
    ties: TieReport
    counts: Mapping[str, int]
    """``queries`` (judged), ``evaluated``, ``all_zero``, ``missing`` (evaluated as 0) and ``unjudged`` (left out)."""


def evaluate_stored_run(
    run: Run,
    qrels: Qrels,
    measures: Sequence[str] = STANDARD_MEASURES,
    *,
    allow_missing_queries: bool = False,
    seed: int = DEFAULT_SEED,
    resamples: int = RESAMPLES,
) -> StoredRunEvaluation:
    """Return the values of a run that was made elsewhere.

    Args:
        run: Documents best first, as ``trec_io.read_run`` returns them.
        qrels: The judgements; the means run over their queries that have a positive one.
        measures: Names as ``parse_measures`` takes them.
        allow_missing_queries: Whether a judged query that the run lacks counts 0; it is an error otherwise.
        seed: Seeds the bootstrap.
        resamples: The number of resamples.

    Raises:
        ConfigError: A measure is unknown.
        DataError: A judged query is missing from the run, or no query has a positive judgement.
    """
    names = parse_measures(measures)
    evaluated, counts = select_queries(list(qrels), qrels, "the qrels")
    missing = _missing_queries(run, evaluated, allow_missing_queries=allow_missing_queries)
    judged_run = {query_id: run.get(query_id, EMPTY_DOCS) for query_id in evaluated}
    values = evaluate_run(qrels, judged_run, names)
    # In the order of the ids, as resamples are drawn by position.
    matrix = np.array([[values[name][query_id] for query_id in sorted(evaluated)] for name in names]).T  # (n, M)
    intervals = bca_intervals([matrix], rng=np.random.default_rng(seed), resamples=resamples)
    return StoredRunEvaluation(
        measures={
            name: MeanSummary(
                mean=mean(values[name].values()),
                ci=None if intervals is None else interval_of(intervals[column]),
                sd=float(matrix[:, column].std(ddof=1)) if len(matrix) > 1 else None,
            )
            for column, name in enumerate(names)
        },
        per_query=values,
        ties=report_ties(judged_run, qrels),
        counts={**counts, "unjudged": sum(query_id not in qrels for query_id in run), "missing": len(missing)},
    )


def _missing_queries(run: Run, evaluated: Sequence[str], *, allow_missing_queries: bool) -> list[str]:
    missing = [query_id for query_id in evaluated if query_id not in run]
    examples = ", ".join(map(repr, missing[:3]))
    if len(missing) == len(evaluated):
        msg = (
            f"the run holds none of the {len(evaluated)} judged queries: it has "
            f"{', '.join(map(repr, list(run)[:3])) or 'no query at all'}, the qrels have {examples}; "
            f"do both belong to the same data set?"
        )
        raise DataError(msg)
    if missing and not allow_missing_queries:
        msg = (
            f"the run lacks {len(missing)} of {len(evaluated)} judged queries (first: {examples}); they would count "
            f"as 0. Complete the run, or pass --allow-missing-queries"
        )
        raise DataError(msg)
    return missing


def stored_run_to_json(evaluation: StoredRunEvaluation) -> dict[str, Any]:
    """Return ``{"measures": {name: {mean, ci, sd}}, "ties": {…}, "counts": {…}}``."""
    return {
        "measures": {
            name: {"mean": summary.mean, "ci": None if summary.ci is None else list(summary.ci), "sd": summary.sd}
            for name, summary in evaluation.measures.items()
        },
        "ties": ties_to_json(evaluation.ties),
        "counts": dict(evaluation.counts),
    }
