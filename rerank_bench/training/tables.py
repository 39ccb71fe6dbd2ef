"""Training data as Arrow tables: local JSON Lines, CSV, TSV and Parquet files, each row with its place in its file.

pyarrow reads them.  Where it stumbles over a line, the file is read again line by line, to say which one it was.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from rerank_bench.errors import DataError, ParseError
from rerank_bench.progress import track
from rerank_bench.storage import open_text, read_lines

JSON_BLOCK_BYTES = 1 << 24
"""What pyarrow reads at a time; a line that is longer is an error of its own."""

FORMAT_OF_SUFFIX = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
"""A further ``.gz`` is allowed for text."""


@dataclass(frozen=True, slots=True)
class TableFile:
    """One file that was read, and how many rows it gave."""

    path: Path
    format: str
    num_rows: int


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A table of raw columns with the places that its rows come from."""

    table: pa.Table
    files: Sequence[TableFile]
    """In the order of the rows."""
    name: str
    """What messages and records call the data."""

    def locate(self, row: int) -> str:
        """Return where a row (from 0) stands: ``train.jsonl, line 3`` or ``train.parquet, row 3``."""
        first = 0
        for file in self.files:
            if row < first + file.num_rows:
                return _place(file, row - first)
            first += file.num_rows
        msg = f"row {row} is past the last one"
        raise IndexError(msg)


def read_files(paths: Sequence[Path]) -> Rows:
    """Return the rows of several files with the same columns, one file after the other.

    Raises:
        DataError: A file does not exist, has another format, no rows, or other columns than the first.
        ParseError: A line cannot be read; file and line are named.
    """
    tables = [_read_file(path) for path in paths]
    first = tables[0]
    for path, table in zip(paths, tables, strict=True):
        if set(table.column_names) != set(first.column_names):
            msg = (
                f"{path}: has the columns {', '.join(table.column_names)}, but {paths[0]} has "
                f"{', '.join(first.column_names)}; files of one training need the same columns"
            )
            raise DataError(msg)
    joined = pa.concat_tables([t.select(first.column_names) for t in tables], promote_options="permissive")
    files = [TableFile(p, _format(p), len(t)) for p, t in zip(paths, tables, strict=True)]
    return Rows(joined, files, ", ".join(path.name for path in paths))


def _format(path: Path) -> str:
    name = path.name.removesuffix(".gz")
    suffix = Path(name).suffix.lower()
    if suffix not in FORMAT_OF_SUFFIX:
        msg = f"{path}: expected a file ending in {', '.join(FORMAT_OF_SUFFIX)} (text may be gzipped)"
        raise DataError(msg)
    return FORMAT_OF_SUFFIX[suffix]


def _read_file(path: Path) -> pa.Table:
    kind = _format(path)
    if not path.is_file():
        msg = f"{path}: no such file"
        raise DataError(msg)
    try:
        with track(f"read {path.name}"):
            table = _READERS[kind](path)
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError, EOFError) as error:
        _raise_at_line(path, kind)
        msg = f"{path}: cannot be read: {' '.join(str(error).split())}"
        raise DataError(msg) from error
    if not len(table):
        msg = f"{path}: holds no rows; expected at least one example"
        raise DataError(msg)
    return table


def _read_jsonl(path: Path) -> pa.Table:
    import pyarrow.json as pj

    with pa.input_stream(str(path)) as stream:
        return pj.read_json(stream, read_options=pj.ReadOptions(block_size=JSON_BLOCK_BYTES))


def _read_csv(path: Path, delimiter: str = ",") -> pa.Table:
    import pyarrow.csv as pc

    with pa.input_stream(str(path)) as stream:
        return pc.read_csv(
            stream,
            parse_options=pc.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pc.ConvertOptions(strings_can_be_null=False),
        )


def _read_tsv(path: Path) -> pa.Table:
    return _read_csv(path, "\t")


def _read_parquet(path: Path) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.read_table(path)


_READERS = {"jsonl": _read_jsonl, "csv": _read_csv, "tsv": _read_tsv, "parquet": _read_parquet}


# --- places -----------------------------------------------------------------------------------------------------


def _place(file: TableFile, row: int) -> str:
    if file.format == "parquet":
        return f"{file.path}, row {row + 1}"
    lines = _record_lines(file.path, file.format)
    line = next(itertools.islice(lines, row, None), None)
    return f"{file.path}, line {line}" if line is not None else f"{file.path}, row {row + 1}"


def _record_lines(path: Path, kind: str) -> Iterator[int]:
    """Yield the line (from 1) in which each row begins."""
    if kind == "jsonl":
        yield from (number for number, line in read_lines(path) if line.strip())
        return
    with open_text(path) as file:
        reader = csv.reader(file, delimiter="\t" if kind == "tsv" else ",")
        next(reader, None)  # the header
        start = reader.line_num + 1
        for record in reader:
            if record:
                yield start
            start = reader.line_num + 1


def _raise_at_line(path: Path, kind: str) -> None:
    """Raise if reading line by line finds what is wrong with a text file; return where it does not."""
    if kind == "jsonl":
        _check_json_lines(path)
    elif kind in {"csv", "tsv"}:
        _check_csv_lines(path, "\t" if kind == "tsv" else ",")


def _check_json_lines(path: Path) -> None:
    types: dict[str, tuple[str, int]] = {}
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            problem = f"is not JSON: {error.msg} at character {error.colno}; one whole object a line is expected"
            raise ParseError(path, number, problem) from error
        if not isinstance(record, dict):
            raise ParseError(path, number, f"holds {type(record).__name__}, expected an object with the columns")
        for name, value in record.items():
            kind, first = types.setdefault(name, (_json_kind(value), number))
            if kind == "null":
                types[name] = (_json_kind(value), number)
            elif _json_kind(value) not in {kind, "null"}:
                problem = f"column {name!r} is {_json_kind(value)} {str(value)[:60]!r}, but {kind} in line {first}"
                raise ParseError(path, number, problem)


def _json_kind(value: Any) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), "null")


def _check_csv_lines(path: Path, delimiter: str) -> None:
    with open_text(path) as file:
        reader = csv.reader(file, delimiter=delimiter)
        header = next(reader, [])
        for record in reader:
            if record and len(record) != len(header):
                problem = f"has {len(record)} columns, the header {len(header)} ({', '.join(header)})"
                raise ParseError(path, reader.line_num, problem)
