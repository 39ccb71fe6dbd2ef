"""Batches on a device that computes while the host goes on: launched now, fetched some batches later.

A CUDA device works off what it is given by itself.  Its results are left there until the next batches are launched, so
that it never waits for the host and the host never waits for a batch that was only just begun.  On a CPU a batch is done
when its launch returns; it walks through the same code.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rerank_bench.scoring.batching import BatchTooLargeError
from rerank_bench.scoring.execution import Outcome
from rerank_bench.scoring.run_clock import RunClock


class Computed(NamedTuple):
    """What became of a batch."""

    values: NDArray[np.float32]
    """(B, …)."""
    copy_seconds: float
    """Until its tokens were on the device."""
    compute_seconds: float
    """Of the forward pass: of the device's own clock where it has one."""


class Launched(Protocol):
    """A batch that a device was given."""

    @property
    def patience(self) -> int:
        """How many more batches may be launched before this one is fetched; 0 where nothing is gained by waiting."""

    def fetch(self) -> Computed:
        """Wait for the batch and return what became of it.

        Raises:
            BatchTooLargeError: The device's memory did not suffice.
        """


LaunchResult = NDArray[np.float32] | Launched
"""What a scorer gives for a batch: (B, …) values, or what will become them."""


@dataclass(frozen=True, slots=True, eq=False)
class Done:
    """A batch that was done when its launch returned."""

    computed: Computed
    patience: int = 0

    def fetch(self) -> Computed:
        """Return the batch."""
        return self.computed


def settle(result: LaunchResult) -> NDArray[np.float32]:
    """Return the (B, …) float32 values of a batch, now."""
    return result if isinstance(result, np.ndarray) else result.fetch().values


@dataclass(slots=True, eq=False)
class LaunchQueue:
    """Runs the batches of one device in their order, as many ahead as the device's launches allow: an executor.

    Memory that runs out is an outcome like any other, at launch or at fetch: the other batches in flight stay valid.
    """

    launch: Callable[[Any], LaunchResult]
    clock: RunClock = field(default_factory=RunClock)
    """What copies and forward passes are added to."""
    _flying: deque[tuple[int, LaunchResult | BatchTooLargeError, float]] = field(default_factory=deque)
    """(number, what was launched, seconds that the launch took)."""
    _patience: int = 0

    @property
    def capacity(self) -> int:
        """Batches in flight at a time: the first launch tells how many; no more than there are once one has failed."""
        if self._flying and isinstance(self._flying[-1][1], BatchTooLargeError):
            return len(self._flying)
        return 1 + self._patience

    def submit(self, number: int, batch: Any) -> None:
        """Launch a batch."""
        started = time.perf_counter()
        try:
            launched: LaunchResult | BatchTooLargeError = self.launch(batch)
        except BatchTooLargeError as error:
            # Without its frames: they hold the tensors of the failed batch, and memory is what is wanted.
            launched = BatchTooLargeError(*error.args)
        if not isinstance(launched, np.ndarray | BatchTooLargeError):
            self._patience = launched.patience
        self._flying.append((number, launched, time.perf_counter() - started))

    def collect(self) -> tuple[int, Outcome]:
        """Return the number of the oldest batch in flight and what became of it."""
        number, launched, seconds = self._flying.popleft()
        if isinstance(launched, BatchTooLargeError):
            return number, launched
        try:
            computed = Computed(launched, 0.0, seconds) if isinstance(launched, np.ndarray) else launched.fetch()
        except BatchTooLargeError as error:
            return number, error
        self.clock.copy_seconds += computed.copy_seconds
        self.clock.compute_seconds += computed.compute_seconds
        return number, computed.values
