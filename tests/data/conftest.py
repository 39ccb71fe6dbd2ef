"""Fixtures of the data room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_hub import LoopbackHub, use_hub

BAD_FILES = Path(__file__).parent / "bad"


@pytest.fixture
def bad_files() -> Path:
    """The folder of files that must be refused."""
    return BAD_FILES


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    """A hub on 127.0.0.1; this process's clients ask it, with empty caches."""
    with LoopbackHub() as running:
        use_hub(monkeypatch, running, tmp_path / "hf")
        yield running
