"""The shapes that training data comes in, found by the names and types of its columns.

=========  ==========================================================  ==================================
shape      columns (by role)                                           labels
=========  ==========================================================  ==================================
pairs      query, document, label                                      as given
lists      query, documents (list), label (list)                       as given
triplets   query, positive, negative, optionally label                 1, 0; or a teacher's margin
tuples     query, positive, several negatives, optionally label (list) 1, 0, 0 …; or a teacher's scores
=========  ==========================================================  ==================================

A teacher's label of a tuple has one score per document, or one margin (positive − negative) per negative.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rerank_bench.errors import ConfigError, DataError, describe_unknown
from rerank_bench.training.column_values import (
    as_lists,
    as_numbers,
    as_strings,
    is_list,
    offsets_of,
    read_lists,
    read_numbers,
    read_strings,
    refuse_rows,
)
from rerank_bench.training.examples import Examples
from rerank_bench.training.tables import Rows

NAMES_OF_ROLE: Mapping[str, tuple[str, ...]] = {
    "query": ("query", "question", "anchor", "sentence_0", "sentence1", "sentence_a", "text_a"),
    "document": ("document", "doc", "passage", "answer", "text", "sentence_1", "sentence2", "sentence_b", "text_b"),
    "documents": ("documents", "docs", "passages"),
    "positive": ("positive", "pos"),
    "negative": (),
    "label": ("label", "labels", "score", "scores", "relevance"),
}
"""Role -> column names that are taken for it, lower case, in this order; negatives go by ``NEGATIVE``."""
NEGATIVE = re.compile(r"(negatives?|neg)([_-]?\d+)?")
TARGETS = ("document", "documents", "positive")
"""Exactly one of these roles says what the shape is."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column plays which role."""

    query: str
    target_role: str
    target: str
    negatives: tuple[str, ...]
    label: str | None

    def __str__(self) -> str:
        parts = [f"query={self.query}", f"{self.target_role}={self.target}"]
        parts += [f"negative={name}" for name in self.negatives]
        return ", ".join([*parts, *([f"label={self.label}"] if self.label else [])])


def parse_columns(texts: Sequence[str]) -> dict[str, list[str]]:
    """Return role -> column names from ``ROLE=NAME`` texts, each of which may hold several, split by commas.

    Raises:
        ConfigError: A text has another form, a role is unknown, or a role other than ``negative`` is named twice.
    """
    roles: dict[str, list[str]] = {}
    for part in (part.strip() for text in texts for part in text.split(",")):
        role, equals, name = part.partition("=")
        if not equals or not name:
            msg = f"columns: {part!r} is not ROLE=NAME, such as query=question; roles: {', '.join(NAMES_OF_ROLE)}"
            raise ConfigError(msg)
        if role not in NAMES_OF_ROLE:
            raise ConfigError(describe_unknown("column role", [role], NAMES_OF_ROLE))
        roles.setdefault(role, []).append(name)
    repeated = [role for role, names in roles.items() if len(names) > 1 and role != "negative"]
    if repeated:
        msg = f"columns: role {repeated[0]!r} is named twice ({', '.join(roles[repeated[0]])}); name it once"
        raise ConfigError(msg)
    return roles


def find_columns(where: str, names: Sequence[str], chosen: Mapping[str, Sequence[str]]) -> Columns:
    """Return which column plays which role.

    Args:
        where: What messages call the data.
        names: The columns that exist.
        chosen: Role -> columns that the user named; the others are found by ``NAMES_OF_ROLE``.

    Raises:
        DataError: A chosen column does not exist, or no column, or more than one kind, fits.
    """
    unknown = [name for given in chosen.values() for name in given if name not in names]
    if unknown:
        msg = f"{where}: {describe_unknown('column', unknown, names)}"
        raise DataError(msg)
    free = [name for name in names if not any(name in given for given in chosen.values())]
    query = _by_role("query", free, chosen)
    has_chosen_target = any(role in chosen for role in TARGETS)
    targets = {
        role: found
        for role in TARGETS
        if (role in chosen or not has_chosen_target) and (found := _by_role(role, free, chosen))
    }
    label = _by_role("label", free, chosen)
    if query is None or len(targets) != 1:
        problem = "no column is the query" if query is None else _target_problem(targets)
        msg = (
            f"{where}: {problem}; found the columns {', '.join(names)}. Name them with --columns, such as "
            "query=COLUMN,document=COLUMN,label=COLUMN (other roles: documents, positive, negative)"
        )
        raise DataError(msg)
    ((target_role, target),) = targets.items()
    negatives = list(chosen.get("negative", ())) or [n for n in free if NEGATIVE.fullmatch(n.lower())]
    if target_role != "positive":
        negatives = []
    elif not negatives:
        msg = f"{where}: column {target!r} is the positive, and no column is a negative; mine hard negatives first"
        raise DataError(msg)
    if target_role != "positive" and label is None:
        msg = (
            f"{where}: no column is the label (found: {', '.join(names)}); name it with --columns label=COLUMN. Pairs "
            "without labels, all of them positive, need mined negatives first"
        )
        raise DataError(msg)
    return Columns(query, target_role, target, tuple(sorted(negatives, key=_natural)), label)


def _by_role(role: str, free: Sequence[str], chosen: Mapping[str, Sequence[str]]) -> str | None:
    if role in chosen:
        return chosen[role][0]
    by_lower = {name.lower(): name for name in free}
    return next((by_lower[name] for name in NAMES_OF_ROLE[role] if name in by_lower), None)


