"""Fixtures of the data room: a loopback hub that this process's clients ask, and manifests that point there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from loopback_hub import LoopbackHub, use_hub

from rerank_bench.data.manifests import HubSource, Manifest, load_manifest

BAD_FILES = Path(__file__).parent / "bad"

Repoint = Callable[..., Manifest]


@pytest.fixture
def bad_files() -> Path:
    return BAD_FILES


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    """A hub on 127.0.0.1; this process's clients ask it, with empty caches."""
    with LoopbackHub() as running:
        use_hub(monkeypatch, running, tmp_path / "hf")
        yield running


@pytest.fixture
def repoint() -> Repoint:
    """Change a shipped manifest so that its data comes from a repository of the loopback hub."""

    def change(
        name: str,
        table_name: str,
        repository: str,
        revision: str,
        *,
        counts: Mapping[str, int] | None = None,
        files: Mapping[str, Mapping[str, Any]] | None = None,
        **keys: Any,
    ) -> Manifest:
        manifest = load_manifest(name)
        source = HubSource(repository=repository, revision=revision, files=files or {})
        spec = {**manifest.table[table_name], "repository": repository, "revision": revision, **keys}
        place = {"published": source} if table_name == "published" else {"source": source}
        table = {**manifest.table, table_name: spec}
        return dataclasses.replace(manifest, table=table, counts=counts or {}, **place)

    return change
