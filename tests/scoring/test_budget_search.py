"""The search for a device's budget: what is tried, what is chosen, and that no score is lost on the way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from watcher import Watcher

from rerank_bench import progress
from rerank_bench.scoring import budget_search
from rerank_bench.scoring.batching import BatchTooLargeError
from rerank_bench.scoring.budget_search import BudgetSearch
from rerank_bench.scoring.callables import TextPairs
from rerank_bench.scoring.engine import score_indexed, score_stored
from rerank_bench.scoring.engine_result import EngineResult
from rerank_bench.scoring.lazy_scorer import open_scorer
from rerank_bench.scoring.runtime import ModelRuntime
from rerank_bench.scoring.score_store import ScoreStore
from rerank_bench.scoring.scorer import EncodedItems, ScorerConfig
from rerank_bench.scoring.specs import parse_model_spec

DOCS = [f"a b c {number}" for number in range(1_000)]
PAIRS = np.stack([np.zeros(1_000, dtype=np.int64), np.arange(1_000)], axis=1)
WORDS = 5
"""Of a pair."""


class KilledError(Exception):
    """Stands for what ends a process between two batches."""


@dataclass
class Clock:
    """Time that passes only when something is computed."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Runtime:
    """A device that says which budgets to try."""

    trial_batch_tokens: tuple[int, ...] = (20, 40, 80, 160)

    def flops(self, _lengths: NDArray[np.int32]) -> float | None:
        return None

    def peak_flops_per_second(self, _flops: float) -> float | None:
        return None


@dataclass
class Device:
    """Is fastest with batches of a certain size; a score depends on its batch, so any other batching shows."""

    clock: Clock
    fastest: int = 80
    memory_tokens: int = 10**9
    lives: int = 10**9
    default_batch_tokens: int = 40
    runtime: Runtime = field(default_factory=Runtime)
    fingerprint: str = "device"
    sizes: list[int] = field(default_factory=list)
    """Tokens of the batches."""

    def describe(self) -> dict[str, Any]:
        return {}

    def peak_device_bytes(self) -> int | None:
        return None

    def encode(self, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]) -> EncodedItems:
        return TextPairs(queries, docs, pairs)

    def score_batch(self, batch: list[tuple[str, str]]) -> NDArray[np.float32]:
        tokens = WORDS * len(batch)
        if len(self.sizes) >= self.lives:
            raise KilledError
        if tokens > self.memory_tokens:
            raise BatchTooLargeError
        warm_up = 100.0 if self.sizes.count(tokens) == 0 else 0.0
        self.clock.now += tokens * (1.0 if tokens == self.fastest else 1.5) + warm_up
        self.sizes.append(tokens)
        return np.asarray([float(doc.split()[-1]) + 1e-3 * len(batch) for _, doc in batch], dtype=np.float32)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(budget_search, "perf_counter", clock)
    monkeypatch.setattr(budget_search, "JOB_TRIALS", 2)
    return clock


def stored(folder: Path, device: Device, **options: Any) -> EngineResult:
    with ScoreStore(folder / "a.sqlite", "f", "tiny") as store:
        return score_stored(lambda: device, store, ["q"], DOCS, PAIRS, **options)


def numbers(result: EngineResult) -> list[float]:
    return [float(number) for number in np.floor(result.scores + 1e-4)]


@pytest.mark.parametrize(("fastest", "chosen"), [(20, 20), (80, 80), (160, 160), (55, 40)])
def test_the_fastest_budget_runs_the_rest(tmp_path: Path, clock: Clock, fastest: int, chosen: int) -> None:
    device = Device(clock, fastest=fastest)
    result = stored(tmp_path, device)
    assert device.sizes[:12] == [20, 40, 80, 160] * 3, "no batch is run for the trial alone"
    assert set(device.sizes[12:-1]) <= {chosen}
    assert (result.stats.batch_tokens, result.stats.is_calibrated) == (chosen, True)
    assert numbers(result) == list(range(1_000))
    assert sum(device.sizes) == result.stats.num_tokens == result.stats.num_padded_tokens
    assert result.stats.num_batches == len(device.sizes)


@pytest.mark.parametrize(
    "options",
    [{"batch_tokens": 40}, {"known_batch_tokens": 40}],
    ids=["asked for", "known already"],
)
def test_nothing_is_tried_where_the_budget_is_given(tmp_path: Path, clock: Clock, options: dict[str, int]) -> None:
    device = Device(clock, default_batch_tokens=160)
    result = stored(tmp_path, device, **options)
    assert set(device.sizes) == {40}
    assert not result.stats.is_calibrated


