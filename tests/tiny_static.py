"""A static-embedding model of a few words, in the layout of Sentence Transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = [f"w{number}" for number in range(300)]


def write_static_embedding(folder: Path, *, seed: int = 0, width: int = 32, similarity: str = "cosine") -> Path:
    """Write a model that knows ``WORDS`` and return its folder; ``load_reference`` reads it."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(["[UNK]", *WORDS])}, unk_token="[UNK]"))  # noqa: S106  a word
    tokenizer.pre_tokenizer = Whitespace()
    weights = torch.randn(len(WORDS) + 1, width, generator=torch.Generator().manual_seed(seed))
    module = StaticEmbedding(tokenizer, embedding_weights=weights)
    SentenceTransformer(modules=[module], device="cpu", similarity_fn_name=similarity).save(str(folder))
    return folder


def load_reference(folder: Path) -> Any:
    """Return the same model as Sentence Transformers runs it."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")
