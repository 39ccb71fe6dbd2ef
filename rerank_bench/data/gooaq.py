"""GooAQ as a retrieval set: the answers of all rows are the corpus, the questions of a held-out part the queries.

The held-out part is the one that the published training scripts evaluate on: the rows of
``train_test_split(test_size=1000, seed=12)["test"]`` of the ``datasets`` library, over all rows (``gooaq-dev``) or over
the first 100,000 (``gooaq-dev-st``).

Ids do not depend on the machine or on the order of the held-out part:

- a query's id is its row's number (0 is the first) in the repository's table, as a decimal string;
- a document's id is the number of the row in which its text stands first.

Answers that are equal as strings are one document.  A query's one relevant document, with grade 1, is the one whose
text is its answer.  The millions of answers stay in Arrow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rerank_bench.data.hub_client import Snapshot, fetch_verified
from rerank_bench.data.hub_tables import read_table, string_chunks, string_column
from rerank_bench.data.manifests import Manifest
from rerank_bench.errors import ManifestError
from rerank_bench.progress import track
from rerank_bench.records import Collection, Dataset


def load_gooaq_dataset(manifest: Manifest) -> Dataset:
    """Return the data set that a manifest of kind ``gooaq`` names.

    Raises:
        ChecksumError: A file is not the one that the manifest names.
        DataError: The repository, the revision or a file is missing or damaged.
        EnvironmentMissingError: Not in the cache, and the hub is out of reach.
        ManifestError: The repository does not hold the rows or columns that the manifest names.
    """
    snapshot, table = read_gooaq(manifest)
    with track(f"build {manifest.name}", total=len(table), unit="rows") as advance:
        dataset = _build(manifest, snapshot, table)
        advance(len(table))
    # The table of hashes leaves 0.7 GB in Arrow's pool after 3 million answers, which the first stage can use.
    pa.default_memory_pool().release_unused()
    return dataset


def read_gooaq(manifest: Manifest) -> tuple[Snapshot, pa.Table]:
    """Return the repository and the rows that a manifest of kind ``gooaq`` is about: question and answer.

    Raises:
        RerankBenchError: As ``load_gooaq_dataset``.
    """
    spec = manifest.table["gooaq"]
    snapshot = fetch_verified(manifest.hub_source)
    table = read_table(snapshot, spec["config"], spec["split"], [spec["question"], spec["answer"]])
    if len(table) != spec["rows"]:
        # Another number of rows is another permutation: every dev question would differ.
        where = f"{spec['repository']}@{snapshot.commit[:12]}"
        msg = f"{where}: holds {len(table):,} rows, the manifest says {spec['rows']:,}; the split would be another one"
        raise ManifestError(msg)
    return snapshot, table.slice(0, spec.get("first_rows", len(table)))


def _build(manifest: Manifest, snapshot: Snapshot, table: pa.Table) -> Dataset:
    spec = manifest.table["gooaq"]
    where = f"{spec['repository']}@{snapshot.commit[:12]}"
    first_rows, document_of_row, texts = distinct_texts(string_chunks(where, table, spec["answer"]))
    dev_rows = held_out_rows(len(table), test_size=spec["test_size"], seed=spec["seed"])
    questions = string_column(where, table.take(pa.array(dev_rows)), spec["question"]).to_pylist()
    query_ids = [str(row) for row in dev_rows.tolist()]
    answer_ids = [str(row) for row in first_rows[document_of_row[dev_rows]].tolist()]
    return Dataset(
        name=manifest.name,
        queries=dict(zip(query_ids, questions, strict=True)),
        collection=Collection(pa.array(first_rows).cast(pa.large_string()), texts),
        qrels={query_id: {doc_id: 1} for query_id, doc_id in zip(query_ids, answer_ids, strict=True)},
        source={
            "kind": "gooaq",
            **snapshot.describe(),
            "rows": len(table),
            "test_size": spec["test_size"],
            "seed": spec["seed"],
            "text_rule": manifest.text_rule,
        },
    )


def held_out_rows(num_rows: int, *, test_size: int, seed: int) -> NDArray[np.int64]:
    """Return (test_size,) int64: the rows that ``train_test_split`` of ``datasets`` puts into ``test``, in its order."""
    return _rows_of(_split(num_rows, test_size, seed)["test"])  # those of train would cost 1.5 GB


def split_rows(num_rows: int, *, test_size: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of ``train`` and of ``test`` after ``train_test_split`` of ``datasets``, each in its order."""
    parts = _split(num_rows, test_size, seed)
    return _rows_of(parts["train"]), _rows_of(parts["test"])


def _split(num_rows: int, test_size: int, seed: int) -> Any:
    """Return the library's own split of a table of row numbers, so that its rule cannot be misremembered here."""
    import datasets

    rows = datasets.Dataset(pa.table({"row": pa.array(np.arange(num_rows, dtype=np.int64))}))
    return rows.train_test_split(test_size=test_size, seed=seed, keep_in_memory=True)


def _rows_of(part: Any) -> NDArray[np.int64]:
    return np.asarray(part.with_format("arrow")[:].column("row").to_numpy(), dtype=np.int64)


def distinct_texts(texts: pa.ChunkedArray) -> tuple[NDArray[np.int64], NDArray[np.int32], pa.Array]:
    """Return the distinct strings of a column in the order of their first appearance.

    Args:
        texts: (N,) large_string without nulls, in any chunks.

    Returns:
        (D,) int64 row in which each distinct string stands first; (N,) int32 number of each row's string among the
        distinct ones; (D,) large_string the distinct strings.
    """
    chunks = texts.dictionary_encode().chunks  # every chunk refers to the one dictionary of them all
    if not chunks:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int32), pa.array([], type=pa.large_string())
    # (N,) numbered by first appearance
    document_of_row = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in chunks])
    # A string stands first where its number is higher than every number before it.
    highest_before = np.concatenate(([-1], np.maximum.accumulate(document_of_row)[:-1]))  # (N,)
    return np.flatnonzero(document_of_row > highest_before), document_of_row, chunks[-1].dictionary
