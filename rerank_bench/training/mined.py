"""Mined negatives as training data: four shapes, with labels or scores, as JSON Lines, CSV or Parquet.

=========  ===================================================================  ===============================
shape      a row                                                                columns
=========  ===================================================================  ===============================
pairs      a query with a positive or a negative                                query, document, label (score)
lists      a query with all its positives, then its negatives                   query, documents, labels (scores)
triplets   a query with a positive and a negative                               query, positive, negative (scores)
tuples     a query with a positive and exactly n negatives                      query, positive, negative_1 … (scores)
=========  ===================================================================  ===============================

``train`` reads all of them by these names.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rerank_bench.errors import ConfigError, DataError, describe_unknown
from rerank_bench.storage import atomic_path, atomic_writer
from rerank_bench.training.negatives import NOTHING, Negatives
from rerank_bench.training.positive_pairs import PositivePairs
from rerank_bench.training.tables import FORMAT_OF_SUFFIX

MinedShape = Literal["pairs", "lists", "triplets", "tuples"]
CHUNK_QUERIES = 4_096
"""Queries whose texts are in memory at a time while they are written."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputForm:
    """What is written.

    Raises:
        ConfigError: An unknown shape or format, or lists for a CSV file.
    """

    path: Path
    shape: MinedShape = "pairs"
    with_scores: bool = False
    """Scores in the place of the labels, or beside the texts."""

    def __post_init__(self) -> None:
        if self.shape not in get_args(MinedShape):
            raise ConfigError(describe_unknown("shape", [self.shape], get_args(MinedShape)))
        has_lists = self.shape == "lists" or (self.with_scores and self.shape != "pairs")
        if self.format in {"csv", "tsv"} and has_lists:
            msg = f"{self.path}: a CSV file cannot hold lists; write .jsonl or .parquet, or the shape pairs"
            raise ConfigError(msg)
        if self.format == "parquet" and self.path.suffix == ".gz":
            msg = f"{self.path}: Parquet is compressed already; leave .gz out"
            raise ConfigError(msg)

    @property
    def format(self) -> str:
        """``jsonl``, ``csv``, ``tsv`` or ``parquet``, by the name's ending."""
        suffix = Path(self.path.name.removesuffix(".gz")).suffix.lower()
        if suffix not in FORMAT_OF_SUFFIX:
            msg = f"{self.path}: expected a name ending in {', '.join(FORMAT_OF_SUFFIX)} (text may end in .gz, too)"
            raise ConfigError(msg)
        return FORMAT_OF_SUFFIX[suffix]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Mined:
    """Queries, positives and the negatives that were found for them."""

    pairs: PositivePairs
    corpus: pa.LargeStringArray
    """(N,) the texts that the negatives are positions of."""
    negatives: Negatives
    positive_scores: NDArray[np.float32] | None
    """(P,) aligned with ``pairs.positives``; ``None`` where nothing scored them."""
    num_negatives: int
    """How many were asked for."""
    has_positives: bool = False
    """Whether the negatives are the ranking as it is, positives among them."""


def check_any(mined: Mined, form: OutputForm) -> None:
    """Raise where there is nothing to write.

    Raises:
        DataError: No query gives a row of this shape; an earlier file is left as it is.
    """
    if next(iter_rows(mined, form.shape, with_scores=form.with_scores), None) is None:
        msg = (
            f"{form.path}: no query has enough negatives for a row of the shape {form.shape!r}; widen --range-max, relax the "
            "limits, ask for fewer negatives, or name a larger --corpus"
        )
        raise DataError(msg)


def write_mined(mined: Mined, form: OutputForm) -> int:
    """Write the rows of all queries, atomically, and return their number."""
    write = {"jsonl": _write_jsonl, "csv": _write_csv, "tsv": _write_csv, "parquet": _write_parquet}[form.format]
    return write(form, iter_rows(mined, form.shape, with_scores=form.with_scores))


