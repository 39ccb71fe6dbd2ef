"""Classifiers over decoders, which are handed a pair in a prompt: against Sentence Transformers and the official class."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_language_models import CHAT_TEMPLATE, CONVERSATION_TEMPLATE, PLAIN, write_causal_lm
from transformers import AutoTokenizer
from watcher import Watcher

from rerank_bench import progress
from rerank_bench.errors import ConfigError
from rerank_bench.scoring.loaded_scorer import load_scorer

Pairs = list[tuple[str, str]]


def write_classifier(folder: Path, chat_template: str | None) -> Path:
    return write_causal_lm(
        folder, chat_template=chat_template, head="SequenceClassification", num_labels=1, initializer_range=0.5
    )


@pytest.fixture(scope="module")
def templated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain folder of transformers whose chat template carries a pair."""
    return write_classifier(tmp_path_factory.mktemp("templated"), CHAT_TEMPLATE)


def peer_scores(folder: Path, pairs: Pairs, **options: Any) -> NDArray[np.float32]:
    from sentence_transformers import CrossEncoder

    peer = CrossEncoder(str(folder), device="cpu", **options)
    scores = peer.predict(pairs, activation_fn=torch.nn.Identity(), batch_size=4, show_progress_bar=False)
    return np.asarray(scores, dtype=np.float32)


def official_scores(folder: Path, texts: list[str]) -> NDArray[np.float32]:
    """One text at a time, as the tokenizer closes it."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return np.asarray([float(model(**tokenizer(text, return_tensors="pt")).logits) for text in texts])


def test_a_chat_template_is_used_as_by_the_peer(templated: Path, text_pairs: Pairs) -> None:
    loaded = load_scorer(str(templated), device="cpu")
    scores = loaded.score(text_pairs)
    assert np.ptp(scores) > 0.1, "texts matter"
    np.testing.assert_allclose(scores, peer_scores(templated, text_pairs), rtol=0, atol=1e-4)
    described = loaded.describe()
    assert (described["family"], described["recipe"]) == ("sequence-classifier", "chat template")
    assert json.loads(json.dumps(described)) == described


def test_the_layout_with_modules_says_the_same(templated: Path, tmp_path: Path, text_pairs: Pairs) -> None:
    from sentence_transformers import CrossEncoder

    CrossEncoder(str(templated), device="cpu").save_pretrained(str(tmp_path / "saved"))
    scores = load_scorer(str(tmp_path / "saved"), device="cpu").score(text_pairs)
    np.testing.assert_allclose(scores, load_scorer(str(templated), device="cpu").score(text_pairs), rtol=0, atol=1e-6)
    np.testing.assert_allclose(scores, peer_scores(tmp_path / "saved", text_pairs), rtol=0, atol=1e-4)


def test_an_instruction_reaches_the_chat_template(templated: Path, text_pairs: Pairs) -> None:
    told = load_scorer(str(templated), device="cpu", instruction="Find the function.")
    expected = peer_scores(templated, text_pairs, prompts={"own": "Find the function."}, default_prompt_name="own")
    np.testing.assert_allclose(told.score(text_pairs), expected, rtol=0, atol=1e-4)
    assert told.fingerprint != load_scorer(str(templated), device="cpu").fingerprint


def test_an_explicit_template_wins(templated: Path, text_pairs: Pairs) -> None:
    loaded = load_scorer(str(templated), device="cpu", template=PLAIN)
    expected = official_scores(templated, [PLAIN.format(query=query, document=doc) for query, doc in text_pairs])
    np.testing.assert_allclose(loaded.score(text_pairs), expected, rtol=0, atol=1e-4)
    assert loaded.describe()["template"] == PLAIN


def test_an_explicit_template_for_an_encoder_is_closed_as_its_texts_are(classifier: Any, text_pairs: Pairs) -> None:
    folder, short = classifier("bert"), [(query[:20], doc[:20]) for query, doc in text_pairs]
    expected = official_scores(folder, [f"{query} to {doc}" for query, doc in short])
    scores = load_scorer(str(folder), device="cpu", template="{query} to {document}").score(short)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4)


def test_a_chat_template_for_conversations_is_refused(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "chatty", CONVERSATION_TEMPLATE)
    message = (
        r"model 'chatty' would be handed its pairs in a prompt, but its chat template does not put a message of role "
        r"'query' or 'document' into the prompt; pass --template with one of .*qwen3-reranker"
    )
    with pytest.raises(ConfigError, match=message):
        load_scorer(str(folder), device="cpu")
    load_scorer(str(folder), device="cpu", template="qwen3-reranker")


def test_contents_of_typed_parts_are_rendered_as_by_the_peer(tmp_path: Path, text_pairs: Pairs) -> None:
    template = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content[0].text }}<|im_end|>\n{% endfor %}"
    folder = write_classifier(tmp_path / "structured", template)
    loaded = load_scorer(str(folder), device="cpu")
    np.testing.assert_allclose(loaded.score(text_pairs), peer_scores(folder, text_pairs), rtol=0, atol=1e-4)
    assert "<|im_start|>query\n{query}<|im_end|>" in loaded.describe()["template"]


def test_plain_pairs_on_request(tmp_path: Path, classifier: Any, text_pairs: Pairs) -> None:
    """Models that were trained before Sentence Transformers used chat templates."""
    plain, chatty = classifier("bert"), tmp_path / "chatty"
    shutil.copytree(plain, chatty)
    tokenizer = AutoTokenizer.from_pretrained(chatty)
    tokenizer.chat_template = CONVERSATION_TEMPLATE
    tokenizer.save_pretrained(chatty)
    with pytest.raises(ConfigError, match=r"pair if it was trained on pairs as its tokenizer joins them"):
        load_scorer(str(chatty), device="cpu")
    scores = load_scorer(str(chatty), device="cpu", template="pair").score(text_pairs)
    assert scores.tolist() == load_scorer(str(plain), device="cpu").score(text_pairs).tolist()


def test_two_texts_with_nothing_between_them_are_told(tmp_path: Path) -> None:
    folder, watcher = write_classifier(tmp_path / "bare", None), Watcher()
    with progress.use_reporter(watcher):
        load_scorer(str(folder), device="cpu")
    assert [note for note in watcher.notes if note.startswith("bare: its tokenizer puts nothing between query and doc")]


def test_an_instruction_without_a_place_is_refused(classifier: Any) -> None:
    with pytest.raises(ConfigError, match=r"there is no place for an instruction; drop it, or pass --template"):
        load_scorer(str(classifier("bert")), device="cpu", instruction="Find it.")
