"""Who computes batches: the seam between the runner, which plans, checks and stores, and whatever runs a model.

The runner hands out as many batches as an executor takes at a time and takes them back in any order.  In this process
a model computes one at a time, at once; an executor over several processes or machines keeps all of them busy.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rerank_bench.scoring.batching import BatchTooLargeError

Outcome = NDArray[np.float32] | BatchTooLargeError
"""(B, …) float32 values of a batch, or that it did not fit the memory of where it ran."""


class ItemsFailedError(Exception):
    """Some items cannot be computed, anywhere; whoever knows their names raises an error with them.

    Args:
        items: (K,) indices among the encoded items, 1 at least.
        reason: What happened.
    """

    def __init__(self, items: NDArray[np.int64], reason: str) -> None:
        super().__init__(f"{len(items)} items: {reason}")
        self.items = items
        self.reason = reason


@runtime_checkable
class BatchExecutor(Protocol):
    """Computes batches, as many at a time as it takes.

    A scorer whose ``score_batch`` (or ``embed_batch``) is an executor has its batches run by it.
    """

    @property
    def capacity(self) -> int:
        """Batches that may be submitted and not collected at a time, at least 1; may change between calls."""

    def submit(self, number: int, batch: Any) -> None:
        """Take a batch, under a number that none of those in flight has."""

    def collect(self) -> tuple[int, Outcome]:
        """Wait for any batch in flight and return its number and what came of it.

        Raises:
            RerankBenchError: The batch cannot be computed, and neither can the rest.
            ItemsFailedError: The same, and it is known which items are to blame.
        """


def compute_one(executor: BatchExecutor, batch: Any) -> NDArray[np.float32]:
    """Run one batch on an executor that has none in flight, and wait for it.

    Raises:
        BatchTooLargeError: It did not fit the device's memory.
    """
    executor.submit(0, batch)
    _, outcome = executor.collect()
    if isinstance(outcome, BatchTooLargeError):
        raise outcome
    return outcome
