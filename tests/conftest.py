"""Fixtures shared by all tests; each room's tests keep their own beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the files under tests/golden")


@pytest.fixture(autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test away from the user's cache and from the checkout: a run there adds to its leaderboard."""
    monkeypatch.setenv("RERANK_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.chdir(tmp_path_factory.mktemp("work"))


@pytest.fixture
def shared_data() -> Path:
    """The folder of real collections beside the checkout; a user's clone has none, and skips."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real collections at {SHARED_DATA.name}/ beside the checkout")
    return SHARED_DATA


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are rewritten instead of compared."""
    return bool(request.config.getoption("--update-golden"))
