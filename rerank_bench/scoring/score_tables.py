"""The tables of a score store, and the statements on them; each call is one transaction, all or nothing."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rerank_bench.scoring.score_rows import DamagedStoreError, Job, checked_bits, unpack_job

SCHEMA_VERSION = 2
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE scores (
    query BLOB, doc BLOB, value INTEGER NOT NULL, tokens INTEGER NOT NULL, PRIMARY KEY (query, doc)
) WITHOUT ROWID;
CREATE TABLE jobs (job BLOB PRIMARY KEY, content BLOB NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
"""
INSERT_SCORES = "INSERT OR IGNORE INTO scores VALUES (?, ?, ?, ?)"
INSERT_JOB = "INSERT OR REPLACE INTO jobs VALUES (?, ?, ?)"
INSERT_CPU_THREADS = "INSERT OR IGNORE INTO meta VALUES ('cpu_threads:' || ?, '')"
"""A row for each number: two processes that add one each lose neither."""


class StoredScores(NamedTuple):
    """What a store knows of M pairs; 0 where it knows nothing."""

    scores: NDArray[np.float32]
    """(M,)."""
    tokens: NDArray[np.int32]
    """(M,): negative where the pair was cut."""
    is_known: NDArray[np.bool_]
    """(M,)."""

    @classmethod
    def empty(cls, num_pairs: int) -> StoredScores:
        """Return what a store without any of the pairs knows."""
        return cls(
            np.zeros(num_pairs, dtype=np.float32),
            np.zeros(num_pairs, dtype=np.int32),
            np.zeros(num_pairs, dtype=np.bool_),
        )


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def write_rows(connection: sqlite3.Connection, statement: str, values: Iterable[Any]) -> None:
    """Run a statement for every row of values, in one transaction."""
    with _transaction(connection):
        connection.executemany(statement, values)


def create_tables(connection: sqlite3.Connection, fingerprint: str, name: str) -> None:
    """Create the tables in a new file, all or none."""
    if connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
        return
    meta = {"schema": str(SCHEMA_VERSION), "fingerprint": fingerprint, "name": name}
    with _transaction(connection):
        for statement in filter(str.strip, _SCHEMA.split(";")):
            connection.execute(statement)
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())


def check_tables(connection: sqlite3.Connection, fingerprint: str, *, is_small: bool) -> None:
    """Raise unless the file is whole, as far as can be said at once, and belongs to the scorer.

    Raises:
        DamagedStoreError: It is not, or does not.
    """
    meta = dict(connection.execute("SELECT name, value FROM meta"))
    if meta.get("schema") != str(SCHEMA_VERSION) or meta.get("fingerprint") != fingerprint:
        msg = "it belongs to another scorer or another version"
        raise DamagedStoreError(msg)
    if is_small:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise DamagedStoreError(str(verdict).partition("\n")[0])


def read_cpu_threads(connection: sqlite3.Connection) -> tuple[int, ...]:
    """Return the numbers of CPU threads that any of the scores were computed with, ascending."""
    found = connection.execute("SELECT name FROM meta WHERE name GLOB 'cpu_threads:[0-9]*'")
    return tuple(sorted(int(name.partition(":")[2]) for (name,) in found))


def look_up(
    connection: sqlite3.Connection, queries: Sequence[bytes], docs: Sequence[bytes], pairs: NDArray[np.int64]
) -> StoredScores:
    """Return what is stored of (M, 2) pairs of hashes' indices; pairs of one query stand together.

    Raises:
        DamagedStoreError: A row does not agree with its checksum.
    """
    found = StoredScores.empty(len(pairs))
    bits = found.scores.view(np.uint32)
    starts = np.flatnonzero(np.diff(pairs[:, 0], prepend=-1)).tolist()
    for start, stop in pairwise([*starts, len(pairs)]):
        query = queries[pairs[start, 0]]
        row_by_doc = {docs[doc]: row for row, doc in enumerate(pairs[start:stop, 1].tolist(), start=start)}
        for doc, *stored in connection.execute("SELECT doc, value, tokens FROM scores WHERE query = ?", (query,)):
            row = row_by_doc.get(doc)
            if row is not None:
                bits[row], found.tokens[row] = checked_bits(query, doc, *stored)
                found.is_known[row] = True
    return found


def read_job(connection: sqlite3.Connection, job: bytes) -> Job | None:
    """Return what is stored of a job.

    Raises:
        DamagedStoreError: It does not agree with its checksum.
    """
    found = connection.execute("SELECT content, checksum FROM jobs WHERE job = ?", (job,)).fetchone()
    if found is None:
        return None
    content, checksum = found
    if not isinstance(content, bytes) or zlib.crc32(job + content) != checksum:
        msg = "a job does not agree with its checksum"
        raise DamagedStoreError(msg)
    return unpack_job(content)
