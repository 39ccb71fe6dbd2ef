"""A finished run folder, read back: what comparisons, gates and explanations work from.  No torch, no model, no texts."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rerank_bench.errors import ComparisonError, DataError, ParseError, describe_unknown
from rerank_bench.records import Qrels, Run, View
from rerank_bench.reporting.run_folder import (
    CANDIDATES_FILE,
    MISSED_FILE,
    QRELS_FILE,
    QUERIES_FILE,
    RUN_FILE,
    file_stem,
    read_result,
)
from rerank_bench.storage import read_lines
from rerank_bench.trec_io import read_qrels, read_run

PerQuery = Mapping[str, Mapping[str, tuple[float, float]]]
"""measure -> query_id -> (first stage, reranked)."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredResult:
    """One run folder.  ``result`` is read at once, every other file when it is asked for."""

    folder: Path
    result: Mapping[str, Any]
    """The content of ``result.json``."""

    @property
    def name(self) -> str:
        """What tables call it: the model's name."""
        return str(self.result["model"]["name"])

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of its data sets, in the order of the run."""
        return tuple(self.result["datasets"])

    @property
    def suites(self) -> Mapping[str, tuple[str, ...]]:
        """Suite -> names of its data sets."""
        return {name: tuple(block["datasets"]) for name, block in self.result["suites"].items()}

    def candidates(self, dataset: str) -> Run:
        """Return the first stage's list."""
        return self._read(dataset, CANDIDATES_FILE, read_run)

    def reranked(self, dataset: str) -> Run:
        """Return the candidates as the model orders them, with its scores."""
        return self._read(dataset, RUN_FILE, read_run)

    def missed(self, dataset: str) -> Run:
        """Return the scored positives that are not among the candidates."""
        return self._read(dataset, MISSED_FILE, read_run)

    def qrels(self, dataset: str) -> Qrels:
        """Return the judgements."""
        return self._read(dataset, QRELS_FILE, read_qrels)

    def query_values(self, dataset: str, view: View) -> PerQuery:
        """Return each measure's values per query, in the order of the file.

        Raises:
            DataError: The file is not there.
            ParseError: A line of it cannot be read.
            ComparisonError: The run has no such data set.
        """
        return self._read(dataset, QUERIES_FILE, lambda path: read_query_values(path, view))

    def _read(self, dataset: str, template: str, read: Callable[[Path], T]) -> T:
        if dataset not in self.result["datasets"]:
            raise ComparisonError(f"{self.folder}: " + describe_unknown("data set", [dataset], self.datasets))
        path = self.folder / template.format(stem=file_stem(dataset))
        if not path.exists():
            msg = f"{path}: no such file, though result.json beside it names {dataset}; run the same command again"
            raise DataError(msg)
        return read(path)


def read_stored_result(path: str | Path) -> StoredResult:
    """Return the run in a folder, or beside a ``result.json``.

    Raises:
        DataError: The run is not finished, or of another schema version.
    """
    path = Path(path)
    result = read_result(path)
    return StoredResult(folder=path if path.is_dir() else path.parent, result=result)


def read_query_values(path: str | Path, view: View) -> PerQuery:
    """Return measure -> query_id -> (first stage, reranked) of one view, from a ``.queries.csv``.

    Raises:
        ParseError: The header or a line is not what ``write_query_values`` writes.
    """
    reader = csv.reader(line for _, line in read_lines(path))
    header = next(reader, [])
    first_names = [column.removesuffix(" first_stage") for column in header[2::2]]
    second_names = [column.removesuffix(" reranked") for column in header[3::2]]
    if header[:2] != ["view", "query_id"] or first_names != second_names:
        expected = "view,query_id, then '<measure> first_stage' and '<measure> reranked' for each measure"
        raise ParseError(path, 1, f"the header is {','.join(header)!r}, expected {expected}")
    values: dict[str, dict[str, tuple[float, float]]] = {}
    for cells in reader:
        if len(cells) != len(header):
            raise ParseError(path, reader.line_num, f"expected {len(header)} cells, found {len(cells)}")
        if cells[0] != view:
            continue
        for name, first_stage, reranked in zip(first_names, cells[2::2], cells[3::2], strict=True):
            if first_stage == reranked == "":  # the view has no such measure
                continue
            try:
                pair = (float(first_stage), float(reranked))
            except ValueError as error:
                raise ParseError(path, reader.line_num, f"{name} of query {cells[1]!r}: {error}") from error
            values.setdefault(name, {})[cells[1]] = pair
    return values
