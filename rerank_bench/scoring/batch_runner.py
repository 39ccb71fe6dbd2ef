"""Items through a model, batch after batch: the order, the budget, and what happens when memory does not suffice.

Items are sorted by token length and cut under a token budget; when a device runs out of memory the budget is halved and
the rest goes on.  Where a score store keeps a journal, every batch is stored as it comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench import progress
from rerank_bench.errors import EnvironmentMissingError, ScoringError
from rerank_bench.scoring.batching import BatchTooLargeError, iter_batches, order_by_length
from rerank_bench.scoring.budget_search import BudgetSearch
from rerank_bench.scoring.execution import BatchExecutor
from rerank_bench.scoring.launching import LaunchQueue, LaunchResult
from rerank_bench.scoring.run_clock import RunClock
from rerank_bench.scoring.scorer import EncodedItems
from rerank_bench.scoring.stored_pairs import Batches, StoredPairs


@dataclass(frozen=True, slots=True, eq=False)
class Journal:
    """Between a runner, which counts the items from 0, and the job, which knows the rows of the whole request."""

    stored: StoredPairs

    @property
    def counts(self) -> dict[str, Any] | None:
        """What the interrupted run counted, if there was one."""
        return self.stored.counts

    def left_batches(self) -> Batches | None:
        """Return the batches that an interrupted run left."""
        if self.stored.batches is None:
            return None
        return [np.searchsorted(self.stored.rows, batch) for batch in self.stored.batches]

    def plan(self, batches: Batches, counts: dict[str, Any]) -> None:
        """Keep the batches that are still to come."""
        self.stored.plan([self.stored.rows[batch] for batch in batches], counts)

    def add(self, indices: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        """Store one batch."""
        self.stored.add(self.stored.rows[indices], values)


@dataclass(slots=True, eq=False)
class BatchRunner:
    """Runs items through a model, batch after batch, and keeps count."""

    items: EncodedItems
    batch_tokens: int
    description: str
    unit: str
    journal: Journal | None = None
    is_packed: bool = False
    """Whether the model runs batches without padding."""
    clock: RunClock = field(default_factory=RunClock)
    """What the time of the run is added to."""
    search: BudgetSearch | None = None
    """Tries budgets on the first batches of a new job; they come back in their order."""
    counts: dict[str, Any] = field(init=False)
    """Of the whole job: items, tokens, batches, padding, the budget at the end."""
    lengths: NDArray[np.int32] = field(init=False)

    def __post_init__(self) -> None:
        self.lengths = self.items.lengths
        self.counts = {
            "num_items": len(self.lengths),
            "num_tokens": int(self.lengths.sum(dtype=np.int64)),
        }

    def run(
        self,
        compute: Callable[[Any], LaunchResult] | BatchExecutor,
        *,
        check: Callable[[NDArray[np.int64], NDArray[np.float32]], None] | None = None,
    ) -> NDArray[np.float32]:
        """Return (N, …) float32: what ``compute`` gives for every item, in the items' order.

        Args:
            compute: The model, on one batch; or an executor, whose batches come back in any order.
            check: Called with the indices and values of every batch; raises if it does not like them.
        """
        outputs: NDArray[np.float32] | None = None

        def keep(indices: NDArray[np.int64], values: NDArray[np.float32]) -> None:
            nonlocal outputs
            if check is not None:
                check(indices, values)
            if outputs is None:
                outputs = np.empty((len(self.lengths), *values.shape[1:]), dtype=np.float32)
            outputs[indices] = values
            if self.journal is not None:
                self.journal.add(indices, values)

        self.run_each(compute, keep)
        return np.empty(0, dtype=np.float32) if outputs is None else outputs

    def run_each(
        self,
        compute: Callable[[Any], LaunchResult] | BatchExecutor,
        take: Callable[[NDArray[np.int64], NDArray[np.float32]], None],
    ) -> None:
        """Run every batch and keep none of its values, so that memory does not grow with the items.

        Args:
            compute: As in ``run``.
            take: Called with the indices and the (B, …) float32 values of every batch as it comes; stores them itself.
        """
        executor = compute if isinstance(compute, BatchExecutor) else LaunchQueue(compute, self.clock)
        self.clock.is_whole &= executor is not compute
        waiting = deque(self._first_batches())
        in_flight: dict[int, NDArray[np.int64]] = {}
        numbers = count()
        with progress.track(self.description, total=len(self.lengths), unit=self.unit) as advance:
            while waiting or in_flight:
                while waiting and len(in_flight) < executor.capacity:
                    number, indices = next(numbers), waiting.popleft()
                    in_flight[number] = indices
                    executor.submit(number, self._assemble(indices))
                number, values = executor.collect()
                indices = in_flight.pop(number)
                if isinstance(values, BatchTooLargeError):
                    self.search = None  # what memory allows counts for more than what is fastest
                    self._halve(indices, values)
                    waiting = deque(self._cut_again([indices, *waiting], list(in_flight.values())))
                    continue
                check_shape(values, len(indices))
                take(indices, values)
                advance(len(indices))
                if self._has_found(indices) and waiting:
                    waiting = deque(self._cut_again(list(waiting), list(in_flight.values())))

    def _has_found(self, indices: NDArray[np.int64]) -> bool:
        """Tell the search of a batch that came back; return whether it has found the budget of all that follow."""
        if self.search is None or not self.search.add(int(self.lengths[indices].sum(dtype=np.int64))):
            return False
        assert self.search.best is not None  # noqa: S101 - for the type checker: the search is over
        self.batch_tokens, self.search = self.search.best, None
        self.counts["is_calibrated"] = True
        return True

    def _assemble(self, indices: NDArray[np.int64]) -> Any:
        started = perf_counter()
        batch = self.items.batch(indices)
        self.clock.assemble_seconds += perf_counter() - started
        return batch

    def _first_batches(self) -> Batches:
        """Return the batches that an interrupted run left, or new ones."""
        left = None if self.journal is None else self.journal.left_batches()
        if left is None or self.journal is None or self.journal.counts is None:
            return self._cut(
                order_by_length(self.lengths),
                num_batches=0,
                num_padded_tokens=0,
                trials=() if self.search is None else self.search.trials,
            )
        self.search = None
        self.counts = self.journal.counts
        self.batch_tokens = self.counts["batch_tokens"]
        return left

    def _cut_again(self, left: Batches, in_flight: Batches) -> Batches:
        """Return the items of the batches that are left, cut under the budget of now."""
        return self._cut(
            _longest_first(np.concatenate(left), self.lengths),
            num_batches=self.counts["num_batches"] - len(left),
            num_padded_tokens=self.counts["num_padded_tokens"] - sum(self._padded_tokens(batch) for batch in left),
            in_flight=in_flight,
        )

    def _cut(
        self,
        order: NDArray[np.int64],
        *,
        num_batches: int,
        num_padded_tokens: int,
        in_flight: Batches = (),
        trials: Sequence[int] = (),
    ) -> Batches:
        """Return batches of the items in ``order``; what the job counts elsewhere is given.

        The first ones are cut under the budgets of ``trials``, one each, the others under the budget of now.
        """
        batches: list[NDArray[np.int64]] = []
        for budget in trials:
            batches.append(next(iter_batches(order, self.lengths, budget)))
            order = order[len(batches[-1]) :]
        batches += iter_batches(order, self.lengths, self.batch_tokens)
        self.counts |= {
            "num_batches": num_batches + len(batches),
            "num_padded_tokens": num_padded_tokens + sum(self._padded_tokens(batch) for batch in batches),
            "batch_tokens": self.batch_tokens,
        }
        if self.journal is not None:
            self.journal.plan([*in_flight, *batches], self.counts)
        return batches

    def _padded_tokens(self, indices: NDArray[np.int64]) -> int:
        if self.is_packed:
            return int(self.lengths[indices].sum(dtype=np.int64))
        return len(indices) * int(self.lengths[indices].max())

    def _halve(self, failed: NDArray[np.int64], error: BatchTooLargeError) -> None:
        """Halve the budget, from what the failed batch really held, or give up on a single item."""
        longest = int(self.lengths[failed[0]])
        if len(failed) == 1:
            msg = (
                f"{self.description}: one item of {longest} tokens does not fit the device's memory ({error}); "
                "pass a lower --max-length, --dtype bfloat16, or --device cpu"
            )
            raise EnvironmentMissingError(msg) from error
        # Never up again: the batch may have been cut before another one failed.
        self.batch_tokens = max(1, min(self.batch_tokens, len(failed) * longest // 2))
        progress.note(f"{self.description}: out of memory; going on with batches of {self.batch_tokens} tokens")


def _longest_first(order: NDArray[np.int64], lengths: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the indices in ``order``, the longest items first: a batch that failed may have been overtaken."""
    return order[order_by_length(lengths[order])]


def check_shape(values: NDArray[np.float32], num_items: int) -> None:
    """Raise unless a model gave one value per item.

    Raises:
        ScoringError: It did not.
    """
    if len(values) != num_items:
        msg = f"the model returned {len(values)} values for a batch of {num_items}; expected one each"
        raise ScoringError(msg)
