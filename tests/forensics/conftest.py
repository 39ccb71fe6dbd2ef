"""Runs over the worlds of ``sample_worlds``."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_builder import World, write_run, write_world
from sample_worlds import AFTER, BEFORE, CANDIDATES, DOCS, QRELS, QUERIES, random_scores, random_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Five queries with one fate each."""
    return write_world(tmp_path / "hand", docs=DOCS, queries=QUERIES, qrels=QRELS, candidates=CANDIDATES)


@pytest.fixture
def before(tmp_path: Path, world: World) -> Path:
    """A run that ranks well."""
    return write_run(tmp_path / "runs" / "before", {"hand": world}, {"hand": BEFORE}, max_length=512)


@pytest.fixture
def after(tmp_path: Path, world: World) -> Path:
    """A run over the same candidates that loses one query and wins another."""
    return write_run(tmp_path / "runs" / "after", {"hand": world}, {"hand": AFTER}, max_length=8)


@pytest.fixture(scope="session")
def random_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs over two data sets of different sizes, with graded judgements, misses and tied scores; only to be read."""
    tmp_path = tmp_path_factory.mktemp("random")
    worlds = {
        name: random_world(tmp_path / name, number, 9 + 14 * number) for number, name in enumerate(("one", "two"))
    }
    runs = []
    for seed in (1, 2):
        scores = {name: random_scores(world, seed) for name, world in worlds.items()}
        runs.append(write_run(tmp_path / f"run{seed}", worlds, scores))
    return runs[0], runs[1]
