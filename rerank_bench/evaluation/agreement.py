"""How far two runs over the same candidates rank alike: the report that shows what a lower precision costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import ComparisonError
from rerank_bench.evaluation.measures import PRIMARY_MEASURE, evaluate_run
from rerank_bench.evaluation.significance import mean
from rerank_bench.records import Qrels, Run, ScoredDocs

CUTOFF = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RankAgreement:
    """One run against a reference that ranks the same documents for the same queries."""

    num_queries: int
    num_docs: int
    """Documents of all queries."""
    kendall_tau: float | None
    """Kendall's tau-b per query, on average; ``None`` where no query has two documents of different score."""
    top10_overlap: float
    """Share of the reference's first ten documents that stand among the run's first ten, on average over queries."""
    top10_changed: float
    """Share of the queries whose first ten documents are not the same in the same order."""
    spurious_ties: int
    """Documents that share their score with another one of their query in the run, and with none in the reference."""
    largest_score_difference: float
    largest_score: float
    """Of the reference, without its sign: the scale that differences are judged by."""
    ndcg10: float | None
    """nDCG@10 of the run; ``None`` where no query has a positive judgement."""
    ndcg10_reference: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, JSON-able."""
        return asdict(self)


def rank_agreement(run: Run, reference: Run, qrels: Qrels) -> RankAgreement:
    """Compare a run with a reference.

    Args:
        run: Documents best first, as ``ranking.rank_docs`` orders them; queries without documents are left out.
        reference: The same documents with other scores.
        qrels: Judgements; nDCG@10 runs over the queries that have a positive one.

    Raises:
        ComparisonError: The runs do not hold the same queries and documents, or hold none.

    References:
        Kendall, "The treatment of ties in ranking problems", Biometrika 33, 1945 (tau-b; computed by scipy).
    """
    query_ids = [query_id for query_id, docs in run.items() if len(docs)]
    _check_same(run, reference, query_ids)
    taus: list[float] = []
    overlaps: list[float] = []
    num_changed = num_spurious = 0
    differences: list[float] = [0.0]
    for query_id in query_ids:
        own, other = run[query_id], reference[query_id]
        scores, reference_scores = _aligned(own, other)
        taus += _kendall_tau(scores, reference_scores)
        first, reference_first = own.doc_ids[:CUTOFF], other.doc_ids[:CUTOFF]
        overlaps.append(len(set(first) & set(reference_first)) / len(reference_first))
        num_changed += first != reference_first
        num_spurious += int((_is_tied(scores) & ~_is_tied(reference_scores)).sum())
        differences.append(float(np.abs(scores.astype(np.float64) - reference_scores).max()))
    judged = [query_id for query_id in query_ids if any(grade > 0 for grade in qrels.get(query_id, {}).values())]
    return RankAgreement(
        num_queries=len(query_ids),
        num_docs=sum(len(run[query_id]) for query_id in query_ids),
        kendall_tau=mean(taus) if taus else None,
        top10_overlap=mean(overlaps),
        top10_changed=num_changed / len(query_ids),
        spurious_ties=num_spurious,
        largest_score_difference=max(differences),
        largest_score=max(float(np.abs(reference[query_id].scores).max()) for query_id in query_ids),
        ndcg10=_mean_ndcg(run, qrels, judged),
        ndcg10_reference=_mean_ndcg(reference, qrels, judged),
    )


def _check_same(run: Run, reference: Run, query_ids: list[str]) -> None:
    if not query_ids:
        msg = "no query has a document, so there is no ranking to compare"
        raise ComparisonError(msg)
    for query_id in query_ids:
        if set(run[query_id].doc_ids) != set(reference.get(query_id, ScoredDocs((), np.empty(0, np.float32))).doc_ids):
            msg = (
                f"query {query_id!r}: the two runs do not rank the same documents; expected one candidate list for both"
            )
            raise ComparisonError(msg)


def _aligned(run: ScoredDocs, reference: ScoredDocs) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the (n,) scores of both, in the order of the run's documents."""
    place: Mapping[str, int] = {doc_id: row for row, doc_id in enumerate(reference.doc_ids)}
    return run.scores, reference.scores[[place[doc_id] for doc_id in run.doc_ids]]


def _kendall_tau(scores: NDArray[np.float32], reference: NDArray[np.float32]) -> list[float]:
    """Return tau-b, or nothing where it is not defined: all documents of one of the lists tie."""
    from scipy.stats import kendalltau

    if len(np.unique(scores)) < 2 or len(np.unique(reference)) < 2:
        return []
    return [float(kendalltau(scores, reference).statistic)]


def _is_tied(scores: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return (n,): whether a score stands more than once."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse.reshape(-1)] > 1)


def _mean_ndcg(run: Run, qrels: Qrels, query_ids: list[str]) -> float | None:
    if not query_ids:
        return None
    values = evaluate_run(qrels, {query_id: run[query_id] for query_id in query_ids}, [PRIMARY_MEASURE])
    return mean(values[PRIMARY_MEASURE].values())
