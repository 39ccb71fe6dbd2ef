"""Locks between processes: of a file that is rewritten, of work that is not to be done twice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from filelock import BaseFileLock, FileLock, Timeout

from rerank_bench.errors import EnvironmentMissingError
from rerank_bench.progress import note
from rerank_bench.storage import UNWRITABLE, cache_folder

T = TypeVar("T")

LOCK_SECONDS = 60.0
"""How long to wait for another process that holds a file's lock."""
LOCK_NOTE_SECONDS = 2.0
"""How long to wait before a note says so."""


@contextlib.contextmanager
def file_lock(path: str | Path, *, waits: bool = False) -> Iterator[None]:
    """Hold the lock that guards ``path`` against other processes; the lock file ``.<name>.lock`` stays behind.

    Args:
        path: The file that is written.
        waits: Whether to wait for as long as another process works on it: minutes of work are not done twice.

    Raises:
        EnvironmentMissingError: Another process held it for ``LOCK_SECONDS``, or the folder is read-only.
    """
    path = Path(path)
    lock_path = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _acquire(FileLock(lock_path), waits=waits):
            yield
    except Timeout as error:
        msg = f"{lock_path}: another process has held this lock for {LOCK_SECONDS:.0f} s; wait for it, or end it"
        raise EnvironmentMissingError(msg) from error
    except OSError as error:
        if error.errno in UNWRITABLE:
            msg = f"{path}: its folder cannot be written ({error.strerror}); choose another one"
            raise EnvironmentMissingError(msg) from error
        raise


def taken_or_built(
    path: Path, name: str, find: Callable[[], T | None], build: Callable[[], T], *, says: bool = True
) -> T:
    """Return what ``find`` finds, else what ``build`` makes and keeps; of several processes one builds, the others wait.

    So the shards of a run do not index one collection side by side.  Where locks cannot be had, each builds its own.

    Args:
        path: A file that is there, or another one, once somebody has built.
        name: Of the lock, in the cache folder.
        find: Returns what is stored; ``None`` where there is nothing, or nothing that can be used.
        build: Makes it, and stores it.
        says: Whether a note says that another process is waited for.
    """
    before = _identity(path)
    found = find()
    if found is not None:
        return found
    with _building(name, says=says):
        if _identity(path) != before:
            found = find()
        return build() if found is None else found


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns


@contextlib.contextmanager
def _building(name: str, *, says: bool) -> Iterator[None]:
    path = cache_folder() / "locks" / f"{name}.lock"
    with contextlib.ExitStack() as stack:
        # A cache that cannot be written, or a file system without locks: what is built is the same, and built more than once.
        with contextlib.suppress(OSError, NotImplementedError):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            stack.enter_context(_acquire(lock, waits=True) if says else lock.acquire())
        yield


def _acquire(lock: BaseFileLock, *, waits: bool) -> contextlib.AbstractContextManager[Any]:
    """Return the lock, held, and say so where it takes long."""
    try:
        return lock.acquire(timeout=min(LOCK_NOTE_SECONDS, LOCK_SECONDS))
    except Timeout:
        note(f"{lock.lock_file} is held by another process; waiting for it")
        return lock.acquire(timeout=-1 if waits else LOCK_SECONDS)
