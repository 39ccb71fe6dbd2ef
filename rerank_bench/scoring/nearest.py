"""A bi-encoder's exact nearest neighbours: every query against every document, nothing approximated.

Documents go by in chunks: a chunk is encoded, compared with all queries, and forgotten.  Memory holds the vectors of the
queries, those of one chunk, and the best documents so far, however many documents there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rerank_bench.errors import ConfigError
from rerank_bench.scoring.batch_runner import BatchRunner
from rerank_bench.scoring.bi_encoder import unit_vectors
from rerank_bench.scoring.loaded_scorer import LoadedScorer
from rerank_bench.scoring.scorer import EncodedItems, TextEncoder

if TYPE_CHECKING:
    from torch import Tensor

FAMILIES_WITH_ONE_VECTOR = ("bi-encoder", "static-embedding")
CHUNK_DOCS = 32_768
"""With 1,024 dimensions, 134 MB of vectors."""
BLOCK_QUERIES = 1_024
"""Against a chunk, 134 MB of scores."""


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The best documents of Q queries by cosine, best first, equal scores by position; and the scores of given pairs."""

    positions: NDArray[np.int32]
    """(Q, K)"""
    scores: NDArray[np.float32]
    """(Q, K)"""
    pair_scores: NDArray[np.float32]
    """(P,)"""


def find_neighbours(
    loaded: LoadedScorer, queries: Sequence[str], docs: pa.LargeStringArray, *, depth: int, pairs: NDArray[np.int64]
) -> Neighbours:
    """Return the ``depth`` nearest documents of every query by the cosine of the vectors.

    The cosine is taken whatever similarity the checkpoint names, as ``mine_hard_negatives`` of Sentence Transformers
    does: margins and thresholds then have one scale.

    Args:
        loaded: A bi-encoder.
        queries: Q texts.
        docs: (N,) texts.
        depth: Documents per query, 1 to N.
        pairs: (P, 2) positions of a query and a document whose cosine is wanted in any case.

    Raises:
        ConfigError: The model does not make one vector of a text.
        InvalidScoreError: A vector is not finite.
    """
    encoder = text_encoder(loaded)
    query_vectors = _embed(loaded, encoder.encode_texts(queries, []), "encode queries", "queries")
    best = BestDocs(query_vectors, depth, device_of(encoder))
    order = np.argsort(pairs[:, 1], kind="stable")
    by_doc = pairs[order]
    pair_scores = np.empty(len(pairs), dtype=np.float32)
    for start in range(0, len(docs), CHUNK_DOCS):
        texts = docs.slice(start, CHUNK_DOCS).to_pylist()
        description = f"encode documents from {start:,} of {len(docs):,}"
        vectors = _embed(loaded, encoder.encode_texts([], texts), description, "documents")
        best.add(vectors, start)
        low, high = np.searchsorted(by_doc[:, 1], [start, start + len(texts)])
        rows = by_doc[low:high]
        pair_scores[order[low:high]] = np.einsum(
            "ph,ph->p", query_vectors[rows[:, 0]], vectors[rows[:, 1] - start], dtype=np.float32
        )
    return Neighbours(best.positions.cpu().numpy().astype(np.int32), best.scores.cpu().numpy(), pair_scores)


def text_encoder(loaded: LoadedScorer) -> Any:
    """Return the model's encoder.

    Raises:
        ConfigError: The model does not make one vector of a text.
    """
    family = loaded.scorer.describe().get("family")
    if family not in FAMILIES_WITH_ONE_VECTOR or not isinstance(loaded.scorer, TextEncoder):
        msg = (
            f"model {loaded.spec.text!r} is of the family {family}, which does not make one vector of a text; nearest "
            f"neighbours need one of {', '.join(FAMILIES_WITH_ONE_VECTOR)}. A cross-encoder can rescore: --rescorer"
        )
        raise ConfigError(msg)
    return loaded.scorer


def device_of(encoder: Any) -> Any:
    """Return the torch device that vectors are compared on: the encoder's own."""
    import torch

    runtime = getattr(encoder, "runtime", None)
    return torch.device("cpu") if runtime is None else runtime.device


def _embed(loaded: LoadedScorer, items: EncodedItems, description: str, unit: str) -> NDArray[np.float32]:
    """Return (N, H) float32 vectors of length 1."""
    return unit_vectors(embed_items(loaded, items, description, unit))


def embed_items(loaded: LoadedScorer, items: EncodedItems, description: str, unit: str) -> NDArray[np.float32]:
    """Return (N, H) float32 vectors as the model makes them."""
    encoder: Any = loaded.scorer
    budget = loaded.config.batch_tokens or encoder.default_batch_tokens
    is_packed = encoder.describe().get("batches") == "packed"
    return BatchRunner(items, budget, description, unit, is_packed=is_packed).run(encoder.embed_batch)


class BestDocs:
    """The best documents so far.

    Args:
        query_vectors: (Q, H) of length 1.
        depth: How many are kept per query.
        device: Where vectors are compared.
    """

    def __init__(self, query_vectors: NDArray[np.float32], depth: int, device: Any) -> None:
        import torch

        self.depth = depth
        self.queries = torch.from_numpy(query_vectors).to(device)
        self.scores = torch.empty((len(query_vectors), 0), dtype=torch.float32, device=device)
        self.positions = torch.empty((len(query_vectors), 0), dtype=torch.int64, device=device)

    def add(self, doc_vectors: NDArray[np.float32], first: int) -> None:
        """Take in a chunk of documents, (D, H), whose first one stands at ``first``."""
        import torch

        docs = torch.from_numpy(doc_vectors).to(self.queries.device)
        width = min(self.depth, self.scores.shape[1] + len(docs))
        scores = self.scores.new_empty((len(self.queries), width))
        positions = self.positions.new_empty((len(self.queries), width))
        for start in range(0, len(self.queries), BLOCK_QUERIES):
            block = slice(start, start + BLOCK_QUERIES)
            found, places = top_docs(self.queries[block] @ docs.T, min(self.depth, len(docs)))
            # Those kept so far stand further ahead: a stable sort keeps equal scores in the order of their positions.
            merged = torch.cat([self.scores[block], found], dim=1)
            ordered, order = torch.sort(merged, dim=1, descending=True, stable=True)
            where = torch.cat([self.positions[block], places + first], dim=1)
            scores[block] = ordered[:, :width]
            positions[block] = where.gather(1, order[:, :width])
        self.scores, self.positions = scores, positions


def top_docs(scores: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """Return the ``depth`` highest scores of each row and their columns, best first, equal scores by column.

    ``torch.topk`` leaves open which of several equal scores it takes; the rows where that matters are sorted instead.

    Args:
        scores: (Q, D) float32.
        depth: At most D.
    """
    import torch

    values, columns = torch.topk(scores, depth, dim=1)
    columns, order = columns.sort(dim=1)
    values = values.gather(1, order)
    values, order = values.sort(dim=1, descending=True, stable=True)
    columns = columns.gather(1, order)
    crossing = torch.nonzero((scores >= values[:, -1:]).sum(dim=1) > depth).flatten()
    for row in crossing.tolist():
        ordered, places = torch.sort(scores[row], descending=True, stable=True)
        values[row], columns[row] = ordered[:depth], places[:depth]
    return values, columns
