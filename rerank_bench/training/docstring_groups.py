"""Training groups and a held-out search task from docstrings.

A group is a query with the docstring that it came from and others that a first stage ranks high for it.  The label of a
document is what a teacher thinks of the pair, plus what the two have in common word by word, plus a bonus for the docstring
that the query came from.  "Own document or not" alone teaches little else than to recognise a text, and that what shares
many words with a query without being its source is wrong: measured on questions as people ask them (data set ``pydocs``,
150 steps of 20 pairs), such labels gave nDCG@10 0.22 over BM25's best 20, graded ones 0.37, chance 0.17.

Search, teacher and word matching come in as functions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rerank_bench.storage import atomic_path, atomic_writer
from rerank_bench.training.docstrings import Docstring
from rerank_bench.training.examples import Examples

Search = Callable[[Sequence[str], Sequence[str], int], list[list[int]]]
"""(queries, documents, depth) -> for each query the positions of the best documents, best first."""
Judge = Callable[[Sequence[str], Sequence[str], NDArray[np.int64]], NDArray[np.float32]]
"""(queries, documents, (N, 2) positions of the pairs) -> (N,): a teacher's cosines, or shares of the best match's score."""

NUM_NEGATIVES = 4
GROUP_SIZE = 1 + NUM_NEGATIVES
NEGATIVE_DEPTH, NEGATIVE_SHARE = 60, 0.01
"""The other documents are drawn from the first stage's best so many, at least this share of the collection.  What is to be
reranked later is the best 100 of 5,647.  That a share helps is not measured."""
LOGITS_PER_COSINE = 5.0
"""Labels are logits, of about the scale that a new head soon has."""
LOGITS_OF_BEST_MATCH = 1.5
"""Of the document that BM25 scores highest for the query; others have their share of it.  Cosine + 0.3 · share ranks better than
either alone: nDCG@10 of BM25's best 100 on cranfield 0.418 (cosine 0.392, BM25 0.373), noveleval 0.739 (0.731, 0.672)."""
OWN_LOGITS = 0.5
"""Bonus of the docstring that the query came from."""
SHARE_WITHOUT_SUMMARY = 0.5
"""Of the documents: the same for own and others, so that the form of a document tells nothing."""
SHARE_CUT = 0.75
SHORTEST_CUT, LONGEST_CUT = 12, 80
"""Three documents of four end after a number of words drawn between these, so that the model meets documents of every length that it
can read."""
SHARE_ASKED, SHARE_THINNED = 1 / 3, 1 / 3
"""Of the queries; the remaining third is the first paragraph as it stands."""
SHARE_OF_WORDS_DROPPED = 0.35
OPENINGS = ("how to", "how do I", "what can I use to", "I want to", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class DocstringTask:
    """Docstrings parted into training and held-out queries over one collection."""

    docstrings: Sequence[Docstring]
    training: Sequence[int]
    held_out: Sequence[int]
    """Numbers of docstrings; they are never among the training documents."""


def part_docstrings(docstrings: Sequence[Docstring], *, num_held_out: int, seed: int) -> DocstringTask:
    """Return the task with ``num_held_out`` docstrings that have an answer, drawn by ``seed``, set aside.

    Raises:
        ValueError: There are not more of them than that, or too few are left for a group.
    """
    answered = [number for number, docstring in enumerate(docstrings) if docstring.has_answer]
    if num_held_out >= len(answered):
        msg = f"{len(answered)} docstrings cannot have {num_held_out} set aside"
        raise ValueError(msg)
    held_out = sorted(np.random.default_rng(seed).permutation(answered)[:num_held_out].tolist())
    aside = set(held_out)
    training = [number for number in range(len(docstrings)) if number not in aside]
    if len(training) < GROUP_SIZE:
        msg = f"{len(training)} docstrings are left to train on, expected at least {GROUP_SIZE}"
        raise ValueError(msg)
    return DocstringTask(docstrings=docstrings, training=training, held_out=held_out)


def phrase_query(summary: str, rng: np.random.Generator) -> str:
    """Return the first paragraph as it stands, as a question, or without some of its words."""
    choice = rng.random()
    if choice < SHARE_ASKED:
        text = summary.rstrip(".")
        return f"{OPENINGS[rng.integers(len(OPENINGS))]} {text[:1].lower()}{text[1:]}?".strip()
    if choice < SHARE_ASKED + SHARE_THINNED:
        words = summary.split()
        return " ".join([word for word in words if rng.random() >= SHARE_OF_WORDS_DROPPED] or words)
    return summary


def cut_document(text: str, rng: np.random.Generator) -> str:
    """Return the text as it stands, or its first words only."""
    if rng.random() >= SHARE_CUT:
        return text
    words = text.split()
    longest = int(rng.integers(SHORTEST_CUT, LONGEST_CUT + 1))
    return text if len(words) <= longest else " ".join(words[:longest])


def build_groups(
    task: DocstringTask, search: Search, teach: Judge, match: Judge, *, seed: int, limit: int | None = None
) -> Examples:
    """Return a group for every training docstring: itself, then ``NUM_NEGATIVES`` others.

    Args:
        task: The docstrings.
        search: The first stage; it sees training documents only.
        teach: The teacher.
        match: What the words of a pair have in common, 0 to 1.
        seed: Draws the docstrings that ask, how they ask, and the other documents; a query that shares words with too few
            gets the missing ones from the whole collection.
        limit: Only so many groups; ``None`` for all.
    """
    rng = np.random.default_rng(seed)
    pool = [task.docstrings[number] for number in task.training]
    askers = rng.permutation(len(pool))[:limit]  # (N,)
    queries = [phrase_query(pool[number].summary, rng) for number in askers]
    depth = max(NEGATIVE_DEPTH, round(NEGATIVE_SHARE * len(pool)))
    found = search([pool[number].summary for number in askers], [d.document for d in pool], depth + 1)
    others = [
        [position for position in ranked if position != number][:depth]
        for number, ranked in zip(askers.tolist(), found, strict=True)
    ]
    drawn = [_draw(number, near, len(pool), rng) for number, near in zip(askers.tolist(), others, strict=True)]
    chosen = np.array(drawn, dtype=np.int64).ravel()  # (N · G,)
    is_short = rng.random(len(chosen)) < SHARE_WITHOUT_SUMMARY
    whole = [pool[n].answer if short else pool[n].document for n, short in zip(chosen.tolist(), is_short, strict=True)]
    docs = [cut_document(text, rng) for text in whole]
    pairs = np.stack([np.repeat(np.arange(len(queries)), GROUP_SIZE), np.arange(len(docs))], axis=1)
    own = np.tile(np.eye(1, GROUP_SIZE, dtype=np.float32)[0] * OWN_LOGITS, len(queries))
    return _examples(
        queries=pa.array(queries, type=pa.large_string()),
        docs=pa.array(docs, type=pa.large_string()),
        labels=LOGITS_PER_COSINE * teach(queries, docs, pairs)
        + LOGITS_OF_BEST_MATCH * match(queries, docs, pairs)
        + own,
        names=pa.array([pool[number].name for number in askers], type=pa.large_string()),
    )


def _draw(own: int, near: Sequence[int], num_docs: int, rng: np.random.Generator) -> list[int]:
    """Return (G,) documents of one group: its own, then some of the near ones, or of all where these are too few."""
    others = list(near)
    while len(others) < NUM_NEGATIVES:
        position = int(rng.integers(num_docs))
        if position != own and position not in others:
            others.append(position)
    return [own, *rng.choice(others, NUM_NEGATIVES, replace=False).tolist()]


def _examples(
    queries: pa.LargeStringArray, docs: pa.LargeStringArray, labels: NDArray[np.float32], names: pa.LargeStringArray
) -> Examples:
    return Examples(
        queries=queries,
        docs=docs,
        labels=labels,
        offsets=np.arange(0, len(docs) + 1, GROUP_SIZE, dtype=np.int64),
        shape="lists",
        columns="query=first paragraph, documents=docstrings, label=score of the teacher and bonuses",
        source="docstrings of the installed packages",
        rows=np.arange(len(queries), dtype=np.int64),
        locate=lambda row: f"docstring of {names[row].as_py()}",
    )


# --- files --------------------------------------------------------------------------------------------------------


def write_groups(groups: Examples, path: Path) -> None:
    """Write groups as Parquet, so that a training that goes on reads the very labels that it began with."""
    rows = range(len(groups))
    table = {
        "query": groups.queries,
        "docs": pa.LargeListArray.from_arrays(groups.offsets, groups.docs),
        "labels": pa.LargeListArray.from_arrays(groups.offsets, pa.array(groups.labels)),
        "name": pa.array([groups.place(row).removeprefix("docstring of ") for row in rows], type=pa.large_string()),
    }
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(table), temporary)


