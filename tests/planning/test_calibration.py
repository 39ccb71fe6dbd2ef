from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rerank_bench.planning.calibration import SECONDS, calibrate


class Items:
    """Items of given lengths; a batch is its tokens."""

    def __init__(self, lengths: NDArray[np.int32]) -> None:
        self.lengths = lengths
        self.is_truncated = np.zeros(len(lengths), dtype=np.bool_)
        self.taken: list[NDArray[np.int64]] = []

    def batch(self, indices: NDArray[np.int64]) -> Any:
        self.taken.append(indices)
        return self.lengths[indices]


class Model:
    """Takes 2 µs per squared token, by its own clock: nothing like a constant rate."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, batch: NDArray[np.int32]) -> NDArray[np.float32]:
        self.seconds += true_seconds(batch)
        return np.zeros(len(batch), dtype=np.float32)

    def clock(self) -> float:
        return self.seconds


def true_seconds(lengths: NDArray[np.int32]) -> float:
    return float(2e-6 * (lengths.astype(np.float64) ** 2).sum())


def test_the_job_is_extrapolated_over_its_lengths() -> None:
    lengths = np.random.default_rng(0).geometric(1 / 60, size=50_000).astype(np.int32)
    items, model = Items(lengths), Model()
    found = calibrate(items, model, 1_000, is_packed=True, clock=model.clock)
    assert SECONDS <= found.seconds < 0.02 * true_seconds(lengths)
    assert found.job_seconds == pytest.approx(true_seconds(lengths), rel=0.1)
    assert lengths[items.taken[0][0]] == lengths.max()  # the longest first: its memory is seen


def test_the_share_of_a_core_is_what_the_process_got() -> None:
    items = Items(np.full(400, 100, dtype=np.int32))

    def compute(busy_seconds: float, idle_seconds: float) -> float:
        def wait(batch: NDArray[np.int32]) -> NDArray[np.float32]:
            until = time.process_time() + busy_seconds
            while time.process_time() < until:
                pass
            time.sleep(idle_seconds)
            return np.zeros(len(batch), dtype=np.float32)

        return calibrate(items, wait, 10_000, is_packed=True).processor_share

    assert compute(0.0, 0.1) < 0.3
    assert compute(0.05, 0.2) < compute(0.05, 0.0) <= 1.1


def test_a_small_job_is_timed_whole() -> None:
    items = Items(np.asarray([3, 4, 5], dtype=np.int32))
    model = Model()
    found = calibrate(items, model, 4, is_packed=True, clock=model.clock)
    assert {int(index) for taken in items.taken for index in taken} == {0, 1, 2}
    assert found.job_seconds == pytest.approx(true_seconds(items.lengths))


def test_a_slow_first_batch_is_the_only_one() -> None:
    items, model = Items(np.full(50, 2_000, dtype=np.int32)), Model()
    found = calibrate(items, model, 100, is_packed=True, clock=model.clock)
    assert len(items.taken) == 1
    assert found.num_items == 1
    assert found.job_seconds == pytest.approx(true_seconds(items.lengths))
