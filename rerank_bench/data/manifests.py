"""Manifests: what a data set is, where it comes from, and what it must look like when it has arrived.

One TOML file per data set; docs in the schema below.  A manifest is read whole: every problem of it is reported at
once, unknown keys included, so that a typing error cannot switch a check off.  Nothing is loaded here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from rerank_bench.data import toml_schema as toml
from rerank_bench.data.toml_schema import Key, Schema
from rerank_bench.errors import ConfigError, DataError, ManifestError, describe_unknown

Kind = Literal["hub", "gooaq", "pydocs", "beir", "trec"]

TITLE_AND_TEXT = "{title} {text}"
TEXT_ONLY = "{text}"
SUITES_FILE = "suites.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSource:
    """A repository of the hub at one revision, with the files that are known by checksum."""

    repository: str
    revision: str
    """A commit, or ``main`` where the commit is not known; what it resolved to is recorded with the data."""
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """path in the repository -> ``sha256`` (hex) and, optionally, ``bytes``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One data set's manifest; ``table`` holds every key of the file as it stands there."""

    name: str
    kind: Kind
    path: Path
    title: str
    text_rule: str | None
    """How a document's text is made of its columns; ``None`` in a folder's manifest that leaves it out."""
    drops_self_match: bool
    aliases: tuple[str, ...]
    counts: Mapping[str, int]
    """``queries``, ``documents``, ``judgements``; what is not known is absent."""
    grades: Mapping[int, str]
    """grade -> its meaning."""
    source: HubSource | None
    published: HubSource | None
    """Where ranked lists of the first stage are published for this set."""
    table: Mapping[str, Any]

    @property
    def hub_source(self) -> HubSource:
        """The source, for the kinds that have one."""
        if self.source is None:
            msg = f"{self.path}: a data set of kind {self.kind!r} comes from no repository"
            raise ManifestError(msg)
        return self.source


# --- the schema -------------------------------------------------------------------------------------------------

_FILES = Key(
    toml.map_of(toml.table_of({"sha256": Key(toml.sha256), "bytes": Key(toml.count, is_required=False)})),
    is_required=False,
)
_ID_AND_TEXT: Schema = {
    "config": Key(toml.text),
    "split": Key(toml.text),
    "id": Key(toml.text),
    "text": Key(toml.text),
    "title": Key(toml.text, is_required=False),
}
_HUB: Schema = {
    "repository": Key(toml.text),
    "revision": Key(toml.text),
    "files": _FILES,
    "corpus": Key(toml.table_of(_ID_AND_TEXT)),
    "queries": Key(toml.table_of({key: value for key, value in _ID_AND_TEXT.items() if key != "title"})),
    "qrels": Key(
        toml.table_of(
            {
                "config": Key(toml.text),
                "split": Key(toml.text),
                "query_id": Key(toml.text),
                "doc_id": Key(toml.text),
                "grade": Key(toml.text, is_required=False),  # absent: every judgement has grade 1
            }
        )
    ),
}
_PUBLISHED: Schema = {
    "repository": Key(toml.text),
    "revision": Key(toml.text),
    "files": _FILES,
    "config": Key(toml.text),
    "split": Key(toml.text),
    "query_id": Key(toml.text),
    "doc_ids": Key(toml.text),
    "values": Key(toml.map_of(toml.number), is_required=False),
}
_GOOAQ: Schema = {
    "repository": Key(toml.text),
    "revision": Key(toml.text),
    "files": _FILES,
    "config": Key(toml.text),
    "split": Key(toml.text),
    "question": Key(toml.text),
    "answer": Key(toml.text),
    "rows": Key(toml.count),
    "first_rows": Key(toml.count, is_required=False),  # absent: all rows
    "test_size": Key(toml.count),
    "seed": Key(toml.count),
}
_PYDOCS: Schema = {"missing": Key(toml.map_of(toml.texts), is_required=False)}
_LOCAL_FILES: Schema = {
    "corpus": Key(toml.text),
    "queries": Key(toml.text),
    "qrels": Key(toml.map_of(toml.text)),  # split -> file
}
_COUNTS: Schema = {name: Key(toml.count, is_required=False) for name in ("queries", "documents", "judgements")}
_TABLE_OF_KIND: Mapping[Kind, tuple[str, Schema, bool]] = {
    # kind -> its own table, the table's schema, whether it must be there
    "hub": ("hub", _HUB, True),
    "gooaq": ("gooaq", _GOOAQ, True),
    "pydocs": ("pydocs", _PYDOCS, False),
    "beir": ("files", _LOCAL_FILES, True),
    "trec": ("files", _LOCAL_FILES, True),
}


def _schema(kind: Kind, *, is_shipped: bool) -> Schema:
    own_table, own_schema, is_required = _TABLE_OF_KIND[kind]
    described = {
        name: Key(toml.text, is_required=is_shipped)
        for name in ("title", "description", "licence", "homepage", "citation")
    }
    has_columns = kind in {"hub", "beir", "trec"}  # where the rule decides; elsewhere it only describes
    rule = Key(toml.one_of(TITLE_AND_TEXT, TEXT_ONLY) if has_columns else toml.text, is_required=is_shipped)
    return {
        "name": Key(toml.text),
        "kind": Key(toml.text),
        **described,
        "text_rule": rule,
        "drops_self_match": Key(toml.flag, is_required=is_shipped),
        "aliases": Key(toml.texts, is_required=False),
        "counts": Key(toml.table_of(_COUNTS), is_required=is_shipped),
        "grades": Key(toml.grades, is_required=is_shipped),
        "published": Key(toml.table_of(_PUBLISHED), is_required=False),
        own_table: Key(toml.table_of(own_schema), is_required=is_required),
    }


