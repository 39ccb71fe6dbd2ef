from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest
from watcher import Watcher

from rerank_bench import progress
from rerank_bench.scoring.latency import SAMPLE_QUERIES, WARM_UP_QUERIES, measure_latency, sample_queries


class Clock:
    """Stands still but for what is scored: a second per document."""

    def __init__(self) -> None:
        self.now = 0.0
        self.scored: list[str] = []

    def __call__(self) -> float:
        return self.now

    def score(self, query: str, docs: Sequence[str]) -> None:
        progress.note("the model speaks")
        self.scored.append(query)
        self.now += len(docs)


def test_every_list_is_timed_alone_after_a_warm_up() -> None:
    clock = Clock()
    lists = [(f"q{n}", ["doc"] * n) for n in range(1, 101)]
    watcher = Watcher()
    with progress.use_reporter(watcher):
        latency = measure_latency(clock.score, lists, description="latency of tiny", clock=clock)
    assert latency is not None
    queries = [query for query, _ in lists]
    assert clock.scored == queries[:WARM_UP_QUERIES] + queries
    expected = np.percentile(np.arange(1, 101), [50, 95, 99])
    assert [latency.p50_seconds, latency.p95_seconds, latency.p99_seconds] == pytest.approx(expected)
    assert (latency.mean_seconds, latency.docs_per_query) == (50.5, 50.5)
    assert (latency.num_queries, latency.warm_up_queries) == (100, WARM_UP_QUERIES)
    assert watcher.tasks == [("latency of tiny", 100, "queries")]
    assert sum(watcher.advanced) == 100
    assert watcher.notes == [], "what a single query reports is part of the whole"


def test_the_clock_is_that_of_the_wall() -> None:
    latency = measure_latency(lambda _query, _docs: time.sleep(0.02), [("q", ["d"])] * 3)
    assert latency is not None
    assert 0.02 <= latency.p50_seconds < 0.2


def test_no_list_has_no_latency() -> None:
    assert measure_latency(lambda _query, _docs: None, []) is None


def test_the_sample_is_drawn_once_and_for_all() -> None:
    many = [f"q{n}" for n in range(1_000)]
    drawn = sample_queries(many)
    assert len(set(drawn)) == SAMPLE_QUERIES
    assert drawn == sorted(drawn, key=many.index)
    assert drawn == sample_queries(many)
    assert drawn != sample_queries(many, seed=1)
    assert sample_queries(many[:7]) == many[:7]
