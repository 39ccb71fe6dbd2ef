"""Depth curves on a terminal: a line per depth, a column per run, the best depth marked."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rerank_bench.forensics.depth import DepthCurve, DepthReport
from rerank_bench.reporting.formatting import format_delta, format_value
from rerank_bench.reporting.labels import shorten_names

BEST_MARK = "*"
_CELL_WIDTH = len("0.6561 (+0.1157)*")
_GAP = 1
_DEPTH_WIDTH = len("depth") + _GAP


def render_depths(report: DepthReport, *, width: int = 80) -> RenderableType:
    """Return the table as something that rich prints within ``width`` columns."""
    shown = report.datasets[0] if len(report.datasets) == 1 else f"mean of {len(report.datasets)} data sets"
    parts: list[RenderableType] = [
        Text(f"{report.measure} by reranking depth · {shown}, {report.num_queries:,} queries", style="bold"),
        Text(f"view end_to_end · first stage {report.first_stage}"),
        *(Text(f"note: {note}", style="yellow") for note in report.notes),
    ]
    fitting = max(1, (width - _DEPTH_WIDTH) // (_CELL_WIDTH + _GAP))
    for start in range(0, len(report.curves), fitting):
        parts += [Text(), _table(report, report.curves[start : start + fitting], width)]
    parts += [Text(), *(Text(_verdict(report, curve)) for curve in report.curves)]
    parts.append(
        Text("(+…) gain over the first stage (depth 0) · * best depth, chosen on these same queries", style="dim")
    )
    return Group(*parts)


def _table(report: DepthReport, curves: Sequence[DepthCurve], width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP, 0, 0))
    table.add_column("depth", justify="right", no_wrap=True)
    names = shorten_names(
        [curve.label for curve in curves], max(_CELL_WIDTH, (width - _DEPTH_WIDTH) // len(curves) - _GAP)
    )
    for curve in curves:
        table.add_column(Text(names[curve.label]), justify="right", no_wrap=True)
    for position, depth in enumerate(report.depths):
        table.add_row(str(depth), *(_cell(curve, position) for curve in curves))
    return table


def _cell(curve: DepthCurve, position: int) -> Text:
    value, is_best = curve.values[position], position == curve.best
    mark = BEST_MARK if is_best else " "
    return Text(
        f"{format_value(value)} ({format_delta(value - curve.values[0])}){mark}", style="bold" if is_best else ""
    )


def _verdict(report: DepthReport, curve: DepthCurve) -> str:
    best, full = report.depths[curve.best], report.depths[-1]
    if best == full:
        return f"{curve.label}: best at the full depth, {full}"
    gain = curve.values[curve.best] - curve.values[-1]
    interval = (
        ""
        if curve.best_gain_interval is None
        else (f" (95% interval {' '.join(map(format_delta, curve.best_gain_interval))})")
    )
    where = f"depth {best}" if best else "depth 0, without reranking"
    return f"{curve.label}: best at {where}, {format_delta(gain)} against depth {full}{interval}"
