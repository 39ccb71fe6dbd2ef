"""Scores on disk: one SQLite file per scorer fingerprint, the cache and the resume point in one.

A row is (hash of the query text, hash of the document text) → float32 score, and the tokens of that pair.  A batch is stored whole or not at all.  A job
keeps the batches that a request was cut into, so that a resumed run replays them.  Nothing here can make a score wrong
or stop a run: every row carries a checksum, a damaged file is set aside and what can be read of it is taken over, and
where nothing can be stored the run goes on without, with a note.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import count, islice, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from rerank_bench import progress
from rerank_bench.errors import EnvironmentMissingError
from rerank_bench.scoring.score_rows import (
    CHUNK_ROWS,
    DamagedStoreError,
    Job,
    StoredRow,
    checked_bits,
    pack_job,
    pack_rows,
    unpack_job,
)
from rerank_bench.storage import file_lock

T = TypeVar("T")

SCHEMA_VERSION = 2
WAIT_SECONDS = 20.0
"""How long to wait for another process that writes; its transactions take milliseconds."""
CHECKED_BYTES = 32 * 2**20
"""A file up to this size is checked whole when it is opened (a tenth of a second)."""
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE scores (
    query BLOB, doc BLOB, value INTEGER NOT NULL, tokens INTEGER NOT NULL, PRIMARY KEY (query, doc)
) WITHOUT ROWID;
CREATE TABLE jobs (job BLOB PRIMARY KEY, content BLOB NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
"""
_INSERT = "INSERT OR IGNORE INTO scores VALUES (?, ?, ?, ?)"
_DAMAGE_CODES = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
"""SQLITE_ERROR is a missing table or column: a file that is not ours."""

_FAILURES = (sqlite3.Error, OSError, DamagedStoreError, UnicodeDecodeError)
"""What a store may end in; the last where a damaged file makes SQLite say something that is no UTF-8."""


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


