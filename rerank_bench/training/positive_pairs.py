"""Queries with their positives, for mining: from every shape that training reads, and from pairs without labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rerank_bench.errors import DataError
from rerank_bench.training.examples import Examples
from rerank_bench.training.shapes import NAMES_OF_ROLE, NEGATIVE, build_examples
from rerank_bench.training.tables import Rows

ALL_POSITIVE = "rerank_bench_all_positive"
"""Name of the label column that pairs without labels get."""


@dataclass(frozen=True, slots=True, eq=False)
class PositivePairs:
    """Q distinct queries in the order in which they first occur, with P distinct positives in all."""

    queries: list[str]
    positives: list[str]
    """(P,) those of query 0, then those of query 1 …"""
    offsets: NDArray[np.int64]
    """(Q + 1,) query i has the positives ``offsets[i]`` to ``offsets[i + 1]``."""
    others: pa.LargeStringArray
    """Documents of the data that are nobody's positive: negatives that came with it."""
    num_rows: int
    """Examples that were read."""
    num_without_positive: int
    """Queries that are left out because nothing they have is labelled above 0."""

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def owners(self) -> NDArray[np.int64]:
        """(P,) the query of every positive."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @property
    def max_positives(self) -> int:
        """The most positives that any query has."""
        return int(np.diff(self.offsets).max())


def build_pair_examples(rows: Rows, chosen: Mapping[str, Sequence[str]]) -> Examples:
    """Return the examples of a table, whose pairs may lack a label: then all of them are positive.

    Args:
        rows: The raw columns.
        chosen: Role -> columns that the user named.

    Raises:
        DataError: As ``build_examples``.
    """
    target = _unlabelled_target(rows.table.column_names, chosen)
    if target is None:
        return build_examples(rows, chosen)
    ones = pa.array(np.ones(len(rows.table), dtype=np.int8))
    labelled = replace(rows, table=rows.table.append_column(ALL_POSITIVE, ones))
    named = {role: names for role, names in chosen.items() if role != "positive"}
    examples = build_examples(labelled, named | {"document": [target], "label": [ALL_POSITIVE]})
    return replace(examples, columns=examples.columns.replace(f", label={ALL_POSITIVE}", ""))


def _unlabelled_target(names: Sequence[str], chosen: Mapping[str, Sequence[str]]) -> str | None:
    """Return the column of the positives, where the columns are those of pairs without labels."""
    taken = {name for given in chosen.values() for name in given}
    free = {name.lower(): name for name in names if name not in taken}
    has_label = "label" in chosen or any(name in free for name in NAMES_OF_ROLE["label"])
    has_negative = "negative" in chosen or any(NEGATIVE.fullmatch(name) for name in free)
    has_lists = "documents" in chosen or any(name in free for name in NAMES_OF_ROLE["documents"])
    for role in ("positive", "document"):
        named = chosen.get(role) or [free[name] for name in NAMES_OF_ROLE[role] if name in free]
        if (
            named
            and not has_negative
            and not (has_lists and role not in chosen)
            and (role == "positive" or not has_label)
        ):
            return named[0]
    return None


def pair_up(examples: Examples) -> PositivePairs:
    """Return the distinct queries with their distinct positives.

    A positive is the first document of a triplet or tuple, and elsewhere one whose label is above 0.

    Raises:
        DataError: Nothing is a positive.
    """
    if examples.shape in {"triplets", "tuples"}:
        is_positive = np.zeros(len(examples.docs), dtype=bool)
        is_positive[examples.offsets[:-1]] = True
    else:
        is_positive = examples.labels > 0
    owners = np.repeat(np.arange(len(examples)), examples.sizes)  # (M,) example of each document
    rows = np.flatnonzero(is_positive)
    queries = examples.queries.take(pa.array(owners[rows])).to_pylist()
    texts = examples.docs.take(pa.array(rows)).to_pylist()
    pairs = _group(zip(queries, texts, strict=True))
    if not pairs:
        msg = f"{examples.source}: no document is labelled above 0, so there is no positive to mine negatives for"
        raise DataError(msg)
    others = examples.docs.take(pa.array(np.flatnonzero(~is_positive)))
    num_queries = len(pc.unique(examples.queries))
    return make_pairs(pairs, others=others, num_rows=len(examples), num_without_positive=num_queries - len(pairs))


def make_pairs(
    pairs: Mapping[str, Iterable[str]], *, others: pa.LargeStringArray, num_rows: int, num_without_positive: int
) -> PositivePairs:
    """Return pairs from query -> its positives; the other arguments are the fields."""
    lists = [list(dict.fromkeys(texts)) for texts in pairs.values()]
    offsets = np.concatenate(([0], np.cumsum([len(texts) for texts in lists]))).astype(np.int64)
    return PositivePairs(
        queries=list(pairs),
        positives=[text for texts in lists for text in texts],
        offsets=offsets,
        others=others,
        num_rows=num_rows,
        num_without_positive=num_without_positive,
    )


def _group(pairs: Iterable[tuple[str, str]]) -> dict[str, dict[str, None]]:
    grouped: dict[str, dict[str, None]] = {}
    for query, text in pairs:
        grouped.setdefault(query, {})[text] = None
    return grouped
