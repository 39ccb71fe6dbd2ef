"""Checkpoints that the scoring tests share, each written once per session."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_language_models import CHAT_TEMPLATE, token_ids, write_causal_lm, write_logit_score
from tiny_models import WORDS, write_encoder, write_sequence_classifier

Make = Callable[..., Path]


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """Run torch on one thread: the models are so small that several threads only wait for one another."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return a function (architecture, **options) -> folder of a tiny sequence classifier; never to be changed."""
    folders: dict[Any, Path] = {}

    def make(architecture: str = "bert", **options: Any) -> Path:
        key = (architecture, *sorted(options.items()))
        if key not in folders:
            folder = tmp_path_factory.mktemp("classifier") / architecture
            folders[key] = write_sequence_classifier(folder, architecture, **options)
        return folders[key]

    return make


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return a function (architecture, **options) -> folder of a tiny bi-encoder; never to be changed."""

    def make(architecture: str = "bert", **options: Any) -> Path:
        return write_encoder(tmp_path_factory.mktemp("encoder") / architecture, architecture, **options)

    return make


@pytest.fixture(scope="session")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return a function (architecture, **options) -> folder of a tiny decoder; never to be changed."""
    folders: dict[Any, Path] = {}

    def make(architecture: str = "qwen3", **options: Any) -> Path:
        key = (architecture, *sorted(options.items()))
        if key not in folders:
            folders[key] = write_causal_lm(tmp_path_factory.mktemp("decoder") / architecture, architecture, **options)
        return folders[key]

    return make


@pytest.fixture(scope="session")
def logit_score(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder in the layout of Sentence Transformers, with a chat template that carries a pair."""
    root = tmp_path_factory.mktemp("logit-score")
    source = write_causal_lm(root / "source", "qwen3", chat_template=CHAT_TEMPLATE)
    yes, no = token_ids(source, "yes", "no")
    return write_logit_score(root / "saved", source, true_token_id=yes, false_token_id=no)


@pytest.fixture(scope="session")
def text_pairs() -> list[tuple[str, str]]:
    """60 pairs of mixed length: empty ones, over-long ones, a text that comes twice, letters outside ASCII."""
    draw = random.Random(7)

    def text(max_words: int) -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(1, max_words)))

    pairs = [(text(10), text(25)) for _ in range(50)]
    pairs += [("", text(10)), (text(5), ""), ("", ""), (text(8), text(200)), (text(200), text(5)), (text(90), text(90))]
    pairs += [
        pairs[3],
        ("Straße NAÏVE", "10.5 % “café”\n\n東京"),
        (" stop ", "  the program "),
        ("a [SEP] b", "c </s> d"),
    ]
    return pairs
