"""Scorers for the tests, called through ``--model word_overlap:NAME``: real functions, small enough to check by hand."""

from __future__ import annotations

from collections.abc import Sequence

Pairs = Sequence[tuple[str, str]]


def score(pairs: Pairs) -> list[float]:
    """Return the number of distinct words that query and document share."""
    return [float(len(set(query.lower().split()) & set(doc.lower().split()))) for query, doc in pairs]


def nan_on_tides(pairs: Pairs) -> list[float]:
    """Return NaN for documents about the tides."""
    return [float("nan") if "Tides" in doc else 0.0 for _, doc in pairs]


def nan_on_moon(pairs: Pairs) -> list[float]:
    """Return NaN for one document, which only one of two collections has."""
    return [float("nan") if doc.startswith("Tides are made by the moon") else 0.0 for _, doc in pairs]


def interrupt(pairs: Pairs) -> list[float]:
    """Do what Ctrl-C does."""
    raise KeyboardInterrupt(len(pairs))


def crash(pairs: Pairs) -> list[float]:
    """Fail as a defect of ours would."""
    raise MemoryError(len(pairs))
