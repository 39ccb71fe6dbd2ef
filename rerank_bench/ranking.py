"""The one order in which documents are ranked: float32 score descending, then doc_id descending as a string.

It is the order in which trec_eval evaluates a run, whatever its rank column says and however its lines are ordered, so
that the published order and the evaluated order are the same (docs/protocol.md, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rerank_bench.errors import InvalidScoreError
from rerank_bench.records import ScoredDocs


def rank_docs(query_id: str, doc_ids: Sequence[str], scores: ArrayLike, *, depth: int | None = None) -> ScoredDocs:
    """Return the documents of one query, best first.

    Args:
        query_id: The query, for error messages.
        doc_ids: n ids, each once.
        scores: (n,) numbers; rounded to float32 before they are compared.
        depth: Number of documents to keep, at least 1; ``None`` keeps all.

    Raises:
        InvalidScoreError: A score is NaN or infinite (as float32).
    """
    with np.errstate(over="ignore"):  # a double above float32's range becomes infinite, and is named as such below
        rounded = np.asarray(scores).astype(np.float32)  # (n,)
    check_finite(query_id, doc_ids, rounded)
    # Two stable sorts: the second keeps the doc_id order among equal scores.
    by_id = sorted(range(len(doc_ids)), key=doc_ids.__getitem__, reverse=True)
    order = np.asarray(by_id, dtype=np.int64)
    order = order[np.argsort(-rounded[order], kind="stable")][:depth]
    ranked = rounded[order]
    ranked.flags.writeable = False
    return ScoredDocs(tuple(doc_ids[i] for i in order), ranked)


def check_finite(query_id: str, doc_ids: Sequence[str], scores: NDArray[np.float32]) -> None:
    """Raise if a score is NaN or infinite.

    Raises:
        InvalidScoreError: Names the query, the first such document and its score.
    """
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        first = int(bad[0])
        msg = (
            f"query {query_id!r}, document {doc_ids[first]!r}: score is {scores[first]}, expected a finite float32 "
            f"number ({bad.size} of {len(doc_ids)} scores of this query are not finite)"
        )
        raise InvalidScoreError(msg)


def scores_from_ranks(num_docs: int) -> NDArray[np.float32]:
    """Return (num_docs,) float32: the score −rank of a list that comes without scores, −1 for the best."""
    return -np.arange(1, num_docs + 1, dtype=np.float32)
