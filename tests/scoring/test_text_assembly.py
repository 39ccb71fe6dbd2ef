"""Single texts put together from pieces are the tokenizer's own, token for token."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_models import SEQUENCE_CLASSIFIERS, WORDS, make_tokenizer

from rerank_bench.scoring.text_assembly import TextTokenizer
from rerank_bench.scoring.tokenization import encode_whole

texts = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=20).map(" ".join),
    st.text(max_size=30),
    st.sampled_from(["", " ", "a [SEP] b </s> c", "<s> [CLS] [PAD] <pad>", "x" * 30]),
)


@cache
def text_tokenizer(architecture: str, truncation_side: str) -> TextTokenizer:
    tokenizer = make_tokenizer(architecture)
    tokenizer.truncation_side = truncation_side
    return TextTokenizer(tokenizer, has_type_ids=True)


@pytest.mark.parametrize("architecture", SEQUENCE_CLASSIFIERS)
@settings(max_examples=40, deadline=None)
@given(text=texts, max_length=st.sampled_from([3, 7, 16, 64]), side=st.sampled_from(["right", "left"]))
@example(text="stop " * 30, max_length=17, side="right")
@example(text="stop " * 30, max_length=16, side="left")
def test_assembled_texts_equal_the_tokenizers_own(architecture: str, text: str, max_length: int, side: str) -> None:
    tokenizer = text_tokenizer(architecture, side)
    assert tokenizer.template is not None, "assembly was not proved for this tokenizer"
    tokens = tokenizer.encode(["how to", text, ""], max_length)
    batch = tokens.batch(np.asarray([1]))
    expected = tokenizer.tokenizer([text], truncation=True, max_length=max_length)
    assert batch.input_ids[0].tolist() == expected["input_ids"][0]
    assert (batch.token_type_ids is None) == ("token_type_ids" not in expected)
    if batch.token_type_ids is not None:
        assert batch.token_type_ids[0].tolist() == expected["token_type_ids"][0]
    full = len(tokenizer.tokenizer([text])["input_ids"][0])
    assert tokens.full_lengths[1] == full
    assert tokens.is_truncated[1] == (full > max_length)


class NotByPieces:
    """A real tokenizer whose texts are not the sum of their parts: it marks the last token."""

    def __init__(self) -> None:
        self.inner = make_tokenizer("bert")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __call__(self, first: Any, second: Any = None, **options: Any) -> Any:
        encoded = self.inner(first, second, **options)
        for row in encoded["input_ids"] if len(first) > 1 else []:
            row[-1] = self.inner.mask_token_id
        return encoded


class WithSegments(NotByPieces):
    """A real tokenizer that puts even a single text into a segment other than the first."""

    def __call__(self, first: Any, second: Any = None, **options: Any) -> Any:
        encoded = self.inner(first, second, **options)
        encoded["token_type_ids"] = [[1] * len(row) for row in encoded["input_ids"]]
        return encoded


@pytest.mark.parametrize("kind", [NotByPieces, WithSegments])
def test_a_tokenizer_that_cannot_be_taken_apart_is_called_on_whole_texts(kind: type[NotByPieces]) -> None:
    tokenizer = kind()
    texts = ["stop " * 20, "how to", ""]
    ours = TextTokenizer(tokenizer, has_type_ids=True)
    assert ours.template is None
    tokens, whole = ours.encode(texts, 12), encode_whole(tokenizer, texts, None, 12, has_type_ids=True)
    for found, expected in zip(tokens.batch(np.arange(3)), whole.batch(np.arange(3)), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert tokens.is_truncated.tolist() == [True, False, False]
