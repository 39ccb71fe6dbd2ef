"""Candidates by the vectors of a bi-encoder: every document is compared with every query, nothing is approximated.

What encodes texts and what finds the best of a chunk come in as functions: this room knows no model.  A matrix product's
last bits depend on its shape, so its scores only choose documents, a few more than wanted; these are then scored pair by
pair in float64, and the list is the one that scoring all documents so would give.  Where that is not certain, because
many documents stand around the cut, more are chosen and scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rerank_bench.first_stage.bm25 import Matches
from rerank_bench.first_stage.candidates import candidate_set, check_depth, rank_matches
from rerank_bench.first_stage.vector_store import CHUNK_DOCS, VectorStore
from rerank_bench.progress import muted, note, track
from rerank_bench.records import CandidateSet, Dataset
from rerank_bench.storage import cache_folder, fingerprint_json

Chunks = Iterable[tuple[int, NDArray[np.float32]]]
"""First document of a chunk, and its (D, H) vectors."""

Nearest = Callable[[NDArray[np.float32], Chunks, int], tuple[NDArray[np.int64], NDArray[np.float32]]]
"""(Q, H) queries, chunks, K -> (Q, K) positions and their scores, best first, equal scores by position."""

EXTRA_DOCS = 32
"""Documents beyond the depth that are scored exactly."""
MAX_EXTRA_DOCS = 8_192
"""Beyond that, equals at the cut are taken as they come: so many have the same text, or the query has none."""
PRODUCT_ERROR = 4e-6
"""Of a float32 matrix product, relative to the lengths of both vectors; about ten times what is seen with 1,024 dimensions."""
RESCORED_PAIRS = 32_768
"""Scored at once: with 1,024 dimensions, 0.5 GB in float64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseEncoder:
    """A bi-encoder, as this room needs it."""

    name: str
    """What the first stage is called, behind ``dense:``."""
    about: Mapping[str, Any]
    """JSON-able: what a result records, the fingerprint of the weights among it."""
    versions: Mapping[str, Any]
    """What else decides the last bit of a vector."""
    encode_queries: Callable[[Sequence[str]], NDArray[np.float32]]
    encode_docs: Callable[[Sequence[str]], NDArray[np.float32]]
    nearest: Nearest

    def describe(self) -> dict[str, Any]:
        """Return the first stage as a result records it."""
        return {"name": f"dense:{self.name}", "model": dict(self.about)}


def vectors_folder() -> Path:
    """Return the folder of the stored vectors."""
    return cache_folder() / "vectors"


def build_dense_candidates(
    dataset: Dataset, encoder: DenseEncoder, *, depth: int, chunk_docs: int = CHUNK_DOCS
) -> CandidateSet:
    """Return the ``depth`` nearest documents of every query.

    Args:
        dataset: Queries and collection, with the fingerprint of the corpus; ``drops_self_match`` is obeyed.
        encoder: The bi-encoder.
        depth: Documents per query, at least 1.
        chunk_docs: Documents that are encoded and compared at a time.

    Raises:
        ConfigError: ``depth`` is less than 1.
        EnvironmentMissingError: The vectors cannot be stored.
        ScoringError: A vector is not finite.
    """
    check_depth(depth)
    collection = dataset.collection
    # Equal scores are ordered by position: standing in this order makes that the order of docs/protocol.md, section 3.
    order = np.asarray(pc.sort_indices(collection.doc_ids, sort_keys=[("", "descending")]), dtype=np.int64)

    def encode(start: int, end: int) -> NDArray[np.float32]:
        with muted():
            return encoder.encode_docs(collection.texts.take(pa.array(order[start:end])).to_pylist())

    about = {"corpus": dataset.fingerprints["corpus"], "encoder": encoder.about, "versions": encoder.versions}
    folder = vectors_folder() / fingerprint_json(about)[:32]
    store = VectorStore(folder, about, len(collection), encode, chunk_docs)
    queries = encoder.encode_queries(list(dataset.queries.values()))
    wanted = min(depth + dataset.drops_self_match, len(collection))
    found, scores = nearest_exactly(queries, store, wanted, encoder.nearest)
    taken = len(collection) - min(store.num_encoded, len(collection))
    if taken:
        note(f"vectors of {taken:,} of {len(collection):,} documents taken from {folder}")
    by_query = {
        query_id: rank_matches(dataset, query_id, Matches(order[places].astype(np.int32), values), depth)
        for query_id, places, values in zip(dataset.queries, found, scores, strict=True)
    }
    return candidate_set(dataset, by_query, depth=depth, first_stage=encoder.describe())


def nearest_exactly(
    queries: NDArray[np.float32], store: VectorStore, depth: int, nearest: Nearest
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the (Q, depth) best places of a store for (Q, H) queries, and their scores in float64, best first.

    Args:
        queries: Vectors as they are compared: of length 1 for the cosine.
        store: N documents' vectors, likewise.
        depth: At most N.
        nearest: Finds them by matrix products.
    """
    places = np.empty((len(queries), depth), dtype=np.int64)
    scores = np.empty((len(queries), depth), dtype=np.float64)
    rows = np.arange(len(queries)) if depth else np.empty(0, dtype=np.int64)
    extra = EXTRA_DOCS
    while len(rows):
        width = min(depth + extra, store.num_docs)
        with track("search", total=store.num_docs, unit="documents") as advance:
            found, rough = nearest(queries[rows], _counted(store.chunks(), advance), width)
        exact, longest = _score_pairs(queries[rows], found, store.chunks())
        # As ranking.rank_docs orders them: by float32 score, then by place.
        best = np.lexsort((found, -exact.astype(np.float32)), axis=1)[:, :depth]
        places[rows] = np.take_along_axis(found, best, axis=1)
        scores[rows] = np.take_along_axis(exact, best, axis=1)
        error = PRODUCT_ERROR * longest * np.linalg.norm(queries[rows], axis=1)
        is_open = scores[rows, -1] <= rough[:, -1] + error
        rows = rows[is_open & (width < store.num_docs)] if extra < MAX_EXTRA_DOCS else rows[:0]
        extra *= 16
    return places, scores


def _counted(chunks: Chunks, advance: Callable[[int], None]) -> Chunks:
    for start, vectors in chunks:
        yield start, vectors
        advance(len(vectors))


def _score_pairs(
    queries: NDArray[np.float32], places: NDArray[np.int64], chunks: Chunks
) -> tuple[NDArray[np.float64], float]:
    """Return the (Q, K) float64 products of queries with the documents at (Q, K) places, and the longest vector's length."""
    scores = np.empty(places.shape, dtype=np.float64)
    flat = scores.reshape(-1)
    order = np.argsort(places, axis=None, kind="stable")
    sorted_places = places.reshape(-1)[order]
    longest = 0.0
    for start, vectors in chunks:
        longest = max(longest, float(np.einsum("dh,dh->d", vectors, vectors).max(initial=0.0)))
        low, high = np.searchsorted(sorted_places, [start, start + len(vectors)])
        for first in range(low, high, RESCORED_PAIRS):
            pairs = order[first : min(first + RESCORED_PAIRS, high)]
            docs = vectors[places.reshape(-1)[pairs] - start].astype(np.float64)
            own = queries[pairs // places.shape[1]].astype(np.float64)
            flat[pairs] = np.einsum("ph,ph->p", own, docs)
    return scores, float(np.sqrt(longest))
