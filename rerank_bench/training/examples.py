"""Training examples: a query with its documents and their labels, as flat Arrow and numpy arrays.

Every shape of training data becomes this one; a labelled pair is a query with one document.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


class Group(NamedTuple):
    """One query with its documents."""

    query: str
    docs: list[str]
    labels: list[float]
    """One per document: relevance, or a teacher's score."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Examples:
    """N queries with M documents in all."""

    queries: pa.LargeStringArray
    """(N,)"""
    docs: pa.LargeStringArray
    """(M,) the documents of query 0, then those of query 1 …"""
    labels: NDArray[np.float32]
    """(M,)"""
    offsets: NDArray[np.int64]
    """(N + 1,) query i has the documents ``offsets[i]`` to ``offsets[i + 1]``."""
    shape: str
    """``pairs``, ``lists``, ``triplets`` or ``tuples``: what the data looked like."""
    columns: str
    """Which column was taken for what, such as ``query=question, document=answer, label=label``."""
    source: str
    """Names of the files, or repository and commit."""
    rows: NDArray[np.int64]
    """(N,) number of each example's row in the source."""
    locate: Callable[[int], str]
    """Row in the source -> file and line, for messages."""

    def __len__(self) -> int:
        return len(self.queries)

    def __getitem__(self, index: int) -> Group:
        start, stop = self.offsets[index], self.offsets[index + 1]
        return Group(
            self.queries[int(index)].as_py(),
            self.docs[int(start) : int(stop)].to_pylist(),
            self.labels[start:stop].tolist(),
        )

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(N,) documents per query."""
        return np.diff(self.offsets)

    @property
    def is_pairs(self) -> bool:
        """Whether every query has exactly one document."""
        return bool((self.sizes == 1).all())

    def place(self, index: int) -> str:
        """Return where an example stands in the source."""
        return self.locate(int(self.rows[index]))

    def take(self, indices: NDArray[np.int64]) -> Examples:
        """Return some of the examples, in the given order."""
        sizes = self.sizes[indices]
        offsets = np.concatenate(([0], np.cumsum(sizes)))
        # Row m of the result is document (m − where its group starts) of its group.
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], sizes)
        doc_rows = np.repeat(self.offsets[indices], sizes) + within
        return replace(
            self,
            queries=self.queries.take(pa.array(indices)),
            docs=self.docs.take(pa.array(doc_rows)),
            labels=self.labels[doc_rows],
            offsets=offsets.astype(np.int64),
            rows=self.rows[indices],
        )

    def fingerprint(self) -> str:
        """Return the SHA-256, hex, of texts, labels and order."""
        digest = hashlib.sha256()
        for column in (self.queries, self.docs):
            for part in _text_bytes(column):
                digest.update(part)
        digest.update(self.labels.tobytes())
        digest.update(self.offsets.tobytes())
        return digest.hexdigest()


def _text_bytes(column: pa.LargeStringArray) -> Iterator[Any]:
    """Yield a column's lengths and its UTF-8 bytes, wherever in a larger buffer it begins."""
    _, offset_buffer, data = column.buffers()
    if not len(column):
        return
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)[column.offset : column.offset + len(column) + 1]
    yield np.diff(offsets).tobytes()
    if data is not None:
        yield memoryview(data)[int(offsets[0]) : int(offsets[-1])]


def split_examples(examples: Examples, *, num_held_out: int, seed: int) -> tuple[Examples, Examples]:
    """Return (training, held out): ``train_test_split`` of the ``datasets`` library draws, as published scripts do.

    Args:
        examples: All of them, more than ``num_held_out``.
        num_held_out: Size of the second part.
        seed: Seed of the permutation.
    """
    import datasets

    numbers = datasets.Dataset(pa.table({"row": pa.array(np.arange(len(examples), dtype=np.int64))}))
    parts = numbers.train_test_split(test_size=num_held_out, seed=seed, keep_in_memory=True)
    rows = {name: np.asarray(parts[name].with_format("arrow")[:].column("row").to_numpy()) for name in parts}
    return examples.take(rows["train"]), examples.take(rows["test"])
