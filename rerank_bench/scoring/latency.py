"""How long one query takes: its list alone, from texts to scores, one query after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rerank_bench import progress

SAMPLE_QUERIES = 100
"""Lists that are timed at most; a 99th percentile of fewer is the slowest one."""
WARM_UP_QUERIES = 5
"""Lists that are scored before, with the clock stopped: the first batches of a process allocate and compile."""
SAMPLE_SEED = 12

QueryList = tuple[str, Sequence[str]]
"""A query's text with those of its documents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Seconds that queries waited for the scores of their lists."""

    num_queries: int
    docs_per_query: float
    """On average over the queries that were timed."""
    p50_seconds: float
    p95_seconds: float
    p99_seconds: float
    """Percentiles, interpolated between neighbours."""
    mean_seconds: float
    warm_up_queries: int
    seed: int
    """Of the sample."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, JSON-able."""
        return asdict(self)


def sample_queries(query_ids: Sequence[str], *, size: int = SAMPLE_QUERIES, seed: int = SAMPLE_SEED) -> list[str]:
    """Return ``size`` of the queries at most, drawn without replacement, in their given order."""
    if len(query_ids) <= size:
        return list(query_ids)
    drawn = np.random.default_rng(seed).choice(len(query_ids), size=size, replace=False)
    return [query_ids[row] for row in np.sort(drawn)]


def measure_latency(
    score: Callable[[str, Sequence[str]], object],
    lists: Sequence[QueryList],
    *,
    description: str = "latency",
    clock: Callable[[], float] = time.perf_counter,
) -> Latency | None:
    """Score every list alone and say how long each took; ``None`` where there is no list.

    Args:
        score: Makes scores of a query's text and its documents' texts, and returns when they are there.
        lists: What is timed; the first of them are scored once before.
        description: What the progress bar says.
        clock: Seconds.
    """
    if not lists:
        return None
    warm_up = lists[:WARM_UP_QUERIES]
    seconds: list[float] = []
    with progress.track(description, total=len(lists), unit="queries") as advance, progress.muted():
        for query, docs in warm_up:
            score(query, docs)
        for query, docs in lists:
            started = clock()
            score(query, docs)
            seconds.append(clock() - started)
            advance(1)
    p50, p95, p99 = np.percentile(seconds, [50, 95, 99]).tolist()
    return Latency(
        num_queries=len(lists),
        docs_per_query=sum(len(docs) for _, docs in lists) / len(lists),
        p50_seconds=p50,
        p95_seconds=p95,
        p99_seconds=p99,
        mean_seconds=float(np.mean(seconds)),
        warm_up_queries=len(warm_up),
        seed=SAMPLE_SEED,
    )
