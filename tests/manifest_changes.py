"""Shipped manifests, changed so that their data comes from a repository of the loopback hub."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from rerank_bench.data.manifests import HubSource, Manifest, load_manifest


def repoint(
    name: str,
    table_name: str,
    repository: str,
    revision: str,
    *,
    counts: Mapping[str, int] | None = None,
    files: Mapping[str, Mapping[str, Any]] | None = None,
    **keys: Any,
) -> Manifest:
    """Return the manifest of a shipped set with another repository and, where given, other counts and checksums.

    Args:
        name: The data set.
        table_name: ``hub``, ``gooaq`` or ``published``: the table that names the repository.
        repository: The repository instead.
        revision: Its revision instead.
        counts: What the data must hold; ``None`` expects nothing.
        files: Known checksums; ``None`` knows none.
        keys: Further keys of the table.
    """
    manifest = load_manifest(name)
    source = HubSource(repository=repository, revision=revision, files=files or {})
    spec = {**manifest.table[table_name], "repository": repository, "revision": revision, **keys}
    table = {**manifest.table, table_name: spec}
    changed = dataclasses.replace(manifest, table=table, counts=counts or {})
    if table_name == "published":
        return dataclasses.replace(changed, published=source)
    return dataclasses.replace(changed, source=source)
