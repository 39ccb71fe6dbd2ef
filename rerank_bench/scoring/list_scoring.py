"""Scoring by a service that is handed a query with its whole list: no tokens, no batches of ours."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rerank_bench import progress
from rerank_bench.provenance import peak_memory_bytes
from rerank_bench.scoring.batch_runner import check_shape
from rerank_bench.scoring.engine_result import EngineResult, EngineStats, facts_of
from rerank_bench.scoring.pair_checks import check_scores, texts_namer
from rerank_bench.scoring.pair_work import PairWork, distinct_work
from rerank_bench.scoring.score_rows import hash_texts
from rerank_bench.scoring.score_store import ScoreStore
from rerank_bench.scoring.scorer import ListScorer, PairNamer


def score_unfinished(
    scorer: ListScorer,
    store: ScoreStore,
    queries: Sequence[str],
    docs: Sequence[str],
    pairs: NDArray[np.int64],
    *,
    pair_name: PairNamer | None = None,
    description: str = "score",
) -> EngineResult:
    """Score pairs list by list into a store, and take from it the lists that an interrupted run got.

    Args:
        scorer: The service.
        store: Of this very request: a list is stored whole or not at all.
        queries: As in ``score_indexed``, like all that follows.
        docs: Document texts.
        pairs: (N, 2) int64.
        pair_name: Names a pair in an error.
        description: What the progress bar says.

    Raises:
        InvalidScoreError: A score is NaN or infinite; its list is not stored.
    """
    work = distinct_work(queries, docs, pairs)
    return score_lists_of(scorer, work, pair_name or texts_namer(queries, docs, pairs), description, store)


def score_lists_of(
    scorer: ListScorer, work: PairWork, name: PairNamer, description: str, store: ScoreStore | None = None
) -> EngineResult:
    """Score pairs whose tokens are counted elsewhere, if at all."""
    distinct_scores = np.zeros(len(work.pairs), dtype=np.float32)
    is_known = np.zeros(len(work.pairs), dtype=np.bool_)
    hashes: tuple[list[bytes], list[bytes]] = ([], [])
    if store is not None:
        hashes = (hash_texts(work.queries), hash_texts(work.docs))
        distinct_scores, _, is_known = store.look_up(*hashes, work.pairs)
    # As they were asked for: a service that looks at the whole list is to see the first stage's order.
    order = np.argsort(work.first_pair)
    order = order[~is_known[order]]  # (R,)
    asked = work.first_pair[order]
    started = time.perf_counter()
    with progress.track(description, total=len(order), unit="pairs") as advance:

        def take(rows: NDArray[np.int64], values: NDArray[np.float32]) -> None:
            check_scores(values, asked[rows], name)
            if store is not None:
                store.insert(*hashes, work.pairs[order[rows]], values, np.zeros(len(rows), dtype=np.int32))
            advance(len(rows))

        values = scorer.score_lists(
            work.queries, work.docs, work.pairs[order], pair_name=lambda row: name(int(asked[row])), take=take
        )
    seconds = time.perf_counter() - started
    check_shape(values, len(order))
    distinct_scores[order] = values
    num_stored = int(is_known[work.row_of_pair].sum())
    num_scored = len(work.row_of_pair) - num_stored
    stats = EngineStats(
        num_pairs=len(work.row_of_pair),
        num_distinct_pairs=len(work.pairs),
        num_pairs_from_store=num_stored,
        num_items=len(work.pairs),
        num_tokens=0,
        num_padded_tokens=0,
        padding_share=0.0,
        num_batches=0,
        batch_tokens=scorer.default_batch_tokens,
        tokenise_seconds=0.0,
        score_seconds=seconds,
        pairs_per_second=num_scored / max(seconds, 1e-9) if num_scored else None,
        tokens_per_second=0.0,
        peak_host_bytes=peak_memory_bytes(),
        peak_device_bytes=scorer.peak_device_bytes(),
    )
    facts = facts_of(work, np.zeros(len(work.pairs), dtype=np.int32), ~is_known)
    return EngineResult(distinct_scores[work.row_of_pair], facts, stats)
