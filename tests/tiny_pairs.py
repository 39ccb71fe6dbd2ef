"""Made-up queries, positives and corpora over the words that the tiny tokenizers know, and a tiny static embedding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tiny_models import WORDS, make_tokenizer

ASCII_WORDS = [word for word in WORDS if word.isascii()]


def some_texts(count: int, *, seed: int, least: int = 3, most: int = 14) -> list[str]:
    """Return distinct texts."""
    rng = np.random.default_rng(seed)
    texts: dict[str, None] = {}
    while len(texts) < count:
        texts[" ".join(rng.choice(ASCII_WORDS, size=rng.integers(least, most)))] = None
    return list(texts)


def some_pairs(num_queries: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """Return (query, positive) pairs; every third query has two positives, which share words with it."""
    rng = np.random.default_rng(seed)
    queries = some_texts(num_queries, seed=seed + 1, most=6)
    extra = some_texts(2 * num_queries, seed=seed + 2)
    pairs = []
    for number, query in enumerate(queries):
        for _ in range(2 if number % 3 == 0 else 1):
            words = [*query.split(), *extra.pop().split()]
            rng.shuffle(words)
            pairs.append((query, " ".join(words)))
    return pairs


def write_static_embedding(folder: Path, *, normalize: bool = False, prompts: dict[str, str] | None = None) -> Path:
    """Write a static embedding as Sentence Transformers itself saves it, and return the folder."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

    torch.manual_seed(0)
    modules: list[torch.nn.Module] = [StaticEmbedding(make_tokenizer("bert"), embedding_dim=24)]
    if normalize:
        modules.append(Normalize())
    SentenceTransformer(modules=modules, prompts=prompts, device="cpu").save(str(folder), create_model_card=False)
    return folder
