"""Fingerprints of a data set: SHA-256 over a canonical layout of its corpus, queries and judgements.

The layout of a table of strings, column after column: the number of rows (8 bytes, little-endian), the length in bytes
of every value (8 bytes each), then the UTF-8 bytes of all values without anything between them.  How the values were
chunked, read or stored before does not count; their order and their boundaries do.

========== ===================================== ===================================================================
corpus     doc_id, text                          in the corpus's own order, which decides the order of BM25's sums
queries    query_id, text                        sorted by query_id
qrels      query_id, doc_id, grade (decimal)     sorted by query_id, then doc_id
========== ===================================== ===================================================================

Ids are sorted by code point.  Three million documents of 300 bytes take a few seconds, without a Python object each.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from rerank_bench.records import Dataset, Qrels
from rerank_bench.trec_io import iter_qrels


def fingerprint_columns(columns: Iterable[pa.Array]) -> str:
    """Return the SHA-256, in hex, of columns of strings in the layout above.

    Args:
        columns: Arrays of type large_string without nulls, all of one length.
    """
    digest = hashlib.sha256()
    for column in columns:
        _, offsets_buffer, data_buffer = column.buffers()
        num_rows = len(column)
        digest.update(num_rows.to_bytes(8, "little"))
        if num_rows == 0:
            continue
        offsets = np.frombuffer(offsets_buffer, dtype=np.int64)[column.offset : column.offset + num_rows + 1]
        digest.update(np.diff(offsets).astype("<i8", copy=False).data)
        if data_buffer is not None:
            digest.update(memoryview(data_buffer)[int(offsets[0]) : int(offsets[-1])])
    return digest.hexdigest()


def fingerprint_dataset(dataset: Dataset) -> dict[str, str]:
    """Return the fingerprints ``corpus``, ``queries`` and ``qrels`` of a data set, SHA-256 in hex."""
    queries = sorted(dataset.queries.items())
    return {
        "corpus": fingerprint_columns([dataset.collection.doc_ids, dataset.collection.texts]),
        "queries": fingerprint_columns(_columns(queries, 2)),
        "qrels": fingerprint_qrels(dataset.qrels),
    }


def fingerprint_qrels(qrels: Qrels) -> str:
    """Return the fingerprint of judgements alone, SHA-256 in hex."""
    rows = sorted((query_id, doc_id, str(grade)) for query_id, doc_id, grade in iter_qrels(qrels))
    return fingerprint_columns(_columns(rows, 3))


def with_fingerprints(dataset: Dataset) -> Dataset:
    """Return the data set with its fingerprints filled in, whatever stood there."""
    return dataclasses.replace(dataset, fingerprints=fingerprint_dataset(dataset))


def _columns(rows: Sequence[tuple[str, ...]], num_columns: int) -> list[pa.Array]:
    return [pa.array([row[i] for row in rows], type=pa.large_string()) for i in range(num_columns)]
