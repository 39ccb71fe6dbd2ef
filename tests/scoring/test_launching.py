"""Batches that are launched ahead and fetched later: nothing is lost, doubled, or given to another item."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from watcher import Watcher

from rerank_bench import progress
from rerank_bench.errors import InvalidScoreError
from rerank_bench.scoring import device_launch
from rerank_bench.scoring.batching import BatchTooLargeError
from rerank_bench.scoring.callables import TextPairs
from rerank_bench.scoring.device_copy import to_device
from rerank_bench.scoring.engine import score_indexed, score_stored
from rerank_bench.scoring.launching import Computed, Done, Launched, LaunchQueue, settle
from rerank_bench.scoring.loaded_scorer import load_scorer
from rerank_bench.scoring.score_store import ScoreStore
from rerank_bench.scoring.scorer import EncodedItems

Make = Callable[..., Path]

DOCS = [" ".join("abcdefgh"[: 1 + number % 8]) + f" {number}" for number in range(60)]
PAIRS = np.stack([np.zeros(60, dtype=np.int64), np.arange(60)], axis=1)


class KilledError(Exception):
    """Stands for what ends a process between two batches."""


@dataclass
class InQueue:
    """A batch of the device below."""

    device: Ahead
    batch: list[tuple[str, str]]

    @property
    def patience(self) -> int:
        return self.device.patience

    def fetch(self) -> Computed:
        self.device.in_flight -= 1
        if self.device.lives <= self.device.num_fetched:
            raise KilledError
        if len(self.batch) > self.device.fits_at_fetch:
            raise BatchTooLargeError
        self.device.num_fetched += 1
        values = [float("nan") if doc.endswith(self.device.bad) else float(doc.split()[-1]) for _, doc in self.batch]
        return Computed(np.asarray(values, dtype=np.float32) + np.float32(1e-3) * len(self.batch), 0.25, 0.5)


@dataclass
class Ahead:
    """A device that is told of batches ahead; a score depends on its batch, so any other batching shows."""

    patience: int = 2
    fits_at_launch: int = 10**9
    """Items of a batch that fit when it is launched."""
    fits_at_fetch: int = 10**9
    lives: int = 10**9
    """Batches that are fetched until the process is killed."""
    bad: str = " never"
    """End of the document whose score is no number."""
    default_batch_tokens: int = 40
    fingerprint: str = "ahead"
    in_flight: int = 0
    most_in_flight: int = 0
    num_fetched: int = 0
    launched: list[int] = field(default_factory=list)
    """Sizes of the batches."""

    def describe(self) -> dict[str, Any]:
        return {}

    def peak_device_bytes(self) -> int | None:
        return None

    def encode(self, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]) -> EncodedItems:
        return TextPairs(queries, docs, pairs)

    def score_batch(self, batch: list[tuple[str, str]]) -> Launched:
        if len(batch) > self.fits_at_launch:
            raise BatchTooLargeError
        self.launched.append(len(batch))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        return InQueue(self, batch)


def scores_of(scorer: Ahead, **options: Any) -> NDArray[np.float32]:
    return score_indexed(scorer, ["q"], DOCS, PAIRS, **options).scores


def test_batches_are_launched_ahead_and_no_further() -> None:
    scorer = Ahead(patience=2)
    waiting = scores_of(Ahead(patience=0))
    assert scores_of(scorer).tobytes() == waiting.tobytes()
    assert scorer.most_in_flight == 3, "the one that is computed, and two ahead"
    assert scorer.in_flight == 0


def test_a_device_that_is_done_at_once_is_never_asked_ahead() -> None:
    queue = LaunchQueue(lambda batch: Done(Computed(np.asarray([batch], dtype=np.float32), 0.0, 0.0)))
    for number in range(3):
        assert queue.capacity == 1
        queue.submit(number, number + 0.5)
        found, values = queue.collect()
        assert (found, values.tolist()) == (number, [number + 0.5])  # type: ignore[union-attr]


@settings(deadline=None)
@given(
    patience=st.integers(0, 4),
    fits_at_launch=st.integers(1, 12),
    fits_at_fetch=st.integers(1, 12),
    budget=st.integers(1, 120),
)
def test_out_of_memory_at_launch_or_fetch_loses_and_doubles_nothing(
    patience: int, fits_at_launch: int, fits_at_fetch: int, budget: int
) -> None:
    scorer = Ahead(patience, fits_at_launch, fits_at_fetch)
    watcher = Watcher()
    with progress.use_reporter(watcher):
        result = score_indexed(scorer, ["q"], DOCS, PAIRS, batch_tokens=budget)
    # The whole part of a score is the document's own number, the rest says how large its batch was.
    assert np.floor(result.scores + 1e-4).tolist() == list(range(60))
    sizes = np.rint((result.scores - np.arange(60)) * 1000)
    assert sizes.max() <= min(fits_at_launch, fits_at_fetch)
    assert sum(watcher.advanced) == 60
    assert scorer.in_flight == 0
    assert scorer.num_fetched == result.stats.num_batches
    assert result.stats.batch_tokens is not None
    assert result.stats.batch_tokens <= budget


@pytest.mark.parametrize("fits_at_fetch", [10**9, 3], ids=["plenty", "out of memory on the way"])
@pytest.mark.parametrize("lives", [0, 1, 5, 9])
def test_a_killed_run_loses_what_was_in_flight_and_replays_it(tmp_path: Path, lives: int, fits_at_fetch: int) -> None:
    expected = scores_of(Ahead(fits_at_fetch=fits_at_fetch))

    def stored(scorer: Ahead) -> Any:
        with ScoreStore(tmp_path / "a.sqlite", "f", "tiny") as store:
            return score_stored(lambda: scorer, store, ["q"], DOCS, PAIRS)

    killed = Ahead(lives=lives, fits_at_fetch=fits_at_fetch)
    with pytest.raises(KilledError):
        stored(killed)
    rest = Ahead(fits_at_fetch=fits_at_fetch, default_batch_tokens=7)
    resumed = stored(rest)
    assert resumed.scores.tobytes() == expected.tobytes()
    assert killed.num_fetched + rest.num_fetched == resumed.stats.num_batches, "every batch was stored once"


@pytest.mark.parametrize("patience", [0, 3])
def test_a_score_that_is_no_number_names_its_pair(patience: int) -> None:
    with pytest.raises(InvalidScoreError, match=r"query 'q', document 'a b c 34?': score is nan"):
        scores_of(Ahead(patience, bad=" 34"))


def test_a_batch_that_failed_is_let_go() -> None:
    class Tensor:
        """Stands for gigabytes."""

    seen: list[weakref.ref[Tensor]] = []

    def launch(_batch: Any) -> Launched:
        tensor = Tensor()
        seen.append(weakref.ref(tensor))
        raise BatchTooLargeError("no room")  # noqa: EM101, TRY003

    queue = LaunchQueue(launch)
    queue.submit(0, None)
    assert seen[0]() is None
    number, outcome = queue.collect()
    assert (number, str(outcome)) == (0, "no room")


def test_settled_batches_are_arrays() -> None:
    array = np.asarray([1.0], dtype=np.float32)
    assert settle(array) is array
    assert settle(Done(Computed(array, 0.0, 0.0))) is array


@pytest.mark.parametrize("message", ["CUDA out of memory. Tried", "DefaultCPUAllocator: can't allocate memory: you"])
def test_errors_about_memory_are_told_from_others(message: str) -> None:
    with pytest.raises(BatchTooLargeError, match=message), device_launch.out_of_memory_as_too_large():
        raise RuntimeError(message + "\nsecond line")
    with pytest.raises(RuntimeError, match="shapes cannot be"), device_launch.out_of_memory_as_too_large():
        raise RuntimeError("shapes cannot be multiplied")  # noqa: EM101, TRY003


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2"])
def test_a_real_model_gives_the_same_bytes_when_its_batches_wait(
    architecture: str, classifier: Make, text_pairs: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = load_scorer(str(classifier(architecture)), device="cpu", batch_tokens=100)
    at_once = scorer.score(text_pairs)
    waiting: list[int] = []

    @dataclass
    class Late:
        """Takes the values out of the device's tensor when it is fetched, as on CUDA."""

        values: Any
        patience: int = 2

        def fetch(self) -> Computed:
            waiting.append(1)
            return Computed(self.values.numpy(), 0.0, 0.0)

    monkeypatch.setattr(device_launch.HostClock, "launched", lambda _clock, values: Late(values))
    assert scorer.score(text_pairs).tobytes() == at_once.tobytes()
    assert len(waiting) > 5


