"""Columns of raw rows as Arrow and numpy arrays without nulls; what is wrong is named with file and line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rerank_bench.errors import DataError
from rerank_bench.training.tables import Rows

MAX_NAMED = 3


def is_list(kind: pa.DataType) -> bool:
    """Return whether an Arrow type is a list, of either width."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def read_strings(rows: Rows, table: pa.Table, name: str) -> pa.LargeStringArray:
    """Return a column of texts, (N,).

    Raises:
        DataError: Another type, or a null.
    """
    return as_strings(rows, table.column(name), name, np.arange(len(table)))


def read_numbers(rows: Rows, table: pa.Table, name: str) -> NDArray[np.float32]:
    """Return a column of finite numbers, (N,).

    Raises:
        DataError: Another type, a null, NaN or infinity.
    """
    return as_numbers(rows, table.column(name), name, np.arange(len(table)))


def read_lists(rows: Rows, table: pa.Table, name: str) -> pa.LargeListArray:
    """Return a column of lists, (N,); their entries are not looked at.

    Raises:
        DataError: Another type, or a null.
    """
    column = table.column(name)
    if not is_list(column.type):
        msg = f"{rows.name}: column {name!r} holds {column.type}, expected lists (one entry per document)"
        raise DataError(msg)
    nulls = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))
    refuse_rows(rows, nulls, lambda _row: f"no {name!r}", "expected a list")
    value_type = pa.large_string() if pa.types.is_string(column.type.value_type) else column.type.value_type
    return column.cast(pa.large_list(value_type)).combine_chunks()  # cast first: offsets of 32 bits end at 2 GB


def offsets_of(lists: pa.LargeListArray) -> NDArray[np.int64]:
    """Return (N + 1,): where each list begins among all entries."""
    sizes = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    return np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)


def as_lists(columns: Sequence[pa.LargeStringArray]) -> pa.LargeListArray:
    """Return (N,) lists of one entry per column."""
    num_rows, width = len(columns[0]), len(columns)
    order = np.arange(num_rows * width).reshape(width, num_rows).T.ravel()  # row 0 of all columns, then row 1 …
    values = pa.concat_arrays(columns).take(pa.array(order))
    return pa.LargeListArray.from_arrays(pa.array(np.arange(0, num_rows * width + 1, width, dtype=np.int64)), values)


def as_strings(rows: Rows, column: Any, name: str, owners: NDArray[np.int64]) -> pa.LargeStringArray:
    """Return (M,) large_string without nulls; ``owners[m]`` is the row that a bad value is reported with."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        if pa.types.is_null(column.type):
            column = column.cast(pa.large_string())
        else:
            msg = f"{rows.name}: column {name!r} holds {column.type}, expected texts"
            raise DataError(msg)
    nulls = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))
    refuse_rows(rows, owners[nulls], lambda _row: f"no {name!r}", "expected a text")
    whole = column.cast(pa.large_string())  # before the chunks are joined: offsets of 32 bits end at 2 GB
    return whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole


def as_numbers(rows: Rows, column: Any, name: str, owners: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return (M,) float32, all finite."""
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        msg = f"{rows.name}: column {name!r} holds {kind}, expected numbers (0 and 1, grades, or a teacher's scores)"
        raise DataError(msg)
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    values = whole.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float32)  # nulls become NaN
    bad = np.flatnonzero(~np.isfinite(values))
    refuse_rows(rows, owners[bad], lambda _row: f"no finite number in {name!r}", "expected one")
    return np.asarray(values)


def refuse_rows(rows: Rows, bad: NDArray[np.int64], found: Callable[[int], str], expected: str) -> None:
    """Raise if there are bad rows; the first ones are named with file and line."""
    distinct = list(dict.fromkeys(bad.tolist()))
    if not distinct:
        return
    named = "; ".join(f"{rows.locate(row)}: {found(row)}" for row in distinct[:MAX_NAMED])
    more = f" (and {len(distinct) - MAX_NAMED} more rows)" if len(distinct) > MAX_NAMED else ""
    msg = f"{named}{more}; {expected}. Correct or remove them"
    raise DataError(msg)