# --- reading ----------------------------------------------------------------------------------------------------


def read_toml(path: Path) -> dict[str, Any]:
    """Return the parsed TOML file.

    Raises:
        DataError: The file does not exist.
        ManifestError: It is not UTF-8, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        msg = f"{path}: no such file"
        raise DataError(msg) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{path}: is not TOML in UTF-8: {error}"
        raise ManifestError(msg) from error


def read_manifest(path: Path, *, is_shipped: bool = False) -> Manifest:
    """Return the manifest in a TOML file.

    Args:
        path: The file.
        is_shipped: Whether the descriptive keys (licence, citation, counts, grades …) must be there, as they must in
            the manifests of the package; a folder's own ``dataset.toml`` may leave them out.

    Raises:
        DataError: The file does not exist.
        ManifestError: Names every problem of the file at once.
    """
    table = read_toml(path)
    problems: list[str] = []
    kind = table.get("kind")
    if kind not in _TABLE_OF_KIND:
        known = list(_TABLE_OF_KIND)
        problems.append(
            describe_unknown("kind", [str(kind)], known)
            if "kind" in table
            else f"kind is missing; known: {', '.join(known)}"
        )
    else:
        toml.check_table("", table, _schema(cast("Kind", kind), is_shipped=is_shipped), problems)
    hub = table.get("hub")
    if not problems and table.get("text_rule") == TITLE_AND_TEXT and hub is not None and "title" not in hub["corpus"]:
        problems.append(f"text_rule is {TITLE_AND_TEXT!r}, but hub.corpus names no title column")
    if problems:
        msg = f"{path}: {len(problems)} problem{'s' if len(problems) > 1 else ''}: " + "; ".join(problems)
        raise ManifestError(msg)
    return _build_manifest(path, table)


def _build_manifest(path: Path, table: Mapping[str, Any]) -> Manifest:
    return Manifest(
        name=table["name"],
        kind=cast("Kind", table["kind"]),
        path=path,
        title=table.get("title", table["name"]),
        text_rule=table.get("text_rule"),
        drops_self_match=table.get("drops_self_match", False),
        aliases=tuple(table.get("aliases", ())),
        counts=table.get("counts", {}),
        grades={int(grade): meaning for grade, meaning in table.get("grades", {}).items()},
        source=_hub_source(table.get("hub") or table.get("gooaq")),
        published=_hub_source(table.get("published")),
        table=table,
    )


def _hub_source(table: Mapping[str, Any] | None) -> HubSource | None:
    if table is None:
        return None
    return HubSource(repository=table["repository"], revision=table["revision"], files=table.get("files", {}))


# --- the shipped manifests --------------------------------------------------------------------------------------


def manifest_folder() -> Path:
    """Return the folder of the manifests: inside an installed package, beside it in a checkout.

    Raises:
        DataError: Neither is there; the installation is broken.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "data_manifests", package.parent / "data_manifests"):
        if (folder / SUITES_FILE).is_file():
            return folder
    msg = f"no data_manifests folder in or beside {package}; the installation is incomplete, install rerank-bench again"
    raise DataError(msg)


def manifest_names() -> tuple[str, ...]:
    """Return the names of all shipped data sets, in alphabetical order; a manifest's file is named after its set."""
    return tuple(sorted((p.stem for p in manifest_folder().glob("*.toml") if p.name != SUITES_FILE), key=str.casefold))


@cache
def _name_by_spelling(folder: Path) -> Mapping[str, str]:
    """Case-folded name or alias -> name."""
    spellings: dict[str, str] = {}
    for name in manifest_names():
        aliases = read_toml(folder / f"{name}.toml").get("aliases", [])
        for spelling in (name, *aliases):
            if spellings.setdefault(spelling.casefold(), name) != name:
                msg = f"{folder}: {spelling!r} stands for both {spellings[spelling.casefold()]} and {name}"
                raise ManifestError(msg)
    return spellings


def find_manifest_name(spelling: str) -> str | None:
    """Return the shipped data set that a name or alias stands for, whatever its case; ``None`` if there is none."""
    return _name_by_spelling(manifest_folder()).get(spelling.casefold())


def load_manifest(name: str) -> Manifest:
    """Return the shipped manifest of a data set.

    Args:
        name: The data set's name or alias, in any case: ``NanoMSMARCO``, ``nanomsmarco`` or ``msmarco``.

    Raises:
        ConfigError: No data set has that name.
        ManifestError: Names every problem of the manifest at once.
    """
    found = find_manifest_name(name)
    if found is None:
        raise ConfigError(describe_unknown("data set", [name], manifest_names()))
    path = manifest_folder() / f"{found}.toml"
    manifest = read_manifest(path, is_shipped=True)
    if manifest.name != found:
        msg = f"{path}: name is {manifest.name!r}, expected the file's own name {found!r}"
        raise ManifestError(msg)
    return manifest
