from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_bench.errors import ConfigError
from rerank_bench.scoring.batching import iter_batches, order_by_length


@given(
    lengths=st.lists(st.integers(min_value=0, max_value=600), max_size=60),
    batch_tokens=st.integers(min_value=1, max_value=5_000),
)
def test_batches_hold_every_item_once_within_the_budget(lengths: list[int], batch_tokens: int) -> None:
    array = np.asarray(lengths, dtype=np.int32)
    order = order_by_length(array)
    batches = list(iter_batches(order, array, batch_tokens))
    assert [i for batch in batches for i in batch] == order.tolist()
    assert sorted(order.tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * array[batch].max() <= batch_tokens
    longest = [int(array[batch].max()) for batch in batches]
    assert longest == sorted(longest, reverse=True), "the batch that needs most memory comes first"


@given(lengths=st.lists(st.integers(min_value=1, max_value=50), min_size=1, max_size=40))
def test_a_batch_is_as_full_as_the_budget_allows(lengths: list[int]) -> None:
    array = np.asarray(lengths, dtype=np.int32)
    batches = list(iter_batches(order_by_length(array), array, 100))
    for batch in batches[:-1]:
        assert (len(batch) + 1) * array[batch].max() > 100


def test_equal_lengths_keep_their_order() -> None:
    assert order_by_length(np.asarray([3, 5, 3, 5, 3], dtype=np.int32)).tolist() == [1, 3, 0, 2, 4]


def test_a_budget_below_one_token_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_tokens is 0, expected at least 1"):
        list(iter_batches(np.asarray([0]), np.asarray([1], dtype=np.int32), 0))