def iter_rows(mined: Mined, shape: MinedShape, *, with_scores: bool) -> Iterator[Row]:
    """Yield the rows, query by query.

    A query without a negative gives only its positives as ``pairs``, and nothing in the other shapes; ``tuples`` leave
    out queries with fewer negatives than asked for.
    """
    for start in range(0, len(mined.pairs), CHUNK_QUERIES):
        positions = mined.negatives.positions[start : start + CHUNK_QUERIES]
        is_there = positions != NOTHING
        texts = mined.corpus.take(pa.array(positions[is_there].astype(np.int64))).to_pylist()
        ends = np.cumsum(is_there.sum(axis=1))
        for number, end in enumerate(ends.tolist()):
            query = start + number
            low, high = mined.pairs.offsets[query : query + 2].tolist()
            group = _QueryGroup(
                mined.pairs.queries[query],
                mined.pairs.positives[low:high],
                texts[end - int(is_there[number].sum()) : end],
                None if mined.positive_scores is None else mined.positive_scores[low:high].tolist(),
                mined.negatives.scores[query][is_there[number]].tolist(),
            )
            if mined.has_positives:
                yield from group.ranking(with_scores=with_scores)
            else:
                yield from group.rows(shape, mined.num_negatives, with_scores=with_scores)


@dataclass(frozen=True, slots=True)
class _QueryGroup:
    """One query with what belongs to it."""

    query: str
    positives: list[str]
    negatives: list[str]
    positive_scores: list[float] | None
    negative_scores: list[float]

    def rows(self, shape: MinedShape, num_negatives: int, *, with_scores: bool) -> Iterator[Row]:
        """Yield the rows of one shape."""
        scores = [*(self.positive_scores or []), *self.negative_scores]
        labels = [1] * len(self.positives) + [0] * len(self.negatives)
        docs = [*self.positives, *self.negatives]
        if shape == "pairs":
            for doc, label, score in zip(docs, labels, scores if with_scores else labels, strict=True):
                yield {"query": self.query, "document": doc, **({"score": score} if with_scores else {"label": label})}
        elif shape == "lists" and self.negatives:
            values = {"scores": scores} if with_scores else {"labels": labels}
            yield {"query": self.query, "documents": docs, **values}
        elif shape == "triplets" or (shape == "tuples" and len(self.negatives) == num_negatives):
            yield from self._tuples(
                1 if shape == "triplets" else num_negatives, is_single=shape == "triplets", scored=with_scores
            )

    def _tuples(self, width: int, *, is_single: bool, scored: bool) -> Iterator[Row]:
        for index, positive in enumerate(self.positives):
            for start in range(0, len(self.negatives), width):
                texts = self.negatives[start : start + width]
                names = ["negative"] if is_single else [f"negative_{number + 1}" for number in range(width)]
                row: Row = {"query": self.query, "positive": positive, **dict(zip(names, texts, strict=True))}
                if scored and self.positive_scores is not None:
                    row["scores"] = [self.positive_scores[index], *self.negative_scores[start : start + width]]
                yield row

    def ranking(self, *, with_scores: bool) -> Iterator[Row]:
        """Yield the documents as they are ranked, positives where they stand."""
        positives = set(self.positives)
        labels = [int(text in positives) for text in self.negatives]
        values = {"scores": self.negative_scores} if with_scores else {"labels": labels}
        if self.negatives:
            yield {"query": self.query, "documents": self.negatives, **values}


# --- files ------------------------------------------------------------------------------------------------------


def _write_jsonl(form: OutputForm, rows: Iterator[Row]) -> int:
    count = 0
    with atomic_writer(form.path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _write_csv(form: OutputForm, rows: Iterator[Row]) -> int:
    count = 0
    with atomic_writer(form.path) as file:
        writer = csv.writer(file, delimiter="\t" if form.format == "tsv" else ",", lineterminator="\n")
        for row in rows:
            if not count:
                writer.writerow(row)
            writer.writerow(row.values())
            count += 1
    return count


def _write_parquet(form: OutputForm, rows: Iterator[Row]) -> int:
    import itertools

    import pyarrow.parquet as pq

    count = 0
    writer: pq.ParquetWriter | None = None
    with atomic_path(form.path) as path:
        while chunk := list(itertools.islice(rows, CHUNK_QUERIES)):
            table = pa.Table.from_pylist(chunk)
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
            count += len(chunk)
        if writer is not None:
            writer.close()
    return count
