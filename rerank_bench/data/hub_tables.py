"""Tables of a fetched repository: one config and split, read with ``datasets`` into Arrow, columns checked."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from rerank_bench.data.hub_client import Snapshot, on_one_line, quiet_libraries, raise_if_unwritable
from rerank_bench.errors import DataError, ManifestError
from rerank_bench.progress import track


def read_table(snapshot: Snapshot, config: str, split: str, columns: Sequence[str] | None) -> pa.Table:
    """Return columns of one config and split as an Arrow table (memory-mapped where ``datasets`` maps it).

    Args:
        snapshot: The repository on disk.
        config: The config's name.
        split: The split's name.
        columns: Names of the columns wanted; ``None`` for all.

    Raises:
        ManifestError: There is no such config, split or column; those that exist are named.
        DataError: The files cannot be read; a download that was cut short, most likely.
        EnvironmentMissingError: The cache of ``datasets`` cannot be written.
    """
    import datasets

    where = f"{snapshot.source.repository}@{snapshot.commit[:12]}, config {config!r}, split {split!r}"
    try:
        with quiet_libraries(), track(f"read {snapshot.source.repository}, {config}"):
            table = datasets.load_dataset(str(snapshot.folder), config, split=split).with_format("arrow")[:]
    except (
        datasets.exceptions.DatasetBuildError,
        datasets.exceptions.SplitsVerificationError,
        pa.ArrowInvalid,
    ) as error:
        raise_if_unwritable(where, error)
        cause = on_one_line(error.__cause__ or error)
        msg = (
            f"{where}: the files cannot be read ({cause}); a download that was cut short looks like this. Remove "
            f"{snapshot.folder} and the files that it links to, and load again"
        )
        raise DataError(msg) from error
    except (ValueError, FileNotFoundError) as error:
        # Unknown config and unknown split are bare ValueErrors whose text lists what exists.
        msg = f"{where}: the manifest does not fit the repository: {' '.join(str(error).split())}"
        raise ManifestError(msg) from error
    except OSError as error:
        raise_if_unwritable(where, error)
        raise
    if columns is None:
        return table
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        near = [difflib.get_close_matches(column, table.column_names, n=1, cutoff=0.5) for column in missing]
        hints = ", ".join(
            f"{column!r}{f' (did you mean {match[0]!r}?)' if match else ''}"
            for column, match in zip(missing, near, strict=True)
        )
        msg = f"{where}: no column {hints}; found: {', '.join(map(repr, table.column_names))}"
        raise ManifestError(msg)
    return table.select(list(columns))


def string_chunks(where: str, table: pa.Table, name: str) -> pa.ChunkedArray:
    """Return a column of strings, or of whole numbers as their digits, as (N,) large_string without nulls.

    Chunks stay as they are, and so do the bytes of strings: nothing is copied.

    Raises:
        DataError: The column holds another type, or a null; the first row (from 0) with one is named.
    """
    column: Any = table.column(name)
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if not is_text and not pa.types.is_integer(column.type):
        msg = f"{where}: column {name!r} is {column.type}, expected strings (or whole numbers, for ids)"
        raise DataError(msg)
    if column.null_count:
        row = column.is_null().to_numpy().argmax()
        msg = f"{where}: column {name!r} is null in {column.null_count} rows (first: row {row}), expected a string"
        raise DataError(msg)
    return column.cast(pa.large_string())


def string_column(where: str, table: pa.Table, name: str) -> pa.Array:
    """Return ``string_chunks`` as one array.

    Raises:
        DataError: The column holds another type, or a null; the first row (from 0) with one is named.
    """
    return string_chunks(where, table, name).combine_chunks()
