"""Per query: where the relevant documents went, what stands above them, and how much of the loss is whose."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rerank_bench.evaluation.ideal import best_order, has_best_order, ideal_order
from rerank_bench.evaluation.measures import evaluate_run, measure_param
from rerank_bench.evaluation.significance import TIE
from rerank_bench.forensics.records import DocMove, Happening, QueryExplanation, Split
from rerank_bench.forensics.sides import DatasetCase, Side
from rerank_bench.ranking import rank_docs
from rerank_bench.records import POSITIVE_GRADE

MAX_RELEVANT = 5
"""Relevant documents of a query that are listed; the counts run over all."""
MAX_ABOVE = 3
"""Documents above them that are listed."""

Splits = Mapping[str, Split]
"""query_id -> split."""


def split_losses(case: DatasetCase, side: Side) -> Splits | None:
    """Return what a side loses on each query, in two parts that sum to ``ideal − value``.

    ``ideal`` is the value of the ranking of all judged documents by falling grade, ``ceiling`` that of the best order
    of what the side ranked.

    Returns:
        ``None`` for a measure with gains of its own, whose best order is not known.
    """
    measure = case.measure
    if not has_best_order(measure):
        return None
    ideal_run = {query_id: ideal_order(case.ideal_qrels[query_id]) for query_id in case.query_ids}
    best_run = {query_id: best_order(side.run[query_id], side.qrels[query_id]) for query_id in case.query_ids}
    ideal = evaluate_run(case.ideal_qrels, ideal_run, [measure])[measure]
    ceiling = evaluate_run(side.qrels, best_run, [measure])[measure]
    return {q: Split(ideal[q], ceiling[q], side.values[q]) for q in case.query_ids}


def explain_queries(case: DatasetCase) -> list[QueryExplanation]:
    """Return one explanation per query that the means run over, in the order of the run."""
    before, after = split_losses(case, case.before), split_losses(case, case.after)
    cutoff = measure_param(case.measure, "cutoff")
    return [
        _explain_query(
            case,
            query_id,
            cutoff=cutoff,
            splits=(None if before is None else before[query_id], None if after is None else after[query_id]),
        )
        for query_id in case.query_ids
    ]


def _explain_query(
    case: DatasetCase, query_id: str, *, cutoff: int | None, splits: tuple[Split | None, Split | None]
) -> QueryExplanation:
    ranks = _Ranks(case, query_id)
    judged = case.qrels[query_id]
    positives = [doc_id for doc_id, grade in judged.items() if grade >= POSITIVE_GRADE]
    before, after = case.before.values[query_id], case.after.values[query_id]
    mover = max(positives, key=lambda doc_id: (_weight(judged[doc_id], ranks, doc_id, after - before), doc_id))
    has_moved = ranks.before.get(mover) != ranks.after.get(mover)
    # What weighs most in either list comes first, so that a long list is cut where nothing happens.
    relevant = sorted(positives, key=lambda d: (d != mover, min(ranks.of_side(d)), -judged[d], d))[:MAX_RELEVANT]
    first_relevant = min((ranks.after[d] for d in positives if d in ranks.after), default=math.inf)
    others = [d for d in case.after.run[query_id].doc_ids if ranks.after[d] < first_relevant]
    if first_relevant == math.inf and cutoff is not None:
        others = others[:cutoff]
    best = min(positives, key=lambda d: (ranks.first_stage.get(d, math.inf), -judged[d], d))
    return QueryExplanation(
        dataset=case.name,
        query_id=query_id,
        before=before,
        after=after,
        before_split=splits[0],
        after_split=splits[1],
        happening=_classify(positives, ranks, after - before, cutoff),
        mover=ranks.move(mover) if has_moved else None,
        relevant=[ranks.move(d) for d in sorted(relevant, key=lambda d: (min(ranks.of_side(d)), -judged[d], d))],
        num_relevant=len(positives),
        best_first_stage_rank=ranks.first_stage.get(best),
        best_doc_id=best,
        above=[ranks.move(d) for d in others[:MAX_ABOVE]],
        num_above=len(others),
        num_above_unjudged=sum(d not in judged for d in others),
    )


class _Ranks:
    """Where the documents of one query stand: doc_id -> rank, from 1.

    Args:
        case: The data set.
        query_id: The query.
    """

    def __init__(self, case: DatasetCase, query_id: str) -> None:
        self.first_stage = _rank_by_doc(case.candidates[query_id].doc_ids)
        self.before = _rank_by_doc(case.before.run[query_id].doc_ids)
        self.after = _rank_by_doc(case.after.run[query_id].doc_ids)
        self._judged = case.qrels[query_id]
        self._before_scores = case.before.scores.get(query_id, {})
        self._after_scores = case.after.scores.get(query_id, {})
        self._query_id = query_id

    def of_side(self, doc_id: str) -> tuple[float, float]:
        """Return (rank before, rank after), infinite where the document is not in the list."""
        return self.before.get(doc_id, math.inf), self.after.get(doc_id, math.inf)

    def move(self, doc_id: str) -> DocMove:
        """Return everything that is known of one document."""
        score = self._after_scores.get(doc_id)
        return DocMove(
            doc_id=doc_id,
            grade=self._judged.get(doc_id),
            first_stage_rank=self.first_stage.get(doc_id),
            before_rank=self.before.get(doc_id),
            after_rank=self.after.get(doc_id),
            before_score=self._before_scores.get(doc_id),
            after_score=score,
            would_be_rank=self._would_be_rank(doc_id) if doc_id not in self.first_stage else None,
            is_tied=any(d != doc_id and self._after_scores[d] == score for d in self.after if d in self._after_scores),
        )

    def _would_be_rank(self, doc_id: str) -> int | None:
        """Return the rank among the candidates that the document's own score would give it."""
        if doc_id not in self._after_scores:
            return None
        doc_ids = [*self.first_stage, doc_id]
        ranked = rank_docs(self._query_id, doc_ids, [self._after_scores[d] for d in doc_ids])
        return ranked.doc_ids.index(doc_id) + 1


def _rank_by_doc(doc_ids: Sequence[str]) -> dict[str, int]:
    return {doc_id: rank for rank, doc_id in enumerate(doc_ids, start=1)}


def _weight(grade: int, ranks: _Ranks, doc_id: str, delta: float) -> float:
    """Return how much a document's move adds to a change in the direction of ``delta``, as nDCG would weigh it."""
    before, after = ranks.of_side(doc_id)
    change = grade * (1 / math.log2(1 + after) - 1 / math.log2(1 + before))
    return change if delta > 0 else -change if delta < 0 else abs(change)


def _classify(positives: Sequence[str], ranks: _Ranks, delta: float, cutoff: int | None) -> Happening:
    reached = [doc_id for doc_id in positives if doc_id in ranks.before or doc_id in ranks.after]
    if not reached:
        return Happening.unreachable
    if abs(delta) <= TIE:
        return Happening.equal
    firsts = [min((side[d] for d in reached if d in side), default=math.inf) for side in (ranks.before, ranks.after)]
    is_in_top = [first <= (math.inf if cutoff is None else cutoff) and first < math.inf for first in firsts]
    if delta < 0:
        if is_in_top == [True, False]:
            return Happening.left
        return Happening.first_lower if firsts[1] > firsts[0] else Happening.others_lower
    if is_in_top == [False, True]:
        return Happening.entered
    return Happening.first_higher if firsts[1] < firsts[0] else Happening.others_higher
