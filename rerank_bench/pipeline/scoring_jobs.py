"""The jobs of a scoring pass: small data sets together, a large one in parts, and the texts of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rerank_bench.pipeline.candidates import PreparedDataset
from rerank_bench.scoring.pair_work import distinct_work

JOB_PAIRS = 250_000
"""Pairs that are sorted and scored together, of several data sets or of one; a larger data set is several jobs.

A bound of memory: texts, tokens and tables of a job take 1.8 kB per pair of 150-word documents (measured), so this is
0.45 GB.  The whole of NanoBEIR at depth 100 has 65,000; so many pairs fill their batches with equal lengths by themselves.
"""


@dataclass(frozen=True, slots=True, eq=False)
class JobPart:
    """A data set in a job, or some of its queries."""

    number: int
    """The data set's place in the run."""
    ready: PreparedDataset
    """The data set with these queries' pools alone."""
    rows: NDArray[np.int64] | slice
    """Their pairs among all of the data set."""


def plan_jobs(prepared: Sequence[PreparedDataset], job_pairs: int | None) -> Iterator[list[JobPart]]:
    """Yield the jobs of a run: small data sets together, a large one in parts.

    Args:
        prepared: The data sets.
        job_pairs: Pairs per job at most, see ``split_dataset``; ``None``: everything is one job.
    """
    bound = job_pairs or sum(map(num_pairs_of, prepared))
    number = 0
    for group in group_datasets(prepared, bound):
        if len(group) == 1:
            yield from ([JobPart(number, ready, rows)] for ready, rows in split_dataset(group[0], bound))
        else:
            yield [JobPart(place, ready, slice(None)) for place, ready in enumerate(group, start=number)]
        number += len(group)


def group_datasets(prepared: Sequence[PreparedDataset], job_pairs: int) -> Iterator[list[PreparedDataset]]:
    """Yield the data sets in their order, in groups of at most ``job_pairs`` pairs, or one that has more by itself."""
    group: list[PreparedDataset] = []
    total = 0
    for ready in prepared:
        num_pairs = num_pairs_of(ready)
        if group and total + num_pairs > job_pairs:
            yield group
            group, total = [], 0
        group.append(ready)
        total += num_pairs
    if group:
        yield group


def split_dataset(
    ready: PreparedDataset, job_pairs: int
) -> Iterator[tuple[PreparedDataset, NDArray[np.int64] | slice]]:
    """Yield a data set in parts of at most ``job_pairs`` pairs, and which of its pairs each part holds.

    Queries of equal text stay together, whatever they add up to: equal pairs are then scored once, and get one score.
    """
    if num_pairs_of(ready) <= job_pairs:
        yield ready, slice(None)
        return
    starts = dict(zip(ready.pool, np.cumsum([0, *map(len, ready.pool.values())]).tolist(), strict=False))
    ids_by_text: dict[str, list[str]] = {}
    for query_id in ready.pool:
        ids_by_text.setdefault(ready.dataset.queries[query_id], []).append(query_id)
    for query_ids in _fill(ids_by_text.values(), ready.pool, job_pairs):
        pool = {query_id: ready.pool[query_id] for query_id in query_ids}
        rows = [np.arange(starts[query_id], starts[query_id] + len(docs)) for query_id, docs in pool.items()]
        yield replace(ready, pool=pool), np.concatenate(rows)


def _fill(groups: Iterable[list[str]], pool: Mapping[str, Sequence[str]], job_pairs: int) -> Iterator[list[str]]:
    """Yield the groups' queries in their order, as many at a time as have ``job_pairs`` pairs, one group at least."""
    filled: list[str] = []
    total = 0
    for query_ids in groups:
        num_pairs = sum(len(pool[query_id]) for query_id in query_ids)
        if filled and total + num_pairs > job_pairs:
            yield filled
            filled, total = [], 0
        filled += query_ids
        total += num_pairs
    yield filled


def number_distinct(prepared: Sequence[PreparedDataset], *, job_pairs: int = JOB_PAIRS) -> list[NDArray[np.int64]]:
    """Return per data set (N,) int64: the same number for its pairs of equal texts, as ``PairFacts`` holds them."""
    numbers = [np.empty(num_pairs_of(ready), dtype=np.int64) for ready in prepared]
    num_distinct = 0
    for job in plan_jobs(prepared, job_pairs):
        collected = collect_pairs([part.ready for part in job])
        work = distinct_work(collected.queries, collected.docs, collected.pairs)
        for part, start, end in zip(job, [0, *collected.ends[:-1]], collected.ends, strict=True):
            numbers[part.number][part.rows] = work.row_of_pair[start:end] + num_distinct
        num_distinct += len(work.pairs)
    return numbers


@dataclass(frozen=True, slots=True, eq=False)
class GroupPairs:
    """The pairs of some data sets' pools as they are scored: one data set after the other, query by query."""

    queries: list[str]
    docs: list[str]
    pairs: NDArray[np.int64]
    """(N, 2): indices into both."""
    ends: list[int]
    """Per data set: the pair behind its last."""
    query_names: list[tuple[str, str]]
    """Per query: data set and id."""
    doc_ids: list[str]

    def name(self, row: int) -> str:
        """Return what an error calls a pair."""
        query, doc = self.pairs[row]
        dataset, query_id = self.query_names[query]
        return f"{dataset}, query {query_id!r}, document {self.doc_ids[doc]!r}"


def collect_pairs(group: Sequence[PreparedDataset]) -> GroupPairs:
    """Return the pairs of the data sets' pools with their texts."""
    query_names: list[tuple[str, str]] = []
    doc_ids: list[str] = []
    queries: list[str] = []
    docs: list[str] = []
    parts = []
    for ready in group:
        own_docs = list(dict.fromkeys(doc_id for pool in ready.pool.values() for doc_id in pool))
        index_of = {doc_id: number for number, doc_id in enumerate(own_docs, start=len(docs))}
        lengths = [len(pool) for pool in ready.pool.values()]
        own_pairs = np.empty((sum(lengths), 2), dtype=np.int64)
        own_pairs[:, 0] = np.repeat(np.arange(len(queries), len(queries) + len(lengths)), lengths)
        own_pairs[:, 1] = np.fromiter(
            (index_of[doc_id] for pool in ready.pool.values() for doc_id in pool), np.int64, count=len(own_pairs)
        )
        parts.append(own_pairs)
        text_of = ready.dataset.collection.texts_of(own_docs)
        query_names += [(ready.dataset.name, query_id) for query_id in ready.pool]
        queries += [ready.dataset.queries[query_id] for query_id in ready.pool]
        doc_ids += own_docs
        docs += [text_of[doc_id] for doc_id in own_docs]
    ends = np.cumsum([len(part) for part in parts]).tolist()
    return GroupPairs(queries, docs, np.concatenate(parts), ends, query_names, doc_ids)


def num_pairs_of(ready: PreparedDataset) -> int:
    """Return the number of pairs in a data set's pools."""
    return sum(len(doc_ids) for doc_ids in ready.pool.values())