def read_groups(path: Path) -> Examples:
    """Return what ``write_groups`` wrote."""
    table = pq.read_table(path).combine_chunks()
    docs, labels = (table[name].combine_chunks().flatten() for name in ("docs", "labels"))
    return _examples(
        queries=table["query"].combine_chunks(),
        docs=docs,
        labels=labels.to_numpy(zero_copy_only=False),
        names=table["name"].combine_chunks(),
    )


def write_held_out(task: DocstringTask, folder: Path) -> None:
    """Write the held-out search task in BEIR's layout: all documents without their first paragraph, the held-out ones as queries."""
    ids = [f"d{number}" for number in range(len(task.docstrings))]
    with atomic_writer(folder / "corpus.jsonl") as file:
        for doc_id, docstring in zip(ids, task.docstrings, strict=True):
            file.write(json.dumps({"_id": doc_id, "text": docstring.answer}) + "\n")
    with atomic_writer(folder / "queries.jsonl") as file:
        for number in task.held_out:
            file.write(json.dumps({"_id": f"q{number}", "text": task.docstrings[number].summary}) + "\n")
    with atomic_writer(folder / "qrels" / "test.tsv") as file:
        file.write("query-id\tcorpus-id\tscore\n")
        file.writelines(f"q{number}\td{number}\t1\n" for number in task.held_out)
