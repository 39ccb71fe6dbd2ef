"""Encoded items in one file that several processes map: written once, their arrays in no process's own memory.

The file holds the arrays one after the other, each at a multiple of ``ALIGNMENT`` bytes, then the pickle that puts them
together (protocol 5, arrays out of band).  Measured on 65,000 pairs of MS MARCO-like lengths: docs/experiments.md.
"""

from __future__ import annotations

import mmap
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ALIGNMENT = 64
"""Bytes of a cache line, which is also how torch and numpy align their own arrays at best."""


@dataclass(frozen=True, slots=True)
class SharedItems:
    """Where encoded items lie."""

    path: Path
    spans: tuple[tuple[int, int], ...]
    """(first byte, bytes) of every array, and of the pickle last."""


def write_items(path: Path, items: Any) -> SharedItems:
    """Write items to a new file and return what ``read_items`` needs."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(items, protocol=5, buffer_callback=buffers.append)
    spans: list[tuple[int, int]] = []
    with path.open("xb") as file:
        for part in (*(buffer.raw() for buffer in buffers), memoryview(head)):
            file.write(b"\0" * (-file.tell() % ALIGNMENT))
            spans.append((file.tell(), part.nbytes))
            file.write(part)
    return SharedItems(path, tuple(spans))


def read_items(shared: SharedItems) -> Any:
    """Return the items; their arrays are read-only and stay in the file's pages."""
    with shared.path.open("rb") as file:
        whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    *parts, head = (whole[start : start + size] for start, size in shared.spans)
    return pickle.loads(head, buffers=parts)  # noqa: S301 - written by the process of the same run a moment ago
