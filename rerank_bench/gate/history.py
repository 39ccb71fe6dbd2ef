"""The history of a baseline: a TOML file that only grows, one entry for every time that somebody moved the baseline.

It stands under version control beside the baseline file.  An entry says who accepted what, when and why, and names the
baseline by the SHA-256 of its content: a baseline that was changed by hand no longer is the one that was accepted last.
"""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rerank_bench.errors import DataError, ParseError
from rerank_bench.gate.baseline import BaselineSource
from rerank_bench.storage import write_text

_HEADER = (
    "# Every baseline that was accepted, the last one below. Written by `rerank-bench gate accept`; never edited.\n"
)


def history_path(baseline: str | Path) -> Path:
    """Return where the history of a baseline file stands: ``x.history.toml`` beside ``x.json``."""
    return Path(baseline).with_suffix(".history.toml")


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return the entries, the oldest first; none where there is no file.

    Raises:
        ParseError: The file is not what ``append_entry`` writes.
    """
    if not path.exists():
        return []
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("accepted", [])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ParseError(path, None, f"is not TOML: {error}; restore it from version control") from error
    if not isinstance(entries, list) or not all(isinstance(e, dict) and "baseline" in e for e in entries):
        raise ParseError(
            path, None, "expected [[accepted]] tables with a key baseline; restore it from version control"
        )
    return entries


def check_is_accepted(source: BaselineSource) -> None:
    """Raise where a baseline is not the one that its history says was accepted last; without a history there is no check.

    Raises:
        DataError: The baseline was changed without ``gate accept``.
        ParseError: The history cannot be read.
    """
    entries = read_history(history_path(source.path))
    if entries and entries[-1]["baseline"] != source.fingerprint:
        msg = (
            f"{source.path}: is not the baseline that {history_path(source.path).name} says was accepted last; it was "
            f"changed by hand. Restore it, or move it with `rerank-bench gate accept --reason …`"
        )
        raise DataError(msg)


def append_entry(new: BaselineSource, old: BaselineSource | None, *, reason: str, run: str) -> dict[str, Any]:
    """Add the entry for a baseline that was just written, and return it.

    Args:
        new: The baseline now.
        old: The one that it replaced; ``None`` for the first.
        reason: Why.
        run: The run that it was made from, as the user named it.

    Raises:
        EnvironmentMissingError: The file cannot be written.
    """
    path = history_path(new.path)
    entry = {
        "utc_time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "user": _user(new.path.parent),
        "reason": reason,
        "measure": f"{new.content['measure']} ({new.content['view']})",
        **_present("old_value", _mean(old)),
        "new_value": new.content["mean"],
        "run": run,
        "model": new.content["model"]["name"],
        **_present("fingerprint", new.content["model"].get("fingerprint")),
        **_present("replaced_model", None if old is None else old.content["model"]["name"]),
        **_present("replaced_fingerprint", None if old is None else old.content["model"].get("fingerprint")),
        **_present("commit", _git(new.path.parent, "rev-parse", "HEAD")),
        **_present("changed", None if old is None else _changed_identity(old, new) or None),
        "baseline": new.fingerprint,
        **_present("replaced_baseline", None if old is None else old.fingerprint),
    }
    text = path.read_text(encoding="utf-8") if path.exists() else _HEADER
    lines = ["", "[[accepted]]", *(f"{key} = {_toml(value)}" for key, value in entry.items())]
    if len(new.datasets) > 1:
        lines += [
            "[accepted.datasets]",
            *(f"{_toml(name)} = {_dataset_values(old, new, name)}" for name in new.datasets),
        ]
    write_text(path, text + "\n".join(lines) + "\n")
    return entry


def _changed_identity(old: BaselineSource, new: BaselineSource) -> list[str]:
    """Return what of the data is not what it was: values before and after such a change do not compare."""
    changed = [f"data set {name}" for name in sorted(set(old.datasets) ^ set(new.datasets))]
    for name in new.datasets:
        if name in old.datasets:
            before, after = old.identity(name), new.identity(name)
            changed += [f"{field} of {name}" for field in after if after[field] != before[field]]
    return changed


def _dataset_values(old: BaselineSource | None, new: BaselineSource, dataset: str) -> str:
    before = _mean(old, dataset)
    after = f"new = {_toml(_mean(new, dataset))}"
    return f"{{ {after} }}" if before is None else f"{{ old = {_toml(before)}, {after} }}"


def _mean(source: BaselineSource | None, dataset: str | None = None) -> float | None:
    if source is None:
        return None
    if dataset is None:
        value: float | None = source.content["mean"]
        return value
    block: Mapping[str, Any] | None = source.content["datasets"].get(dataset)
    return None if block is None else block["mean"]


def _present(key: str, value: Any) -> dict[str, Any]:
    return {} if value is None else {key: value}


def _user(folder: Path) -> str:
    """Return who this is: as git knows them, else the account that a CI service or the system names."""
    name, mail = _git(folder, "config", "user.name"), _git(folder, "config", "user.email")
    if name or mail:
        return " ".join(part for part in (name, f"<{mail}>" if mail else None) if part)
    if os.environ.get("GITHUB_ACTOR"):
        return os.environ["GITHUB_ACTOR"]
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user without a name
        return "unknown"


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        finished = subprocess.run(  # noqa: S603  fixed arguments, no shell
            ["git", "-C", str(folder), *arguments],  # noqa: S607  the user's own git
            check=True,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return finished.stdout.strip() or None


def _toml(value: str | float | list[str] | None) -> str:
    """Return a value in TOML's syntax: JSON's is the same for numbers, strings and lists of strings."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
