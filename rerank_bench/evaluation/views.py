"""The pool that a model scores, and the three views that one scoring pass is read in (docs/protocol.md, section 4).

``end_to_end`` ranks the candidates and judges them with the complete qrels.  ``injected`` and ``retrieved`` follow
``CrossEncoderRerankingEvaluator`` of Sentence Transformers 6.2 with ``always_rerank_positives`` True and False, so that
our values stand beside those of model cards.  Nothing is computed here: a view says which two runs are evaluated
against which judgements.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import DataError, ScoringError
from rerank_bench.ranking import check_finite, rank_docs, scores_from_ranks
from rerank_bench.records import EMPTY_DOCS, POSITIVE_GRADE, CandidateSet, Qrels, Run, ScoredDocs, View

COMPATIBILITY_MEASURES: tuple[str, ...] = ("nDCG@10", "RR@10", "AP")
"""What the imitated evaluator calls ``ndcg@10``, ``mrr@10`` and ``map``; its two views have no others."""

PoolScores = Mapping[str, NDArray[np.float32]]
"""query_id -> one score per document of its pool, in the pool's order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPool:
    """What one scoring pass gives, and what it is judged with."""

    query_ids: Sequence[str]
    """The queries that the means run over: each has a positive document."""
    candidates: CandidateSet
    pool: Mapping[str, Sequence[str]]
    """query_id -> the documents that were scored, as ``build_pool`` returns them."""
    scores: PoolScores
    qrels: Qrels
    missing: Collection[str] = ()
    """Queries that were not reranked, though they should have been: nothing is ranked for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewInputs:
    """The two runs of a view, and what each is judged with; both sides hold the same queries."""

    first_stage: Run
    first_stage_qrels: Qrels
    reranked: Run
    reranked_qrels: Qrels


def missed_positives(candidates: CandidateSet, qrels: Qrels) -> dict[str, tuple[str, ...]]:
    """Return query_id -> the positive documents that the first stage missed, in the order of ``qrels``.

    Every query of the candidate set has an entry, which may be empty.
    """
    missed = {}
    for query_id, docs in candidates.by_query.items():
        found = set(docs.doc_ids)
        missed[query_id] = tuple(
            doc_id
            for doc_id, grade in qrels.get(query_id, {}).items()
            if grade >= POSITIVE_GRADE and doc_id not in found
        )
    return missed


def build_pool(candidates: CandidateSet, qrels: Qrels) -> dict[str, tuple[str, ...]]:
    """Return query_id -> the documents to score: the candidates in their order, then the missed positives.

    Every query of the candidate set has an entry.
    """
    missed = missed_positives(candidates, qrels)
    return {query_id: docs.doc_ids + missed[query_id] for query_id, docs in candidates.by_query.items()}


def check_pool_scores(scored: ScoredPool) -> None:
    """Raise unless every query has a candidate list, and one finite score for each document of its pool.

    Raises:
        DataError: A query has no entry among the candidates.
        ScoringError: A query's scores are absent, or not as many as its documents.
        InvalidScoreError: A score is NaN or infinite.
    """
    name, num_queries = scored.candidates.dataset_name, len(scored.query_ids)
    absent = [query_id for query_id in scored.query_ids if query_id not in scored.candidates.by_query]
    if absent:
        msg = (
            f"{name}: {len(absent)} of {num_queries} judged queries have no entry in the candidate list "
            f"(first: {', '.join(map(repr, absent[:3]))}); rebuild it; a query without candidates has an empty entry"
        )
        raise DataError(msg)
    unscored = [query_id for query_id in scored.query_ids if query_id not in scored.scores]
    if unscored:
        msg = (
            f"{name}: {len(unscored)} of {num_queries} judged queries have no scores "
            f"(first: {', '.join(map(repr, unscored[:3]))}); score the whole pool"
        )
        raise ScoringError(msg)
    for query_id in scored.query_ids:
        doc_ids, scores = scored.pool[query_id], np.asarray(scored.scores[query_id])
        if scores.shape != (len(doc_ids),):
            msg = (
                f"{name}, query {query_id!r}: scores of shape {scores.shape} for a pool of {len(doc_ids)} documents; "
                f"expected one score per candidate and missed positive, in the pool's order"
            )
            raise ScoringError(msg)
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is named as such
            check_finite(query_id, doc_ids, scores.astype(np.float32))


def build_end_to_end(scored: ScoredPool) -> ViewInputs:
    """Return the view of a user: the candidates before and after reranking, both against the complete qrels."""
    complete = {query_id: scored.qrels[query_id] for query_id in scored.query_ids}
    return ViewInputs(
        first_stage={query_id: scored.candidates.by_query[query_id] for query_id in scored.query_ids},
        first_stage_qrels=complete,
        reranked={query_id: _rank_candidates(query_id, scored) for query_id in scored.query_ids},
        reranked_qrels=complete,
    )


def build_injected(scored: ScoredPool) -> ViewInputs:
    """Return the view of model cards: the whole pool is reranked, so that no positive can be missing."""
    positives = _positives(scored)
    return ViewInputs(
        first_stage=_base_run(scored, positives),
        first_stage_qrels=positives,
        reranked={query_id: _rank(query_id, scored, None) for query_id in scored.query_ids},
        reranked_qrels=positives,
    )


def build_retrieved(scored: ScoredPool) -> ViewInputs:
    """Return the view of the candidates alone, as if the positives among them were all that there are.

    The first stage's side still counts the missed positives and the reranked side does not, as in the evaluator that
    is imitated: a reranker that keeps the first stage's order can show a gain here.
    """
    positives = _positives(scored)
    retrieved = {
        query_id: {d: 1 for d in scored.candidates.by_query[query_id].doc_ids if d in positives[query_id]}
        for query_id in scored.query_ids
    }
    return ViewInputs(
        first_stage=_base_run(scored, positives),
        first_stage_qrels=positives,
        reranked={query_id: _rank_candidates(query_id, scored) for query_id in scored.query_ids},
        reranked_qrels=retrieved,
    )


BUILDERS: Mapping[View, Callable[[ScoredPool], ViewInputs]] = {
    "end_to_end": build_end_to_end,
    "injected": build_injected,
    "retrieved": build_retrieved,
}


def _rank_candidates(query_id: str, scored: ScoredPool) -> ScoredDocs:
    return _rank(query_id, scored, len(scored.candidates.by_query[query_id]))


def _rank(query_id: str, scored: ScoredPool, num_docs: int | None) -> ScoredDocs:
    """Return the first documents of a query's pool (``None``: all) in the order of their scores."""
    if query_id in scored.missing:
        return EMPTY_DOCS
    return rank_docs(query_id, scored.pool[query_id][:num_docs], np.asarray(scored.scores[query_id])[:num_docs])


def _positives(scored: ScoredPool) -> dict[str, dict[str, int]]:
    """Return the positives of each query with grade 1: the evaluator that is imitated knows no grades."""
    return {
        query_id: {d: 1 for d, g in scored.qrels[query_id].items() if g >= POSITIVE_GRADE}
        for query_id in scored.query_ids
    }


def _base_run(scored: ScoredPool, positives: Qrels) -> dict[str, ScoredDocs]:
    """Return the compatibility views' first stage: the pool's order; nothing where no positive was retrieved."""
    run = {}
    for query_id in scored.query_ids:
        has_retrieved = any(doc_id in positives[query_id] for doc_id in scored.candidates.by_query[query_id].doc_ids)
        docs = tuple(scored.pool[query_id])
        run[query_id] = ScoredDocs(docs, scores_from_ranks(len(docs))) if has_retrieved else EMPTY_DOCS
    return run
