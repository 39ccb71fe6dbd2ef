"""``dense:MODEL``: a bi-encoder of the scoring room as first stage."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.data.fingerprints import with_fingerprints
from rerank_bench.errors import ConfigError
from rerank_bench.first_stage.candidate_store import cached_list
from rerank_bench.first_stage.dense import Chunks, DenseEncoder, build_dense_candidates
from rerank_bench.first_stage.stages import DENSE
from rerank_bench.provenance import library_versions
from rerank_bench.records import CandidateSet, Dataset

FILE_KINDS = ("demo", "hub", "local")
RECORDED = ("name", "family", "revision", "fingerprint", "weights_fingerprint", "max_length", "similarity", "device")
"""What a candidate list records of the model."""
LIBRARIES = ("numpy", "tokenizers", "torch", "transformers")


def dense_candidates(dataset: Dataset, model: str, *, depth: int, device: str = "auto") -> CandidateSet:
    """Return the nearest documents of every query, from the cache when nothing changed.

    The vectors are float32 on every device, so that a list is the same whatever the reranker's precision is.

    Args:
        dataset: Queries and collection.
        model: Folder, hub id (if wanted with ``@revision``) or ``demo``.
        depth: Documents per query.
        device: Where texts are encoded and vectors are compared.

    Raises:
        ConfigError: The model does not make one vector of a text.
        ScoringError: The model cannot be loaded, or a vector is not finite.
        EnvironmentMissingError: A device or the network is absent, or the vectors cannot be stored.
    """
    if not {"corpus", "queries"} <= dataset.fingerprints.keys():
        dataset = with_fingerprints(dataset)
    encoder = open_encoder(model, device)
    return cached_list(
        dataset,
        encoder.describe(),
        lambda: build_dense_candidates(dataset, encoder, depth=depth),
        depth=depth,
        versions=encoder.versions,
    )


def open_encoder(text: str, device: str) -> DenseEncoder:
    """Return a bi-encoder as the first stage needs it.

    Raises:
        ConfigError: The model does not make one vector of a text.
        ScoringError: The model cannot be loaded.
        EnvironmentMissingError: A device or the network is absent.
    """
    from rerank_bench.scoring.bi_encoder import unit_vectors
    from rerank_bench.scoring.loaded_scorer import load_scorer
    from rerank_bench.scoring.nearest import device_of, embed_items, text_encoder
    from rerank_bench.scoring.specs import parse_model_spec

    spec = parse_model_spec(text)
    if spec.kind not in FILE_KINDS:
        msg = f"first stage {DENSE + text!r}: expected a bi-encoder's folder or hub id behind {DENSE!r}, found {spec.kind}"
        raise ConfigError(msg)
    loaded = load_scorer(spec, device=device, dtype="float32")
    encoder = text_encoder(loaded)
    described = loaded.describe()

    def embed(queries: Sequence[str], docs: Sequence[str], unit: str) -> NDArray[np.float32]:
        vectors = embed_items(loaded, encoder.encode_texts(queries, docs), f"encode {unit}", unit)
        return unit_vectors(vectors) if described["similarity"] == "cosine" else vectors

    return DenseEncoder(
        name=str(described["name"]),
        about={name: described.get(name) for name in RECORDED},
        versions=library_versions(LIBRARIES),
        encode_queries=lambda texts: embed(texts, [], "queries"),
        encode_docs=lambda texts: embed([], texts, "documents"),
        nearest=partial(_nearest, device_of(encoder)),
    )


def _nearest(
    device: Any, queries: NDArray[np.float32], chunks: Chunks, depth: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    from rerank_bench.scoring.nearest import BestDocs

    best = BestDocs(queries, depth, device)
    for start, vectors in chunks:
        best.add(np.asarray(vectors), start)
    return best.positions.cpu().numpy(), best.scores.cpu().numpy()
