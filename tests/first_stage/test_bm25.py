from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import bm25s
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rank_bm25 import BM25Okapi

from rerank_bench.errors import ConfigError
from rerank_bench.first_stage.analysis import AnalyzerConfig, tokenize_queries
from rerank_bench.first_stage.bm25 import BM25Config, BM25Index, Matches, build_index
from rerank_bench.first_stage.index_kernels import BLOCK_DOCS, depth_th_best
from rerank_bench.records import Collection, Dataset

WORDS = st.lists(st.sampled_from(["apple", "berry", "cherry", "date", "elder", "the"]), max_size=7).map(" ".join)
COLLECTIONS = ["scifact", "vaswani", "cranfield"]
REAL_QUERIES = 20


def index_texts(texts: Sequence[str], config: BM25Config) -> BM25Index:
    return build_index(Collection([str(i) for i in range(len(texts))], list(texts)), config)


def dense(matches: Matches, num_docs: int) -> NDArray[np.float64]:
    """Return (num_docs,) float64: scores by position, 0 where no term is shared."""
    scores = np.zeros(num_docs)
    scores[matches.positions] = matches.scores
    return scores


def bm25s_index(doc_terms: list[list[str]], dtype: str) -> bm25s.BM25:
    retriever = bm25s.BM25(method="lucene", k1=1.5, b=0.75, dtype=dtype)
    retriever.index(doc_terms, show_progress=False)
    return retriever


def bm25s_scores(retriever: bm25s.BM25, terms: list[str]) -> NDArray[np.float64]:
    return np.asarray(retriever.get_scores(terms), dtype=np.float64)


def matching(doc_terms: list[list[str]], terms: list[str]) -> list[int]:
    return [position for position, of_doc in enumerate(doc_terms) if set(of_doc) & set(terms)]


def assert_same_order(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> None:
    """Assert that both order all documents alike, except among neighbours within 1e-6 of their size."""
    order = np.argsort(-ours, kind="stable")
    ranked = theirs[order]
    assert np.all(ranked[:-1] >= ranked[1:] - 1e-6 * np.abs(ranked[:-1]))


@settings(deadline=None, max_examples=300)
@given(st.lists(WORDS, max_size=6), WORDS)
@example(["apple berry", "apple", "apple cherry"], "apple berry")  # apple's idf is negative
@example(["apple", "berry"], "apple")  # every idf is 0
@example(["apple", ""], "apple apple the")
def test_okapi_scores_are_those_of_rank_bm25_to_the_last_bit(texts: list[str], query: str) -> None:
    config = AnalyzerConfig()
    doc_terms = tokenize_queries(texts, config)
    (terms,) = tokenize_queries([query], config)
    assume(any(doc_terms))  # rank-bm25 divides by zero without a term
    matches = index_texts(texts, BM25Config(variant="okapi", analyzer=config)).score(query)
    assert sorted(matches.positions.tolist()) == matching(doc_terms, terms)
    assert dense(matches, len(texts)).tolist() == BM25Okapi(doc_terms).get_scores(terms).tolist()


@settings(deadline=None, max_examples=300)
@given(st.lists(WORDS, max_size=6), WORDS)
@example(["apple", ""], "apple apple the")
def test_lucene_scores_are_those_of_bm25s_to_the_last_bit(texts: list[str], query: str) -> None:
    config = AnalyzerConfig()
    doc_terms = tokenize_queries(texts, config)
    (terms,) = tokenize_queries([query], config)
    assume(any(doc_terms) and terms)  # bm25s cannot index nothing, and looks at a query's first term
    matches = index_texts(texts, BM25Config(analyzer=config)).score(query)
    assert sorted(matches.positions.tolist()) == matching(doc_terms, terms)
    assert dense(matches, len(texts)).tolist() == bm25s_scores(bm25s_index(doc_terms, "float64"), terms).tolist()


@pytest.mark.parametrize("name", COLLECTIONS)
def test_lucene_on_real_collections_equals_bm25s(name: str, real_dataset: Callable[[str], Dataset]) -> None:
    dataset = real_dataset(name)
    config = BM25Config()
    doc_terms = tokenize_queries(dataset.collection.texts.to_pylist(), config.analyzer)
    exact, usual = bm25s_index(doc_terms, "float64"), bm25s_index(doc_terms, "float32")
    index = build_index(dataset.collection, config)
    queries = list(dataset.queries.values())[:REAL_QUERIES]
    for query, terms in zip(queries, tokenize_queries(queries, config.analyzer), strict=True):
        scores = dense(index.score(query), len(doc_terms))
        assert np.array_equal(scores, bm25s_scores(exact, terms))
        np.testing.assert_allclose(scores, bm25s_scores(usual, terms), rtol=1e-6)
        assert_same_order(scores, bm25s_scores(usual, terms))


@pytest.mark.parametrize("name", COLLECTIONS)
def test_okapi_on_real_collections_equals_rank_bm25(name: str, real_dataset: Callable[[str], Dataset]) -> None:
    dataset = real_dataset(name)
    config = BM25Config(variant="okapi")
    doc_terms = tokenize_queries(dataset.collection.texts.to_pylist(), config.analyzer)
    ranker = BM25Okapi(doc_terms)
    index = build_index(dataset.collection, config)
    queries = list(dataset.queries.values())[:REAL_QUERIES]
    for query, terms in zip(queries, tokenize_queries(queries, config.analyzer), strict=True):
        scores = dense(index.score(query), len(doc_terms))
        assert np.array_equal(scores, ranker.get_scores(terms))
        assert_same_order(scores, ranker.get_scores(terms))


def test_documents_of_several_blocks_are_scored_alike() -> None:
    rng = np.random.default_rng(7)
    words = np.asarray(["apple", "berry", "cherry", "date", "elder", "fig"])
    texts = [" ".join(row) for row in words[rng.integers(len(words), size=(2 * BLOCK_DOCS + 5, 3))]]
    config = BM25Config(variant="okapi", analyzer=AnalyzerConfig(stemmer=None))
    index = index_texts(texts, config)
    ranker = BM25Okapi([text.split() for text in texts])
    for query in ("fig", "date apple date", "berry elder cherry apple fig date"):
        assert np.array_equal(dense(index.score(query), len(texts)), ranker.get_scores(query.split()))


@pytest.mark.parametrize("variant", ["lucene", "okapi"])
def test_the_textbook_formula_with_other_parameters(variant: str) -> None:
    # k1 = 1, b = 0.5, lengths 2, 4 and 0, so the mean is 2; "apple" stands in 1 of 3 documents, twice.
    texts = ["berry cherry", "apple apple berry date", ""]
    config = BM25Config(variant=variant, k1=1.0, b=0.5)  # type: ignore[arg-type]  # parametrised
    matches = index_texts(texts, config).score("apple")
    norm = 1.0 * (0.5 + 0.5 * 4 / 2)
    expected = {
        "lucene": math.log(1 + 2.5 / 1.5) * 2 / (2 + norm),
        "okapi": math.log(2.5 / 1.5) * 2 * 2 / (2 + norm),
    }
    assert matches.positions.tolist() == [1]
    assert matches.scores == pytest.approx([expected[variant]])


def test_documents_with_negative_scores_are_matches() -> None:
    # Both terms stand in both documents, so the mean idf is negative too, and so is the floor.
    matches = index_texts(["apple berry", "berry apple"], BM25Config(variant="okapi")).search(["apple"], depth=5)
    assert sorted(matches[0].positions.tolist()) == [0, 1]
    assert (matches[0].scores < 0).all()


@settings(deadline=None)
@given(st.lists(WORDS, max_size=12), st.lists(WORDS, max_size=20), st.integers(1, 15), st.integers(1, 3))
def test_a_search_returns_the_best_with_all_ties(
    texts: list[str], queries: list[str], depth: int, num_workers: int
) -> None:
    index = index_texts(texts, BM25Config())
    found = index.search(queries, depth=depth, num_workers=num_workers)
    for query, matches in zip(queries, found, strict=True):
        everything = index.score(query)
        rounded = everything.scores.astype(np.float32)
        threshold = np.sort(rounded)[::-1][min(depth, len(rounded)) - 1] if len(rounded) else 0
        expected = {
            position: score
            for position, score in zip(everything.positions.tolist(), everything.scores.tolist(), strict=True)
            if np.float32(score) >= threshold
        }
        assert dict(zip(matches.positions.tolist(), matches.scores.tolist(), strict=True)) == expected


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_the_number_of_workers_changes_nothing(num_workers: int, real_dataset: Callable[[str], Dataset]) -> None:
    dataset = real_dataset("cranfield")
    queries = list(dataset.queries.values())
    index = build_index(dataset.collection, BM25Config(), num_workers=num_workers)
    reference = build_index(dataset.collection, BM25Config())
    assert index.term_ids == reference.term_ids
    found = index.search(queries, depth=10, num_workers=num_workers)
    for matches, expected in zip(found, reference.search(queries, depth=10), strict=True):
        assert np.array_equal(matches.positions, expected.positions)
        assert np.array_equal(matches.scores, expected.scores)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1), st.data())
