"""The CSV leaderboard: read strictly, updated under a lock, written byte for byte the same for the same rows.

One row per (model, data set or suite, view); ``columns.py`` has the header, ``docs/leaderboard.md`` explains it.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rerank_bench.errors import ConfigError, DataError, ParseError, describe_unknown
from rerank_bench.locks import file_lock
from rerank_bench.records import VIEWS
from rerank_bench.reporting.columns import (
    COLUMN_BY_NAME,
    COLUMNS,
    FIRST_STAGE_SUFFIX,
    HEADER,
    KEY_COLUMNS,
    MEASURE_COLUMNS,
    PRIMARY_MEASURE,
    TIMED_COLUMNS,
    Row,
    format_field,
    parse_field,
)
from rerank_bench.storage import read_lines, write_text

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("dataset", "suite")
DELTA_TOLERANCE = 1e-9
"""How far a row's delta may be from reranked minus first stage: float64 rounding, not a difference of digits."""

_MAX_LISTED = 5
"""Missing columns that a message names; a file that lacks more is no leaderboard at all."""

RowKey = tuple[str, ...]


class LeaderboardUpdate(NamedTuple):
    """What an update changed."""

    num_added: int
    num_replaced: int


def read_leaderboard(path: str | Path) -> pd.DataFrame:
    """Return the leaderboard as a frame with the columns of ``HEADER``, in the file's order of rows.

    Text that is missing is ""; numbers are float64 (NaN where missing) or Int64 (NA where missing).

    Raises:
        DataError: The file does not exist.
        ParseError: Another header, a malformed row or number, a row twice, not UTF-8, or empty; the line is named.
    """
    return frame_from_rows(read_rows(path))


def read_rows(path: str | Path) -> list[Row]:
    """Return the leaderboard's rows; like ``read_leaderboard``, without loading pandas."""
    lines = (f"{line}\n" for _, line in read_lines(path))
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, None)
        if header is None:
            problem = "is empty, expected a header line; remove the file, and the next run writes a new one"
            raise ParseError(path, None, problem)
        _check_header(path, header)
        rows, line_by_key = [], dict[RowKey, int]()
        for fields in reader:
            row = _parse_row(path, reader.line_num, header, fields)
            key = row_key(row)
            if key in line_by_key:
                problem = f"repeats line {line_by_key[key]} ({_describe(row)}); remove one of the two"
                raise ParseError(path, reader.line_num, problem)
            line_by_key[key] = reader.line_num
            rows.append(row)
    except csv.Error as error:
        raise ParseError(path, reader.line_num, f"is not CSV: {error}") from error
    return rows


def _check_header(path: str | Path, header: Sequence[str]) -> None:
    unknown = [name for name in header if name not in COLUMN_BY_NAME]
    missing = [name for name in HEADER if name not in header]
    repeated = sorted({name for name in header if header.count(name) > 1})
    problems = []
    if unknown:
        problems.append(describe_unknown("column", unknown, HEADER))
    if missing:
        listed = ", ".join(missing[:_MAX_LISTED])
        others = f" and {len(missing) - _MAX_LISTED} more" if len(missing) > _MAX_LISTED else ""
        problems.append(f"missing columns: {listed}{others}.")
    if repeated:
        problems.append(f"repeated columns: {', '.join(repeated)}.")
    if problems:
        advice = f"Expected the {len(HEADER)} columns of docs/leaderboard.md; move the file away to start a new one"
        raise ParseError(path, 1, f"is not the header of a leaderboard: {' '.join(problems)} {advice}")


def _parse_row(path: str | Path, line: int, header: Sequence[str], fields: Sequence[str]) -> Row:
    if len(fields) != len(header):
        raise ParseError(path, line, f"expected {len(header)} fields, found {len(fields)}: {','.join(fields)[:80]!r}")
    text_by_name = dict(zip(header, fields, strict=True))
    try:
        row = {column.name: parse_field(column, text_by_name[column.name]) for column in COLUMNS}
        _check_row(row)
    except ValueError as error:
        raise ParseError(path, line, str(error)) from error
    return row


def _check_row(row: Mapping[str, Any]) -> None:
    """Raise ValueError where a row's fields are each well formed but make no sense."""
    for name, known in (("kind", KINDS), ("view", VIEWS)):
        if row[name] not in known:
            raise ValueError(describe_unknown(name, [row[name]], known))
    column = MEASURE_COLUMNS[PRIMARY_MEASURE]
    difference = row[column] - row[f"{column}{FIRST_STAGE_SUFFIX}"]
    if not math.isclose(row["delta"], difference, rel_tol=0, abs_tol=DELTA_TOLERANCE):
        msg = f"delta is {row['delta']}, expected {difference} ({column} minus its first stage); was the file edited?"
        raise ValueError(msg)


