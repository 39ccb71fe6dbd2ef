"""Candidate lists: built by BM25, or taken from published lists or a run file.

Lists that are built follow protocol, section 2: documents that share a term with the query, ordered by float32 score
and then doc_id descending, without the query's own source document where the data set says so, cut at ``depth``.
Lists that are taken stay as they are, except for the cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rerank_bench.errors import ConfigError, DataError
from rerank_bench.first_stage.bm25 import BM25Config, Matches
from rerank_bench.first_stage.index_store import open_index
from rerank_bench.progress import note
from rerank_bench.ranking import rank_docs, scores_from_ranks
from rerank_bench.records import EMPTY_DOCS, CandidateSet, Dataset, Run, ScoredDocs
from rerank_bench.storage import file_sha256, fingerprint_items
from rerank_bench.trec_io import read_run

CHECKED_IDS = 500_000
"""Ids of a run file that are looked up at once: each time costs a pass over all ids of the collection."""


def build_bm25_candidates(dataset: Dataset, config: BM25Config, *, depth: int) -> CandidateSet:
    """Return the ``depth`` best documents of every query by BM25.

    Args:
        dataset: Queries and collection; ``drops_self_match`` is obeyed.
        config: Variant, parameters, analyser.
        depth: Documents per query, at least 1; a list is shorter where fewer documents share a term with the query.

    Raises:
        ConfigError: ``depth`` is less than 1.
    """
    check_depth(depth)
    index = open_index(dataset, config)
    # One more than wanted: the query's own document may be among them.
    matches = index.search(list(dataset.queries.values()), depth=depth + dataset.drops_self_match)
    by_query = {
        query_id: rank_matches(dataset, query_id, found, depth)
        for query_id, found in zip(dataset.queries, matches, strict=True)
    }
    return candidate_set(dataset, by_query, depth=depth, first_stage=config.describe())


def rank_matches(dataset: Dataset, query_id: str, matches: Matches, depth: int) -> ScoredDocs:
    """Return the ``depth`` best of a query's matches, without its own source document where the data set says so."""
    doc_ids = dataset.collection.doc_ids.take(pa.array(matches.positions)).to_pylist()
    scores = matches.scores
    if dataset.drops_self_match and query_id in doc_ids:
        own = doc_ids.index(query_id)
        doc_ids = doc_ids[:own] + doc_ids[own + 1 :]
        scores = np.delete(scores, own)
    return rank_docs(query_id, doc_ids, scores, depth=depth)


def candidates_from_lists(
    dataset: Dataset, lists: Mapping[str, Sequence[str]], *, depth: int, first_stage: Mapping[str, Any]
) -> CandidateSet:
    """Return lists that hold ids only, best first; a document's score is −rank.

    Args:
        dataset: The data set that the lists are for.
        lists: query_id -> doc_ids; every query of the data set has one, possibly empty, and no other query.
        depth: Documents to keep per query, at least 1.
        first_stage: JSON-able: ``name`` and where the lists come from.

    Raises:
        ConfigError: ``depth`` is less than 1.
        DataError: Queries without a list, unknown queries or documents, a document twice in a list.
    """
    check_depth(depth)
    where = f"candidate lists for {dataset.name!r}"
    missing = [query_id for query_id in dataset.queries if query_id not in lists]
    if missing:
        msg = f"{where}: {len(missing)} queries of the data set have no list {_first(missing)}; were they made for others?"
        raise DataError(msg)
    for query_id, doc_ids in lists.items():
        if len(set(doc_ids)) != len(doc_ids):
            twice = next(doc_id for i, doc_id in enumerate(doc_ids) if doc_id in doc_ids[:i])
            msg = f"{where}: query {query_id!r} lists document {twice!r} more than once; remove all but the first"
            raise DataError(msg)
    _check_known(dataset, lists, where)
    by_query = {query_id: _from_ranks(lists[query_id][:depth]) for query_id in dataset.queries}
    return candidate_set(dataset, by_query, depth=depth, first_stage=first_stage)


