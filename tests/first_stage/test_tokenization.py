from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rerank_bench.first_stage.analysis import AnalyzerConfig, tokenize_queries
from rerank_bench.first_stage.tokenization import (
    CONTEXT_LETTERS,
    TokenizedCorpus,
    folded_letters,
    tokenize_collection,
)
from rerank_bench.records import Dataset

OTHER_PATTERN = r"[^\W\d]+"
TEXTS = st.lists(
    st.text(st.one_of(st.sampled_from("aAbB1_ .'\nßäΣσςİıéЖж中𐐀𝒳"), st.characters(exclude_categories=["Cs"]))),
    max_size=8,
)


def terms_by_doc(corpus: TokenizedCorpus) -> list[list[str]]:
    bounds = itertools.pairwise(corpus.offsets.tolist())
    return [[corpus.vocabulary[term] for term in corpus.token_ids[start:end].tolist()] for start, end in bounds]


def tokenize(texts: Sequence[str], config: AnalyzerConfig, **options: int) -> TokenizedCorpus:
    return tokenize_collection(pa.array(texts, type=pa.large_string()), config, **options)


def assert_as_defined(corpus: TokenizedCorpus, texts: Sequence[str], config: AnalyzerConfig) -> None:
    expected = tokenize_queries(texts, config)
    assert terms_by_doc(corpus) == expected
    assert corpus.vocabulary == list(dict.fromkeys(term for terms in expected for term in terms))


@settings(deadline=None)
@given(
    TEXTS,
    st.sampled_from(
        [
            AnalyzerConfig(),
            AnalyzerConfig(stop_words=None, stemmer=None),
            AnalyzerConfig(lowercase=False),
            AnalyzerConfig(token_pattern=OTHER_PATTERN),
        ]
    ),
    st.integers(1, 3),
    st.integers(1, 5),
)
@example(["ΟΔΟΣ ΟΔΟΣΑ", "Σ"], AnalyzerConfig(stemmer=None), 1, 9)
@example(["DİYARBAKIR"], AnalyzerConfig(stemmer=None), 1, 9)
def test_a_collection_has_the_terms_of_the_definition(
    texts: list[str], config: AnalyzerConfig, num_workers: int, chunk_docs: int
) -> None:
    corpus = tokenize(texts, config, num_workers=num_workers, chunk_docs=chunk_docs)
    assert_as_defined(corpus, texts, config)


def test_words_that_begin_alike_stay_apart() -> None:
    # Eight ASCII letters are their own key; longer words and other letters are hashed.
    texts = ["abcdefgh abcdefghi abcdefghij abcdefgh", "ab ba abé éab ab\u00e9\u00e8 abcdefghi aab"]
    config = AnalyzerConfig(stop_words=None, stemmer=None)
    assert_as_defined(tokenize(texts, config), texts, config)


def test_tables_grow_within_a_document_and_between_documents() -> None:
    config = AnalyzerConfig(stop_words=None, stemmer=None)
    words = [f"word{number}" for number in range(120_000)]  # the first table has room for 32,768
    texts = [" ".join(words[:100_000]), " ".join(words[50_000:]), words[0]]
    assert_as_defined(tokenize(texts, config, chunk_docs=1), texts, config)


def test_a_slice_of_an_array_is_read_where_it_begins() -> None:
    config = AnalyzerConfig()
    whole = pa.array(["zero cats", "one dog", "two birds", "three fish"], type=pa.large_string())
    assert_as_defined(tokenize_collection(whole.slice(1, 2), config, chunk_docs=1), ["one dog", "two birds"], config)


@pytest.mark.parametrize("texts", [[], [""], ["", "the of a", "  \n"]])
def test_texts_without_terms_are_kept_as_empty(texts: list[str]) -> None:
    corpus = tokenize(texts, AnalyzerConfig())
    assert corpus.offsets.tolist() == [0] * (len(texts) + 1)
    assert corpus.vocabulary == []


def test_each_code_point_but_two_is_lower_cased_alone() -> None:
    """Fails when a Python version brings another letter whose lower case is not one code point."""
    folded = folded_letters(lowercase=True)
    plain = folded_letters(lowercase=False)
    assert [chr(c) for c in range(0x110000) if len(chr(c).lower()) != 1] == [CONTEXT_LETTERS[0]]
    for code_point in range(0x110000):
        letter = chr(code_point)
        is_word = letter.isalnum() or letter == "_"
        assert plain[code_point] == (code_point if is_word else 0)
        if letter not in CONTEXT_LETTERS:
            lowered = letter.lower()
            assert folded[code_point] == (ord(lowered) if lowered.isalnum() or lowered == "_" else 0)
    assert not folded[0x110000:].any()


@pytest.mark.parametrize("name", ["scifact", "vaswani", "cranfield"])
def test_real_collections_have_the_terms_of_the_definition(name: str, real_dataset: Callable[[str], Dataset]) -> None:
    texts = real_dataset(name).collection.texts
    config = AnalyzerConfig()
    first = tokenize_collection(texts, config, num_workers=1)
    assert_as_defined(first, texts.to_pylist(), config)
    for num_workers, chunk_docs in [(2, 97), (3, 1000)]:
        other = tokenize_collection(texts, config, num_workers=num_workers, chunk_docs=chunk_docs)
        assert np.array_equal(other.token_ids, first.token_ids)
        assert np.array_equal(other.offsets, first.offsets)
        assert other.vocabulary == first.vocabulary
