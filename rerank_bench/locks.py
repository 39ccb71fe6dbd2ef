"""Locks between processes: of a file that is rewritten, of work that is not to be done twice."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from rerank_bench.errors import EnvironmentMissingError
from rerank_bench.progress import note
from rerank_bench.storage import UNWRITABLE, cache_folder

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


@contextlib.contextmanager
def built_once(name: str) -> Iterator[bool]:
    """Let one process at a time build what the cache keeps under a name.

    So the shards of a run do not index one collection side by side.  Where locks cannot be had, each builds its own.

    Yields:
        Whether another process was waited for, so that it is worth looking again.
    """
    path = cache_folder() / "locks" / f"{name}.lock"
    has_waited = False
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, NotImplementedError):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            try:
                stack.enter_context(lock.acquire(timeout=0))
            except Timeout:
                has_waited = True
                stack.enter_context(_acquire(lock, waits=True))
        yield has_waited


def _acquire(lock: BaseFileLock, *, waits: bool) -> contextlib.AbstractContextManager[Any]:
    """Return the lock, held, and say so where it takes long."""
    try:
        return lock.acquire(timeout=min(LOCK_NOTE_SECONDS, LOCK_SECONDS))
    except Timeout:
        note(f"{lock.lock_file} is held by another process; waiting for it")
        return lock.acquire(timeout=-1 if waits else LOCK_SECONDS)
