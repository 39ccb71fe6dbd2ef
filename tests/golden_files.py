"""Rendered outputs under tests/golden, compared byte for byte; ``pytest --update-golden`` rewrites them."""

from __future__ import annotations

from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"


def assert_golden(name: str, text: str, *, update: bool) -> None:
    """Compare ``text`` with the golden file, or write it when ``update``."""
    path = GOLDEN / name
    if update:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    assert path.read_text(encoding="utf-8") == text
