"""BM25 over an inverted index in arrays: two variants, scored as two well-known packages score them.

With tf the frequency of term t in document d, df the number of documents with t, N documents, |d| terms in d::

    norm(d)        = k1 · (1 − b + b · |d| / mean |d|)
    lucene: score  = Σ_t log(1 + (N − df + 0.5) / (df + 0.5)) · tf / (tf + norm(d))
    okapi:  score  = Σ_t idf(t) · tf · (k1 + 1) / (tf + norm(d)),  idf(t) = log(N − df + 0.5) − log(df + 0.5)

``lucene`` is bm25s' method of this name (Kamphuis et al., 2020, https://doi.org/10.1007/978-3-030-45442-5_4): Lucene's
formula without its rounding of lengths.  ``okapi`` is ``BM25Okapi`` of rank-bm25 (Robertson et al., 1994), in which a
negative idf is replaced by ``epsilon`` times the mean idf of all terms.  A term counts as often as it stands in the
query.  Scores are summed in float64 in the query's order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import ConfigError, describe_unknown
from rerank_bench.first_stage.analysis import AnalyzerConfig, tokenize_queries
from rerank_bench.first_stage.inverted_index import InvertedIndex, invert
from rerank_bench.first_stage.tokenization import choose_workers, tokenize_collection
from rerank_bench.progress import track
from rerank_bench.records import Collection

Variant = Literal["lucene", "okapi"]

FIRST_STAGE_OF_VARIANT: dict[Variant, str] = {"lucene": "bm25", "okapi": "rank-bm25"}
"""Variant -> the first stage's name on the command line and in results."""

QUERIES_PER_TASK = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class BM25Config:
    """The variant, its parameters and the analyser.

    Raises:
        ConfigError: An unknown variant or a parameter out of range.
    """

    variant: Variant = "lucene"
    k1: float = 1.5
    """How slowly repetitions of a term stop counting, at least 0."""
    b: float = 0.75
    """How much a long document's terms count less, 0 (not at all) to 1."""
    epsilon: float = 0.25
    """``okapi`` only: the share of the mean idf that replaces a negative idf, at least 0."""
    analyzer: AnalyzerConfig = field(default_factory=AnalyzerConfig)

    def __post_init__(self) -> None:
        if self.variant not in get_args(Variant):
            raise ConfigError(describe_unknown("BM25 variant", [self.variant], get_args(Variant)))
        limits = {"k1": math.inf, "b": 1.0, "epsilon": math.inf}
        for name, limit in limits.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= limit):
                expected = "a finite number of at least 0" if limit == math.inf else f"a number from 0 to {limit:g}"
                msg = f"BM25's {name} is {value!r}, expected {expected}"
                raise ConfigError(msg)

    def describe(self) -> dict[str, Any]:
        """Return the whole configuration, JSON-able, under the first stage's name."""
        described: dict[str, Any] = {
            "name": FIRST_STAGE_OF_VARIANT[self.variant],
            "variant": self.variant,
            "k1": self.k1,
            "b": self.b,
        }
        if self.variant == "okapi":
            described["epsilon"] = self.epsilon
        return {**described, "analyzer": self.analyzer.describe()}


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Documents of one query, by position in the collection, in no particular order."""

    positions: NDArray[np.int32]
    """(n,)"""
    scores: NDArray[np.float64]
    """(n,)"""


@dataclass(frozen=True, slots=True, eq=False)
class BM25Index:
    """The inverted index of N documents, V terms, P postings (``index_kernels`` says how it is laid out)."""

    config: BM25Config
    term_ids: dict[str, int]
    """term -> its number, in the order in which terms first occur."""
    postings: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]
    """indptr (V + 1,), documents (P,), frequencies (P,)."""
    idf: NDArray[np.float64]
    """(V,)"""
    norms: NDArray[np.float64]
    """(N,) k1 · (1 − b + b · length / mean length)."""

    def score(self, query_text: str) -> Matches:
        """Return every document that shares a term with the query."""
        (query_terms,) = self._query_terms([query_text])
        return self._score(query_terms, self._buffers())

    def search(self, query_texts: Sequence[str], *, depth: int, num_workers: int | None = None) -> list[Matches]:
        """Return the best documents of each query.

        Where float32 scores tie around ``depth``, all tied documents are returned: who knows the ids decides.

        Args:
            query_texts: Q queries.
            depth: Number of documents wanted, at least 1.
            num_workers: Number of threads; ``None`` chooses.
        """
        query_terms = self._query_terms(query_texts)
        num_workers = choose_workers(num_workers, len(query_terms) // QUERIES_PER_TASK + 1)
        free: SimpleQueue[tuple[NDArray[np.float64], NDArray[np.int32]]] = SimpleQueue()
        for _ in range(num_workers):
            free.put(self._buffers())

        def search_some(start: int) -> list[Matches]:
            buffers = free.get()
            try:
                some = query_terms[start : start + QUERIES_PER_TASK]
                return [_best(self._score(terms, buffers), depth) for terms in some]
            finally:
                free.put(buffers)

        matches: list[Matches] = []
        with (
            track("search", total=len(query_texts), unit="queries") as advance,
            ThreadPoolExecutor(num_workers) as pool,
        ):
            for found in pool.map(search_some, range(0, len(query_terms), QUERIES_PER_TASK)):
                matches += found
                advance(len(found))
        return matches

    def _query_terms(self, query_texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Return each query's terms as numbers; those that no document has are left out."""
        term_ids = self.term_ids
        return [
            np.asarray([term_ids[term] for term in terms if term in term_ids], dtype=np.int32)
            for terms in tokenize_queries(query_texts, self.config.analyzer)
        ]

    def _buffers(self) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        """Return what one worker writes to: (N,) scores, (N + 1,) positions."""
        from rerank_bench.first_stage.index_kernels import UNTOUCHED

        return np.full(len(self.norms), UNTOUCHED), np.empty(len(self.norms) + 1, dtype=np.int32)

    def _score(self, query_terms: NDArray[np.int32], buffers: tuple[NDArray[np.float64], NDArray[np.int32]]) -> Matches:
        from rerank_bench.first_stage.index_kernels import add_scores, take_scores

        scores, touched = buffers
        factor = self.config.k1 + 1 if self.config.variant == "okapi" else 1.0
        num_touched = add_scores(query_terms, self.postings, self.idf, self.norms, factor, scores, touched)
        positions = touched[:num_touched].copy()
        return Matches(positions, take_scores(scores, positions))


