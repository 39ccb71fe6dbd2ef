"""What runs are called: by their names, with what tells their places apart where two have the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

from rerank_bench.reporting.run_folder import RESULT_FILE

LEADERBOARD_ROW = re.compile(r"(?P<file>.+?\.csv):(?P<model>.+)", re.IGNORECASE)
"""A run named as a model of a leaderboard."""


def distinct_labels(names: Sequence[str], locations: Sequence[str]) -> list[str]:
    """Return a label for each run: its name, and in brackets what tells it from others of that name.

    Where all have one name, what differs says more, and leaves room in a table.

    Args:
        names: The names of the runs.
        locations: What the user named, one for each.
    """
    labels = []
    for position, (name, location) in enumerate(zip(names, locations, strict=True)):
        others = [other for other, same in zip(locations, names, strict=True) if same == name]
        distinction = "" if len(others) == 1 else _distinction(location, others, position)
        is_enough = len(others) == len(names) and not distinction.startswith("#")
        labels.append(name if not distinction else distinction if is_enough else f"{name} [{distinction}]")
    return labels


def location_name(location: str) -> str:
    """Return the last part of a place: the folder's name, or the model's in a leaderboard."""
    row = LEADERBOARD_ROW.fullmatch(location)
    return row["model"] if row else (_parts(location) or (location,))[-1]


def _distinction(location: str, others: Sequence[str], position: int) -> str:
    """Return the last part of a place at which no two of the runs agree; a number where they stand in one place."""
    places = [_parts(other) for other in others]
    for from_end in range(1, min(map(len, places)) + 1):
        if len({parts[-from_end] for parts in places}) == len(places):
            return _parts(location)[-from_end]
    return location if len(set(others)) == len(others) else f"#{position + 1}"


def _parts(location: str) -> tuple[str, ...]:
    parts = PurePath(location).parts
    return parts[:-1] if parts and parts[-1] == RESULT_FILE else parts
