"""Ties among reranked documents, and what they are worth (docs/protocol.md, section 3).

A run whose scores tie has one official value, as the order is fixed, but another tie rule would have given another
one.  The report says how far the value could move.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rerank_bench.evaluation.measures import evaluate_run
from rerank_bench.evaluation.significance import mean
from rerank_bench.records import Qrels, Run, ScoredDocs, TieReport


def report_ties(run: Run, qrels: Qrels, *, cutoff: int = 10) -> TieReport:
    """Return how often scores tie in a run, and the lowest and highest mean nDCG over all orders of tied documents.

    The bounds are exact: discounts fall with the rank, so within a group of tied documents the order by falling gain
    is the best one and the order by rising gain the worst, whatever the other groups do.

    Args:
        run: Documents best first, as ``ranking.rank_docs`` orders them; the means run over all of its queries.
        qrels: Their judgements.
        cutoff: The k of nDCG@k.
    """
    name = f"nDCG@{cutoff}"
    tied_docs = sum(_count_tied(docs) for docs in run.values())
    scored_docs = sum(len(docs) for docs in run.values())
    crossing = sum(_crosses(docs, cutoff) for docs in run.values())
    bounds = []
    for is_best in (False, True):
        arranged = {
            query_id: _arrange_ties(docs, qrels.get(query_id, {}), is_best=is_best) for query_id, docs in run.items()
        }
        bounds.append(mean(evaluate_run(qrels, arranged, [name])[name].values()) if run else 0.0)
    return TieReport(
        cutoff=cutoff,
        share_crossing=crossing / max(len(run), 1),
        share_tied=tied_docs / max(scored_docs, 1),
        lowest=bounds[0],
        highest=bounds[1],
    )


def _crosses(docs: ScoredDocs, cutoff: int) -> bool:
    return len(docs) > cutoff and bool(docs.scores[cutoff - 1] == docs.scores[cutoff])


def _count_tied(docs: ScoredDocs) -> int:
    _, counts = np.unique(docs.scores, return_counts=True)
    return int(counts[counts > 1].sum())


def _arrange_ties(docs: ScoredDocs, judged: Mapping[str, int], *, is_best: bool) -> ScoredDocs:
    """Return the documents with each group of equal scores in the order of falling (or rising) gain."""
    # A negative grade gains nothing, as an unjudged document does.
    gains = np.array([max(judged.get(doc_id, 0), 0) for doc_id in docs.doc_ids], dtype=np.int64)  # (n,)
    order = np.lexsort((-gains if is_best else gains, -docs.scores))
    return ScoredDocs(tuple(docs.doc_ids[i] for i in order), docs.scores[order])
