"""A reporter that keeps what it is told."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from rerank_bench import progress


@dataclass
class Watcher:
    """Tasks, the units they advanced by, and notes, in order."""

    tasks: list[tuple[str, int | None, str]] = field(default_factory=list)
    advanced: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def task(self, description: str, total: int | None, unit: str) -> Iterator[progress.Advance]:
        self.tasks.append((description, total, unit))
        yield self.advanced.append

    def note(self, message: str) -> None:
        self.notes.append(message)
