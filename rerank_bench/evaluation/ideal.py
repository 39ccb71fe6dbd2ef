"""The best orders there are: of a list that is given, and of everything that is judged."""

from __future__ import annotations

from collections.abc import Mapping

from rerank_bench.evaluation.measures import measure_param
from rerank_bench.ranking import scores_from_ranks
from rerank_bench.records import ScoredDocs


def has_best_order(measure: str) -> bool:
    """Return whether no order beats that of falling grade; a measure with gains of its own may prefer another grade."""
    return not measure_param(measure, "gains")


def best_order(docs: ScoredDocs, judged: Mapping[str, int]) -> ScoredDocs:
    """Return the documents by falling grade, the unjudged last: no measure of ours has a better order.

    The scores stay where they are: the order is what counts.

    Args:
        docs: A ranked list.
        judged: doc_id -> grade, of this query.
    """
    lowest = min(judged.values(), default=0) - 1
    return ScoredDocs(tuple(sorted(docs.doc_ids, key=lambda doc_id: -judged.get(doc_id, lowest))), docs.scores)


def ideal_order(judged: Mapping[str, int]) -> ScoredDocs:
    """Return every judged document by falling grade: the list that no search and no reranker can beat."""
    return ScoredDocs(tuple(sorted(judged, key=lambda doc_id: -judged[doc_id])), scores_from_ranks(len(judged)))
