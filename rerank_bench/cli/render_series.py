"""What ``rerank-bench leaderboard --checkpoints`` prints: a table per data set, by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from rerank_bench.jobs.checkpoint_series import CheckpointSeries
    from rerank_bench.reporting.learning_curve import LearningCurve

MAX_TABLES = 5


def render_series(console: Console, series: CheckpointSeries) -> None:
    """Print the curves as tables, then where everything stands."""
    from rerank_bench.reporting.columns import PRIMARY_MEASURE

    console.print(f"{PRIMARY_MEASURE} · {series.conditions}", markup=False)
    for curve in series.curves[:MAX_TABLES]:
        console.print(_table(curve))
    if len(series.curves) > MAX_TABLES:
        rest = ", ".join(curve.name for curve in series.curves[MAX_TABLES:])
        console.print(f"in the picture and with --json: {rest}", markup=False)
    console.print("(+…) gain over the first stage, with its 95% interval; * the weights that were kept", markup=False)
    console.print()
    places = [] if series.leaderboard is None else [("leaderboard", series.leaderboard)]
    places += [("picture", path) for path in series.pictures if path.suffix == ".png"]
    for name, path in places:
        console.print(f"{name:<12} {path}", markup=False, soft_wrap=True)


def _table(curve: LearningCurve) -> Table:
    from rerank_bench.reporting.formatting import MISSING, format_delta, format_interval, format_p, format_value

    title = f"{curve.title} · {curve.num_queries:,} queries · first stage {format_value(curve.first_stage)}"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="bold")
    for name in ("step", "checkpoint", "nDCG@10", "95% interval", "p"):
        table.add_column(name, justify="left" if name == "checkpoint" else "right", no_wrap=name != "checkpoint")
    for point in curve.points:
        table.add_row(
            MISSING if point.step is None else f"{point.step:,}",
            f"{point.model}{' *' if point.is_kept else ''}",
            f"{format_value(point.value)} ({format_delta(point.delta)})",
            format_interval(point.interval),
            format_p(point.p),
        )
    return table
