"""One model over the pools of one data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.pipeline.candidates import PreparedDataset
from rerank_bench.ranking import scores_from_ranks
from rerank_bench.scoring.baselines import rank_baseline
from rerank_bench.scoring.lazy_scorer import LazyScorer
from rerank_bench.scoring.specs import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolScores:
    """What one model makes of one data set's pools."""

    by_query: Mapping[str, NDArray[np.float32]]
    """query_id -> one score per document of its pool."""
    description: Mapping[str, Any]
    timing: Mapping[str, Any]
    counts: Mapping[str, int]
    """What of a stored run and of the pool did not meet; empty for other models."""


def rank_ids(model: ModelSpec, ready: PreparedDataset) -> PoolScores:
    """Let a baseline or a stored run rank the pools by id."""
    pool = ready.pool
    if model.kind == "run":
        # A query without candidates has no line in anyone's run file, so none is missing there.
        pool = {query_id: doc_ids for query_id, doc_ids in pool.items() if len(ready.candidates.by_query[query_id])}
    ranked = rank_baseline(model, pool, qrels=ready.dataset.qrels)
    rest = {query_id: scores_from_ranks(len(ready.pool[query_id])) for query_id in ready.pool if query_id not in pool}
    return PoolScores(
        by_query={**ranked.by_query, **rest}, description=ranked.description, timing={}, counts=ranked.counts
    )


def score_texts(scorer: LazyScorer, ready: PreparedDataset) -> PoolScores:
    """Score every (query, document) pair of the pools; what is stored already is not scored again."""
    dataset = ready.dataset
    query_ids = list(ready.pool)
    doc_ids = list(dict.fromkeys(doc_id for docs in ready.pool.values() for doc_id in docs))
    text_of = dataset.collection.texts_of(doc_ids)
    index_of = {doc_id: index for index, doc_id in enumerate(doc_ids)}
    pairs = np.array(
        [(q, index_of[doc_id]) for q, query_id in enumerate(query_ids) for doc_id in ready.pool[query_id]],
        dtype=np.int64,
    ).reshape(-1, 2)  # (N, 2)
    outcome = scorer.score_indexed(
        [dataset.queries[query_id] for query_id in query_ids],
        [text_of[doc_id] for doc_id in doc_ids],
        pairs,
        pair_name=lambda row: f"query {query_ids[pairs[row, 0]]!r}, document {doc_ids[pairs[row, 1]]!r}",
        description=f"score {dataset.name}",
    )
    ends = np.cumsum([len(ready.pool[query_id]) for query_id in query_ids])
    by_query = dict(zip(query_ids, np.split(outcome.scores, ends[:-1]), strict=True))
    timing = outcome.stats.as_dict()
    description = scorer.describe() | {"batch_tokens": timing["batch_tokens"]}
    return PoolScores(by_query=by_query, description=description, timing=timing, counts={})
