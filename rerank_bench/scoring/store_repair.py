"""What is damage to a score store, and what can be saved of a damaged one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path

from rerank_bench.scoring.score_rows import CHUNK_ROWS, DamagedStoreError, StoredRow, checked_bits
from rerank_bench.scoring.score_tables import INSERT_CPU_THREADS, INSERT_SCORES, read_cpu_threads, write_rows

STORE_FAILURES = (sqlite3.Error, OSError, DamagedStoreError, UnicodeDecodeError)
"""What a store may end in; the last where a damaged file makes SQLite say something that is no UTF-8."""
_DAMAGE_CODES = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
"""SQLITE_ERROR is a missing table or column: a file that is not ours."""
_BUSY_CODES = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def is_damage(error: Exception) -> bool:
    """Return whether an error says that a file is not what was written, and not that it cannot be read or written now."""
    if not isinstance(error, sqlite3.Error):
        return isinstance(error, DamagedStoreError | UnicodeDecodeError)
    code = getattr(error, "sqlite_errorcode", None)  # absent where Python could not read what SQLite gave
    return code is None or code == sqlite3.SQLITE_IOERR_SHORT_READ or code & 0xFF in _DAMAGE_CODES


def is_busy(error: Exception) -> bool:
    """Return whether another process holds the file."""
    return isinstance(error, sqlite3.Error) and (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _BUSY_CODES


def take_over(aside: Path, connection: sqlite3.Connection, fingerprint: str) -> int:
    """Copy what can be read of a damaged store of the same scorer, from both ends; return how many scores."""
    before = connection.execute("SELECT COUNT(*) FROM scores").fetchone()[0]
    with suppress(*STORE_FAILURES), closing(sqlite3.connect(aside)) as damaged:
        owner = damaged.execute("SELECT value FROM meta WHERE name = 'fingerprint'").fetchone()
        if owner != (fingerprint,):
            return 0
        write_rows(connection, INSERT_CPU_THREADS, [(number,) for number in read_cpu_threads(damaged)])
        for direction in ("ASC", "DESC"):
            rows = _intact_rows(damaged, direction)
            while chunk := list(islice(rows, CHUNK_ROWS)):
                write_rows(connection, INSERT_SCORES, chunk)
    return int(connection.execute("SELECT COUNT(*) FROM scores").fetchone()[0]) - int(before)


def _intact_rows(damaged: sqlite3.Connection, direction: str) -> Iterator[StoredRow]:
    """Yield the rows with a correct checksum, up to the first page that cannot be read."""
    order = f"ORDER BY query {direction}, doc {direction}"
    with suppress(*STORE_FAILURES):
        rows = damaged.execute(f"SELECT query, doc, value, tokens FROM scores {order}")  # noqa: S608  constants
        for query, doc, value, tokens in rows:
            with suppress(DamagedStoreError, TypeError):
                checked_bits(query, doc, value, tokens)
                yield query, doc, value, tokens
