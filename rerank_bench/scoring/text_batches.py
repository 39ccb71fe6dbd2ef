"""Pairs of texts that are encoded one by one: the queries first, then batch after batch of documents.

Every document batch is compared with the queries of its pairs at once and then forgotten, so memory holds the vectors of
all queries and of one batch of documents, however many there are.  A model with a vector per token compares on its device.
A document's batch is what is stored and replayed: all its pairs, or none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.scoring.batch_runner import BatchRunner, Journal
from rerank_bench.scoring.run_clock import RunClock
from rerank_bench.scoring.scorer import ComparingEncoder, EncodedItems, PairedDocs, TextEncoder
from rerank_bench.scoring.stored_pairs import Batches, StoredPairs
from rerank_bench.scoring.word_cache import ranges


@dataclass(frozen=True, slots=True, eq=False)
class ItemSlice:
    """Some items that stand together among others."""

    items: EncodedItems
    start: int
    stop: int

    @property
    def lengths(self) -> NDArray[np.int32]:
        """(N,) int32: tokens of each item."""
        return self.items.lengths[self.start : self.stop]

    @property
    def is_truncated(self) -> NDArray[np.bool_]:
        """(N,): whether an item lost tokens."""
        return self.items.is_truncated[self.start : self.stop]

    def batch(self, indices: NDArray[np.int64]) -> Any:
        """Return the items at ``indices``, counted from the first of the part."""
        return self.items.batch(indices + self.start)


class _PairsByDoc:
    """The pairs of every document.

    Args:
        pairs: (P, 2) indices of a query and a document.
        num_docs: How many documents there are.
    """

    def __init__(self, pairs: NDArray[np.int64], num_docs: int) -> None:
        self.query_of_pair, self.doc_of_pair = pairs[:, 0], pairs[:, 1]
        self._order = np.argsort(self.doc_of_pair, kind="stable")
        self._counts = np.bincount(self.doc_of_pair, minlength=num_docs)
        self._starts = np.cumsum(self._counts) - self._counts

    def of(self, docs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (pairs of these documents, where in ``docs`` the document of each stands)."""
        pairs = self._order[ranges(self._starts[docs], self._counts[docs])]
        return pairs, np.repeat(np.arange(len(docs), dtype=np.int64), self._counts[docs])

    def places(self, docs: NDArray[np.int64]) -> tuple[NDArray[np.int64], tuple[int, int]]:
        """Return where the scores of their pairs stand in a table with a row for each document; the table's shape."""
        counts = self._counts[docs]
        shape = len(docs), int(counts.max(initial=0))
        return ranges(np.arange(len(docs), dtype=np.int64) * shape[1], counts), shape


@dataclass(frozen=True, slots=True, eq=False)
class _PairedSlice(ItemSlice):
    """Documents whose batches say which pairs they stand in."""

    by_doc: _PairsByDoc

    def batch(self, indices: NDArray[np.int64]) -> PairedDocs:
        """Return the documents at ``indices`` and their pairs."""
        rows, docs = self.by_doc.of(indices)
        pairs = np.stack([self.by_doc.query_of_pair[rows], docs], axis=1)
        return PairedDocs(self.items.batch(indices + self.start), pairs, *self.by_doc.places(indices))


