"""The page beside a leaderboard is rendered from it, and checked against it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from sample_results import make_rows

from rerank_bench.errors import ConfigError, DataError
from rerank_bench.reporting.leaderboard import update_leaderboard
from rerank_bench.reporting.page import check_page, render_page

COMMITTED = Path(__file__).parents[2] / "leaderboards" / "results.csv"


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    path = tmp_path / "board" / "results.csv"
    update_leaderboard(path, make_rows(["first-stage", "one/model", "other/model"], {"NanoNQ": 0.5}))
    return path


def test_the_page_stands_beside_the_csv_and_shows_its_plots(csv_file: Path) -> None:
    page = render_page(csv_file)
    text = page.page.read_text(encoding="utf-8")
    assert page.page == csv_file.parent / "README.md"
    assert {path.suffix for path in page.plots} == {".png", ".svg"}
    for path in page.plots:
        assert path.is_file()
        assert (f"](plots/{path.name})" in text) == (path.suffix == ".png")
    assert check_page(csv_file).page == page.page


def test_a_readme_of_the_users_own_is_left_alone(csv_file: Path, tmp_path: Path) -> None:
    own = csv_file.parent / "README.md"
    own.write_text("# My project\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"README\.md: is no page of a leaderboard.*--out"):
        render_page(csv_file)
    assert own.read_text(encoding="utf-8") == "# My project\n"
    assert not (csv_file.parent / "plots").exists()
    render_page(csv_file, out=tmp_path / "site")
    render_page(csv_file, out=tmp_path / "site")


def test_another_folder_can_be_chosen(csv_file: Path, tmp_path: Path) -> None:
    page = render_page(csv_file, out=tmp_path / "site", view="injected")
    assert page.page == tmp_path / "site" / "README.md"
    assert not (csv_file.parent / "README.md").exists()
    assert check_page(csv_file, out=tmp_path / "site", view="injected")


def test_a_page_that_is_absent_or_edited_is_named(csv_file: Path) -> None:
    with pytest.raises(DataError, match=r"README\.md: does not exist; run `rerank-bench leaderboard "):
        check_page(csv_file)
    page = render_page(csv_file).page
    page.write_text(page.read_text() + "\n0.9999\n")
    with pytest.raises(DataError, match=r"README\.md: is not what .*results\.csv renders to"):
        check_page(csv_file)


def test_the_committed_page_is_what_the_committed_leaderboard_renders_to() -> None:
    compare = ["git", "diff", "--quiet", "HEAD", "--", COMMITTED.name]
    if (COMMITTED.parents[1] / ".git").exists() and subprocess.run(
        compare, check=False, cwd=COMMITTED.parent
    ).returncode:
        pytest.skip("this checkout's leaderboard has results of its own, as after the README's first command")
    assert check_page(COMMITTED).page.is_file()