def update_leaderboard(path: str | Path, rows: Sequence[Row]) -> LeaderboardUpdate:
    """Add rows to the leaderboard; a row with the same ``KEY_COLUMNS`` is replaced.

    Processes that update the same file at once wait for each other, and nothing of either is lost.  A reader sees
    either the old file or the new one.  The file is made when it does not exist.  What was timed stays when the same
    scores came from the score store this time, on the same machine: nothing was timed then.

    Raises:
        ConfigError: A row lacks a column, has an unknown one or a wrong value; the file is as it was.
        ParseError: The file is not a leaderboard of this version; it is as it was.
        EnvironmentMissingError: The folder is read-only, the disk is full, or the lock is held too long.
    """
    path = Path(path)
    new_by_key = {row_key(row): row for row in (_check_new_row(row) for row in rows)}
    with file_lock(path):
        old_by_key = {row_key(row): row for row in read_rows(path)} if path.exists() else {}
        timed_by_key = {key: _with_old_times(row, old_by_key.get(key)) for key, row in new_by_key.items()}
        write_text(path, _format_csv({**old_by_key, **timed_by_key}.values()))
    num_replaced = len(old_by_key.keys() & new_by_key.keys())
    return LeaderboardUpdate(len(new_by_key) - num_replaced, num_replaced)


def _with_old_times(row: Row, old: Row | None) -> Row:
    if old is None or row["pairs_per_second"] is not None or row["machine"] != old["machine"]:
        return row
    return row | {name: old[name] for name in TIMED_COLUMNS}


def _check_new_row(row: Row) -> Row:
    """Return the row as it will be read back.

    Raises:
        ConfigError: It cannot be written.
    """
    unknown = [name for name in row if name not in COLUMN_BY_NAME]
    if unknown:
        raise ConfigError(describe_unknown("column", unknown, HEADER))
    try:
        checked = {column.name: parse_field(column, format_field(column, row.get(column.name))) for column in COLUMNS}
        _check_row(checked)
    except ValueError as error:
        msg = f"leaderboard row of {_describe(row)}: {error}"
        raise ConfigError(msg) from error
    return checked


def _describe(row: Mapping[str, Any]) -> str:
    return f"{row.get('model')!r} on {row.get('dataset')!r}, view {row.get('view')!r}"


def row_key(row: Mapping[str, Any]) -> RowKey:
    """Return what identifies a row: its values in ``KEY_COLUMNS``, as they are written."""
    return tuple(format_field(COLUMN_BY_NAME[name], row[name]) for name in KEY_COLUMNS)


def _format_csv(rows: Iterable[Row]) -> str:
    """Return the whole file; the order of rows depends on their keys only, so a change of a value moves no line."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(HEADER)
    for row in sorted(rows, key=_sort_key):
        writer.writerow([format_field(column, row[column.name]) for column in COLUMNS])
    return stream.getvalue()


def _sort_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return KINDS.index(row["kind"]), row["dataset"].casefold(), VIEWS.index(row["view"]), row["model"], row_key(row)


def frame_from_rows(rows: Sequence[Row]) -> pd.DataFrame:
    """Return rows as a frame with the columns of ``HEADER`` and their types."""
    import pandas as pd

    dtypes = {"text": "object", "integer": "Int64", "number": "float64"}
    return pd.DataFrame(
        {column.name: pd.Series([row[column.name] for row in rows], dtype=dtypes[column.kind]) for column in COLUMNS}
    )


def rows_from_frame(frame: pd.DataFrame) -> list[Row]:
    """Return the frame's rows with ``None`` for every missing number; the inverse of ``frame_from_rows``.

    Raises:
        ConfigError: The frame lacks columns of ``HEADER``; all of them are named.
    """
    missing = [name for name in HEADER if name not in frame.columns]
    if missing:
        msg = f"the frame lacks the leaderboard's columns {', '.join(missing)}; read it with read_leaderboard"
        raise ConfigError(msg)
    return [dict(zip(HEADER, values, strict=True)) for values in _iter_values(frame)]


def _iter_values(frame: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    columns = []
    for column in COLUMNS:
        values = frame[column.name]
        columns.append([None if gone else value for value, gone in zip(values.tolist(), values.isna(), strict=True)])
    return zip(*columns, strict=True)


def select_rows(frame: pd.DataFrame, *, models: Collection[str] = (), datasets: Collection[str] = ()) -> pd.DataFrame:
    """Return the rows of the models and of the data sets (or suites) named; an empty choice keeps all.

    Baselines stay whatever models are chosen.

    Raises:
        ConfigError: Names that the leaderboard does not hold, with the nearest ones.
        DataError: The leaderboard holds no row at all.
    """
    if frame.empty:
        msg = "the leaderboard holds no rows; run a model first"
        raise DataError(msg)
    for kind, column, names in (("model", "model", models), ("data set", "dataset", datasets)):
        known = set(frame[column])
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConfigError(describe_unknown(kind, unknown, known))
    if models:
        frame = frame[frame["model"].isin(list(models)) | (frame["family"] == "baseline")]
    if datasets:
        frame = frame[frame["dataset"].isin(list(datasets))]
    return frame