def candidates_from_run(dataset: Dataset, path: str | Path, *, depth: int) -> CandidateSet:
    """Return the candidates in a TREC run file, with its scores.

    A query of the data set that the file lacks gets an empty list, and a note says so: a first stage that finds
    nothing writes no line.

    Args:
        dataset: The data set that the run is for.
        path: The file, plain or gzip.  Read in a stream; see ``read_run``.
        depth: Documents to keep per query, at least 1.

    Raises:
        ConfigError: ``depth`` is less than 1.
        DataError: The file does not exist, or names queries or documents that the data set lacks.
        ParseError: A line cannot be read.
    """
    check_depth(depth)
    known = _KnownIds(dataset, f"{path}")
    run = read_run(path, depth=depth, look=known.add)
    known.check()
    missing = [query_id for query_id in dataset.queries if query_id not in run]
    if missing:
        note(
            f"{path}: {len(missing)} of {len(dataset.queries)} queries have no line {_first(missing)} and no candidates"
        )
    by_query = {query_id: run.get(query_id, EMPTY_DOCS) for query_id in dataset.queries}
    first_stage = {"name": "trec-run", "file": Path(path).name, "sha256": file_sha256(path)}
    return candidate_set(dataset, by_query, depth=depth, first_stage=first_stage)


def candidates_fingerprint(by_query: Run) -> str:
    """Return the SHA-256, in hex, over the ordered ids of every query; the order of the queries does not count."""

    def items() -> Iterator[str]:
        for query_id in sorted(by_query):
            doc_ids = by_query[query_id].doc_ids
            yield query_id
            yield str(len(doc_ids))  # where the next query begins
            yield from doc_ids

    return fingerprint_items(items())


def check_depth(depth: int) -> None:
    """Raise if a depth is not at least 1.

    Raises:
        ConfigError: Names the depth.
    """
    if depth < 1:
        msg = f"depth is {depth}, expected at least 1: the number of documents that the first stage keeps per query"
        raise ConfigError(msg)


def _from_ranks(doc_ids: Sequence[str]) -> ScoredDocs:
    scores = scores_from_ranks(len(doc_ids))
    scores.flags.writeable = False
    return ScoredDocs(tuple(doc_ids), scores)


def candidate_set(dataset: Dataset, by_query: Run, *, depth: int, first_stage: Mapping[str, Any]) -> CandidateSet:
    """Return finished lists with their fingerprint."""
    return CandidateSet(
        dataset_name=dataset.name,
        depth=depth,
        by_query=by_query,
        first_stage=first_stage,
        fingerprint=candidates_fingerprint(by_query),
    )


def _check_known(dataset: Dataset, lists: Mapping[str, Iterable[str]], where: str) -> None:
    """Raise if lists name queries or documents that the data set lacks."""
    known = _KnownIds(dataset, where)
    for query_id, doc_ids in lists.items():
        known.add(query_id, doc_ids)
    known.check()


class _KnownIds:
    """Collects the ids of lists that the data set lacks; lists may go by one after the other.

    Args:
        dataset: The data set that the lists are for.
        where: What an error calls the lists.
    """

    def __init__(self, dataset: Dataset, where: str) -> None:
        self._dataset = dataset
        self._where = where
        self._doc_ids: dict[str, None] = {}
        self._unknown_queries: dict[str, None] = {}
        self._unknown_docs: dict[str, None] = {}

    def add(self, query_id: str, doc_ids: Iterable[str]) -> None:
        """Take in one list."""
        if query_id not in self._dataset.queries:
            self._unknown_queries[query_id] = None
        self._doc_ids.update(dict.fromkeys(doc_ids))
        if len(self._doc_ids) >= CHECKED_IDS:
            self._look_up()

    def _look_up(self) -> None:
        doc_ids = list(self._doc_ids)
        positions = self._dataset.collection.positions(doc_ids)
        self._unknown_docs.update((doc_ids[row], None) for row in np.flatnonzero(positions < 0).tolist())
        self._doc_ids.clear()

    def check(self) -> None:
        """Raise if an id is unknown.

        Raises:
            DataError: Names the first ones.
        """
        self._look_up()
        unknown = list(self._unknown_queries)
        if unknown:
            msg = (
                f"{self._where}: {len(unknown)} queries are not among the {len(self._dataset.queries)} of "
                f"{self._dataset.name!r} {_first(unknown)}; choose the file of this data set, or remove them"
            )
            raise DataError(msg)
        unknown = list(self._unknown_docs)
        if unknown:
            msg = (
                f"{self._where}: {len(unknown)} documents are not among the {len(self._dataset.collection)} of "
                f"{self._dataset.name!r} {_first(unknown)}; was the list made from another collection or another "
                "version of it?"
            )
            raise DataError(msg)


def _first(ids: Sequence[str]) -> str:
    return f"(first: {', '.join(map(repr, ids[:3]))})"
