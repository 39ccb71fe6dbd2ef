"""Scores on disk: one SQLite file per scorer fingerprint, the cache and the resume point in one.

A row is (hash of the query text, hash of the document text) → float32 score, and the tokens of that pair.  A batch is stored whole or not at all.  A job
keeps the batches that a request was cut into, so that a resumed run replays them.  Nothing here can make a score wrong
or stop a run: every row carries a checksum, a damaged file is set aside and what can be read of it is taken over, and
where nothing can be stored the run goes on without, with a note.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from rerank_bench import progress
from rerank_bench.errors import EnvironmentMissingError
from rerank_bench.locks import file_lock
from rerank_bench.scoring.score_rows import Job, pack_job, pack_rows
from rerank_bench.scoring.score_tables import (
    INSERT_CPU_THREADS,
    INSERT_JOB,
    INSERT_SCORES,
    StoredScores,
    check_tables,
    create_tables,
    look_up,
    read_cpu_threads,
    read_job,
    write_rows,
)
from rerank_bench.scoring.store_repair import STORE_FAILURES, is_busy, is_damage, take_over

T = TypeVar("T")

WAIT_SECONDS = 20.0
"""How long to wait for another process that writes; its transactions take milliseconds."""
NOTE_SECONDS = 1.0
"""How long to wait before a note says so."""
CHECKED_BYTES = 32 * 2**20
"""A file up to this size is checked whole when it is opened (a tenth of a second)."""


class ScoreStore:
    """The scores of one scorer; usable as a context manager.

    Args:
        path: The SQLite file; its folder is created.
        fingerprint: The scorer that the file belongs to.
        name: What notes call the model.
        told: Notes on failures that were given already, in a run that opens the store again and again.
    """

    def __init__(self, path: Path, fingerprint: str, name: str, told: set[str] | None = None) -> None:
        self.path = path
        self._told = set() if told is None else told
        self._fingerprint = fingerprint
        self._name = name
        self._identity: tuple[int, int] | None = None
        self._connection: sqlite3.Connection | None = None
        self._patience = NOTE_SECONDS
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
        return self._attempt(lambda connection: look_up(connection, queries, docs, pairs), nothing)

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
            write_rows(connection, INSERT_SCORES, pack_rows(queries, docs, pairs, scores, tokens))

        self._attempt(write, None)

    def add_cpu_threads(self, number: int) -> None:
        """Record that scores from here on are computed with so many CPU threads."""
        self._attempt(lambda connection: write_rows(connection, INSERT_CPU_THREADS, [(number,)]), None)

    def cpu_threads(self) -> tuple[int, ...]:
        """Return the numbers of CPU threads that any of the stored scores were computed with, ascending."""
        return self._attempt(read_cpu_threads, ())

    def read_job(self, job: bytes) -> Job | None:
        """Return (counts, rows of every batch or ``None`` when it is finished) of a job; ``None`` for an unknown job."""
        return self._attempt(lambda connection: read_job(connection, job), None)

    def write_job(
        self,
        job: bytes,
        counts: dict[str, Any],
        batches: Sequence[NDArray[np.int64]] | None = None,
    ) -> None:
        """Store a job: its counts, and the rows of every batch while it is not finished."""
        content = pack_job(counts, batches)
        values = [(job, content, zlib.crc32(job + content))]
        self._attempt(lambda connection: write_rows(connection, INSERT_JOB, values), None)

    def _attempt(self, action: Callable[[sqlite3.Connection], T], otherwise: T, *, opens: bool = False) -> T:
        """Return what ``action`` does with the connection.

        A store that another process holds is waited for, one that was removed is begun anew, a damaged one is healed,
        each once; anything else ends storing, with a note.
        """
        if self._connection is None and not opens:
            return otherwise
        self._notice_removal()
        self._be_patient(NOTE_SECONDS)
        is_healed = False
        while True:
            try:
                if self._connection is None:
                    self._connection = self._open()
                return action(self._connection)
            except (*STORE_FAILURES, EnvironmentMissingError) as error:
                if is_busy(error) and self._patience < WAIT_SECONDS:
                    progress.note(
                        f"{self.path} is locked by another process; waiting for it for up to {WAIT_SECONDS:.0f} s"
                    )
                    self._be_patient(WAIT_SECONDS)
                    continue
                self.close()
                if is_healed or not is_damage(error):
                    self._tell_once(
                        f"scores of {self._name} are not stored from here on: {self.path}: {error}; those stored before "
                        "are kept. Free some space, end other runs, or set RERANK_BENCH_CACHE to another folder"
                    )
                    return otherwise
                is_healed = True
                try:
                    self._heal(error)
                except (*STORE_FAILURES, EnvironmentMissingError) as failure:
                    progress.note(f"scores of {self._name} are not stored: {self.path} is damaged, and {failure}")
                    return otherwise

    def _tell_once(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            progress.note(message)

    def _notice_removal(self) -> None:
        """Give up the connection to a file that is no longer there: SQLite would go on writing into it in silence."""
        if self._connection is None or _identity_of(self.path) == self._identity:
            return
        self.close()
        progress.note(
            f"the stored scores of {self._name} were removed or replaced while this run used them ({self.path}); those "
            "from here on are stored in a new file"
        )

    def _be_patient(self, seconds: float) -> None:
        """Let the next tries wait so long for another process."""
        if self._connection is not None and seconds != self._patience:
            self._connection.execute(f"PRAGMA busy_timeout = {int(1000 * seconds)}")
        self._patience = seconds

    def _open(self) -> sqlite3.Connection:
        with file_lock(self.path):  # changing to WAL mode and creating the tables, for two processes that come at once
            connection = sqlite3.connect(self.path, timeout=self._patience, isolation_level=None)
            try:
                self._identity = _identity_of(self.path)
                # In WAL mode a commit survives the process's death without a sync; only a power cut can lose some.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                create_tables(connection, self._fingerprint, self._name)
                check_tables(connection, self._fingerprint, is_small=self.path.stat().st_size <= CHECKED_BYTES)
            except BaseException:
                connection.close()
                raise
        return connection

    def _heal(self, error: Exception) -> None:
        """Set the damaged file aside, unless another process did, and take over what can be read of it."""
        aside = None
        with file_lock(self.path):
            if self._identity is not None and _identity_of(self.path) == self._identity:
                names = (self.path.with_name(f"{self.path.stem}.damaged-{n}.sqlite") for n in count(1))
                aside = next(path for path in names if not path.exists())
                for suffix in ("-wal", ""):
                    part = Path(f"{self.path}{suffix}")
                    if part.exists():
                        part.replace(f"{aside}{suffix}")
                Path(f"{self.path}-shm").unlink(missing_ok=True)
        self._connection = self._open()
        if aside is not None:
            num_saved = take_over(aside, self._connection, self._fingerprint)
            progress.note(
                f"the stored scores of {self._name} are damaged ({error}); the file was set aside as {aside}, "
                f"{num_saved:,} scores that carry a correct checksum were taken over"
            )


def _identity_of(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one of the same name; ``None`` where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def describe_store(path: Path) -> dict[str, Any]:
    """Return what ``cache info`` says of a store: file, model, number of scores, bytes; nothing is changed."""
    parts = (Path(f"{path}{suffix}") for suffix in ("", "-wal", "-shm"))
    found = {"file": path.name, "bytes": sum(part.stat().st_size for part in parts if part.exists())}
    try:
        with closing(sqlite3.connect(path, timeout=WAIT_SECONDS)) as connection:
            (name,) = connection.execute("SELECT value FROM meta WHERE name = 'name'").fetchone() or (None,)
            (num_scores,) = connection.execute("SELECT COUNT(*) FROM scores").fetchone()
    except STORE_FAILURES as error:
        return found | {"name": None, "scores": None, "problem": str(error)}
    return found | {"name": name, "scores": num_scores, "problem": None}
