"""Where the log of a training goes beside ``log.csv``, through transformers' own integrations.

TensorBoard writes its event files to ``tensorboard/`` in the job's folder; W&B and trackio go by their own environment
variables (``WANDB_PROJECT``, ``WANDB_MODE``, ``TRACKIO_DIR``, …).
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rerank_bench.errors import ConfigError, EnvironmentMissingError, describe_unknown

LOGGERS = ("tensorboard", "wandb", "trackio")
"""Each is the name of a Python package."""
TENSORBOARD_FOLDER = "tensorboard"


def check_loggers(names: Sequence[str]) -> None:
    """Raise unless every logger is known and its package is there.

    Raises:
        ConfigError: An unknown name.
        EnvironmentMissingError: A package is not installed.
    """
    unknown = [name for name in names if name not in LOGGERS]
    if unknown:
        raise ConfigError(describe_unknown("logger", unknown, LOGGERS))
    absent = [name for name in names if importlib.util.find_spec(name) is None]
    if absent:
        msg = f"--log-to {', '.join(absent)}: not installed; run: pip install {' '.join(absent)}"
        raise EnvironmentMissingError(msg)


def make_loggers(names: Sequence[str], folder: Path) -> list[Any]:
    """Return one callback per logger, in the given order, none twice.

    Args:
        names: As ``check_loggers`` takes them.
        folder: The job's folder.
    """
    from transformers.integrations import TensorBoardCallback, TrackioCallback, WandbCallback

    made = []
    for name in dict.fromkeys(names):
        if name == "tensorboard":
            callback = TensorBoardCallback()
            callback.logging_dir = str(folder / TENSORBOARD_FOLDER)  # one place, for a resumed job too
        else:
            callback = {"wandb": WandbCallback, "trackio": TrackioCallback}[name]()
        callback.on_train_begin = _say_why(name, callback.on_train_begin)
        made.append(callback)
    return made


@contextlib.contextmanager
def logging_to(names: Sequence[str]) -> Iterator[None]:
    """Keep stdout for results while loggers are at work, and close what transformers leaves open.

    Args:
        names: The loggers of the training inside the block.
    """
    if not names:
        yield
        return
    with contextlib.redirect_stdout(sys.stderr):
        try:
            yield
        finally:
            if "wandb" in names:
                import wandb

                wandb.finish()  # the next training of this process would go on with its run


def _say_why(name: str, begin: Any) -> Any:
    """Return a logger's beginning, whose errors say what to do: each package has a kind of its own for no account."""

    def begin_or_say(*event: Any, **values: Any) -> Any:
        try:
            return begin(*event, **values)
        except Exception as error:
            cause = " ".join(str(error).split()) or type(error).__name__
            msg = f"--log-to {name}: cannot begin ({cause}); set it up, or leave it out: the same stands in log.csv"
            raise EnvironmentMissingError(msg) from error

    return begin_or_say
