"""Two rerankers on two data sets, as run folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_folders import write_run_of

SIZES = {"alpha": 30, "beta": 17}


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs ``weak``, ``strong`` and ``same`` (as strong, named alike, elsewhere)."""
    folder = tmp_path_factory.mktemp("runs")
    write_run_of(folder / "weak", "weak", SIZES, skill=0.3, seed=1, suite="both")
    write_run_of(folder / "strong", "strong", SIZES, skill=2.0, seed=2, suite="both")
    write_run_of(folder / "again" / "strong", "strong", SIZES, skill=2.0, seed=2, suite="both")
    return folder
