"""Family ``bi-encoder``: each text alone through one encoder, a pair's score is the similarity of two vectors.

Pooling, normalisation, prompts, similarity and length are read from the Sentence Transformers files of the checkpoint.
Every distinct text is encoded once, however many pairs it stands in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from rerank_bench import progress
from rerank_bench.errors import ConfigError
from rerank_bench.scoring.acceleration import PROBE_PAIRS, accelerate
from rerank_bench.scoring.checkpoints import Checkpoint
from rerank_bench.scoring.launching import Launched
from rerank_bench.scoring.lengths import resolve_max_length
from rerank_bench.scoring.loading import load_model, load_tokenizer, lower_trunk
from rerank_bench.scoring.packing import reduction_of
from rerank_bench.scoring.probing import probe_padding
from rerank_bench.scoring.runtime import ModelRuntime, takes_type_ids
from rerank_bench.scoring.scorer import EncodedItems, ScorerConfig
from rerank_bench.scoring.st_layout import check_transformer, pooling_modes, text_prompts
from rerank_bench.scoring.text_assembly import TextTokenizer
from rerank_bench.scoring.tokenization import TokenBatch, check_vocabulary

if TYPE_CHECKING:
    import torch

Pooling = Literal["mean", "cls", "lasttoken"]
Similarity = Literal["cosine", "dot"]
POOLINGS = ("mean", "cls", "lasttoken")
SIMILARITIES = ("cosine", "dot")
COMPARE_PAIRS = 65_536
"""Pairs compared at once: their vectors, at 1,024 dimensions, take half a gigabyte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """From hidden states to a score, as the checkpoint's files say."""

    pooling: Pooling
    normalize: bool
    similarity: Similarity
    query_prompt: str
    doc_prompt: str
    truncate_dim: int | None = None
    """Components of a vector that are kept, behind everything else; ``None``: all."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, JSON-able."""
        return {
            "pooling": self.pooling,
            "normalize": self.normalize,
            "similarity": self.similarity,
            "query_prompt": self.query_prompt,
            "doc_prompt": self.doc_prompt,
            "truncate_dim": self.truncate_dim,
        }


