"""The page of a leaderboard: README.md and plots beside the CSV, rendered from it and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rerank_bench.errors import ConfigError, DataError
from rerank_bench.reporting.leaderboard import read_leaderboard
from rerank_bench.reporting.markdown import RENDERED_BY, render_markdown
from rerank_bench.reporting.plots import write_plots
from rerank_bench.storage import write_text

if TYPE_CHECKING:
    import pandas as pd

PAGE_FILE = "README.md"
PLOTS_FOLDER = "plots"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderboardPage:
    """A leaderboard and what was rendered from it."""

    frame: pd.DataFrame
    page: Path
    plots: Sequence[Path]


def render_page(csv: Path, *, view: str = "end_to_end", out: Path | None = None) -> LeaderboardPage:
    """Write ``README.md`` and the plots of a leaderboard.

    Args:
        csv: The leaderboard.
        view: The view that leads.
        out: Folder for the page; ``None``: beside the CSV.

    Raises:
        ConfigError: A ``README.md`` stands there that is no page of a leaderboard; it is left alone.
        DataError: The leaderboard does not exist, holds no row, or has a malformed line.
        EnvironmentMissingError: The folder is read-only or the disk is full.
    """
    frame = read_leaderboard(csv)
    folder = out if out is not None else csv.parent
    page = folder / PAGE_FILE
    if page.exists() and RENDERED_BY not in page.read_text(encoding="utf-8", errors="replace"):
        msg = f"{page}: is no page of a leaderboard, and is left alone; choose another folder with --out"
        raise ConfigError(msg)
    plots = write_plots(frame, folder / PLOTS_FOLDER, view=view)
    write_text(page, _page_text(frame, view, plots))
    return LeaderboardPage(frame=frame, page=page, plots=plots)


def check_page(csv: Path, *, view: str = "end_to_end", out: Path | None = None) -> LeaderboardPage:
    """Compare ``README.md`` with what the CSV renders to; nothing is written.

    Raises:
        DataError: The page is absent or differs.
    """
    frame = read_leaderboard(csv)
    folder = out if out is not None else csv.parent
    page = folder / PAGE_FILE
    plots = sorted((folder / PLOTS_FOLDER).glob("*.[ps][nv]g"))
    found = page.read_text(encoding="utf-8") if page.exists() else None
    if found != _page_text(frame, view, plots):
        problem = "does not exist" if found is None else f"is not what {csv} renders to"
        msg = f"{page}: {problem}; run `rerank-bench leaderboard {csv}` and commit the page"
        raise DataError(msg)
    return LeaderboardPage(frame=frame, page=page, plots=plots)


def _page_text(frame: pd.DataFrame, view: str, plots: Sequence[Path]) -> str:
    shown = sorted(f"{PLOTS_FOLDER}/{path.name}" for path in plots if path.suffix == ".png")
    return render_markdown(frame, view=view, plots=shown)
