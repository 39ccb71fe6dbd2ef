"""Training groups and a held-out search task from docstrings.

Every docstring without its first paragraph, under its name and signature, is a document of one collection; the first
paragraph is the query that it answers.  Negatives are documents that a first stage ranks high for the query; the search
comes in as a function.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from rerank_bench.storage import atomic_writer
from rerank_bench.training.docstrings import Docstring
from rerank_bench.training.examples import Examples

Search = Callable[[Sequence[str], Sequence[str], int], list[list[int]]]
"""(queries, documents, depth) -> for each query the positions of the best documents, best first."""

NUM_NEGATIVES = 4
NEGATIVE_DEPTH = 30
"""Negatives are drawn from the first stage's best so many documents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocstringTask:
    """Docstrings parted into training and held-out queries over one collection."""

    docstrings: Sequence[Docstring]
    training: Sequence[int]
    held_out: Sequence[int]
    """Numbers of docstrings; their documents are never among the training documents."""


def part_docstrings(docstrings: Sequence[Docstring], *, num_held_out: int, seed: int) -> DocstringTask:
    """Return the task with ``num_held_out`` docstrings, drawn by ``seed``, set aside.

    Raises:
        ValueError: There are not more docstrings than that.
    """
    if num_held_out >= len(docstrings):
        msg = f"{len(docstrings)} docstrings cannot have {num_held_out} set aside"
        raise ValueError(msg)
    order = np.random.default_rng(seed).permutation(len(docstrings))
    held_out = sorted(order[:num_held_out].tolist())
    return DocstringTask(docstrings=docstrings, training=sorted(order[num_held_out:].tolist()), held_out=held_out)


def build_groups(task: DocstringTask, search: Search, *, seed: int) -> Examples:
    """Return a group per training docstring: the document that answers it, then ``NUM_NEGATIVES`` others.

    Args:
        task: The docstrings.
        search: The first stage; it sees training documents only.
        seed: Draws negatives among the first ``NEGATIVE_DEPTH``; a query that shares words with too few documents gets
            the missing ones from the whole collection.
    """
    chosen = [task.docstrings[number] for number in task.training]
    queries, docs = [d.summary for d in chosen], [d.document for d in chosen]
    found = search(queries, docs, NEGATIVE_DEPTH + 1)
    rng = np.random.default_rng(seed)
    rows = np.empty((len(chosen), 1 + NUM_NEGATIVES), dtype=np.int64)
    for number, ranked in enumerate(found):
        pool = [position for position in ranked if position != number][:NEGATIVE_DEPTH]
        while len(pool) < NUM_NEGATIVES:
            position = int(rng.integers(len(docs)))
            if position != number and position not in pool:
                pool.append(position)
        rows[number] = [number, *rng.choice(pool, NUM_NEGATIVES, replace=False)]
    labels = np.zeros(rows.shape, dtype=np.float32)
    labels[:, 0] = 1.0
    return Examples(
        queries=pa.array(queries, type=pa.large_string()),
        docs=pa.array(docs, type=pa.large_string()).take(pa.array(rows.ravel())),
        labels=labels.ravel(),
        offsets=np.arange(0, rows.size + 1, rows.shape[1], dtype=np.int64),
        shape="lists",
        columns="query=first paragraph, documents=name, signature and rest of the docstring",
        source="docstrings of the installed packages",
        rows=np.arange(len(chosen), dtype=np.int64),
        locate=lambda row: f"docstring of {chosen[row].name}",
    )


def write_held_out(task: DocstringTask, folder: Path) -> None:
    """Write the held-out search task as a collection in BEIR's layout: all documents, the held-out queries."""
    ids = [f"d{number}" for number in range(len(task.docstrings))]
    with atomic_writer(folder / "corpus.jsonl") as file:
        for doc_id, docstring in zip(ids, task.docstrings, strict=True):
            file.write(json.dumps({"_id": doc_id, "text": docstring.document}) + "\n")
    with atomic_writer(folder / "queries.jsonl") as file:
        for number in task.held_out:
            file.write(json.dumps({"_id": f"q{number}", "text": task.docstrings[number].summary}) + "\n")
    with atomic_writer(folder / "qrels" / "test.tsv") as file:
        file.write("query-id\tcorpus-id\tscore\n")
        file.writelines(f"q{number}\td{number}\t1\n" for number in task.held_out)