@dataclass(frozen=True, slots=True, eq=False)
class BiEncoderScorer:
    """A loaded bi-encoder."""

    runtime: ModelRuntime
    tokenizer: TextTokenizer
    max_length: int
    recipe: Recipe

    @classmethod
    def load(cls, checkpoint: Checkpoint, config: ScorerConfig) -> BiEncoderScorer:
        """Return the scorer of a checkpoint.

        Raises:
            ConfigError: The files ask for a module, pooling or similarity that is not supported.
            ScoringError: Weights or tokenizer are incomplete.
        """
        recipe = read_recipe(checkpoint)
        tokenizer = load_tokenizer(checkpoint, config)
        # A pooler is not part of a bi-encoder: the hidden states are pooled here, so its weights may be absent.
        model = load_model(checkpoint, config, "AutoModel", unused=("pooler.",))
        max_length = resolve_max_length(checkpoint, config, tokenizer, model)
        num_special = tokenizer.num_special_tokens_to_add(pair=False)
        if max_length <= num_special:
            msg = (
                f"max_length is {max_length}, but the tokenizer adds {num_special} special tokens; pass more than that"
            )
            raise ConfigError(msg)
        texts = TextTokenizer(tokenizer, has_type_ids=takes_type_ids(model))
        runtime = ModelRuntime.place(checkpoint, config, model, _place)
        scorer = cls(runtime, texts, max_length, recipe)
        probe = scorer.encode_texts(["stop a program"], ["a text that is longer than the query beside it"])
        probe_padding(runtime, probe, scorer.embed_batch)
        probe = scorer.encode_texts(PROBE_PAIRS[0], PROBE_PAIRS[1])
        return accelerate(scorer, reduction_of(recipe.pooling), cls.embed_batch, probe)

    @property
    def fingerprint(self) -> str:
        """SHA-256, hex, of all that decides a score."""
        return self.runtime.fingerprint(self.recipe.as_dict(), self.max_length)

    @property
    def default_batch_tokens(self) -> int:
        """Budget when the user names none."""
        return self.runtime.default_batch_tokens

    def describe(self) -> dict[str, Any]:
        """Return what a result records of the model, JSON-able."""
        return self.runtime.describe() | {"max_length": self.max_length} | self.recipe.as_dict()

    def peak_device_bytes(self) -> int | None:
        """Return the highest device memory so far, in bytes."""
        return self.runtime.peak_device_bytes()

    def encode_texts(self, queries: Sequence[str], docs: Sequence[str]) -> EncodedItems:
        """Tokenise the queries, then the documents, each behind its prompt."""
        texts = [self.recipe.query_prompt + text for text in queries]
        texts += [self.recipe.doc_prompt + text for text in docs]
        tokens = self.tokenizer.encode(texts, self.max_length)
        check_vocabulary(self.runtime.name, tokens.flats, self.runtime.num_embeddings)
        return tokens

    def embed_batch(self, batch: TokenBatch) -> Launched:
        """Launch a batch of (B, H) float32 vectors, of length 1 where the checkpoint says so."""
        return self.runtime.launch(batch, partial(_pool, self.recipe))

    def compare(
        self, query_vectors: NDArray[np.float32], doc_vectors: NDArray[np.float32], pairs: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return (N,) float32: cosine or dot product of each pair's vectors, from (Q, H) and (D, H)."""
        has_unit_vectors = self.recipe.normalize and self.recipe.truncate_dim is None
        is_cosine = self.recipe.similarity == "cosine" and not has_unit_vectors
        return similarities(query_vectors, doc_vectors, pairs, is_cosine=is_cosine)


def similarities(
    query_vectors: NDArray[np.float32],
    doc_vectors: NDArray[np.float32],
    pairs: NDArray[np.int64],
    *,
    is_cosine: bool,
) -> NDArray[np.float32]:
    """Return (N,) float32: the dot product of each pair's vectors, or their cosine, from (Q, H) and (D, H)."""
    scores = np.empty(len(pairs), dtype=np.float32)
    for start in range(0, len(pairs), COMPARE_PAIRS):
        query_rows, doc_rows = pairs[start : start + COMPARE_PAIRS].T
        queries, docs = query_vectors[query_rows], doc_vectors[doc_rows]
        if is_cosine:  # of these rows only: all queries are handed over with every batch of documents
            queries, docs = unit_vectors(queries), unit_vectors(docs)
        scores[start : start + len(query_rows)] = np.einsum("nh,nh->n", queries, docs)
    return scores


def _place(model: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Return a model that is all trunk on its device, in ``dtype``; what it hands on is float32."""
    import torch

    if dtype != torch.float32:
        lower_trunk(model, dtype)
    return model.to(device)


def _pool(recipe: Recipe, outputs: Any, mask: torch.Tensor) -> torch.Tensor:
    """Return (B, H) float32 from (B, L, H) hidden states; the mask is (B, L), padding on the right."""
    import torch

    hidden = outputs.last_hidden_state.float()  # (B, L, H)
    if recipe.pooling == "cls":
        pooled = hidden[:, 0]
    elif recipe.pooling == "lasttoken":
        pooled = hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(dim=1) - 1]
    else:
        weights = mask.unsqueeze(-1).float()  # (B, L, 1)
        pooled = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
    if recipe.normalize:
        pooled = torch.nn.functional.normalize(pooled, dim=1)
    truncated: torch.Tensor = pooled[:, : recipe.truncate_dim]
    return truncated


def unit_vectors(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (N, H) vectors scaled to length 1; a vector of zeros stays as it is."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-12), dtype=np.float32)


def read_recipe(checkpoint: Checkpoint) -> Recipe:
    """Return how the checkpoint's files turn hidden states into a score.

    Raises:
        ConfigError: They ask for something that is not supported; it is named.
    """
    kinds = [module.kind for module in checkpoint.modules]
    unknown = [kind for kind in kinds if kind not in {"Transformer", "Pooling", "Normalize"}]
    if unknown:
        msg = (
            f"model {checkpoint.name!r}: modules.json asks for {', '.join(unknown)}; "
            "the family bi-encoder supports Transformer, Pooling and Normalize"
        )
        raise ConfigError(msg)
    if checkpoint.modules:
        check_transformer(checkpoint, has_head=True)
    similarity = checkpoint.st_config.get("similarity_fn_name") or "cosine"
    if similarity not in SIMILARITIES:
        msg = f"model {checkpoint.name!r}: similarity {similarity!r} is not supported, only {', '.join(SIMILARITIES)}"
        raise ConfigError(msg)
    query_prompt, doc_prompt = text_prompts(checkpoint)
    pooling_config = next((module.config for module in checkpoint.modules if module.kind == "Pooling"), None)
    if (query_prompt or doc_prompt) and pooling_config and not pooling_config.get("include_prompt", True):
        msg = f"model {checkpoint.name!r}: pooling without the prompt's tokens (include_prompt false) is not supported"
        raise ConfigError(msg)
    return Recipe(
        pooling=_pooling(checkpoint.name, pooling_config),
        normalize="Normalize" in kinds,
        similarity=cast("Similarity", similarity),
        query_prompt=query_prompt,
        doc_prompt=doc_prompt,
        truncate_dim=checkpoint.st_config.get("truncate_dim"),
    )


def _pooling(name: str, config: Mapping[str, Any] | None) -> Pooling:
    if config is None:
        progress.note(f"{name}: no modules.json names a pooling; the mean over the tokens is used")
        return "mean"
    modes = pooling_modes(config)
    if len(modes) != 1 or modes[0] not in POOLINGS:
        msg = f"model {name!r}: pooling {' + '.join(modes)} is not supported, only one of {', '.join(POOLINGS)}"
        raise ConfigError(msg)
    return cast("Pooling", modes[0])
