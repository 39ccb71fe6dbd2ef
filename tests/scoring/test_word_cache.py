"""Texts tokenised by words that were seen before have the tokenizer's own ids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_models import SEQUENCE_CLASSIFIERS, WORDS, make_tokenizer

from rerank_bench.scoring import word_cache
from rerank_bench.scoring.tokenization import tokenize_texts
from rerank_bench.scoring.word_cache import WordCache, ranges, splits_at_spaces

texts = st.one_of(
    st.lists(st.sampled_from([*WORDS, "", "[SEP]", "a[MASK]b", "\u0301x", "ΑΣ", "\x1c", "\u2003", "\n"])).map(" ".join),
    st.text(max_size=30),
)


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(texts, min_size=1, max_size=6), keep=st.sampled_from([3, 500]), keeps_end=st.booleans())
@example(
    rows=["stop\x1cthe list", "stop \u0301 the", "ΑΣ ΑΣ.", "", " ", "東京 [SEP] [CLS]x"], keep=500, keeps_end=False
)
def test_ids_are_the_tokenizers_own(rows: list[str], keep: int, *, keeps_end: bool) -> None:
    tokenizer = make_tokenizer("bert")
    assert splits_at_spaces(tokenizer)
    tokens = tokenize_texts(tokenizer, rows, keep=keep, keeps_end=keeps_end)
    for row, text in enumerate(rows):
        own = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        assert tokens.full_lengths[row] == len(own)
        found = tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]].tolist()
        assert found == (own[-keep:] if keeps_end else own[:keep])


@pytest.mark.parametrize("architecture", SEQUENCE_CLASSIFIERS)
def test_only_tokenizers_that_split_at_spaces_are_taken_apart(architecture: str) -> None:
    assert splits_at_spaces(make_tokenizer(architecture)) == (architecture in {"bert", "electra"})


def test_a_token_with_a_space_in_it_forbids_it() -> None:
    tokenizer = make_tokenizer("bert")
    tokenizer.add_tokens(["stop list"])
    assert not splits_at_spaces(tokenizer)


def test_a_full_cache_starts_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_cache, "MAX_WORDS", 2)
    backend = make_tokenizer("bert").backend_tokenizer
    cache = WordCache(backend)
    for text in ("stop the list", "list the stop", "read a stop file"):
        ids, lengths = cache.encode([text, text])
        own = backend.encode(text, add_special_tokens=False).ids
        assert ids.tolist() == own * 2
        assert lengths.tolist() == [len(own)] * 2
    assert len(cache.numbers) <= 4


def test_ranges_join_their_numbers() -> None:
    assert ranges(np.asarray([5, 0, 9]), np.asarray([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]
