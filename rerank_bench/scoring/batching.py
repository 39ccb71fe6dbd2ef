"""Which items are scored together: sorted by length, cut under a token budget.

A plan depends only on the lengths and the budget, so a run that is resumed can replay it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import ConfigError


class BatchTooLargeError(Exception):
    """A batch did not fit the device's memory; the engine halves the budget and goes on.

    Never seen by users: what does not fit even alone becomes an ``EnvironmentMissingError``.
    """


def check_batch_tokens(batch_tokens: int) -> None:
    """Raise unless the budget is a positive number of tokens.

    Raises:
        ConfigError: It is not.
    """
    if batch_tokens < 1:
        msg = f"batch_tokens is {batch_tokens}, expected at least 1 (padded tokens per batch), or None for automatic"
        raise ConfigError(msg)


def order_by_length(lengths: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the items' indices, longest first, equal lengths in their given order.

    Longest first: the batch that needs the most memory comes at once, not after an hour.
    """
    return np.argsort(-lengths.astype(np.int64), kind="stable")


def iter_batches(
    order: NDArray[np.int64], lengths: NDArray[np.int32], batch_tokens: int
) -> Iterator[NDArray[np.int64]]:
    """Yield index arrays of at most ``batch_tokens`` padded tokens each, and at least one item.

    Args:
        order: (N,) indices into ``lengths``, longest first, as ``order_by_length`` returns them.
        lengths: (M,) tokens of every item.
        batch_tokens: Budget: number of items × tokens of the longest.

    Raises:
        ConfigError: The budget is below one token.
    """
    check_batch_tokens(batch_tokens)
    start = 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        stop = start + max(1, batch_tokens // longest)
        yield order[start:stop]
        start = stop
