"""Family ``late-interaction``: one vector per token, a pair's score is the sum of the query tokens' best matches.

The sum is ``max_sim.py``'s.  What the checkpoint's files say of markers, lengths and tokens that do not count is told in
``late_interaction_recipe.py``.  Every distinct text is encoded once; the vectors of a document never leave the device, and
are forgotten when its pairs are scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import ConfigError, ScoringError
from rerank_bench.scoring.acceleration import PROBE_PAIRS, accelerate
from rerank_bench.scoring.checkpoints import Checkpoint, torch_weights
from rerank_bench.scoring.device_copy import to_device
from rerank_bench.scoring.late_interaction_items import LateBatch, LateItems, LateTokenizer
from rerank_bench.scoring.late_interaction_recipe import LateRecipe, projection_modules, read_recipe
from rerank_bench.scoring.launching import Launched, settle
from rerank_bench.scoring.lengths import num_positions, resolve_max_length
from rerank_bench.scoring.loading import load_model, load_tokenizer, place_model
from rerank_bench.scoring.max_sim import max_sim
from rerank_bench.scoring.probing import check_padding
from rerank_bench.scoring.runtime import ModelRuntime, takes_type_ids
from rerank_bench.scoring.scorer import PairedDocs, ScorerConfig
from rerank_bench.scoring.text_batches import ItemSlice
from rerank_bench.scoring.tokenization import check_vocabulary

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, eq=False)
class LateInteractionScorer:
    """A loaded late-interaction model."""

    runtime: ModelRuntime
    tokenizer: LateTokenizer
    recipe: LateRecipe

    @classmethod
    def load(cls, checkpoint: Checkpoint, config: ScorerConfig) -> LateInteractionScorer:
        """Return the scorer of a checkpoint.

        Raises:
            ConfigError: The files ask for something that is not supported, or a length leaves no room.
            ScoringError: Weights, projection or tokenizer are incomplete.
        """
        from rerank_bench.scoring.st_head import TokenEncoder

        recipe = read_recipe(checkpoint)
        tokenizer = load_tokenizer(checkpoint, config)
        trunk = load_model(checkpoint, config, "AutoModel", unused=("pooler.",))
        model = TokenEncoder(trunk, _load_projection(checkpoint, recipe)).eval()
        doc_length = resolve_max_length(checkpoint, config, tokenizer, model, stated=recipe.document.length)
        query_length = _query_length(checkpoint, recipe, tokenizer, model)
        texts = LateTokenizer(
            checkpoint.name,
            tokenizer,
            recipe,
            query_length=query_length,
            doc_length=doc_length,
            has_type_ids=takes_type_ids(trunk),
        )
        scorer = cls(ModelRuntime.place(checkpoint, config, model, place_model), texts, recipe)
        _check_scores(scorer)
        return accelerate(scorer, None, cls.embed_batch, scorer.encode_texts(PROBE_PAIRS[0], PROBE_PAIRS[1]))

    @property
    def fingerprint(self) -> str:
        """SHA-256, hex, of all that decides a score."""
        return self.runtime.fingerprint(self.recipe.as_dict(), self.tokenizer.doc_length)

    @property
    def default_batch_tokens(self) -> int:
        """Budget when the user names none."""
        return self.runtime.default_batch_tokens

    def describe(self) -> dict[str, Any]:
        """Return what a result records of the model, JSON-able."""
        recipe = self.recipe
        return self.runtime.describe() | {
            "architecture": type(self.runtime.model.trunk).__name__,
            "max_length": self.tokenizer.doc_length,
            "query_length": self.tokenizer.query_length,
            "layout": recipe.layout,
            "similarity": "mean of maxima" if recipe.is_mean else "sum of maxima",
            "query_prompt": recipe.query.prompt,
            "doc_prompt": recipe.document.prompt,
            "query_marker": recipe.query.marker,
            "doc_marker": recipe.document.marker,
            "query_expansion": None if recipe.expansion is None else recipe.expansion.length,
            "skipped_tokens": len(self.tokenizer.skipped_ids),
        }

    def peak_device_bytes(self) -> int | None:
        """Return the highest device memory so far, in bytes."""
        return self.runtime.peak_device_bytes()

    def encode_texts(self, queries: Sequence[str], docs: Sequence[str]) -> LateItems:
        """Tokenise the queries, then the documents."""
        items = self.tokenizer.encode(queries, docs)
        check_vocabulary(self.runtime.name, items.tokens.flats, self.runtime.num_embeddings)
        return items

    def embed_batch(self, batch: LateBatch) -> Launched:
        """Launch a batch of (B, W, H) float32 token vectors; W is the same for all batches of queries."""
        return self.runtime.launch(batch.tokens, partial(_chosen_vectors, batch))

    def compare(
        self, query_vectors: NDArray[np.float32], doc_vectors: NDArray[np.float32], pairs: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return (N,) float32: MaxSim of each pair's token vectors, from (Q, W, H) and (D, V, H)."""
        import torch

        vectors = torch.from_numpy(query_vectors), torch.from_numpy(doc_vectors)
        return np.asarray(max_sim(*vectors, torch.from_numpy(pairs), is_mean=self.recipe.is_mean).numpy())

    def scoring_against(self, query_vectors: NDArray[np.float32]) -> Callable[[PairedDocs], Launched]:
        """Return what launches a batch of documents and compares them, on the device, with (Q, W, H) query vectors."""
        import torch

        queries = torch.from_numpy(query_vectors).to(self.runtime.device)

        def launch(batch: PairedDocs) -> Launched:
            return self.runtime.launch(batch.docs.tokens, partial(self._scores, batch, queries))

        return launch

    def _scores(self, batch: PairedDocs, queries: torch.Tensor, outputs: Any, mask: torch.Tensor) -> torch.Tensor:
        """Return the (B, M) scores of the pairs of B documents."""
        vectors = _chosen_vectors(batch.docs, outputs, mask)
        pairs, places = to_device([batch.pairs, batch.places], vectors.device)
        scores = vectors.new_zeros(batch.shape)
        scores.view(-1)[places] = max_sim(queries, vectors, pairs, is_mean=self.recipe.is_mean)
        return scores


