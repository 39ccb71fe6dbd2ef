"""Batches that come back in any order, some of them too large: every item keeps its own value."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rerank_bench.errors import EnvironmentMissingError, ScoringError
from rerank_bench.scoring.batch_runner import BatchRunner
from rerank_bench.scoring.batching import BatchTooLargeError
from rerank_bench.scoring.callables import TextPairs
from rerank_bench.scoring.engine import score_indexed
from rerank_bench.scoring.execution import ItemsFailedError, Outcome
from rerank_bench.scoring.scorer import EncodedItems


@dataclass
class Numbers:
    """Items that are their own index; a batch is the indices."""

    lengths: NDArray[np.int32]

    @property
    def is_truncated(self) -> NDArray[np.bool_]:
        return np.zeros(len(self.lengths), dtype=np.bool_)

    def batch(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        return indices


@dataclass
class Shuffling:
    """Gives batches back in a random order; one with more padded tokens than fit comes back as too large."""

    lengths: NDArray[np.int32]
    capacity: int
    memory_tokens: int
    draw: random.Random
    in_flight: list[tuple[int, Any]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def submit(self, number: int, batch: Any) -> None:
        assert number not in dict(self.in_flight)
        self.in_flight.append((number, batch))
        assert len(self.in_flight) <= self.capacity

    def collect(self) -> tuple[int, Outcome]:
        number, batch = self.in_flight.pop(self.draw.randrange(len(self.in_flight)))
        size = len(batch) * int(self.lengths[batch].max())
        if size > self.memory_tokens:
            return number, BatchTooLargeError()
        self.sizes.append(size)
        return number, np.asarray(batch * 2, dtype=np.float32)


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), max_size=40),
    capacity=st.integers(1, 6),
    memory=st.integers(9, 60),
    budget=st.integers(1, 80),
    seed=st.integers(0, 99),
)
def test_every_item_keeps_its_value(lengths: list[int], capacity: int, memory: int, budget: int, seed: int) -> None:
    items = Numbers(np.asarray(lengths, dtype=np.int32))
    executor = Shuffling(items.lengths, capacity, memory, random.Random(seed))
    runner = BatchRunner(items, budget, "score", "pairs")
    checked: list[int] = []
    values = runner.run(executor, check=lambda indices, _values: checked.extend(indices.tolist()))
    assert values.tolist() == [2.0 * index for index in range(len(lengths))]
    assert sorted(checked) == list(range(len(lengths))), "each item is checked once"
    assert runner.counts["num_batches"] == len(executor.sizes)
    assert runner.counts["num_padded_tokens"] == sum(executor.sizes)
    assert runner.counts["batch_tokens"] == runner.batch_tokens <= budget


def test_an_item_too_large_alone_is_an_error() -> None:
    items = Numbers(np.asarray([4, 50, 3], dtype=np.int32))
    runner = BatchRunner(items, 100, "score a", "pairs")
    with pytest.raises(EnvironmentMissingError, match="score a: one item of 50 tokens does not fit"):
        runner.run(Shuffling(items.lengths, 2, 20, random.Random(1)))


@dataclass
class Refusing:
    """An executor that cannot compute some items."""

    items: list[int]
    capacity: int = 1

    def submit(self, number: int, batch: Any) -> None: ...

    def collect(self) -> tuple[int, Outcome]:
        raise ItemsFailedError(np.asarray(self.items), "it is poison")


@dataclass
class Pairs:
    """A scorer whose executor refuses."""

    score_batch: Refusing
    fingerprint: str = "none"
    default_batch_tokens: int = 100

    def describe(self) -> dict[str, Any]:
        return {}

    def peak_device_bytes(self) -> int | None:
        return None

    def encode(self, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]) -> EncodedItems:
        return TextPairs(queries, docs, pairs)


@dataclass
class Texts:
    """A text encoder whose executor refuses."""

    embed_batch: Refusing
    fingerprint: str = "none"
    default_batch_tokens: int = 100

    def describe(self) -> dict[str, Any]:
        return {}

    def peak_device_bytes(self) -> int | None:
        return None

    def encode_texts(self, queries: Sequence[str], docs: Sequence[str]) -> EncodedItems:
        return Numbers(np.ones(len(queries) + len(docs), dtype=np.int32))

    def compare(self, *_vectors: Any) -> NDArray[np.float32]:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        (Pairs(Refusing([2])), "q1 with d0: it is poison"),
        (Pairs(Refusing([0, 1, 2, 3])), "q0 with d1; q0 with d2; q1 with d0 and 1 more: it is poison"),
        (Texts(Refusing([1])), "q1 with d0: it is poison"),  # a query, by the first pair that it stands in
        (Texts(Refusing([3])), "q0 with d1: it is poison"),  # a document, behind two queries
    ],
    ids=["a-pair", "four-pairs", "a-query", "a-document"],
)
def test_items_that_cannot_be_computed_are_named(scorer: Any, message: str) -> None:
    pairs = np.asarray([(0, 2), (0, 1), (1, 0), (1, 2)])
    with pytest.raises(ScoringError, match=rf"^{message}$"):
        score_indexed(
            scorer, ["a", "b"], ["x", "y", "z"], pairs, pair_name=lambda row: "q{} with d{}".format(*pairs[row])
        )