def test_the_heap_finds_what_sorting_finds(values: list[float], data: st.DataObject) -> None:
    depth = data.draw(st.integers(1, len(values)))
    assert depth_th_best(np.asarray(values, dtype=np.float32), depth) == sorted(values, reverse=True)[depth - 1]


@pytest.mark.parametrize("query", ["", "the of", "zebra"])
@pytest.mark.parametrize("texts", [[], [""], ["apple", ""]])
def test_without_a_shared_term_nothing_is_found(texts: list[str], query: str) -> None:
    for variant in ("lucene", "okapi"):
        (matches,) = index_texts(texts, BM25Config(variant=variant)).search([query], depth=3)
        assert matches.positions.tolist() == []


def test_a_document_of_many_words_counts_them_all() -> None:
    index = index_texts(["apple " * 100_000, "apple"], BM25Config())
    _, _, frequencies = index.postings
    assert frequencies.tolist() == [100_000, 1]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"variant": "lucen"}, "unknown BM25 variant 'lucen'; did you mean 'lucene'"),
        ({"k1": -0.1}, "k1 is -0.1, expected a finite number of at least 0"),
        ({"k1": math.nan}, "k1 is nan"),
        ({"b": 1.5}, "b is 1.5, expected a number from 0 to 1"),
        ({"epsilon": math.inf}, "epsilon is inf, expected a finite number"),
    ],
)
def test_a_wrong_parameter_is_named(choice: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BM25Config(**choice)  # type: ignore[arg-type]  # wrong on purpose


def test_descriptions_differ_where_scores_do() -> None:
    configs = [BM25Config(), BM25Config(variant="okapi"), BM25Config(k1=1.2), BM25Config(b=0.4)]
    configs.append(BM25Config(analyzer=AnalyzerConfig(stemmer=None)))
    described = [config.describe() for config in configs]
    assert all(one != other for one, other in itertools.combinations(described, 2))
    assert [d["name"] for d in described[:2]] == ["bm25", "rank-bm25"]
    assert "epsilon" not in described[0]  # it has no effect there
