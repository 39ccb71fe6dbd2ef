"""Collections for the first stage's tests."""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rerank_bench.records import Collection, Dataset


@functools.cache
def _load(folder: Path) -> Dataset:
    with (folder / "corpus.jsonl").open(encoding="utf-8") as file:
        docs = [json.loads(line) for line in file]
    with (folder / "queries.jsonl").open(encoding="utf-8") as file:
        queries = {row["_id"]: row["text"] for row in map(json.loads, file)}
    qrels: dict[str, dict[str, int]] = {}
    with (folder / "qrels" / "test.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    texts = [f"{doc.get('title', '')} {doc['text']}".strip() for doc in docs]
    return Dataset(
        name=folder.name,
        queries={query_id: queries[query_id] for query_id in qrels},
        collection=Collection([doc["_id"] for doc in docs], texts),
        qrels=qrels,
        fingerprints={"corpus": f"corpus of {folder.name}", "queries": "queries", "qrels": "qrels"},
    )


@pytest.fixture
def real_dataset(shared_data: Path) -> Callable[[str], Dataset]:
    """A function from a folder's name to its collection."""
    return lambda name: _load(shared_data / name)
