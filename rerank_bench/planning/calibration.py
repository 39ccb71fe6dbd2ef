"""How fast a model is on this device: a few batches of the real job, spread over its lengths, timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.progress import muted
from rerank_bench.scoring.batch_runner import BatchRunner
from rerank_bench.scoring.batching import iter_batches, order_by_length
from rerank_bench.scoring.launching import LaunchResult
from rerank_bench.scoring.scorer import EncodedItems

SECONDS = 3.0
"""Timing ends with the batch that passes this."""
NUM_PLACES = 9
"""Lengths at which batches are timed, from the longest to the shortest."""

Compute = Callable[[Any], LaunchResult]


@dataclass(frozen=True, slots=True, eq=False)
class ItemSample:
    """Some of N encoded items."""

    items: EncodedItems
    indices: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int32]:
        """(S,) tokens of each."""
        return self.items.lengths[self.indices]

    @property
    def is_truncated(self) -> NDArray[np.bool_]:
        """(S,): whether each lost tokens."""
        return self.items.is_truncated[self.indices]

    def batch(self, indices: NDArray[np.int64]) -> Any:
        """Return the items at ``indices`` of the sample."""
        return self.items.batch(self.indices[indices])


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What was timed, and what it says of the whole job."""

    num_items: int
    """That were timed."""
    num_tokens: int
    seconds: float
    job_seconds: float
    """Of all items: each batch at the speed of batches of its length."""
    processor_share: float
    """Of one core's time that this process got while it timed; 2.0 where two threads ran all the time."""


def calibrate(
    items: EncodedItems,
    compute: Compute,
    budget: int,
    *,
    is_packed: bool,
    clock: Callable[[], float] = time.perf_counter,
) -> Calibration:
    """Time some batches of a job; the longest one comes first, so that the memory it needs is seen.

    Args:
        items: All items of the job, at least one.
        compute: The model, on one batch.
        budget: Tokens per batch.
        is_packed: Whether the model runs batches without padding.
        clock: Seconds.
    """
    lengths = items.lengths
    batches = list(iter_batches(order_by_length(lengths), lengths, budget))
    share = _ProcessorShare()
    started = clock()
    _run(items, batches[0], compute, budget, is_packed=is_packed)  # the first one also allocates and compiles
    warm_up = clock() - started
    timed: list[tuple[float, int, float]] = []  # mean length, tokens, seconds
    if warm_up >= SECONDS:  # one more would be as long
        timed.append(_facts(lengths[batches[0]], warm_up))
    num_items = 0 if not timed else len(batches[0])
    for chosen in _spread(batches):
        if sum(seconds for _, _, seconds in timed) >= SECONDS:
            break
        started = clock()
        _run(items, chosen, compute, budget, is_packed=is_packed)
        timed.append(_facts(lengths[chosen], clock() - started))
        num_items += len(chosen)
    return Calibration(
        num_items=num_items,
        num_tokens=sum(tokens for _, tokens, _ in timed),
        seconds=sum(seconds for _, _, seconds in timed),
        job_seconds=_extrapolate(batches, lengths, timed),
        processor_share=share.so_far(),
    )


class _ProcessorShare:
    """What share of one core's time this process has got since then."""

    def __init__(self) -> None:
        self._started = time.process_time(), time.perf_counter()

    def so_far(self) -> float:
        """Return it."""
        return (time.process_time() - self._started[0]) / max(1e-9, time.perf_counter() - self._started[1])


def _run(items: EncodedItems, indices: NDArray[np.int64], compute: Compute, budget: int, *, is_packed: bool) -> None:
    with muted():
        runner = BatchRunner(ItemSample(items, indices), budget, "time", "items", is_packed=is_packed)
        runner.run_each(compute, lambda _indices, _values: None)


def _facts(lengths: NDArray[np.int32], seconds: float) -> tuple[float, int, float]:
    return float(lengths.mean()), int(lengths.sum(dtype=np.int64)), seconds


def _spread(batches: list[NDArray[np.int64]]) -> Iterator[NDArray[np.int64]]:
    """Yield stretches of neighbouring batches at the places, round by round twice as wide, until all were in one.

    Within a round the places come in an order that covers the lengths early.
    """
    places = np.unique(np.linspace(0, len(batches) - 1, NUM_PLACES).round().astype(np.int64))
    order = sorted(range(len(places)), key=lambda place: (place % 4 != 0, place % 2 != 0, place))
    width = 1
    while True:
        for place in order:
            start = int(min(places[place], max(0, len(batches) - width)))
            yield np.concatenate(batches[start : start + width])
        if width * len(places) >= len(batches):
            return
        width *= 2


def _extrapolate(
    batches: list[NDArray[np.int64]], lengths: NDArray[np.int32], timed: list[tuple[float, int, float]]
) -> float:
    """Return the seconds of all batches, at the seconds per token of timed ones of about their length."""
    sums: dict[float, tuple[int, float]] = {}
    for mean, tokens, seconds in timed:
        all_tokens, all_seconds = sums.get(mean, (0, 0.0))
        sums[mean] = (all_tokens + tokens, all_seconds + seconds)
    means = sorted(sums)
    rates = [sums[mean][1] / max(1, sums[mean][0]) for mean in means]
    of_batches = [_facts(lengths[batch], 0.0) for batch in batches]
    per_token = np.interp([mean for mean, _, _ in of_batches], means, rates)
    return float(per_token @ np.asarray([tokens for _, tokens, _ in of_batches], dtype=np.float64))
