"""What the score store knows of one request, and the job that scores the rest.

A job is found again by all pairs of the request and the budget that was asked for, not by what is still missing: a
resumed run finds the batches of the interrupted one and runs those that are not stored, each exactly as it was planned.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.scoring.pair_work import PairWork
from rerank_bench.scoring.score_rows import hash_texts
from rerank_bench.scoring.score_store import ScoreStore

Batches = Sequence[NDArray[np.int64]]


class StoredPairs:
    """The scores of a request's M distinct pairs, as far as they are known.

    Args:
        store: Where scores are read and stored.
        work: The request.
        batch_tokens: The budget that was asked for; ``None`` for the scorer's own.

    Attributes:
        scores: (M,) float32; 0 where not known yet.
        tokens: (M,) int32: tokens of each pair, negative where it was cut; set before the pair is added.
        rows: (R,) int64: rows of the pairs that are to be scored, ascending.
        batches: Rows of every batch that an interrupted run left, or ``None``: plan them.
        counts: What the job counted when it was planned; ``None`` for a request that was never scored as a whole.
    """

    def __init__(self, store: ScoreStore, work: PairWork, batch_tokens: int | None) -> None:
        self._store = store
        self._pairs = work.pairs
        self._queries = hash_texts(work.queries)
        self._docs = hash_texts(work.docs)
        self._job = _job_key(self._queries, self._docs, work.pairs, batch_tokens)
        self._done: list[NDArray[np.int64]] = []
        self.scores, self.tokens, is_known = store.look_up(self._queries, self._docs, work.pairs)
        self.rows = np.flatnonzero(~is_known)
        self.batches: Batches | None = None
        self.counts: dict[str, Any] | None = None
        self._find_job(is_known)

    def _find_job(self, is_known: NDArray[np.bool_]) -> None:
        found = self._store.read_job(self._job)
        if found is None:
            return
        counts, planned = found
        if planned is None:
            self.counts = None if len(self.rows) else counts
            return
        # A batch is stored whole or not at all, so one that is known in part was stored by another job.
        remaining = [batch for batch in planned if not is_known[batch].all()]
        rows = np.sort(np.concatenate([np.empty(0, dtype=np.int64), *remaining]))
        if not np.isin(self.rows, rows, assume_unique=True).all():
            return
        self.counts, self.batches, self.rows = counts, remaining, rows
        self._done = [batch for batch in planned if is_known[batch].all()]
        if not remaining:
            self.finish()

    def plan(self, batches: Batches, counts: dict[str, Any]) -> None:
        """Keep the batches that are still to come, and what the whole job counts."""
        self.counts = counts
        self._store.write_job(self._job, counts, [*self._done, *batches])

    def add(self, rows: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
        """Store the (B,) float32 scores of the rows of a batch, all or none."""
        self.scores[rows] = scores
        self._store.insert(self._queries, self._docs, self._pairs[rows], scores, self.tokens[rows])
        self._done.append(rows)

    def finish(self, counts: dict[str, Any] | None = None) -> None:
        """Mark the job as done: its batches are forgotten, its counts kept."""
        self.counts = self.counts if counts is None else counts
        if self.counts is not None:
            self._store.write_job(self._job, self.counts)


def _job_key(
    queries: Sequence[bytes], docs: Sequence[bytes], pairs: NDArray[np.int64], batch_tokens: int | None
) -> bytes:
    digest = blake2b(digest_size=16)
    digest.update(f"{len(queries)} {len(docs)} {len(pairs)} {batch_tokens} ".encode())
    for part in (queries, docs):
        digest.update(b"".join(part))
    digest.update(np.ascontiguousarray(pairs, dtype="<i8").data)
    return digest.digest()
