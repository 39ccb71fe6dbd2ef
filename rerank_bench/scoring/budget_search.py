"""Which token budget a device is fastest with: tried on the first batches of a large job, whose scores count.

Only on a device where much depends on it (CUDA; on a CPU all budgets from 2,000 to 8,000 tokens are within 5%, see
docs/experiments.md), and only where scores are stored: a run without the store takes the device's fixed budget, so that
it can be repeated bit for bit.  What was found is remembered with the model (``model_memo.py``).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

ROUNDS = 3
"""How often every budget is tried; the first time warms up and does not count."""
JOB_TRIALS = 6
"""A job is tried on if it has at least so many times the tokens of all trials: a slow budget then costs it little."""
LEAST_GAIN = 1.03
"""Times as many tokens per second as the fixed budget, that another one must give to be taken."""


@dataclass(slots=True, eq=False)
class BudgetSearch:
    """Follows the first batches of a job."""

    default: int
    """The fixed budget."""
    budgets: Sequence[int]
    """What is tried, the default among them."""
    best: int | None = None
    """What was found; ``None`` while it is not."""
    _collected_at: float = 0.0
    _num_collected: int = 0
    _speeds: dict[int, list[float]] = field(default_factory=dict)
    """Tokens per second by budget."""

    @classmethod
    def for_job(cls, default: int, budgets: Sequence[int], num_tokens: int) -> BudgetSearch | None:
        """Return the search on a job of so many tokens; ``None`` where there is no choice, or the job is too small."""
        if len(budgets) < 2 or num_tokens < JOB_TRIALS * ROUNDS * sum(budgets):
            return None
        return cls(default, budgets)

    @property
    def trials(self) -> list[int]:
        """The budgets of the first batches, in this order."""
        return list(self.budgets) * ROUNDS

    def add(self, num_tokens: int) -> bool:
        """Take note that the next trial has come back with so many tokens; return whether that was the last one.

        The time of a batch is that since the one before it came back, whether or not batches are launched ahead.
        """
        now = perf_counter()
        budget = self.trials[self._num_collected]
        if self._num_collected >= len(self.budgets):
            self._speeds.setdefault(budget, []).append(num_tokens / max(now - self._collected_at, 1e-9))
        self._collected_at = now
        self._num_collected += 1
        if self._num_collected < len(self.trials):
            return False
        speeds = {budget: statistics.median(values) for budget, values in self._speeds.items()}
        fastest = max(speeds, key=speeds.__getitem__)
        self.best = fastest if speeds[fastest] >= LEAST_GAIN * speeds[self.default] else self.default
        return True
