"""Candidates for negatives: the best documents of a retriever, with its scores or a rescorer's, and which are positives."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rerank_bench.jobs.mining_sources import Source, hash_normalised
from rerank_bench.progress import muted, track
from rerank_bench.training.negatives import NOTHING

BM25 = "bm25"
BLOCK_QUERIES = 1_024
"""Queries whose candidates are rescored at a time."""

ScoreScale = Literal["auto", "logit", "probability"]
"""Of a rescorer: its logit, or the sigmoid of it; ``auto``: as its files ask Sentence Transformers to do."""


class Retrieved(NamedTuple):
    """K candidates of Q queries, best first, filled with ``NOTHING``; the scores of P positives where there are any."""

    positions: NDArray[np.int32]
    """(Q, K)"""
    scores: NDArray[np.float32]
    """(Q, K)"""
    positive_scores: NDArray[np.float32] | None
    """(P,)"""


def find_positives(source: Source) -> NDArray[np.int64]:
    """Return (P,) where every positive stands in the corpus."""
    positives = pa.array(source.pairs.positives, type=pa.large_string())
    return np.asarray(pc.index_in(positives, value_set=source.corpus).to_numpy(zero_copy_only=False), dtype=np.int64)


# --- retrieval --------------------------------------------------------------------------------------------------


def retrieve(
    source: Source, positions: NDArray[np.int64], retriever: str, scorer: dict[str, Any], depth: int
) -> tuple[Retrieved, dict[str, Any]]:
    """Return the ``depth`` best documents of every query, and what is recorded of the retriever.

    Args:
        source: Queries, positives, corpus.
        positions: (P,) where every positive stands in the corpus.
        retriever: ``bm25``, or a bi-encoder.
        scorer: Fields of ``ScorerConfig`` for it.
        depth: At most the corpus.

    Raises:
        RerankBenchError: The model cannot be loaded, or does not make one vector of a text.
    """
    if retriever == BM25:
        return _by_bm25(source, depth)
    from rerank_bench.scoring.loaded_scorer import load_scorer
    from rerank_bench.scoring.nearest import find_neighbours

    loaded = load_scorer(retriever, **scorer)
    pairs = np.stack([source.pairs.owners, positions], axis=1)
    found = find_neighbours(loaded, source.pairs.queries, source.corpus, depth=depth, pairs=pairs)
    return Retrieved(found.positions, found.scores, found.pair_scores), {"retriever": loaded.describe()}


def _by_bm25(source: Source, depth: int) -> tuple[Retrieved, dict[str, Any]]:
    """Return BM25's best documents, equal float32 scores by position; only those that share a term with the query."""
    from rerank_bench.first_stage.bm25 import BM25Config, weigh
    from rerank_bench.first_stage.inverted_index import invert
    from rerank_bench.first_stage.tokenization import tokenize_collection

    config = BM25Config()
    index = weigh(invert(tokenize_collection(source.corpus, config.analyzer)), config)
    shape = (len(source.pairs), depth)
    positions = np.full(shape, NOTHING, dtype=np.int32)
    scores = np.full(shape, -np.inf, dtype=np.float32)
    for query, matches in enumerate(index.search(source.pairs.queries, depth=depth)):
        rounded = matches.scores.astype(np.float32)
        order = np.lexsort((matches.positions, -rounded))[:depth]
        positions[query, : len(order)] = matches.positions[order]
        scores[query, : len(order)] = rounded[order]
    return Retrieved(positions, scores, None), {"retriever": config.describe()}


def find_excluded(
    source: Source, positions_of_positives: NDArray[np.int64], candidates: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Return (Q, K): candidates with the text of a positive of the query, or of the query itself, but for case and such."""
    with track("compare with the positives", total=len(source.corpus), unit="documents") as advance:
        parts = []
        for start in range(0, len(source.corpus), 1 << 16):
            parts.append(hash_normalised(source.corpus.slice(start, 1 << 16).to_pylist()))
            advance(len(parts[-1]))
    keys = np.concatenate(parts)  # (N,)
    own = hash_normalised(source.pairs.queries)
    offsets = source.pairs.offsets
    is_excluded = np.zeros(candidates.shape, dtype=bool)
    for query, row in enumerate(candidates):
        answers = keys[positions_of_positives[offsets[query] : offsets[query + 1]]]
        is_excluded[query] = np.isin(keys[row], np.append(answers, own[query]))
    is_excluded &= candidates != NOTHING
    return is_excluded


# --- rescoring --------------------------------------------------------------------------------------------------


def rescore(
    source: Source, found: Retrieved, rescorer: str, scorer: dict[str, Any], scale: ScoreScale
) -> tuple[Retrieved, dict[str, Any]]:
    """Return the candidates and the positives with another model's scores, and what is recorded of that model.

    Raises:
        RerankBenchError: The model cannot be loaded, or a score is not finite.
    """
    from rerank_bench.scoring.loaded_scorer import load_scorer

    loaded = load_scorer(rescorer, **scorer)
    description = loaded.describe()
    is_probability = _is_probability(scale, description)
    scores = np.full(found.scores.shape, -np.inf, dtype=np.float32)
    positive_scores = np.empty(len(source.pairs.positives), dtype=np.float32)
    offsets = source.pairs.offsets
    with track("rescore", total=len(source.pairs), unit="queries") as advance:
        for start in range(0, len(source.pairs), BLOCK_QUERIES):
            stop = min(start + BLOCK_QUERIES, len(source.pairs))
            positions = found.positions[start:stop]
            is_there = positions != NOTHING
            distinct, doc_numbers = np.unique(positions[is_there], return_inverse=True)
            docs = source.corpus.take(pa.array(distinct.astype(np.int64))).to_pylist()
            low, high = int(offsets[start]), int(offsets[stop])
            positives = np.stack([source.pairs.owners[low:high] - start, np.arange(high - low) + len(docs)], axis=1)
            pairs = np.concatenate([np.stack([np.nonzero(is_there)[0], doc_numbers], axis=1), positives])
            texts = [*docs, *source.pairs.positives[low:high]]
            with muted():
                values = loaded.score_indexed(source.pairs.queries[start:stop], texts, pairs.astype(np.int64)).scores
            if is_probability:
                values = _sigmoid(values)
            scores[start:stop][is_there] = values[: len(doc_numbers)]
            positive_scores[low:high] = values[len(doc_numbers) :]
            advance(stop - start)
    return Retrieved(found.positions, scores, positive_scores), description | {
        "score": "probability" if is_probability else "logit"
    }


def _is_probability(scale: ScoreScale, description: dict[str, Any]) -> bool:
    """Return whether scores are the sigmoid of logits; Sentence Transformers' default with one label is that."""
    if scale != "auto":
        return scale == "probability"
    has_one_label = description.get("num_labels") == 1
    return has_one_label and str(description.get("saved_activation") or "Sigmoid").endswith("Sigmoid")


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    from scipy.special import expit

    return np.asarray(expit(logits), dtype=np.float32)
