"""A small checker for parsed TOML: every problem of a file is collected before anything is raised.

A schema says of each key which check its value must pass and whether it must be there; keys that no schema knows are
problems too, named with the nearest known key.  The checks append to a list of problems and never raise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rerank_bench.errors import describe_unknown

Check = Callable[[str, Any, list[str]], None]
"""(where the value stands, the value, the problems found so far)."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Key:
    """What is expected of one key."""

    check: Check
    is_required: bool = True


Schema = Mapping[str, Key]


def check_table(where: str, table: Any, schema: Schema, problems: list[str]) -> None:
    """Append what is wrong with one table: unknown keys, missing keys, values that fail their check."""
    if not isinstance(table, dict):
        problems.append(f"{where} is {table!r}, expected a table")
        return
    prefix = f"{where}." if where else ""
    unknown = [key for key in table if key not in schema]
    if unknown:
        problems.append(describe_unknown(f"key in {where or 'the top table'}", unknown, list(schema)))
    for name, key in schema.items():
        if name in table:
            key.check(f"{prefix}{name}", table[name], problems)
        elif key.is_required:
            problems.append(f"{prefix}{name} is missing")


def table_of(schema: Schema) -> Check:
    """Return the check of a table with known keys."""

    def check(where: str, value: Any, problems: list[str]) -> None:
        check_table(where, value, schema, problems)

    return check


def map_of(value_check: Check) -> Check:
    """Return the check of a table whose keys are free and whose values pass ``value_check``."""

    def check(where: str, value: Any, problems: list[str]) -> None:
        if not isinstance(value, dict):
            problems.append(f"{where} is {value!r}, expected a table")
            return
        for name, item in value.items():
            value_check(f"{where}.{name}", item, problems)

    return check


def text(where: str, value: Any, problems: list[str]) -> None:
    """Check a string that is not blank."""
    if not isinstance(value, str) or not value.strip():
        problems.append(f"{where} is {value!r}, expected some text")


def flag(where: str, value: Any, problems: list[str]) -> None:
    """Check a boolean."""
    if not isinstance(value, bool):
        problems.append(f"{where} is {value!r}, expected true or false")


def count(where: str, value: Any, problems: list[str]) -> None:
    """Check a whole number of at least 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        problems.append(f"{where} is {value!r}, expected a whole number of at least 0")


def number(where: str, value: Any, problems: list[str]) -> None:
    """Check a number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        problems.append(f"{where} is {value!r}, expected a number")


def texts(where: str, value: Any, problems: list[str]) -> None:
    """Check a list of strings."""
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        problems.append(f"{where} is {value!r}, expected a list of strings")


def sha256(where: str, value: Any, problems: list[str]) -> None:
    """Check a SHA-256 in hex."""
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        problems.append(f"{where} is {value!r}, expected the 64 lower-case hex digits of a SHA-256")


def grades(where: str, value: Any, problems: list[str]) -> None:
    """Check a table from grades (whole numbers, quoted as TOML wants its keys) to their meaning."""
    map_of(text)(where, value, problems)
    wrong = [key for key in value if not re.fullmatch(r"-?\d+", key)] if isinstance(value, dict) else []
    if wrong:
        problems.append(f"{where} has the keys {', '.join(repr(key) for key in wrong)}, expected whole numbers")


def one_of(*allowed: str) -> Check:
    """Return the check of a string out of a few."""

    def check(where: str, value: Any, problems: list[str]) -> None:
        if value not in allowed:
            problems.append(f"{where} is {value!r}, expected {' or '.join(repr(item) for item in allowed)}")

    return check
