"""The depths that a request names: one number, or several for a sweep."""

from __future__ import annotations

from collections.abc import Sequence

from rerank_bench.errors import ConfigError

_EXPECTED = "expected whole numbers of at least 1, such as 100 or 10,20,50,100"


def parse_depths(text: str) -> tuple[int, ...]:
    """Return the depths of ``--depth``, as they were written.

    Raises:
        ConfigError: An entry is empty or no whole number.
    """
    depths = []
    for part in text.split(","):
        if not part.strip():
            msg = f"--depth is {text!r}, which has an empty entry; {_EXPECTED}"
            raise ConfigError(msg)
        try:
            depths.append(int(part))
        except ValueError as error:
            msg = f"--depth is {text!r}, and {part.strip()!r} is no whole number; {_EXPECTED}"
            raise ConfigError(msg) from error
    return check_depths(depths)


def parse_depth(text: str) -> int:
    """Return the one depth of a command that takes no list.

    Raises:
        ConfigError: It is a list, or no whole number of at least 1.
    """
    depths = parse_depths(text)
    if len(depths) > 1:
        msg = f"--depth is {text!r}, expected one number here: a list of depths is for `rerank-bench run`"
        raise ConfigError(msg)
    return depths[0]


def check_depths(depth: int | Sequence[int]) -> tuple[int, ...]:
    """Return the depths, ascending.

    Raises:
        ConfigError: There is none, one is below 1 or no whole number, or one is there twice.
    """
    depths = (depth,) if isinstance(depth, int | str) else tuple(depth)
    wrong = [value for value in depths if not isinstance(value, int) or isinstance(value, bool) or value < 1]
    if wrong or not depths:
        msg = f"depth is {wrong[0]!r}, {_EXPECTED}" if wrong else f"depth is an empty list, {_EXPECTED}"
        raise ConfigError(msg)
    repeated = sorted({value for value in depths if depths.count(value) > 1})
    if repeated:
        msg = f"depth {repeated[0]} is named twice; name every depth once"
        raise ConfigError(msg)
    return tuple(sorted(depths))
