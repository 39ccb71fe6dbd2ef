"""What a request for scores really asks for: its distinct texts, and the distinct pairs of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class PairWork:
    """The distinct texts and the distinct pairs of them."""

    queries: list[str]
    docs: list[str]
    pairs: NDArray[np.int64]
    """(M, 2): indices into ``queries`` and ``docs``, each pair once, sorted by query, then by document."""
    row_of_pair: NDArray[np.int64]
    """(N,): row of ``pairs`` for every pair that was asked for."""
    first_pair: NDArray[np.int64]
    """(M,): the first pair asked for that has these texts."""

    def restricted(self, rows: NDArray[np.int64]) -> tuple[list[str], list[str], NDArray[np.int64]]:
        """Return (queries, docs, (R, 2) pairs) of some rows, without the texts that no such row uses."""
        if len(rows) == len(self.pairs):
            return self.queries, self.docs, self.pairs
        used_queries, queries = np.unique(self.pairs[rows, 0], return_inverse=True)
        used_docs, docs = np.unique(self.pairs[rows, 1], return_inverse=True)
        return (
            [self.queries[index] for index in used_queries.tolist()],
            [self.docs[index] for index in used_docs.tolist()],
            np.stack([queries.reshape(-1), docs.reshape(-1)], axis=1).astype(np.int64),
        )


def distinct_work(queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]) -> PairWork:
    """Return the work with every text and every pair of texts once, in order of first occurrence of the texts.

    Raises:
        DataError: A text is none, or cannot be encoded.
    """
    pairs = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    query_texts, query_codes = _codes("query", queries, pairs[:, 0])
    doc_texts, doc_codes = _codes("document", docs, pairs[:, 1])
    keys = query_codes * max(1, len(doc_texts)) + doc_codes  # (N,)
    _, first_pair, row_of_pair = np.unique(keys, return_index=True, return_inverse=True)
    distinct = np.stack([query_codes[first_pair], doc_codes[first_pair]], axis=1)  # (M, 2)
    return PairWork(query_texts, doc_texts, distinct, row_of_pair.reshape(-1), first_pair)


def _codes(kind: str, texts: Sequence[str], indices: NDArray[np.int64]) -> tuple[list[str], NDArray[np.int64]]:
    """Return (distinct texts that are used, (N,) the code of each index's text)."""
    used, inverse = np.unique(indices, return_inverse=True)
    if used.size and (used[0] < 0 or used[-1] >= len(texts)):
        msg = f"{kind} indices run from {used[0]} to {used[-1]}, but there are {len(texts)} texts"
        raise IndexError(msg)
    for index in used.tolist():
        _check_text(kind, texts[index])
    code_by_text: dict[str, int] = {}
    codes = np.asarray([code_by_text.setdefault(texts[i], len(code_by_text)) for i in used.tolist()], dtype=np.int64)
    return list(code_by_text), codes[inverse.reshape(-1)]


def _check_text(kind: str, text: object) -> None:
    """Raise for what no tokenizer takes.

    Raises:
        DataError: Not a string, or one with half of a surrogate pair (JSON can hold that, UTF-8 cannot).
    """
    if not isinstance(text, str):
        msg = f"a {kind} text is of type {type(text).__name__} ({text!r}), expected str"
        raise DataError(msg)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        shown = text[max(0, error.start - 30) : error.start + 10]
        msg = f"{kind} text {shown!r} holds half of a surrogate pair at character {error.start}; repair the data's encoding"
        raise DataError(msg) from error