def _target_problem(targets: Mapping[str, str]) -> str:
    if not targets:
        return "no column holds the documents"
    found = " and ".join(f"{name!r} ({role})" for role, name in targets.items())
    return f"{found} could both hold the documents"


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


# --- conversion -------------------------------------------------------------------------------------------------


def build_examples(rows: Rows, chosen: Mapping[str, Sequence[str]] | None = None) -> Examples:
    """Return the examples of a table, its shape found by its columns.

    Args:
        rows: The raw columns.
        chosen: Role -> columns that the user named, as ``parse_columns`` returns them.

    Raises:
        DataError: The columns do not say a shape, or a row does not fit it; the first such rows are named with file
            and line.
    """
    columns = find_columns(rows.name, rows.table.column_names, chosen or {})
    table = rows.table.select(dict.fromkeys(_all_columns(columns)))
    queries = read_strings(rows, table, columns.query)
    build = {"document": _from_pairs, "documents": _from_lists, "positive": _from_tuples}[columns.target_role]
    shape, docs, labels, offsets = build(rows, table, columns)
    return Examples(
        queries=queries,
        docs=docs,
        labels=labels,
        offsets=offsets,
        shape=shape,
        columns=str(columns),
        source=rows.name,
        rows=np.arange(len(table), dtype=np.int64),
        locate=rows.locate,
    )


Flat = tuple[str, pa.LargeStringArray, NDArray[np.float32], NDArray[np.int64]]
"""Shape, (M,) documents, (M,) labels, (N + 1,) offsets."""


def _all_columns(columns: Columns) -> list[str]:
    return [columns.query, columns.target, *columns.negatives, *([columns.label] if columns.label else [])]


def _from_pairs(rows: Rows, table: pa.Table, columns: Columns) -> Flat:
    docs = read_strings(rows, table, columns.target)
    labels = read_numbers(rows, table, str(columns.label))
    return "pairs", docs, labels, np.arange(len(table) + 1, dtype=np.int64)


def _from_lists(rows: Rows, table: pa.Table, columns: Columns) -> Flat:
    doc_lists = read_lists(rows, table, columns.target)
    label_lists = read_lists(rows, table, str(columns.label))
    offsets = offsets_of(doc_lists)
    differing = np.flatnonzero(np.diff(offsets) != np.diff(offsets_of(label_lists)))
    refuse_rows(
        rows,
        differing,
        lambda row: f"{len(doc_lists[row])} documents and {len(label_lists[row])} labels",
        "expected one label per document",
    )
    refuse_rows(rows, np.flatnonzero(np.diff(offsets) == 0), lambda _row: "no document", "expected at least one")
    owners = np.repeat(np.arange(len(table)), np.diff(offsets))  # (M,) row of each document
    docs = as_strings(rows, doc_lists.flatten(), columns.target, owners)
    return "lists", docs, as_numbers(rows, label_lists.flatten(), str(columns.label), owners), offsets


def _from_tuples(rows: Rows, table: pa.Table, columns: Columns) -> Flat:
    positives = read_strings(rows, table, columns.target)
    if len(columns.negatives) == 1 and is_list(table.schema.field(columns.negatives[0]).type):
        negative_lists = read_lists(rows, table, columns.negatives[0])
    else:
        negative_lists = as_lists([read_strings(rows, table, name) for name in columns.negatives])
    sizes = np.diff(offsets_of(negative_lists))  # (N,)
    refuse_rows(rows, np.flatnonzero(sizes == 0), lambda _row: "no negative", "expected at least one")
    owners = np.repeat(np.arange(len(table)), sizes)
    negatives = as_strings(rows, negative_lists.flatten(), columns.negatives[0], owners)
    offsets = np.concatenate(([0], np.cumsum(sizes + 1))).astype(np.int64)
    # Documents are taken from positives (N,) and negatives (M − N,), one after the other.
    order = np.empty(offsets[-1], dtype=np.int64)
    is_positive = np.zeros(offsets[-1], dtype=bool)
    is_positive[offsets[:-1]] = True
    order[is_positive] = np.arange(len(table))
    order[~is_positive] = len(table) + np.arange(len(negatives))
    docs = pa.concat_arrays([positives, negatives]).take(pa.array(order))
    labels = is_positive.astype(np.float32) if columns.label is None else _teacher(rows, table, columns, sizes)
    return "triplets" if (sizes == 1).all() else "tuples", docs, labels, offsets


def _teacher(rows: Rows, table: pa.Table, columns: Columns, sizes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return (M,) a teacher's scores; margins become scores with the positive at 0."""
    label = str(columns.label)
    if not is_list(table.schema.field(label).type):
        margins = read_numbers(rows, table, label)
        refuse_rows(
            rows,
            np.flatnonzero(sizes != 1),
            lambda row: f"one label and {sizes[row]} negatives",
            "expected a list of labels",
        )
        return np.stack([np.zeros_like(margins), -margins], axis=1).ravel()
    lists = read_lists(rows, table, label)
    counts = np.diff(offsets_of(lists))
    bad = np.flatnonzero((counts != sizes) & (counts != sizes + 1))
    refuse_rows(
        rows,
        bad,
        lambda row: f"{counts[row]} labels for a positive and {sizes[row]} negatives",
        "expected one score per document, or one margin per negative",
    )
    values = np.split(
        as_numbers(rows, lists.flatten(), label, np.repeat(np.arange(len(table)), counts)), np.cumsum(counts)[:-1]
    )
    scores = [v if len(v) > size else np.concatenate(([0.0], -v)) for v, size in zip(values, sizes, strict=True)]
    return np.concatenate(scores).astype(np.float32)
