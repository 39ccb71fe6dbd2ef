"""The evaluation of a reranker on one data set, and of a suite of data sets (docs/protocol.md)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from rerank_bench.errors import ComparisonError, DataError
from rerank_bench.evaluation.ideal import best_order, has_best_order
from rerank_bench.evaluation.measures import (
    STANDARD_MEASURES,
    evaluate_run,
    has_positive,
    parse_measures,
)
from rerank_bench.evaluation.significance import DEFAULT_SEED, RESAMPLES, Floats, mean
from rerank_bench.evaluation.summaries import summarise_columns
from rerank_bench.evaluation.ties import report_ties
from rerank_bench.evaluation.views import (
    BUILDERS,
    COMPATIBILITY_MEASURES,
    PoolScores,
    ScoredPool,
    ViewInputs,
    build_pool,
    check_pool_scores,
)
from rerank_bench.records import (
    POSITIVE_GRADE,
    VIEWS,
    CandidateSet,
    Evaluation,
    MeasureSummary,
    Qrels,
    View,
    ViewEvaluation,
)

PairsByQuery = Mapping[str, tuple[float, float]]
"""query_id -> (value before reranking, value after)."""


def evaluate_reranker(
    *,
    query_ids: Sequence[str],
    qrels: Qrels,
    candidates: CandidateSet,
    scores: PoolScores,
    missing: Collection[str] = (),
    measures: Sequence[str] = STANDARD_MEASURES,
    seed: int = DEFAULT_SEED,
    resamples: int = RESAMPLES,
) -> Evaluation:
    """Return what one scoring pass over the pool says of a reranker, in all three views.

    The means run over the queries that have a positive judgement; the others are counted by fate: ``unjudged``, and
    ``all_zero`` for those without a grade of at least 1.  Of those evaluated, ``empty_candidates`` have no candidate
    and count 0, and ``no_positive_retrieved`` have no positive among their candidates.

    Args:
        query_ids: The queries, each once; judgements of other queries are not used.
        qrels: The judgements.
        candidates: The first stage's documents of every query.
        scores: One score per document of ``build_pool(candidates, qrels)``, in its order, for every judged query.
        missing: Queries that a stored run lacks: after reranking they count 0, and are reported as ``missing``.
        measures: What ``end_to_end`` is measured with; the compatibility views have nDCG@10, RR@10 and AP only.
        seed: Seeds the bootstrap and the sign flips.
        resamples: The number of each.

    Raises:
        ConfigError: A measure is unknown.
        DataError: No query has a positive judgement, or one has no entry among the candidates.
        ScoringError: A query's scores are absent or not as many as its documents.
        InvalidScoreError: A score is NaN or infinite.
    """
    names = parse_measures(measures)
    evaluated, counts = select_queries(query_ids, qrels, candidates.dataset_name)
    scored = ScoredPool(
        query_ids=evaluated,
        candidates=candidates,
        pool=build_pool(candidates, qrels),
        scores=scores,
        qrels=qrels,
        missing=frozenset(missing),
    )
    check_pool_scores(scored)
    inputs = {view: BUILDERS[view](scored) for view in VIEWS}
    values: dict[View, dict[str, PairsByQuery]] = {
        view: _pair_values(inputs[view], names if view == "end_to_end" else COMPATIBILITY_MEASURES) for view in VIEWS
    }
    ceilings = _ceilings(inputs["end_to_end"], names)
    columns = [(view, name) for view in VIEWS for name in values[view]]
    matrix = _stack_columns(values[view][name] for view, name in columns)  # (n, M, 2)
    summaries = summarise_columns(
        [matrix[:, :, 0]],
        [matrix[:, :, 1]],
        [ceilings.get(name) if view == "end_to_end" else None for view, name in columns],
        seed=seed,
        resamples=resamples,
    )
    by_column = dict(zip(columns, summaries, strict=True))
    counts["empty_candidates"] = sum(not len(candidates.by_query[query_id]) for query_id in evaluated)
    counts["no_positive_retrieved"] = _count_unreachable(scored)
    counts["missing"] = sum(query_id in scored.missing for query_id in evaluated)
    return Evaluation(
        views={
            view: ViewEvaluation(
                measures={name: by_column[view, name] for name in values[view]}, per_query=values[view]
            )
            for view in VIEWS
        },
        ties=report_ties(inputs["end_to_end"].reranked, qrels),
        counts=counts,
    )


def select_queries(query_ids: Sequence[str], qrels: Qrels, where: str) -> tuple[list[str], dict[str, int]]:
    """Return the queries that the means run over, and how many there are of each fate."""
    judged = [query_id for query_id in query_ids if qrels.get(query_id)]
    evaluated = [query_id for query_id in judged if has_positive(qrels[query_id])]
    if not evaluated:
        msg = (
            f"{where}: none of {len(query_ids)} queries has a positive judgement ({len(judged)} are judged at all); "
            f"expected grades of at least 1 for ids such as {', '.join(map(repr, query_ids[:3])) or '(no query)'}"
        )
        raise DataError(msg)
    counts = {
        "queries": len(query_ids),
        "evaluated": len(evaluated),
        "unjudged": len(query_ids) - len(judged),
        "all_zero": len(judged) - len(evaluated),
    }
    return evaluated, counts


def _pair_values(inputs: ViewInputs, names: Sequence[str]) -> dict[str, PairsByQuery]:
    before = evaluate_run(inputs.first_stage_qrels, inputs.first_stage, names)
    after = evaluate_run(inputs.reranked_qrels, inputs.reranked, names)
    return {name: {q: (before[name][q], after[name][q]) for q in before[name]} for name in names}


def _ceilings(inputs: ViewInputs, names: Sequence[str]) -> dict[str, float | None]:
    """Return measure -> mean value of the ideal reordering of the candidates."""
    ideal = {
        query_id: best_order(docs, inputs.first_stage_qrels[query_id]) for query_id, docs in inputs.first_stage.items()
    }
    values = evaluate_run(inputs.first_stage_qrels, ideal, names)
    return {name: mean(values[name].values()) if has_best_order(name) else None for name in names}


def _count_unreachable(scored: ScoredPool) -> int:
    """Return the number of queries without a positive among their candidates."""
    return sum(
        not any(
            scored.qrels[query_id].get(d, 0) >= POSITIVE_GRADE for d in scored.candidates.by_query[query_id].doc_ids
        )
        for query_id in scored.query_ids
    )


def evaluate_suite(
    evaluations: Mapping[str, Evaluation], *, seed: int = DEFAULT_SEED, resamples: int = RESAMPLES
) -> dict[View, dict[str, MeasureSummary]]:
    """Return view -> measure -> summary over several data sets, each of which weighs the same.

    Args:
        evaluations: Data set's name -> its evaluation; their order does not matter.
        seed: Seeds the bootstrap and the sign flips.
        resamples: The number of each.

    Raises:
        DataError: There is no data set.
        ComparisonError: Two data sets were evaluated with different measures.
    """
    if not evaluations:
        msg = "a suite needs at least one evaluated data set, found none"
        raise DataError(msg)
    names = sorted(evaluations)
    columns = _columns(evaluations[names[0]])
    for name in names[1:]:
        if _columns(evaluations[name]) != columns:
            differing = sorted({f"{m} ({v})" for v, m in set(columns) ^ set(_columns(evaluations[name]))})
            msg = (
                f"data sets {names[0]!r} and {name!r} were evaluated with different measures: only one has "
                f"{', '.join(differing)}; evaluate both with the same ones"
            )
            raise ComparisonError(msg)
    matrices = [  # D times (n_d, M, 2)
        _stack_columns(evaluations[name].views[view].per_query[measure] for view, measure in columns) for name in names
    ]
    summaries = summarise_columns(
        [matrix[:, :, 0] for matrix in matrices],
        [matrix[:, :, 1] for matrix in matrices],
        [_mean_ceiling([evaluations[name].views[v].measures[m].ceiling for name in names]) for v, m in columns],
        seed=seed,
        resamples=resamples,
    )
    suite: dict[View, dict[str, MeasureSummary]] = {}
    for (view, measure), summary in zip(columns, summaries, strict=True):
        suite.setdefault(view, {})[measure] = summary
    return suite


def _columns(evaluation: Evaluation) -> list[tuple[View, str]]:
    return [(view, name) for view, evaluated in evaluation.views.items() for name in evaluated.measures]


def _stack_columns(columns: Iterable[PairsByQuery]) -> Floats:
    """Return (n, M, 2) float64: n queries in the order of their ids, M columns, values before and after reranking.

    Resamples are drawn by position: in the order of a file's lines, data of the same fingerprints would get other
    intervals and p-values.
    """
    return np.stack([[pairs[query_id] for query_id in sorted(pairs)] for pairs in columns], axis=1)


def _mean_ceiling(ceilings: Sequence[float | None]) -> float | None:
    known = [ceiling for ceiling in ceilings if ceiling is not None]
    return mean(known) if len(known) == len(ceilings) else None
