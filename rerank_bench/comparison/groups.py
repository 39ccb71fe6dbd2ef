"""Runs that cannot be told apart: two runs share a letter if and only if they are not significantly different.

References:
    Piepho, "An Algorithm for a Letter-Based Representation of All-Pairwise Comparisons", 2004,
    https://doi.org/10.1198/1061860043515
"""

from __future__ import annotations

import string
from collections.abc import Collection, Sequence


def letter_groups(ordered: Sequence[str], different: Collection[frozenset[str]]) -> dict[str, tuple[str, ...]]:
    """Return run -> its letters, by Piepho's insert-and-absorb algorithm.

    It starts with one group of all runs.  For each pair that differs, every group with both is replaced by two, each
    without one of them, and a group within another is dropped.  What remains are the largest sets without a pair that
    differs.

    Args:
        ordered: The runs, best first: the best one's first letter is ``a``.
        different: Pairs of runs that are significantly different.
    """
    groups: list[frozenset[str]] = [frozenset(ordered)]
    for pair in different:
        split = [part for group in groups for part in ([group - {run} for run in pair] if pair <= group else [group])]
        groups = [group for group in dict.fromkeys(split) if not any(group < other for other in split)]
    position = {run: number for number, run in enumerate(ordered)}
    groups.sort(key=lambda group: sorted(position[run] for run in group))
    return {run: tuple(letter_name(number) for number, group in enumerate(groups) if run in group) for run in ordered}


def letter_name(number: int) -> str:
    """Return the name of a group: a to z for 0 to 25, then aa, ab, … as spreadsheets count."""
    name = ""
    number += 1
    while number > 0:
        number, digit = divmod(number - 1, len(string.ascii_lowercase))
        name = string.ascii_lowercase[digit] + name
    return name