class ScoreStore:
    """The scores of one scorer; usable as a context manager.

    Args:
        path: The SQLite file; its folder is created.
        fingerprint: The scorer that the file belongs to.
        name: What notes call the model.
    """

    def __init__(self, path: Path, fingerprint: str, name: str) -> None:
        self.path = path
        self._fingerprint = fingerprint
        self._name = name
        self._identity: tuple[int, int] | None = None
        self._connection: sqlite3.Connection | None = None
        self._attempt(lambda _connection: None, None, opens=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        """Whether scores are stored; False after a failure, which a note told."""
        return self._connection is not None

    def close(self) -> None:
        """Close the file; nothing is stored from here on."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def look_up(self, queries: Sequence[bytes], docs: Sequence[bytes], pairs: NDArray[np.int64]) -> StoredScores:
        """Return what is stored of pairs.

        Args:
            queries: Hashes of the query texts.
            docs: Hashes of the document texts.
            pairs: (M, 2) int64 indices into both; pairs of one query stand together (each such group is one look-up,
                so that memory does not grow with the store).
        """
        nothing = StoredScores.empty(len(pairs))
        return self._attempt(lambda connection: _look_up(connection, queries, docs, pairs), nothing)

    def insert(
        self,
        queries: Sequence[bytes],
        docs: Sequence[bytes],
        pairs: NDArray[np.int64],
        scores: NDArray[np.float32],
        tokens: NDArray[np.int32],
    ) -> None:
        """Store the (B,) finite float32 scores of (B, 2) pairs, all or none; a stored pair keeps its score.

        Args:
            queries: Hashes of the query texts.
            docs: Hashes of the document texts.
            pairs: Indices into both.
            scores: The scores.
            tokens: (B,) int32: tokens of each pair, negative where it was cut.
        """

        def write(connection: sqlite3.Connection) -> None:
            _write(connection, _INSERT, pack_rows(queries, docs, pairs, scores, tokens))

        self._attempt(write, None)

    def read_job(self, job: bytes) -> Job | None:
        """Return (counts, rows of every batch or ``None`` when it is finished) of a job; ``None`` for an unknown job."""
        return self._attempt(lambda connection: _read_job(connection, job), None)

    def write_job(
        self,
        job: bytes,
        counts: dict[str, Any],
        batches: Sequence[NDArray[np.int64]] | None = None,
    ) -> None:
        """Store a job: its counts, and the rows of every batch while it is not finished."""
        content = pack_job(counts, batches)
        values = [(job, content, zlib.crc32(job + content))]
        self._attempt(
            lambda connection: _write(connection, "INSERT OR REPLACE INTO jobs VALUES (?, ?, ?)", values), None
        )

    def _attempt(self, action: Callable[[sqlite3.Connection], T], otherwise: T, *, opens: bool = False) -> T:
        """Return what ``action`` does with the connection; heal a damaged file once, give up on anything else."""
        if self._connection is None and not opens:
            return otherwise
        for is_healed in (False, True):
            try:
                if self._connection is None:
                    self._connection = self._open()
                return action(self._connection)
            except (*_FAILURES, EnvironmentMissingError) as error:
                self.close()
                if is_healed or not _is_damage(error):
                    progress.note(
                        f"scores of {self._name} are not stored from here on: {self.path}: {error}; those stored before "
                        "are kept. Free some space, end other runs, or set RERANK_BENCH_CACHE to another folder"
                    )
                    return otherwise
                try:
                    self._heal(error)
                except (*_FAILURES, EnvironmentMissingError) as failure:
                    progress.note(f"scores of {self._name} are not stored: {self.path} is damaged, and {failure}")
                    return otherwise
        return otherwise

    def _open(self) -> sqlite3.Connection:
        with file_lock(self.path):  # changing to WAL mode and creating the tables, for two processes that come at once
            connection = sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None)
            try:
                status = self.path.stat()
                self._identity = (status.st_dev, status.st_ino)
                # In WAL mode a commit survives the process's death without a sync; only a power cut can lose some.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                _create(connection, self._fingerprint, self._name)
                _check(connection, self._fingerprint, is_small=status.st_size <= CHECKED_BYTES)
            except BaseException:
                connection.close()
                raise
        return connection

    def _heal(self, error: Exception) -> None:
        """Set the damaged file aside, unless another process did, and take over what can be read of it."""
        aside = None
        with file_lock(self.path):
            status = self.path.stat() if self.path.exists() else None
            if status is not None and (status.st_dev, status.st_ino) == self._identity:
                names = (self.path.with_name(f"{self.path.stem}.damaged-{n}.sqlite") for n in count(1))
                aside = next(path for path in names if not path.exists())
                for suffix in ("-wal", ""):
                    part = Path(f"{self.path}{suffix}")
                    if part.exists():
                        part.replace(f"{aside}{suffix}")
                Path(f"{self.path}-shm").unlink(missing_ok=True)
        self._connection = self._open()
        if aside is not None:
            num_saved = _take_over(aside, self._connection, self._fingerprint)
            progress.note(
                f"the stored scores of {self._name} are damaged ({error}); the file was set aside as {aside}, "
                f"{num_saved:,} scores that carry a correct checksum were taken over"
            )


def _is_damage(error: Exception) -> bool:
    if not isinstance(error, sqlite3.Error):
        return isinstance(error, DamagedStoreError | UnicodeDecodeError)
    code = getattr(error, "sqlite_errorcode", None)  # absent where Python could not read what SQLite gave
    return code is None or code == sqlite3.SQLITE_IOERR_SHORT_READ or code & 0xFF in _DAMAGE_CODES


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


def _write(connection: sqlite3.Connection, statement: str, values: Iterable[Any]) -> None:
    """Run a statement for every row of values, in one transaction."""
    with _transaction(connection):
        connection.executemany(statement, values)


def _create(connection: sqlite3.Connection, fingerprint: str, name: str) -> None:
    """Create the tables in a new file, all or none."""
    if connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
        return
    meta = {"schema": str(SCHEMA_VERSION), "fingerprint": fingerprint, "name": name}
    with _transaction(connection):
        for statement in filter(str.strip, _SCHEMA.split(";")):
            connection.execute(statement)
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())


def _check(connection: sqlite3.Connection, fingerprint: str, *, is_small: bool) -> None:
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


def _look_up(
    connection: sqlite3.Connection, queries: Sequence[bytes], docs: Sequence[bytes], pairs: NDArray[np.int64]
) -> StoredScores:
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


def _read_job(connection: sqlite3.Connection, job: bytes) -> Job | None:
    found = connection.execute("SELECT content, checksum FROM jobs WHERE job = ?", (job,)).fetchone()
    if found is None:
        return None
    content, checksum = found
    if not isinstance(content, bytes) or zlib.crc32(job + content) != checksum:
        msg = "a job does not agree with its checksum"
        raise DamagedStoreError(msg)
    return unpack_job(content)


def _take_over(aside: Path, connection: sqlite3.Connection, fingerprint: str) -> int:
    """Copy what can be read of a damaged store of the same scorer, from both ends; return how many scores."""
    before = connection.execute("SELECT COUNT(*) FROM scores").fetchone()[0]
    with suppress(*_FAILURES), closing(sqlite3.connect(aside)) as damaged:
        owner = damaged.execute("SELECT value FROM meta WHERE name = 'fingerprint'").fetchone()
        for direction in ("ASC", "DESC") if owner == (fingerprint,) else ():
            rows = _intact_rows(damaged, direction)
            while chunk := list(islice(rows, CHUNK_ROWS)):
                _write(connection, _INSERT, chunk)
    return int(connection.execute("SELECT COUNT(*) FROM scores").fetchone()[0]) - int(before)


def _intact_rows(damaged: sqlite3.Connection, direction: str) -> Iterator[StoredRow]:
    """Yield the rows with a correct checksum, up to the first page that cannot be read."""
    order = f"ORDER BY query {direction}, doc {direction}"
    with suppress(*_FAILURES):
        rows = damaged.execute(f"SELECT query, doc, value, tokens FROM scores {order}")  # noqa: S608  constants
        for query, doc, value, tokens in rows:
            with suppress(DamagedStoreError, TypeError):
                checked_bits(query, doc, value, tokens)
                yield query, doc, value, tokens


def describe_store(path: Path) -> dict[str, Any]:
    """Return what ``cache info`` says of a store: file, model, number of scores, bytes; nothing is changed."""
    parts = (Path(f"{path}{suffix}") for suffix in ("", "-wal", "-shm"))
    found = {"file": path.name, "bytes": sum(part.stat().st_size for part in parts if part.exists())}
    try:
        with closing(sqlite3.connect(path, timeout=WAIT_SECONDS)) as connection:
            (name,) = connection.execute("SELECT value FROM meta WHERE name = 'name'").fetchone() or (None,)
            (num_scores,) = connection.execute("SELECT COUNT(*) FROM scores").fetchone()
    except _FAILURES as error:
        return found | {"name": None, "scores": None, "problem": str(error)}
    return found | {"name": name, "scores": num_scores, "problem": None}
