"""The run folders of ``gated_runs`` as a fixture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gated_runs import write_run


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the run folder of a model and returns it; options as for ``write_run``."""

    def make(name: str = "model", **options: Any) -> Path:
        return write_run(tmp_path / "runs" / name, **options)

    return make
