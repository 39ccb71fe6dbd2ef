"""The launch of a batch on a device of torch: its clock, its results that are fetched later, its want of memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rerank_bench.scoring.batching import BatchTooLargeError
from rerank_bench.scoring.launching import Computed, Done, Launched

if TYPE_CHECKING:
    import torch

CUDA_BATCHES_AHEAD = 2
"""Batches that are launched before the oldest is fetched: while the device computes one, another one waits in its queue
and the host assembles the third.  One fewer, and a hiccup of the host leaves the device idle; more would only be lost when
the process is killed."""


class LaunchClock(Protocol):
    """Follows one batch."""

    def copied(self) -> None:
        """Called when the tokens are on the device, or on their way before all that is launched after them."""

    def launched(self, values: torch.Tensor) -> Launched:
        """Return the batch whose forward pass gives ``values``, (B, …) float32."""


def start_clock(device: torch.device) -> LaunchClock:
    """Return the clock of a batch that is about to be copied to a device."""
    return CudaClock(device) if device.type == "cuda" else HostClock()


@contextmanager
def out_of_memory_as_too_large() -> Iterator[None]:
    """Turn torch's errors about memory inside the block into ``BatchTooLargeError``.

    Raises:
        BatchTooLargeError: The device's memory did not suffice.
    """
    import torch

    try:
        yield
    except RuntimeError as error:
        text = str(error).casefold()  # only CUDA has a class of its own for it
        if not (
            isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "can't allocate memory" in text
        ):
            raise
        raise BatchTooLargeError(str(error).partition("\n")[0]) from error


@dataclass(slots=True, eq=False)
class HostClock:
    """Of a device that is done when the call returns."""

    started: float = field(default_factory=time.perf_counter)
    copied_at: float = 0.0

    def copied(self) -> None:
        """Note the time."""
        self.copied_at = time.perf_counter()

    def launched(self, values: torch.Tensor) -> Launched:
        """Return the batch, done."""
        array = np.asarray(values.cpu().numpy(), dtype=np.float32)
        now = time.perf_counter()
        return Done(Computed(array, self.copied_at - self.started, now - self.copied_at))


class CudaClock:
    """Of a CUDA device: events in its queue, so that nobody waits."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._events = [self._event()]

    def copied(self) -> None:
        """Put an event behind the copies."""
        self._events.append(self._event())

    def launched(self, values: torch.Tensor) -> Launched:
        """Put the copy back to the host into the queue, and an event behind it."""
        import torch

        on_host = torch.empty(values.shape, dtype=torch.float32, pin_memory=True)
        on_host.copy_(values.float(), non_blocking=True)  # waits for nothing as long as the types agree
        return CudaBatch(on_host, (*self._events, self._event()))

    def _event(self) -> Any:
        import torch

        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event


@dataclass(frozen=True, slots=True, eq=False)
class CudaBatch:
    """A batch in the queue of a CUDA device."""

    on_host: torch.Tensor
    """(B, …) float32, pinned; complete once the last event has happened."""
    events: tuple[Any, ...]
    """Before the copies, behind them, behind the forward pass and the copy back."""
    patience: int = CUDA_BATCHES_AHEAD

    def fetch(self) -> Computed:
        """Wait for this batch, not for those behind it.

        Raises:
            BatchTooLargeError: The device's memory did not suffice.
        """
        started, copied, done = self.events
        with out_of_memory_as_too_large():
            done.synchronize()
        milliseconds = (started.elapsed_time(copied), copied.elapsed_time(done))
        return Computed(self.on_host.numpy(), milliseconds[0] / 1e3, milliseconds[1] / 1e3)
