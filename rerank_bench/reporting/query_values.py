"""The values of every query in a run folder: CSV, or Parquet where a table of text would be large and slow to read.

Both forms have the same columns: ``view``, ``query_id``, then ``<measure> first_stage`` and ``<measure> reranked`` for each
measure, empty where a view has no such measure.  Numbers come back to the last digit.  Parquet holds a row group per
view, so that one view is read without the others.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rerank_bench.errors import DataError, ParseError
from rerank_bench.records import Evaluation, View
from rerank_bench.storage import atomic_path, atomic_writer, read_lines, remove_file

CSV_FILE = "{stem}.queries.csv"
PARQUET_FILE = "{stem}.queries.parquet"
PARQUET_QUERIES = 10_000
"""From this number of queries on: as CSV they would be 30,000 lines, some 4 MB; as Parquet less than 1 MB."""

PerQuery = Mapping[str, Mapping[str, tuple[float, float]]]
"""measure -> query_id -> (first stage, reranked)."""

Row = list[str | float | None]

EXPECTED = "view,query_id, then '<measure> first_stage' and '<measure> reranked' for each measure"


def write_query_values(
    folder: Path, stem: str, evaluation: Evaluation, *, parquet_queries: int = PARQUET_QUERIES
) -> Path:
    """Write one row per (view, query): every measure's first-stage and reranked value, in full precision.

    Args:
        folder: The run folder; a file of the other form, from an earlier run, is taken away.
        stem: What its files of this data set are called.
        evaluation: The values.
        parquet_queries: Number of queries from which on they are Parquet.

    Returns:
        The file.
    """
    views = evaluation.views.values()
    num_queries = max((len(values) for view in views for values in view.per_query.values()), default=0)
    csv_path, parquet_path = (folder / name.format(stem=stem) for name in (CSV_FILE, PARQUET_FILE))
    measures = list(dict.fromkeys(name for view in views for name in view.per_query))
    header = [f"{name} {side}" for name in measures for side in ("first_stage", "reranked")]
    if num_queries >= parquet_queries:
        remove_file(csv_path)
        _write_parquet(parquet_path, evaluation, measures, header)
        return parquet_path
    remove_file(parquet_path)
    with atomic_writer(csv_path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["view", "query_id", *header])
        for view in evaluation.views:
            for query_id, *values in _rows(evaluation, view, measures):
                cells = ["" if value is None else repr(value) for value in values]
                writer.writerow([view, query_id, *cells])
    return csv_path


def _rows(evaluation: Evaluation, view: View, measures: Sequence[str]) -> Iterator[Row]:
    """Yield query_id and values, ``None`` where the view has no such measure, of every query of a view."""
    per_query = evaluation.views[view].per_query
    for query_id in dict.fromkeys(query_id for values in per_query.values() for query_id in values):
        row: Row = [query_id]
        for name in measures:
            row += per_query.get(name, {}).get(query_id, (None, None))
        yield row


def _write_parquet(path: Path, evaluation: Evaluation, measures: Sequence[str], header: Sequence[str]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([("view", pa.string()), ("query_id", pa.string()), *((name, pa.float64()) for name in header)])
    with atomic_path(path) as temporary, parquet.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for view in evaluation.views:
            columns = list(zip(*_rows(evaluation, view, measures), strict=True)) or [()] * (len(header) + 1)
            writer.write_table(pa.table([[view] * len(columns[0]), *columns], schema=schema))


def find_query_values(folder: Path, stem: str) -> Path:
    """Return the file of a data set's values, whichever form it has.

    Raises:
        DataError: There is none.
    """
    paths = [folder / name.format(stem=stem) for name in (CSV_FILE, PARQUET_FILE)]
    found = next((path for path in paths if path.exists()), None)
    if found is None:
        msg = f"{paths[0]}: no such file, nor {paths[1].name}, though result.json names the data set; run the command again"
        raise DataError(msg)
    return found


def read_query_values(path: str | Path, view: View) -> PerQuery:
    """Return measure -> query_id -> (first stage, reranked) of one view, in the order of the file.

    Args:
        path: What ``write_query_values`` wrote.
        view: The view.

    Raises:
        ParseError: The file, its header or a line is not what ``write_query_values`` writes.
    """
    path = Path(path)
    return _read_parquet(path, view) if path.suffix == ".parquet" else _read_csv(path, view)


def _read_parquet(path: Path, view: View) -> PerQuery:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table: pa.Table = parquet.read_table(path, filters=[("view", "=", view)])
    except (pa.ArrowException, OSError) as error:
        problem = f"cannot be read as Parquet ({str(error).partition(chr(10))[0]}); run the same command again"
        raise ParseError(path, None, problem) from error
    names = _measures(path, table.column_names)
    query_ids = table.column("query_id").to_pylist()
    values: dict[str, dict[str, tuple[float, float]]] = {}
    for name in names:
        pairs = zip(*(table.column(f"{name} {side}").to_pylist() for side in ("first_stage", "reranked")), strict=True)
        known = {query_id: pair for query_id, pair in zip(query_ids, pairs, strict=True) if pair != (None, None)}
        if known:
            values[name] = known
    return values


def _measures(path: Path, header: Sequence[str]) -> list[str]:
    """Return the measures that a header names.

    Raises:
        ParseError: It is none of ours.
    """
    first_names = [column.removesuffix(" first_stage") for column in header[2::2]]
    second_names = [column.removesuffix(" reranked") for column in header[3::2]]
    if list(header[:2]) != ["view", "query_id"] or first_names != second_names:
        raise ParseError(
            path, None if path.suffix == ".parquet" else 1, f"the header is {','.join(header)!r}, expected {EXPECTED}"
        )
    return first_names


def _read_csv(path: Path, view: View) -> PerQuery:
    reader = csv.reader(line for _, line in read_lines(path))
    header = next(reader, [])
    names = _measures(path, header)
    values: dict[str, dict[str, tuple[float, float]]] = {}
    for cells in reader:
        if len(cells) != len(header):
            raise ParseError(path, reader.line_num, f"expected {len(header)} cells, found {len(cells)}")
        if cells[0] != view:
            continue
        for name, first_stage, reranked in zip(names, cells[2::2], cells[3::2], strict=True):
            if first_stage == reranked == "":  # the view has no such measure
                continue
            try:
                pair = (float(first_stage), float(reranked))
            except ValueError as error:
                raise ParseError(path, reader.line_num, f"{name} of query {cells[1]!r}: {error}") from error
            values.setdefault(name, {})[cells[1]] = pair
    return values