def _chosen_vectors(batch: LateBatch, outputs: Any, _mask: torch.Tensor) -> torch.Tensor:
    """Return the (B, W, H) vectors that are compared, from (B, L, H) of all tokens."""
    import torch

    vectors: torch.Tensor = outputs.token_vectors
    position, weight = to_device([batch.position, batch.weight], vectors.device)
    rows = torch.arange(len(vectors), device=vectors.device).unsqueeze(1)
    return vectors[rows, position] * weight.unsqueeze(-1)


def _query_length(checkpoint: Checkpoint, recipe: LateRecipe, tokenizer: Any, model: Any) -> int:
    """Return the number of tokens that a query is cut to; ``--max-length`` is about documents."""
    positions = num_positions(model)
    needed = max(recipe.query.length or 0, 0 if recipe.expansion is None else recipe.expansion.length)
    if positions is not None and needed > positions:
        msg = f"model {checkpoint.name!r}: queries of {needed} tokens are asked for, but it has {positions} positions"
        raise ConfigError(msg)
    return resolve_max_length(checkpoint, ScorerConfig(), tokenizer, model, stated=recipe.query.length)


def _load_projection(checkpoint: Checkpoint, recipe: LateRecipe) -> list[Any]:
    """Return the modules from hidden states to vectors."""
    from rerank_bench.scoring.st_head import Normalize, build_module

    to_unit = Normalize({"module_input_name": "token_embeddings"})
    if recipe.layout == "stanford":
        return [_stanford_projection(checkpoint), to_unit]
    modules = [build_module(checkpoint, module) for module in projection_modules(checkpoint)]
    return [*modules, to_unit] if recipe.layout == "pylate" else modules


def _stanford_projection(checkpoint: Checkpoint) -> Any:
    from torch.nn import Identity

    from rerank_bench.scoring.st_head import Dense, read_tensor

    found_in = (read_tensor(path, "linear.weight") for path in torch_weights(checkpoint.trunk))
    weight = next((tensor for tensor in found_in if tensor is not None), None)
    hidden_size = checkpoint.config.get("hidden_size")
    if weight is None or weight.ndim != 2 or (hidden_size is not None and weight.shape[1] != hidden_size):
        found = "missing" if weight is None else f"of shape {tuple(weight.shape)}"
        msg = (
            f"model {checkpoint.name!r}: the projection 'linear.weight' is {found}, expected (dimension, {hidden_size}) "
            "among the weights; without it the vectors would be random numbers"
        )
        raise ScoringError(msg)
    settings = {"in_features": weight.shape[1], "out_features": weight.shape[0], "bias": False}
    dense = Dense(settings | {"module_input_name": "token_embeddings"}, Identity())
    dense.linear.weight.data = weight.float().clone()
    return dense


def _check_scores(scorer: LateInteractionScorer) -> None:
    """Raise if padding changes a score, or if nothing of a document would be compared."""
    items = scorer.encode_texts(["stop a program"], ["text", "a query, a document and a score " * 3, ""])
    batch = items.batch(np.asarray([3]))
    empty = items.is_compared[items.tokens.offsets[3] :]
    if not empty.any():
        msg = f"model {scorer.runtime.name!r} skips every token of an empty document: {batch.tokens.input_ids.tolist()}"
        raise ConfigError(msg)
    query_vectors = settle(scorer.embed_batch(items.batch(np.asarray([0]))))

    def compute(batch: LateBatch) -> NDArray[np.float32]:
        pairs = np.stack([np.zeros(len(batch.position), dtype=np.int64), np.arange(len(batch.position))], axis=1)
        return scorer.compare(query_vectors, settle(scorer.embed_batch(batch)), pairs)

    is_exact = scorer.runtime.is_float32
    check_padding(scorer.runtime.name, ItemSlice(items, 1, 3), compute, is_exact=is_exact)