def test_nothing_is_tried_without_a_store_or_on_a_small_job(clock: Clock, tmp_path: Path) -> None:
    device = Device(clock)
    assert not score_indexed(device, ["q"], DOCS, PAIRS).stats.is_calibrated
    assert set(device.sizes) == {40}
    small = Device(clock)
    with ScoreStore(tmp_path / "a.sqlite", "f", "tiny") as store:
        score_stored(lambda: small, store, ["q"], DOCS, PAIRS[:300])
    assert set(small.sizes) == {40, 20}, "300 pairs of 5 tokens: 37 full batches and a rest of 4"


def test_memory_that_runs_out_ends_the_search(tmp_path: Path, clock: Clock) -> None:
    device = Device(clock, fastest=80, memory_tokens=100)
    watcher = Watcher()
    with progress.use_reporter(watcher):
        result = stored(tmp_path, device)
    assert device.sizes[:3] == [20, 40, 80]
    assert set(device.sizes[3:-1]) <= {40}
    assert (result.stats.batch_tokens, result.stats.is_calibrated) == (40, False)
    assert numbers(result) == list(range(1_000))
    assert len(watcher.notes) == 1


@pytest.mark.parametrize("lives", [5, 12, 20])
def test_a_resumed_run_replays_what_was_planned(tmp_path: Path, clock: Clock, lives: int) -> None:
    killed = Device(clock, lives=lives)
    with pytest.raises(KilledError):
        stored(tmp_path, killed)
    # Another budget would be the fastest now; what was chosen, or not chosen yet, stays.
    rest = Device(clock, fastest=20)
    result = stored(tmp_path, rest)
    assert numbers(result) == list(range(1_000))
    chosen = 80 if lives >= 12 else 40
    assert (result.stats.batch_tokens, result.stats.is_calibrated) == (chosen, lives >= 12)
    together = killed.sizes + rest.sizes
    assert together[:12] == [20, 40, 80, 160] * 3
    assert set(together[12:-1]) <= {chosen}


def test_times_of_batches_launched_ahead_are_told_apart(clock: Clock) -> None:
    search = BudgetSearch.for_job(40, (20, 40), 10**9)
    assert search is not None
    found = []
    for budget, seconds in zip(search.trials, [9.0, 9.0, 1.0, 4.0, 1.0, 4.0], strict=True):
        clock.now += seconds
        found.append(search.add(budget))
    assert found == [False] * 5 + [True]
    assert search.best == 20


def test_real_time_is_measured() -> None:
    search = BudgetSearch.for_job(40, (20, 40), 10**9)
    assert search is not None
    for budget in search.trials:
        time.sleep(0.02 if budget == 20 else 0.001)
        search.add(budget)
    assert search.best == 40


@pytest.mark.parametrize("budgets", [(), (40,)])
def test_no_choice_no_search(budgets: tuple[int, ...]) -> None:
    assert BudgetSearch.for_job(40, budgets, 10**9) is None


def test_a_found_budget_is_remembered_with_the_model(classifier: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = classifier("bert", seed=9)
    monkeypatch.setattr(ModelRuntime, "trial_batch_tokens", (30, 60))
    monkeypatch.setattr(ModelRuntime, "default_batch_tokens", 30)
    monkeypatch.setattr(budget_search, "JOB_TRIALS", 1)
    monkeypatch.setattr(budget_search, "LEAST_GAIN", 0.0)

    def score(num_docs: int, *, use_store: bool = True) -> EngineResult:
        scorer = open_scorer(parse_model_spec(str(folder)), config=ScorerConfig(device="cpu"), use_store=use_store)
        pairs = np.stack([np.zeros(num_docs, dtype=np.int64), np.arange(num_docs)], axis=1)
        return scorer.score_indexed(["stop"], [f"the list {number}" for number in range(num_docs)], pairs)

    first = score(100)
    assert first.stats.is_calibrated
    assert first.stats.batch_tokens in {30, 60}
    again = score(100)
    assert again.scores.tobytes() == first.scores.tobytes()
    assert (again.stats.batch_tokens, again.stats.is_calibrated) == (first.stats.batch_tokens, True)
    more = score(300)
    assert (more.stats.batch_tokens, more.stats.is_calibrated) == (first.stats.batch_tokens, False)
    fresh = [score(300, use_store=False) for _ in range(2)]
    assert fresh[0].scores.tobytes() == fresh[1].scores.tobytes()
    assert [(run.stats.batch_tokens, run.stats.is_calibrated) for run in fresh] == [(30, False)] * 2
    np.testing.assert_allclose(more.scores, fresh[0].scores, atol=1e-5)
