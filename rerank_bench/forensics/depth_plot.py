"""The picture of depth curves: a line per run, its best depth marked and named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from rerank_bench.forensics.depth import DepthCurve, DepthReport
from rerank_bench.reporting.drawing import (
    FONT_SIZE,
    GREY,
    data_box,
    make_figure,
    model_style,
    place_axes,
    place_labels,
    plot_style,
    title_inches,
    wrap_lines,
)
from rerank_bench.reporting.formatting import format_value
from rerank_bench.reporting.labels import shorten_names
from rerank_bench.reporting.plots import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# Inches.
_WIDTH, _AXES_HEIGHT, _AXIS_LABELS = 8.5, 4.2, 0.55
_NAME_CHARS = 40


def write_depth_plot(path: str | Path, report: DepthReport) -> None:
    """Write the picture as PNG or SVG, by the name's ending.

    Raises:
        ConfigError: The name ends otherwise.
        EnvironmentMissingError: The folder is read-only or the disk is full.
    """
    with plot_style():
        save_figure(draw_depths(report), Path(path))


def draw_depths(report: DepthReport) -> Figure:
    """Return the picture of a report; to be called within ``drawing.plot_style``."""
    notes = wrap_lines(_notes(report), _WIDTH - 0.3)
    above = title_inches(notes) + 0.2
    title = f"{report.measure} by reranking depth"
    figure = make_figure(_WIDTH, above + _AXES_HEIGHT + _AXIS_LABELS, title, notes)
    axes = place_axes(figure, left=0.75, right=0.3, top=above, bottom=_AXIS_LABELS)
    for number, curve in enumerate(report.curves):
        _draw_curve(axes, report, curve, number)
    _name_curves(axes, report, _finish_axes(axes, report))
    return figure


def _notes(report: DepthReport) -> list[str]:
    shown = report.datasets[0] if len(report.datasets) == 1 else f"mean of {len(report.datasets)} data sets"
    return [
        f"{shown}, {report.num_queries:,} queries · view end_to_end · first stage {report.first_stage}",
        "the first d candidates reranked, the others below them in first-stage order · filled mark: the best depth",
    ]


def _draw_curve(axes: Axes, report: DepthReport, curve: DepthCurve, number: int) -> None:
    colour, marker = model_style(number)
    axes.plot(
        report.depths, curve.values, color=colour, marker=marker, markersize=3.5, markerfacecolor="white", linewidth=1.3
    )
    axes.plot(report.depths[curve.best], curve.values[curve.best], marker, markersize=8, color=colour, zorder=5)


def _finish_axes(axes: Axes, report: DepthReport) -> Text:
    """Draw everything that is no curve, and return the label of the first stage's line."""
    first_stage = report.curves[0].values[0]
    axes.axhline(first_stage, color=GREY, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    axes.margins(x=0.03, y=0.16)
    axes.autoscale_view()
    axes.grid(axis="y", color="#dddddd", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, steps=[1, 2, 5, 10]))
    axes.set_xlabel("documents reranked per query (0: the first stage)")
    axes.set_ylabel(report.measure)
    return axes.annotate(
        f"first stage {format_value(first_stage)}",
        (1, first_stage),
        xycoords=axes.get_yaxis_transform(),
        xytext=(-2, 4),
        textcoords="offset points",
        ha="right",
        color=GREY,
        fontsize=FONT_SIZE - 1,
    )


def _name_curves(axes: Axes, report: DepthReport, first_stage_label: Text) -> None:
    """Name each curve at its best depth, or at its end where that is the first stage, which all curves share."""
    names = shorten_names([curve.label for curve in report.curves], _NAME_CHARS)
    named = [curve.best or len(report.depths) - 1 for curve in report.curves]
    points = [
        (report.depths[position], curve.values[position]) for position, curve in zip(named, report.curves, strict=True)
    ]
    labels = [
        f"{names[curve.label]}: best {format_value(curve.values[curve.best])} at {report.depths[curve.best]}"
        for curve in report.curves
    ]
    segments = [
        data_box(axes, (x0, x1), (min(y0, y1), max(y0, y1)))
        for curve in report.curves
        for x0, x1, y0, y1 in zip(report.depths, report.depths[1:], curve.values, curve.values[1:], strict=False)
    ]
    first_stage = report.curves[0].values[0]
    line = data_box(axes, (report.depths[0], report.depths[-1]), (first_stage, first_stage))
    place_labels(axes, points, labels, obstacles=[first_stage_label.get_window_extent()], lines=[*segments, line])