def build_index(collection: Collection, config: BM25Config, *, num_workers: int | None = None) -> BM25Index:
    """Return the index of a collection.

    Args:
        collection: The documents; empty ones count in the mean length.
        config: Variant, parameters, analyser.
        num_workers: Number of threads for tokenizing; ``None`` chooses.
    """
    return weigh(invert(tokenize_collection(collection.texts, config.analyzer, num_workers=num_workers)), config)


def weigh(inverted: InvertedIndex, config: BM25Config) -> BM25Index:
    """Return the index with a variant's weights; ``config.analyzer`` is the one that the index was made with."""
    num_docs = len(inverted.lengths)
    num_tokens = int(inverted.lengths.sum())
    # Without a single term there is no posting, so no document's norm is ever read.
    mean_length = num_tokens / num_docs if num_tokens else 1.0
    return BM25Index(
        config=config,
        term_ids={term: number for number, term in enumerate(inverted.vocabulary)},
        postings=(inverted.indptr, inverted.docs, inverted.frequencies),
        idf=_inverse_document_frequencies(np.diff(inverted.indptr), num_docs, config),
        norms=config.k1 * (1 - config.b + config.b * inverted.lengths.astype(np.float64) / mean_length),
    )


def _inverse_document_frequencies(
    document_frequencies: NDArray[np.int64], num_docs: int, config: BM25Config
) -> NDArray[np.float64]:
    """Return (V,) float64.

    ``math.log`` is called per distinct frequency, not numpy's on all: the packages call it, and the last bit counts.
    """
    distinct, inverse = np.unique(document_frequencies, return_inverse=True)
    if config.variant == "lucene":
        return np.asarray([math.log(1 + (num_docs - df + 0.5) / (df + 0.5)) for df in distinct.tolist()])[inverse]
    idf = np.asarray([math.log(num_docs - df + 0.5) - math.log(df + 0.5) for df in distinct.tolist()])[inverse]
    if len(idf):
        mean = np.cumsum(idf)[-1] / len(idf)  # cumsum adds left to right, as rank-bm25 does; np.sum adds pairwise
        idf[idf < 0] = config.epsilon * mean
    return idf


def _best(matches: Matches, depth: int) -> Matches:
    """Return the matches whose float32 score is at least the ``depth``-th best."""
    from rerank_bench.first_stage.index_kernels import depth_th_best

    if len(matches.positions) <= depth:
        return matches
    rounded = matches.scores.astype(np.float32)
    kept = np.flatnonzero(rounded >= depth_th_best(rounded, depth))
    return Matches(matches.positions[kept], matches.scores[kept])
