"""What a run did with its time and its device: shares, operations per second, utilisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rerank_bench.scoring.run_clock import RunClock


class DeviceRuntime(Protocol):
    """A model on its device, as far as it is known here."""

    @property
    def trial_batch_tokens(self) -> tuple[int, ...]:
        """Budgets that are worth a trial."""

    def flops(self, lengths: NDArray[np.int32]) -> float | None:
        """Return the operations that items of (N,) tokens cost; ``None`` where they are not known."""

    def peak_flops_per_second(self, flops: float) -> float | None:
        """Return the speed of the device's matrix products, if it is known or cheap to measure beside ``flops``."""


@runtime_checkable
class OnDevice(Protocol):
    """A scorer whose model torch runs in this process."""

    @property
    def runtime(self) -> DeviceRuntime:
        """The model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUse:
    """Of one run; everything is ``None`` where nothing was scored, or other processes did."""

    assemble_seconds: float | None = None
    """Putting batches together and copying them to the device."""
    compute_seconds: float | None = None
    """Of the forward passes, by the device's own clock on CUDA."""
    tokenise_share: float | None = None
    """Of tokenising and scoring together, like the other shares.  What is left is storing, checking and waiting."""
    assemble_share: float | None = None
    compute_share: float | None = None
    """On CUDA the three overlap, so they may add up to more than 1."""
    tflops_per_second: float | None = None
    """10¹² operations of the model per second of the forward passes; counted as ``flops.py`` says."""
    peak_tflops_per_second: float | None = None
    """Of the device's matrix products in the precision of the run; ``None`` where measuring took more than 1% of it."""
    flop_utilisation: float | None = None
    """The former over the latter."""


def measure_use(
    clock: RunClock, scorer: Any, lengths: NDArray[np.int32], *, tokenise_seconds: float, score_seconds: float
) -> DeviceUse:
    """Return what a run did.

    Args:
        clock: That followed its batches.
        scorer: That ran them.
        lengths: (N,) tokens of every item of theirs.
        tokenise_seconds: Before the first batch.
        score_seconds: From then on.
    """
    if not clock.is_whole or not len(lengths):
        return DeviceUse()
    runtime = scorer.runtime if isinstance(scorer, OnDevice) else None
    flops = None if runtime is None else runtime.flops(lengths)
    peak = None if runtime is None or flops is None else runtime.peak_flops_per_second(flops)
    speed = None if flops is None else flops / max(clock.compute_seconds, 1e-9)
    assemble_seconds = clock.assemble_seconds + clock.copy_seconds
    total = max(tokenise_seconds + score_seconds, 1e-9)
    return DeviceUse(
        assemble_seconds=assemble_seconds,
        compute_seconds=clock.compute_seconds,
        tokenise_share=tokenise_seconds / total,
        assemble_share=assemble_seconds / total,
        compute_share=clock.compute_seconds / total,
        tflops_per_second=None if speed is None else speed / 1e12,
        peak_tflops_per_second=None if peak is None else peak / 1e12,
        flop_utilisation=None if speed is None or peak is None else speed / peak,
    )
