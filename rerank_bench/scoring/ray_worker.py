"""What Ray starts on the machines of a cluster: a process with one model.

The class travels there by value and imports nothing of this package until it was seen that the versions agree, so that it
can say what is installed even where another version is, or none.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import socket
from hashlib import sha256
from pathlib import Path
from typing import Any

COMPARED = ("rerank-bench", "torch", "transformers", "tokenizers", "onnxruntime", "numpy")
"""Distributions that decide a score or carry it, the most telling first."""


class RayWorker:
    """An actor: one model on one GPU, or on some cores.  Its calls are answered in their order, one at a time."""

    def __init__(self) -> None:
        self._server: Any = None

    def introduce(self) -> dict[str, Any]:
        """Return where this process runs and what is installed there."""
        versions: dict[str, str | None] = {}
        for name in COMPARED:
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                versions[name] = None
        package = importlib.util.find_spec("rerank_bench")
        digest = sha256()
        if package is not None and package.origin is not None:
            for path in sorted(Path(package.origin).parent.glob("scoring/*.py")):
                digest.update(path.name.encode() + b"\0" + path.read_bytes())
        return {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "python": platform.python_version(),
            "versions": versions,
            "code": digest.hexdigest(),
        }

    def load(self, start: Any) -> Any:
        """Load a model; see ``ray_serving.ModelServer``."""
        from rerank_bench.scoring.ray_serving import ModelServer

        self._server = ModelServer(start)
        return self._server.load()

    def encode(self, queries: list[str], docs: list[str], pairs: Any) -> Any:
        """Tokenise."""
        return self._server.encode(queries, docs, pairs)

    def run(self, items: list[Any], batches: list[Any]) -> Any:
        """Run batches of items that lie under the reference in ``items``; Ray would fetch it for every call otherwise."""
        return self._server.run(items[0], batches)

    def peak_memory(self) -> tuple[int | None]:
        """Return the highest memory of the device so far, in bytes; ``None`` inside where it has none of its own."""
        return (self._server.scorer.peak_device_bytes(),)
