"""Depth curves: what a run would be worth had it reranked fewer documents, from its one scoring pass.

At depth d the first d candidates stand in the order of the run's scores, and the others follow in the first stage's
order.  At depth 0 that is the first stage, at the run's own depth the run, both to the last digit.  A score depends on
nothing but its query and its document, so nothing has to be scored again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rerank_bench.comparison.comparability import check_comparable
from rerank_bench.comparison.sources import FolderSource
from rerank_bench.evaluation.measures import PRIMARY_MEASURE, evaluate_run, measure_param, parse_measures
from rerank_bench.evaluation.significance import DEFAULT_SEED, TIE, Floats, bca_intervals, mean_of_means
from rerank_bench.evaluation.summaries import interval_of
from rerank_bench.forensics.opening import choose_datasets, left_out_notes, limit_notes, open_runs
from rerank_bench.forensics.sides import read_pool
from rerank_bench.records import Run, ScoredDocs

STEP = 5
BEYOND = (150, 200, 300, 400, 500, 750, 1000)
"""Depths above 100, where runs are that deep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthCurve:
    """One run over all depths."""

    label: str
    """Tells the run from the others."""
    values: Sequence[float]
    """One per depth: the mean over data sets of the mean over queries."""
    values_by_dataset: Mapping[str, Sequence[float]]
    best: int
    """Position of the best depth; the smallest one among equals."""
    best_gain_interval: tuple[float, float] | None
    """95% BCa interval of the value at the best depth minus that at the full one.  The best depth was chosen on the same
    queries, so it flatters a little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthReport:
    """Curves of runs over the same candidates."""

    measure: str
    datasets: Sequence[str]
    num_queries: int
    first_stage: str
    depths: Sequence[int]
    """From 0, the first stage, to the full depth."""
    curves: Sequence[DepthCurve]
    notes: Sequence[str]


def measure_depths(
    locations: Sequence[str | Path], *, measure: str = PRIMARY_MEASURE, datasets: Sequence[str] = ()
) -> DepthReport:
    """Return the depth curves of one or several runs, in the view ``end_to_end``.

    Args:
        locations: Run folders, ``result.json`` files or ``FILE.csv:MODEL``.
        measure: Any ir-measures name.
        datasets: None: all that every run has.

    Raises:
        ComparisonError: The runs share no data set, or differ in the field that the message names.
        ConfigError: A location is a TREC run, or the measure is unknown.
        DataError: A run is not finished, or a file of it is missing or broken.
    """
    (name,) = parse_measures([measure])
    sources = open_runs(locations)
    names = choose_datasets(sources, datasets)
    if len(sources) > 1:
        check_comparable(sources, names)
    blocks = [sources[0].stored.result["datasets"][dataset] for dataset in names]
    depths = depths_up_to(max(block["depth"] for block in blocks))
    matrices = [[_values_by_depth(source, dataset, name, depths) for dataset in names] for source in sources]
    return DepthReport(
        measure=name,
        datasets=names,
        num_queries=sum(len(matrix) for matrix in matrices[0]),
        first_stage=", ".join(dict.fromkeys(block["first_stage"]["name"] for block in blocks)),
        depths=depths,
        curves=[_curve(source, names, strata) for source, strata in zip(sources, matrices, strict=True)],
        notes=[
            *([] if datasets else left_out_notes(sources, names)),
            *(limit_notes(sources[0]) if len(sources) == 1 else []),
        ],
    )


def depths_up_to(full: int) -> tuple[int, ...]:
    """Return 0, then 5 to 100 in steps of 5, then wider ones; the last is the full depth."""
    below = [0, *(depth for depth in (*range(STEP, 101, STEP), *BEYOND) if depth < full)]
    return (*below, full)


def rerank_top(candidates: ScoredDocs, reranked: ScoredDocs, depth: int) -> tuple[str, ...]:
    """Return the order in which the first ``depth`` candidates are reranked and the others follow as they were."""
    top = set(candidates.doc_ids[:depth])
    return (*(doc_id for doc_id in reranked.doc_ids if doc_id in top), *candidates.doc_ids[depth:])


def _values_by_depth(source: FolderSource, dataset: str, measure: str, depths: Sequence[int]) -> Floats:
    """Return (n, len(depths)) float64; the queries in the order of their ids, as resamples are drawn by position."""
    pool = read_pool(source.stored, dataset)
    reranked = source.stored.reranked(dataset)
    query_ids = sorted(pool.query_ids)
    columns = []
    # Where unjudged documents are left out first, judged ones from below move up to the cutoff.
    cutoff = None if measure_param(measure, "judged_only") else measure_param(measure, "cutoff")
    for depth in depths:
        run = _run_at(pool.candidates.by_query, reranked, query_ids, depth, cutoff)
        values = evaluate_run(pool.qrels, run, [measure])[measure]
        columns.append([values[query_id] for query_id in query_ids])
    return np.array(columns).T


def _run_at(
    candidates: Run, reranked: Run, query_ids: Iterable[str], depth: int, cutoff: int | None
) -> dict[str, ScoredDocs]:
    """Return the run at one depth, no longer than the measure reads: that is ten times as fast."""
    run = {}
    for query_id in query_ids:
        docs = candidates[query_id]
        order = rerank_top(docs, reranked.get(query_id, docs), depth)[:cutoff]
        run[query_id] = ScoredDocs(order, docs.scores[: len(order)])
    return run


def _curve(source: FolderSource, names: Sequence[str], strata: Sequence[Floats]) -> DepthCurve:
    values = mean_of_means(strata)  # (D,)
    best = int(np.flatnonzero(values >= values.max() - TIE)[0])
    gains = [matrix[:, [best]] - matrix[:, [-1]] for matrix in strata]
    intervals = bca_intervals(gains, rng=np.random.default_rng(DEFAULT_SEED))
    return DepthCurve(
        label=source.label,
        values=values.tolist(),
        values_by_dataset={name: mean_of_means([matrix]).tolist() for name, matrix in zip(names, strata, strict=True)},
        best=best,
        best_gain_interval=None if intervals is None else interval_of(intervals[0]),
    )


def depths_to_json(report: DepthReport) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    return {
        "measure": report.measure,
        "view": "end_to_end",
        "datasets": list(report.datasets),
        "queries": report.num_queries,
        "first_stage": report.first_stage,
        "depths": list(report.depths),
        "curves": [
            {
                "run": curve.label,
                "values": list(curve.values),
                "datasets": {name: list(values) for name, values in curve.values_by_dataset.items()},
                "best_depth": report.depths[curve.best],
                "best_minus_full": curve.values[curve.best] - curve.values[-1],
                "best_minus_full_interval": None
                if curve.best_gain_interval is None
                else list(curve.best_gain_interval),
            }
            for curve in report.curves
        ],
        "notes": list(report.notes),
    }
