"""Family ``static-embedding``: a text's vector is the mean of one learned vector per token; nothing else is computed.

The layout is Sentence Transformers' ``StaticEmbedding`` module: ``tokenizer.json`` beside one table of weights, also in
the form of model2vec (``embeddings``, and if wanted ``mapping`` and ``weights`` per token).  A text without a token has
the vector 0.  Runs on the CPU in float32: looking rows up is faster there than sending the ids elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rerank_bench import progress
from rerank_bench.errors import ConfigError, ScoringError
from rerank_bench.scoring.bi_encoder import SIMILARITIES, similarities
from rerank_bench.scoring.checkpoints import Checkpoint, torch_weights
from rerank_bench.scoring.file_fingerprints import FileFingerprints, fingerprint_files
from rerank_bench.scoring.scorer import SCORING_CODE_VERSION, EncodedItems, ScorerConfig
from rerank_bench.scoring.st_layout import text_prompts
from rerank_bench.scoring.tokenization import FlatTokens, check_vocabulary, tokenize_texts
from rerank_bench.scoring.word_cache import ranges
from rerank_bench.storage import fingerprint_json

if TYPE_CHECKING:
    import torch

BATCH_TOKENS = 262_144
UNLIMITED = 2**31 - 1
"""Tokens that are kept of a text where nothing says a length."""


class Bags(NamedTuple):
    """The tokens of B texts, one after the other."""

    ids: NDArray[np.int64]
    """(T,)"""
    offsets: NDArray[np.int64]
    """(B,) where each text begins."""


@dataclass(frozen=True, slots=True, eq=False)
class BaggedTexts:
    """N tokenised texts that are cut into bags, without padding."""

    tokens: FlatTokens

    @property
    def lengths(self) -> NDArray[np.int32]:
        """(N,) int32: tokens of each text; 0 is possible."""
        return self.tokens.lengths

    @property
    def is_truncated(self) -> NDArray[np.bool_]:
        """(N,): whether a text lost tokens."""
        return self.tokens.is_truncated

    def batch(self, indices: NDArray[np.int64]) -> Bags:
        """Return the texts at ``indices``."""
        starts = self.tokens.offsets[indices]
        lengths = self.tokens.offsets[indices + 1] - starts
        ids = self.tokens.ids[ranges(starts, lengths)]
        return Bags(ids.astype(np.int64), np.cumsum(lengths) - lengths)


@dataclass(frozen=True, slots=True, eq=False)
class StaticEmbeddingScorer:
    """A loaded table of token vectors."""

    checkpoint: Checkpoint
    files: FileFingerprints
    tokenizer: Any
    table: torch.Tensor
    """(V, H) float32."""
    max_length: int | None
    """Tokens that are kept of a text; ``None`` keeps all."""
    normalize: bool
    similarity: str
    prompts: tuple[str, str]
    """Before a query, before a document."""

    @classmethod
    def load(cls, checkpoint: Checkpoint, config: ScorerConfig) -> StaticEmbeddingScorer:
        """Return the scorer of a checkpoint.

        Raises:
            ConfigError: The files ask for a module, similarity or precision that is not supported.
            ScoringError: Weights or tokenizer are missing, or of two checkpoints.
        """
        kinds = [module.kind for module in checkpoint.modules]
        if kinds not in (["StaticEmbedding"], ["StaticEmbedding", "Normalize"]):
            msg = (
                f"model {checkpoint.name!r}: modules.json asks for {' → '.join(kinds) or 'nothing'}; the family "
                "static-embedding supports StaticEmbedding, and Normalize behind it"
            )
            raise ConfigError(msg)
        similarity = checkpoint.st_config.get("similarity_fn_name") or "cosine"
        if similarity not in SIMILARITIES:
            msg = (
                f"model {checkpoint.name!r}: similarity {similarity!r} is not supported, only {', '.join(SIMILARITIES)}"
            )
            raise ConfigError(msg)
        if config.dtype not in {"auto", "float32"}:
            msg = f"model {checkpoint.name!r}: a static embedding is a float32 table; drop --dtype {config.dtype}"
            raise ConfigError(msg)
        if config.device not in {"auto", "cpu"}:
            progress.note(f"{checkpoint.name}: a static embedding runs on the CPU, not on {config.device}")
        truncate_dim = checkpoint.st_config.get("truncate_dim")
        if truncate_dim is not None and similarity == "dot" and kinds[-1] == "Normalize":
            msg = f"model {checkpoint.name!r}: truncate_dim behind Normalize is not supported for dot products"
            raise ConfigError(msg)
        tokenizer, stated = _load_tokenizer(checkpoint)
        return cls(
            checkpoint,
            fingerprint_files(checkpoint),
            tokenizer,
            _load_table(checkpoint)[:, :truncate_dim].contiguous(),
            config.max_length or stated,
            kinds[-1] == "Normalize",
            similarity,
            text_prompts(checkpoint),
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256, hex, of all that decides a score."""
        return fingerprint_json(
            {
                "code": SCORING_CODE_VERSION,
                "family": self.checkpoint.family,
                "weights": self.files.weights,
                "tokenizer": self.files.tokenizer,
                "settings": self.files.settings,
                "max_length": self.max_length,
                **self._recipe(),
            }
        )

    @property
    def default_batch_tokens(self) -> int:
        """Budget when the user names none."""
        return BATCH_TOKENS

    def describe(self) -> dict[str, Any]:
        """Return what a result records of the model, JSON-able."""
        return {
            "name": self.checkpoint.name,
            "family": self.checkpoint.family,
            "revision": self.checkpoint.revision,
            "architecture": "StaticEmbedding",
            "weights_fingerprint": self.files.weights,
            "tokenizer_fingerprint": self.files.tokenizer,
            "dtype": "float32",
            "device": "cpu",
            "batches": "packed",
            "num_parameters": self.table.numel(),
            "max_length": self.max_length,
            **self._recipe(),
        }

    def _recipe(self) -> dict[str, Any]:
        query_prompt, doc_prompt = self.prompts
        return {
            "pooling": "mean",
            "normalize": self.normalize,
            "similarity": self.similarity,
            "query_prompt": query_prompt,
            "doc_prompt": doc_prompt,
        }

    def peak_device_bytes(self) -> int | None:
        """Return ``None``: there is no accelerator."""
        return None

    def encode_texts(self, queries: Sequence[str], docs: Sequence[str]) -> EncodedItems:
        """Tokenise the queries, then the documents, each behind its prompt and without special tokens."""
        query_prompt, doc_prompt = self.prompts
        texts = [query_prompt + text for text in queries] + [doc_prompt + text for text in docs]
        tokens = tokenize_texts(self.tokenizer, texts, keep=self.max_length or UNLIMITED, keeps_end=False)
        check_vocabulary(self.checkpoint.name, tokens.flats, len(self.table))
        return BaggedTexts(tokens)

    def embed_batch(self, batch: Bags) -> NDArray[np.float32]:
        """Return (B, H) float32 vectors, of length 1 where the checkpoint says so."""
        import torch
        from torch.nn.functional import embedding_bag, normalize

        with torch.inference_mode():
            ids, offsets = torch.from_numpy(batch.ids), torch.from_numpy(batch.offsets)
            vectors = embedding_bag(ids, self.table, offsets, mode="mean")  # (B, H)
            return np.asarray((normalize(vectors, dim=1) if self.normalize else vectors).numpy())

    def compare(
        self, query_vectors: NDArray[np.float32], doc_vectors: NDArray[np.float32], pairs: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return (N,) float32: cosine or dot product of each pair's vectors, from (Q, H) and (D, H)."""
        is_cosine = self.similarity == "cosine" and not self.normalize
        return similarities(query_vectors, doc_vectors, pairs, is_cosine=is_cosine)


def _load_tokenizer(checkpoint: Checkpoint) -> tuple[Any, int | None]:
    """Return the tokenizer, and the length that its file cuts texts to."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    path = checkpoint.trunk / "tokenizer.json"
    if not path.is_file():
        msg = f"model {checkpoint.name!r}: {checkpoint.trunk} holds no tokenizer.json; copy it there"
        raise ScoringError(msg)
    try:
        backend = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception for whatever is wrong in the file
        msg = f"model {checkpoint.name!r}: {path} cannot be read as a tokenizer: {error}"
        raise ScoringError(msg) from error
    stated = None if backend.truncation is None else int(backend.truncation["max_length"])
    # A padding token is asked for, never used: bags are not padded.
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token=backend.id_to_token(0)), stated


def _load_table(checkpoint: Checkpoint) -> torch.Tensor:
    """Return (V, H) float32, one row per token id.

    Raises:
        ScoringError: The file holds no such table.
    """
    import torch

    weights = _read_weights(checkpoint.name, torch_weights(checkpoint.trunk)[0])
    table = weights.get("embedding.weight", weights.get("embeddings"))
    if table is None or table.dim() != 2:
        msg = (
            f"model {checkpoint.name!r}: the weights are {', '.join(weights) or 'empty'}; expected 'embedding.weight' or "
            "'embeddings', a table with a row per token"
        )
        raise ScoringError(msg)
    if "embedding.weight" not in weights and "mapping" in weights:
        table = table[weights["mapping"].long()]  # several tokens share a row
    table = table.to(torch.float32)
    if "embedding.weight" not in weights and "weights" in weights:
        table = table * weights["weights"].to(torch.float32)[:, None]
    return table.contiguous().clone()


def _read_weights(name: str, path: Path) -> dict[str, torch.Tensor]:
    from pickle import UnpicklingError

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except (SafetensorError, UnpicklingError, OSError, RuntimeError, ValueError) as error:
        msg = f"model {name!r}: {path} cannot be read: {error}"
        raise ScoringError(msg) from error
