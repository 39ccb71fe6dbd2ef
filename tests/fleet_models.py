"""Models for processes of ``--devices`` that start at once: word overlap, with ways to get into trouble.

``use_fake_models`` lets the processes load these instead of a checkpoint; all else is what users run.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rerank_bench.errors import ScoringError
from rerank_bench.scoring import device_worker, worker_process
from rerank_bench.scoring.batching import BatchTooLargeError
from rerank_bench.scoring.callables import TextPairs
from rerank_bench.scoring.ray_worker import RayWorker
from rerank_bench.scoring.scorer import EncodedItems

CODE = """import json, sys
sys.path[:] = json.loads(sys.argv[1])
from fleet_models import main
main()
"""


class OverlapWorker(RayWorker):
    """What a cluster of Ray runs in place of a worker that loads checkpoints."""

    def load(self, start: Any) -> Any:
        from rerank_bench.scoring import ray_serving

        vars(ray_serving).update(load_model=load_overlap, _find_here=lambda message: message.start.checkpoint)
        return super().load(start)


@dataclass(frozen=True)
class FakeCheckpoint:
    """What a process is told to load."""

    name: str = "overlap"
    memory_words: int = 10**9
    """Words that fit the device."""
    seconds_per_batch: float = 0.0
    deadly_word: str = "never"
    """A process that scores it is killed."""
    lock: str = ""
    """Path of a file: the process that is to tokenise while it does not exist makes it, and is killed."""
    differs: bool = False
    """Each process's model says that it is another one."""
    bad_word: str = "never"
    """The model raises an exception for it."""
    breaks: str = ""
    """``load`` or ``batch``: where an error is raised; ``process``: whoever is to tokenise is killed."""


@dataclass
class Overlap:
    """Counts the words that query and document share; ``nan`` is worth NaN."""

    checkpoint: FakeCheckpoint
    default_batch_tokens: int = 12

    @property
    def fingerprint(self) -> str:
        return str(os.getpid()) if self.checkpoint.differs else "overlap"

    def describe(self) -> dict[str, Any]:
        return {"attention": self.fingerprint, "batches": "padded"}

    def peak_device_bytes(self) -> int | None:
        return os.getpid()

    def encode(self, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]) -> EncodedItems:
        if self.checkpoint.lock and not Path(self.checkpoint.lock).exists():
            Path(self.checkpoint.lock).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.checkpoint.breaks == "process":
            os.kill(os.getpid(), signal.SIGKILL)
        return TextPairs(queries, docs, pairs)

    def score_batch(self, batch: list[tuple[str, str]]) -> NDArray[np.float32]:
        time.sleep(self.checkpoint.seconds_per_batch)
        words = [len(query.split()) + len(doc.split()) for query, doc in batch]
        if max(words) * len(batch) > self.checkpoint.memory_words:
            raise BatchTooLargeError
        if any(self.checkpoint.deadly_word in doc.split() for _, doc in batch):
            os.kill(os.getpid(), signal.SIGKILL)
        if any(self.checkpoint.bad_word in doc.split() for _, doc in batch):
            msg = "index 9 is out of range"
            raise IndexError(msg)
        if self.checkpoint.breaks == "batch":
            msg = "a defect"
            raise ZeroDivisionError(msg)
        return np.asarray([overlap(query, doc) for query, doc in batch], dtype=np.float32)


def overlap(query: str, doc: str) -> float:
    if "nan" in doc.split():
        return float("nan")
    return len(set(query.split()) & set(doc.split())) + len(doc) / 1000


def use_fake_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "_CODE", CODE)


def main() -> None:
    """What a process runs."""
    device_worker.load_model = load_overlap
    device_worker.main()


def load_overlap(start: device_worker.Start) -> tuple[Any, device_worker.Ready]:
    checkpoint: Any = start.checkpoint
    if checkpoint.breaks == "load":
        msg = "the head is missing"
        raise ScoringError(msg)
    scorer = Overlap(checkpoint)
    return scorer, device_worker.Ready(
        None, scorer.fingerprint, scorer.default_batch_tokens, scorer.describe(), start.config.device
    )
