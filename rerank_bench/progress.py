"""Progress and notes from the library to whoever watches, without knowing that a terminal exists.

The command line installs a reporter for the time of one command; in a script nothing is shown.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Protocol

Advance = Callable[[int], None]
"""Called with the number of units done since the last call."""


class Reporter(Protocol):
    """What the command line installs."""

    def task(self, description: str, total: int | None, unit: str) -> AbstractContextManager[Advance]:
        """Show one running task."""

    def note(self, message: str) -> None:
        """Show a line that the user should read: a fallback taken, a cache used, a warning."""


_REPORTER: ContextVar[Reporter | None] = ContextVar("rerank_bench_reporter", default=None)


@contextlib.contextmanager
def use_reporter(reporter: Reporter) -> Iterator[None]:
    """Send progress and notes to ``reporter`` inside the block."""
    token = _REPORTER.set(reporter)
    try:
        yield
    finally:
        _REPORTER.reset(token)


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Show nothing that the block reports: it is part of a task that is shown already."""
    token = _REPORTER.set(None)
    try:
        yield
    finally:
        _REPORTER.reset(token)


@contextlib.contextmanager
def track(description: str, *, total: int | None = None, unit: str = "") -> Iterator[Advance]:
    """Report a task; the block calls the function it receives with the units done.

    Args:
        description: What is going on, such as ``"index pydocs"``.
        total: Number of units; ``None`` when unknown.
        unit: Plural noun for the rate, such as ``"pairs"``.
    """
    reporter = _REPORTER.get()
    if reporter is None:
        yield _ignore
        return
    with reporter.task(description, total, unit) as advance:
        yield advance


def note(message: str) -> None:
    """Tell the user one line; silent when nobody watches."""
    reporter = _REPORTER.get()
    if reporter is not None:
        reporter.note(message)


def _ignore(_units: int) -> None:
    """Take the progress of a task that nobody watches."""
