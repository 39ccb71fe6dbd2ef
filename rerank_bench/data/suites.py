"""Suites: named lists of data sets; and the resolution of what a user asks for into data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rerank_bench.data import toml_schema as toml
from rerank_bench.data.manifests import SUITES_FILE, find_manifest_name, manifest_folder, manifest_names, read_toml
from rerank_bench.data.toml_schema import Key
from rerank_bench.errors import ConfigError, ManifestError, describe_unknown

DEFAULT_SUITE = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A named list of data sets."""

    name: str
    title: str
    datasets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a request came to."""

    datasets: tuple[str, ...]
    """Names of shipped sets in their own spelling, and folders as they were given; in order, each once."""
    suites: Mapping[str, tuple[str, ...]]
    """suite asked for -> its data sets; every one of them is in ``datasets``."""


def load_suites() -> dict[str, Suite]:
    """Return all suites, by name.

    Raises:
        ManifestError: Names every problem of the file at once, data sets without a manifest included.
    """
    path = manifest_folder() / SUITES_FILE
    table = read_toml(path)
    problems: list[str] = []
    toml.map_of(toml.table_of({"title": Key(toml.text), "datasets": Key(toml.texts)}))("suites", table, problems)
    if not problems:
        known = manifest_names()
        for name, suite in table.items():
            unknown = [dataset for dataset in suite["datasets"] if dataset not in known]
            if unknown:
                problems.append(f"suite {name}: {describe_unknown('data set', unknown, known)}")
            if not suite["datasets"] or len(set(suite["datasets"])) < len(suite["datasets"]):
                problems.append(f"suite {name}: expected data sets, each once, found {suite['datasets']}")
    if problems:
        msg = f"{path}: " + "; ".join(problems)
        raise ManifestError(msg)
    return {
        name: Suite(name=name, title=suite["title"], datasets=tuple(suite["datasets"])) for name, suite in table.items()
    }


def resolve_datasets(datasets: Sequence[str], suites: Sequence[str]) -> Selection:
    """Return the data sets that a request names, each once, in the order of the request.

    A data set is the name (or alias) of a shipped manifest, in any case, or a folder.  A text without a path separator
    that is both means the manifest; write ``./name`` for the folder.  Nothing asked for means the suite ``default``.

    Args:
        datasets: Names and folders.
        suites: Names of suites; their data sets follow those named alone.

    Raises:
        ConfigError: Names all unknown data sets and suites at once, or two data sets that share a name.
    """
    known_suites = load_suites()
    folded = {name.casefold(): suite for name, suite in known_suites.items()}
    found = {given: find_dataset(given) for given in datasets}
    unknown = [given for given, dataset in found.items() if dataset is None]
    unknown_suites = [given for given in suites if given.casefold() not in folded]
    problems = []
    if unknown:
        problems.append(describe_unknown_datasets(unknown))
    if unknown_suites:
        problems.append(describe_unknown("suite", unknown_suites, list(known_suites)))
    if problems:
        raise ConfigError(". ".join(problems))
    chosen_suites = {folded[given.casefold()].name: folded[given.casefold()].datasets for given in suites}
    chosen = [dataset for dataset in found.values() if dataset is not None]
    for members in chosen_suites.values():
        chosen.extend(members)
    if not chosen:
        chosen.extend(known_suites[DEFAULT_SUITE].datasets)
    return Selection(datasets=_without_repeats(chosen), suites=chosen_suites)


def find_dataset(given: str) -> str | None:
    """Return the manifest's name, or the folder as it was given, or ``None`` where the text is neither."""
    name = None if _has_separator(given) else find_manifest_name(given)
    if name is not None:
        return name
    return given if given and Path(given).expanduser().is_dir() else None


def _has_separator(given: str) -> bool:
    return "/" in given or "\\" in given


def describe_unknown_datasets(names: Sequence[str]) -> str:
    """Return the message for texts that are neither a shipped data set nor a folder."""
    paths = [name for name in names if _has_separator(name)]
    others = [name for name in names if not _has_separator(name)]
    parts = [f"no such folder: {', '.join(map(repr, paths))}"] if paths else []
    if others:
        parts.append(f"{describe_unknown('data set', others, manifest_names())}. A folder with corpus.jsonl works too")
    return ". ".join(parts)


def _without_repeats(chosen: Sequence[str]) -> tuple[str, ...]:
    """Return each data set once.

    Raises:
        ConfigError: Two different ones have the same name: their files in the run folder would be the same.
    """
    place_by_name: dict[str, tuple[str, str]] = {}
    kept = []
    for given in chosen:
        is_folder = find_manifest_name(given) != given
        place = str(Path(given).expanduser().resolve()) if is_folder else given
        name = Path(place).name if is_folder else given
        first = place_by_name.setdefault(name.casefold(), (place, given))
        if first == (place, given) and given not in kept:
            kept.append(given)
        elif first[0] != place:
            msg = f"two data sets are called {name!r}: {first[1]} and {given}; rename one folder, or run them apart"
            raise ConfigError(msg)
    return tuple(kept)
