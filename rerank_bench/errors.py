"""The exceptions that a user of rerank-bench may meet, and the exit code of each.

::

    RerankBenchError                    1 base class, never raised itself
      DataError                         2 the input is wrong
        ParseError(path, line)            2 a line of a file cannot be read
        ManifestError                     2 a data set's manifest is wrong
        ChecksumError                     2 a file is not the one that the manifest names
      ConfigError                       2 the request is wrong: unknown name, contradiction
      ScoringError                      2 a model's output is wrong
        InvalidScoreError                 2 a score is NaN or infinite
      EnvironmentMissingError           3 a dependency, device or network is absent
      ComparisonError                   5 two results cannot be compared

A message says where, what was found, what was expected and what to do.  A lost gate is a verdict (exit code 1),
not an exception.  Anything that is not a ``RerankBenchError`` is a defect of ours: exit code 70, with traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from pathlib import Path


class RerankBenchError(Exception):
    """Base class of every error whose message is meant for the user."""

    exit_code: int = 2


class DataError(RerankBenchError):
    """The input data is wrong."""


class ParseError(DataError):
    """One line of a file cannot be read.

    Args:
        path: The file.
        line: The line's number, counted from 1, or ``None`` where the whole file is meant.
        problem: What was found, what was expected, what to do.
    """

    def __init__(self, path: str | Path, line: int | None, problem: str) -> None:
        where = f"{path}, line {line}" if line is not None else f"{path}"
        super().__init__(f"{where}: {problem}")
        self.path = Path(path)
        self.line = line


class ManifestError(DataError):
    """A data set's manifest is malformed, or contradicts the data."""


class ChecksumError(DataError):
    """A file's bytes are not those that the manifest names."""


class ConfigError(RerankBenchError):
    """The request is wrong: an unknown name, a value out of range, or a contradiction."""


class ScoringError(RerankBenchError):
    """A model cannot be loaded as a scorer, or its output is wrong."""


class InvalidScoreError(ScoringError):
    """A score is NaN or infinite; the message names query and document."""


class EnvironmentMissingError(RerankBenchError):
    """A dependency, a device or the network is absent."""

    exit_code = 3


class ComparisonError(RerankBenchError):
    """Two results do not compare; the message names the field that differs."""

    exit_code = 5


def describe_unknown(kind: str, names: Iterable[str], known: Collection[str], *, max_listed: int = 20) -> str:
    """Return the message for unknown names: each with its nearest known names, then the list if it is short.

    Args:
        kind: What the names stand for, such as ``"measure"``.
        names: The unknown names, all of them at once.
        known: Every name that would have been accepted.
        max_listed: The full list of known names is printed only up to this many.
    """
    ordered = sorted(known)
    folded = {name.casefold(): name for name in ordered}
    parts = []
    for name in names:
        close = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6)
        hint = f"; did you mean {', '.join(repr(folded[c]) for c in close)}?" if close else "."
        parts.append(f"unknown {kind} {name!r}{hint}")
    if ordered and len(ordered) <= max_listed:
        parts.append(f"Known: {', '.join(ordered)}")
    return " ".join(parts)
