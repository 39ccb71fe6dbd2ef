"""Where the time of a run goes: the clock that batches are followed with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class RunClock:
    """Seconds of all batches so far.

    On a CPU one thing is done after the other.  A CUDA device keeps its own time, so its seconds pass while the host
    tokenises or assembles, and the sum may be more than the wall clock's.
    """

    assemble_seconds: float = 0.0
    """Putting batches together from the tokens of their texts."""
    copy_seconds: float = 0.0
    """Until they were on the device."""
    compute_seconds: float = 0.0
    """Of the forward passes."""
    is_whole: bool = True
    """Whether all batches were followed; those of other processes are not."""
