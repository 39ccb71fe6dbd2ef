"""Checks that every loader makes: ids are usable and unique, judgements name what exists, counts are as promised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rerank_bench.errors import DataError, ManifestError
from rerank_bench.records import Collection, Dataset, Qrels
from rerank_bench.trec_io import iter_qrels

MAX_EXAMPLES = 3


def describe_bad_id(value: str) -> str | None:
    """Return what is wrong with an id, or ``None``: TREC files cannot carry an empty one or one with white space."""
    if value.split() == [value]:
        return None
    return f"{value!r} is empty or holds white space, which run and qrels files cannot carry"


def find_repeat(ids: pa.Array) -> tuple[int, int] | None:
    """Return the positions (0 is the first) of one id that stands twice: where first, and where again.

    Args:
        ids: (N,) large_string.  Works in Arrow: no Python object per id.
    """
    if pc.count_distinct(ids).as_py() == len(ids):
        return None
    codes = pc.dictionary_encode(ids).indices.to_numpy(zero_copy_only=False)  # (N,) numbered by first appearance
    seen_before = np.maximum.accumulate(codes)  # (N,) highest number so far
    again = int(np.flatnonzero(codes[1:] <= seen_before[:-1])[0]) + 1
    return int(np.flatnonzero(codes == codes[again])[0]), again


def check_ids(where: str, ids: pa.Array) -> None:
    """Raise unless all ids are usable and unique.

    Args:
        where: What is checked, such as ``"zeta-alpha-ai/NanoNQ, config 'corpus'"``.
        ids: (N,) large_string.

    Raises:
        DataError: Names the row (counted from 0) and what is wrong.
    """
    if ids.null_count:
        msg = f"{where}: {ids.null_count} of {len(ids)} ids are null, expected a string in every row"
        raise DataError(msg)
    # Python's idea of white space is wider than any of Arrow's classes; ids of printable ASCII are beyond doubt.
    doubtful = pc.indices_nonzero(pc.invert(pc.match_substring_regex(ids, pattern=r"\A[\x21-\x7E]+\z")))
    for row in doubtful.to_pylist():
        problem = describe_bad_id(ids[row].as_py())
        if problem:
            msg = f"{where}, row {row}: id {problem}"
            raise DataError(msg)
    repeat = find_repeat(ids)
    if repeat:
        first, again = repeat
        msg = f"{where}: id {ids[first].as_py()!r} stands in row {first} and again in row {again}; ids must be unique"
        raise DataError(msg)


def check_qrels(where: str, qrels: Qrels, queries: Mapping[str, str], collection: Collection) -> None:
    """Raise if a judgement names a query or a document that the data set lacks; both kinds are reported together.

    Raises:
        DataError: Names three of each kind and counts them all.
    """
    problems = []
    unknown_queries = [query_id for query_id in qrels if query_id not in queries]
    if unknown_queries:
        problems.append(f"{_examples(unknown_queries)} of the judged queries are not among the {len(queries)} queries")
    judged = list(dict.fromkeys(doc_id for _, doc_id, _ in iter_qrels(qrels)))
    positions = collection.positions(judged)
    unknown_docs = [judged[i] for i in np.flatnonzero(positions < 0)]
    if unknown_docs:
        problems.append(
            f"{_examples(unknown_docs)} of the judged documents are not among the {len(collection)} documents"
        )
    if problems:
        msg = f"{where}: " + "; ".join(problems) + ". Do the qrels belong to this data set and split?"
        raise DataError(msg)


def _examples(ids: Sequence[str]) -> str:
    named = ", ".join(repr(item) for item in ids[:MAX_EXAMPLES])
    return f"{len(ids)} ({named}{', …' if len(ids) > MAX_EXAMPLES else ''})"


def count_dataset(dataset: Dataset) -> dict[str, int]:
    """Return how many queries, documents and judgements a data set holds."""
    return {
        "queries": len(dataset.queries),
        "documents": len(dataset.collection),
        "judgements": sum(len(judged) for judged in dataset.qrels.values()),
    }


def check_counts(where: str, expected: Mapping[str, int], found: Mapping[str, int]) -> None:
    """Raise if counts differ from the manifest's; what the manifest leaves out is not compared.

    Raises:
        ManifestError: Names every count that differs.
    """
    differing = [
        f"{found[what]:,} {what} instead of {number:,}" for what, number in expected.items() if found[what] != number
    ]
    if differing:
        msg = (
            f"{where}: the data holds {', '.join(differing)}. A download that was cut short looks like this (remove it "
            "from the cache and load again), and so does another revision than the manifest's"
        )
        raise ManifestError(msg)
