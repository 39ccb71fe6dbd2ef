"""The inverted index of a collection before any formula is chosen: which term stands in which document, how often."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerank_bench.first_stage.tokenization import TokenizedCorpus


@dataclass(frozen=True, slots=True, eq=False)
class InvertedIndex:
    """N documents, V terms, P postings (``index_kernels`` says how they are laid out)."""

    vocabulary: list[str]
    """V terms in the order in which they first occur; a term's number is its position."""
    indptr: NDArray[np.int64]
    """(V + 1,) where each term's postings begin."""
    docs: NDArray[np.int32]
    """(P,) the documents' positions, ascending within a term."""
    frequencies: NDArray[np.int32]
    """(P,) how often the term stands in the document."""
    lengths: NDArray[np.int64]
    """(N,) terms per document."""


def invert(corpus: TokenizedCorpus) -> InvertedIndex:
    """Return the inverted index of a collection's terms."""
    from rerank_bench.first_stage.index_kernels import count_documents, fill_postings

    document_frequencies = count_documents(corpus.token_ids, corpus.offsets, len(corpus.vocabulary))
    indptr = np.concatenate(([0], np.cumsum(document_frequencies)))
    docs, frequencies = fill_postings(corpus.token_ids, corpus.offsets, indptr)
    return InvertedIndex(corpus.vocabulary, indptr, docs, frequencies, np.diff(corpus.offsets))
