"""Gain over the first stage with its 95% interval: a point with a whisker per data set and model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from rerank_bench.reporting.drawing import (
    FONT_SIZE,
    GREY,
    condition_lines,
    make_figure,
    model_style,
    place_axes,
    text_width,
    title_inches,
    wrap_lines,
)
from rerank_bench.reporting.formatting import format_delta
from rerank_bench.reporting.labels import shorten_names
from rerank_bench.reporting.tables import Cell, Column, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_MODELS = 10
"""The best ones; with more, whiskers and legend cannot be read."""

# Inches.
_WIDTH = 8.5
_LEGEND_LINE = 0.2
_AXIS_LABELS = 0.55
_ABOVE_AXES = 0.34

_NAME_CHARS = 44
_LEGEND_CHARS = 78


@dataclass(frozen=True, slots=True)
class _Group:
    """What stands at one tick: a data set with a mark per model, or one model alone."""

    label: str
    marks: tuple[tuple[int, Cell | None], ...]
    """(position of the model, cell)."""
    is_mean: bool = False


def draw_deltas(table: Table, num_tables: int) -> Figure:
    """Return the plot of one table; with one data set, models are named at the axis instead of in a legend.

    Args:
        table: With at least one model.
        num_tables: How many the leaderboard splits into, for the subtitle.
    """
    models = table.models[:MAX_MODELS]
    is_single = len(table.columns) == 1
    names = shorten_names([entry.label for entry in models], _NAME_CHARS if is_single else _LEGEND_CHARS)
    if is_single:
        groups = [_Group(names[entry.label], ((i, entry.cells[0]),)) for i, entry in enumerate(models)]
    else:
        groups = [
            _Group(_tick(column), tuple((i, entry.cells[at]) for i, entry in enumerate(models)), column.is_mean)
            for at, column in enumerate(table.columns)
        ]
    pitch, gap = (0.27, 0.0) if is_single else (0.13, 0.15)
    height = pitch * len(groups[0].marks) + gap
    legend = [] if is_single else [names[entry.label] for entry in models]
    num_columns, legend_inches = _legend_shape(legend)
    notes = wrap_lines(_notes(table, num_tables), _WIDTH - 0.3)
    # The figure's height follows from what stands in it, so marks keep their distance whatever their number.
    above, below = title_inches(notes) + _ABOVE_AXES, _AXIS_LABELS + legend_inches
    title = f"Gain in {table.measure} over the first stage"
    figure = make_figure(_WIDTH, above + height * len(groups) + below, title, notes)
    left = max(text_width(group.label) for group in groups) + 0.35
    axes = place_axes(figure, left=left, right=0.85 if is_single else 0.25, top=above, bottom=below)
    _draw_groups(axes, groups, height, pitch)
    _finish_axes(axes, table.measure)
    if is_single:
        _write_values(axes, groups, height)
    else:
        _draw_legend(figure, legend, num_columns)
    return figure


def _notes(table: Table, num_tables: int) -> list[str]:
    notes = condition_lines(table, num_tables)
    if len(table.columns) == 1:
        notes[0] = f"{table.columns[0].title}, {table.columns[0].num_queries:,} queries · {notes[0]}"
    if len(table.models) > MAX_MODELS:
        notes.append(f"the best {MAX_MODELS} of {len(table.models)} models")
    marks = ["95% intervals; hollow where the interval includes zero"]
    if any(cell is not None and cell.interval is None for entry in table.models for cell in entry.cells):
        marks.append("without a whisker: no interval is known")
    if len(table.columns) > 1:
        marks.append("n: number of queries")
    return [*notes, " · ".join(marks)]


def _tick(column: Column) -> str:
    return f"{shorten_names([column.title], _NAME_CHARS)[column.title]}   n = {column.num_queries:,}"


def _draw_groups(axes: Axes, groups: Sequence[_Group], height: float, pitch: float) -> None:
    """Draw the marks; the vertical axis counts inches from the top."""
    axes.set_ylim(height * len(groups), 0)
    for position, group in enumerate(groups):
        top = position * height
        first = top + (height - pitch * len(group.marks)) / 2 + pitch / 2
        if position % 2 == 0 and len(groups) > 1:
            axes.axhspan(top, top + height, color="#f4f4f4", zorder=0, linewidth=0)
        if group.is_mean:
            axes.axhline(top + height, color="#999999", linewidth=0.8, zorder=1)
        for line, (number, cell) in enumerate(group.marks):
            if cell is not None:
                _draw_mark(axes, cell, first + line * pitch, number)
    axes.set_yticks([(position + 0.5) * height for position in range(len(groups))], [group.label for group in groups])


def _draw_mark(axes: Axes, cell: Cell, y: float, number: int) -> None:
    colour, marker = model_style(number)
    includes_zero = cell.interval is not None and cell.interval[0] <= 0 <= cell.interval[1]
    if cell.interval is not None:
        axes.plot(cell.interval, (y, y), color=colour, linewidth=1.3, solid_capstyle="butt", zorder=3)
    face = "white" if includes_zero else colour
    axes.plot(cell.delta, y, marker, markersize=5, markerfacecolor=face, markeredgecolor=colour, zorder=4)


def _write_values(axes: Axes, groups: Sequence[_Group], height: float) -> None:
    """Write each gain at the right edge, level with its mark."""
    for position, group in enumerate(groups):
        cell = group.marks[0][1]
        if cell is not None:
            axes.annotate(
                format_delta(cell.delta),
                (1, (position + 0.5) * height),
                xycoords=axes.get_yaxis_transform(),
                xytext=(54, 0),
                textcoords="offset points",
                ha="right",
                va="center_baseline",
            )


def _finish_axes(axes: Axes, measure: str) -> None:
    axes.axvline(0, color="black", linewidth=1.0, zorder=2)
    axes.margins(x=0.06)
    axes.autoscale_view(scaley=False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6, zorder=1)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
    ticks = axes.get_xticks()
    decimals = max(2, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    axes.xaxis.set_major_formatter(lambda value, _: f"{round(value, 9) + 0.0:+.{decimals}f}")
    axes.set_xlabel(f"{measure}: reranked − first stage")
    # Above the axes, so that the name of the zero line covers no mark.
    transform = axes.get_xaxis_transform()
    axes.text(0, 1.0, "first stage\n", transform=transform, ha="center", va="baseline", color=GREY, linespacing=0.6)


def _legend_shape(names: Sequence[str]) -> tuple[int, float]:
    """Return the number of the legend's columns, and the inches that it takes."""
    if not names:
        return 1, 0.0
    widest = max(text_width(name) for name in names) + 0.55
    num_columns = max(1, min(len(names), int((_WIDTH - 0.3) / widest)))
    return num_columns, _LEGEND_LINE * -(-len(names) // num_columns) + 0.05


def _draw_legend(figure: Figure, names: Sequence[str], num_columns: int) -> None:
    handles = []
    for number in range(len(names)):
        colour, marker = model_style(number)
        handles.append(Line2D([], [], color=colour, marker=marker, markersize=5, linewidth=1.3))
    figure.legend(
        handles,
        names,
        loc="lower left",
        bbox_to_anchor=(0.1 / _WIDTH, 0.0),
        ncols=num_columns,
        frameon=False,
        fontsize=FONT_SIZE,
        handlelength=2.0,
        labelspacing=0.35,
    )