@dataclass(frozen=True, slots=True, eq=False)
class _DocJournal(Journal):
    """A journal for a runner of documents: what is planned and stored are their pairs."""

    by_doc: _PairsByDoc
    query_counts: dict[str, Any]
    """What the job counts beside the documents."""

    @property
    def counts(self) -> dict[str, Any] | None:
        """What the interrupted run counted of its documents, if there was one."""
        return None if self.stored.counts is None else _added(self.stored.counts, self.query_counts, sign=-1)

    def left_batches(self) -> Batches | None:
        """Return the documents of the batches that an interrupted run left."""
        if self.stored.batches is None:
            return None
        return [self._docs(np.searchsorted(self.stored.rows, batch)) for batch in self.stored.batches]

    def _docs(self, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        docs = self.by_doc.doc_of_pair[pairs]  # those of one document stand together
        return docs[np.flatnonzero(np.diff(docs, prepend=-1))]

    def plan(self, batches: Batches, counts: dict[str, Any]) -> None:
        """Keep the batches that are still to come."""
        rows = [self.stored.rows[self.by_doc.of(batch)[0]] for batch in batches]
        self.stored.plan(rows, _added(counts, self.query_counts))


def score_texts(  # noqa: PLR0913 - each is one thing that the engine knows
    scorer: TextEncoder,
    items: EncodedItems,
    pairs: NDArray[np.int64],
    *,
    batch_tokens: int,
    description: str,
    is_packed: bool,
    clock: RunClock,
    check: Callable[[NDArray[np.int64], NDArray[np.float32]], None],
    stored: StoredPairs | None,
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Return the (P,) float32 scores of pairs, and what was counted over queries and documents together.

    Args:
        scorer: The model.
        items: The queries, then the documents, as its ``encode_texts`` returned them.
        pairs: (P, 2) indices of a query and a document; every document is in one pair at least.
        batch_tokens: Padded tokens per batch.
        description: What the progress bar says.
        is_packed: Whether the model runs batches without padding.
        clock: What the time of the run is added to.
        check: Called with the indices of pairs and their scores; raises if it does not like them.
        stored: The job whose rows the pairs are, in that order; every document batch is stored as it comes.
    """
    num_docs = int(pairs[:, 1].max(initial=-1)) + 1
    num_items = len(items.lengths)
    num_queries = num_items - num_docs
    by_doc = _PairsByDoc(pairs, num_docs)
    run = partial(BatchRunner, is_packed=is_packed, clock=clock)
    # Apart from the documents, and in the same batches whatever is left of those: a resumed run gives the same bits.
    query_budget = batch_tokens
    if stored is not None and stored.counts is not None:
        query_budget = stored.counts["query_batch_tokens"]
    while True:
        query_runner = run(ItemSlice(items, 0, num_queries), query_budget, f"{description}: queries", "texts")
        query_vectors = query_runner.run(scorer.embed_batch)
        if query_runner.batch_tokens == query_budget:
            break
        query_budget = query_runner.batch_tokens  # memory ran out: once more, all under the budget that is kept
    query_counts = query_runner.counts | {"query_batch_tokens": query_budget}
    journal = None if stored is None else _DocJournal(stored, by_doc, query_counts)
    scores = np.empty(len(pairs), dtype=np.float32)

    def keep(rows: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        check(rows, values)
        scores[rows] = values
        if stored is not None:
            stored.add(stored.rows[rows], values)

    def compare(indices: NDArray[np.int64], doc_vectors: NDArray[np.float32]) -> None:
        rows, places = by_doc.of(indices)
        keep(rows, scorer.compare(query_vectors, doc_vectors, np.stack([pairs[rows, 0], places], axis=1)))

    def read(indices: NDArray[np.int64], table: NDArray[np.float32]) -> None:
        keep(by_doc.of(indices)[0], table.reshape(-1)[by_doc.places(indices)[0]])

    if isinstance(scorer, ComparingEncoder):
        doc_runner = run(
            _PairedSlice(items, num_queries, num_items, by_doc), query_budget, description, "documents", journal
        )
        doc_runner.run_each(scorer.scoring_against(query_vectors), read)
    else:
        doc_runner = run(ItemSlice(items, num_queries, num_items), query_budget, description, "documents", journal)
        doc_runner.run_each(scorer.embed_batch, compare)
    return scores, _added(doc_runner.counts, query_counts)


_SUMMED = ("num_items", "num_tokens", "num_batches", "num_padded_tokens")


def _added(docs: dict[str, Any], queries: dict[str, Any], *, sign: int = 1) -> dict[str, Any]:
    """Return counts of documents with those of queries added; the budgets of both stay apart."""
    sums = {name: docs[name] + sign * queries[name] for name in _SUMMED}
    return docs | sums | {"query_batch_tokens": queries["query_batch_tokens"]}
