"""What happens around the steps of a training: progress, the log file, and an end that is measured and saved.

An ``event`` is what transformers hands to its callbacks: (arguments, state, control).
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from rerank_bench.progress import Advance, note, track
from rerank_bench.training.held_out import DETAILS
from rerank_bench.training.job_folder import column_name, write_log

NOT_SHOWN = frozenset({"epoch", "seconds", "grad_norm", *DETAILS})
"""Values of the log file that a line on the terminal leaves out."""


class StopAtTheEnd(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Logs, measures and saves at the last step, whatever the intervals are."""

    def on_step_end(self, *event: Any, **_: Any) -> Any:
        """Ask for all three at the last step."""
        state, control = event[1:]
        if state.global_step >= state.max_steps:
            control.should_log = True
            control.should_evaluate = True
            control.should_save = True
        return control


class ProgressCallback(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Shows a bar with rate and time left, and a note per log line."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._advance: Advance | None = None
        self._first_step = 0
        self._started = 0.0

    def on_train_begin(self, *event: Any, **_: Any) -> None:
        """Open the bar at the step that the job is at."""
        state = event[1]
        self._first_step, self._started = state.global_step, time.perf_counter()
        if state.is_world_process_zero:
            self._advance = self._stack.enter_context(track("train", total=state.max_steps, unit="steps"))
            self._advance(state.global_step)

    def on_step_end(self, *_event: Any, **_: Any) -> None:
        """Count one step."""
        if self._advance is not None:
            self._advance(1)

    def on_log(self, *event: Any, logs: Any = None, **_: Any) -> None:
        """Say loss and rate, or the values of an evaluation."""
        state, values = event[1], logs or {}
        if not state.is_world_process_zero or "train_runtime" in values:
            return
        shown = ", ".join(
            f"{column_name(name)} {value:.4g}" for name, value in values.items() if column_name(name) not in NOT_SHOWN
        )
        left = self._seconds_left(state) if "loss" in values else None
        note(f"step {state.global_step}/{state.max_steps}: {shown}" + (f", {left:.0f} s left" if left else ""))

    def _seconds_left(self, state: Any) -> float | None:
        done = state.global_step - self._first_step
        return (time.perf_counter() - self._started) / done * (state.max_steps - state.global_step) if done else None

    def on_train_end(self, *_event: Any, **_: Any) -> None:
        """Close the bar."""
        self._stack.close()


class LogWriter(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Writes ``log.csv`` anew at every log line; the history comes back with a resumed job's state."""

    def on_log(self, *event: Any, **_: Any) -> None:
        """Write the whole history."""
        args, state = event[:2]
        if state.is_world_process_zero:
            write_log(Path(args.output_dir), state.log_history)