@pytest.mark.gpu
def test_cuda_batches_wait_for_nobody_and_give_what_the_cpu_gives(
    classifier: Make, text_pairs: list[tuple[str, str]]
) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    exact = load_scorer(str(classifier("bert")), device="cpu").score(text_pairs)
    for dtype, atol in (("float32", 1e-3), ("bfloat16", 0.1)):
        scorer = load_scorer(str(classifier("bert")), device="cuda", dtype=dtype, batch_tokens=200)
        assert scorer.describe()["batches"] == "packed"
        np.testing.assert_allclose(scorer.score(text_pairs), exact, atol=atol)
        inner: Any = scorer.scorer
        rows = np.stack([np.arange(len(text_pairs))] * 2, axis=1)
        batch = inner.encode(*zip(*text_pairs, strict=True), rows).batch(np.arange(20))
        torch.cuda.set_sync_debug_mode("error")
        try:
            launched = inner.score_batch(batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert launched.patience == device_launch.CUDA_BATCHES_AHEAD
        assert np.isfinite(launched.fetch().values).all()


def test_tensors_hold_what_the_arrays_held() -> None:
    import torch

    arrays = [np.arange(6).reshape(2, 3), np.arange(4) + 10]
    meta = to_device(arrays, torch.device("meta"))  # no values, but every step of a device that is not the CPU
    assert [tensor.shape for tensor in meta] == [(2, 3), (4,)]
    assert [tensor.tolist() for tensor in to_device(arrays, torch.device("cpu"))] == [
        [[0, 1, 2], [3, 4, 5]],
        [10, 11, 12, 13],
    ]
