"""Quality against speed: one labelled point per model, pairs per second on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from matplotlib.ticker import LogLocator, NullLocator
from matplotlib.transforms import Bbox

from rerank_bench.reporting.drawing import (
    FONT_SIZE,
    GREY,
    condition_lines,
    data_box,
    make_figure,
    model_style,
    place_axes,
    place_labels,
    text_width,
    title_inches,
    wrap_lines,
)
from rerank_bench.reporting.formatting import format_value
from rerank_bench.reporting.labels import shorten_names
from rerank_bench.reporting.tables import Cell, Column, Entry, Table, pairs_per_second

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches.
_WIDTH, _HEIGHT = 8.5, 5.4
_MAX_LABEL_CHARS = 40


class _Point(NamedTuple):
    number: int
    """Position of the model in its table: its colour and marker."""
    entry: Entry
    cell: Cell
    speed: float
    """Pairs per second."""


def draw_speeds(table: Table, num_tables: int) -> Figure | None:
    """Return the plot of one table's first column (the mean where there is one), ``None`` if no model was timed.

    Args:
        table: Its first column gives the values.
        num_tables: How many the leaderboard splits into, for the subtitle.
    """
    column = table.columns[0]
    points = _points(table)
    if not points:
        return None
    notes = condition_lines(table, num_tables)
    notes[0] = f"{_describe(column)} · {notes[0]}"
    notes.append(_describe_machines(points))
    if any(point.cell.interval for point in points):
        notes[-1] += " · whiskers: 95% interval of the gain"
    if len(points) == 1:
        notes.append("one model was timed; a second one makes a comparison")
    notes = wrap_lines(notes, _WIDTH - 0.3)
    figure = make_figure(_WIDTH, _HEIGHT, f"{table.measure} against speed", notes)
    axes = place_axes(figure, left=0.75, right=0.3, top=title_inches(notes) + 0.2, bottom=0.6)
    _limit_axes(axes, points, column)
    for point in points:
        _draw_point(axes, point)
    axes.axhline(column.first_stage, color="black", linewidth=1.0, linestyle=(0, (4, 3)), zorder=2)
    name = _write_first_stage(axes, f"first stage {format_value(column.first_stage)}", column.first_stage)
    labels = shorten_names([point.entry.label for point in points], _MAX_LABEL_CHARS)
    lines = [data_box(axes, axes.get_xlim(), (column.first_stage, column.first_stage))]
    lines += [data_box(axes, (p.speed, p.speed), whisker) for p in points if (whisker := _whisker(p)) is not None]
    place_labels(
        axes,
        [(point.speed, point.cell.value) for point in points],
        [labels[point.entry.label] for point in points],
        obstacles=[name],
        lines=lines,
    )
    axes.set_xlabel("pairs per second (logarithmic)")
    axes.set_ylabel(table.measure)
    return figure


def _points(table: Table) -> list[_Point]:
    if len(table.columns) > 1 and not table.columns[0].is_mean:
        return []  # models that share no data set have no common value
    points = []
    for number, entry in enumerate(table.models):
        cell = entry.cells[0]
        if cell is None:
            continue
        speed = cell.row["pairs_per_second"] if cell.row else pairs_per_second(entry.rows)
        if speed:
            points.append(_Point(number, entry, cell, speed))
    return points


def _describe(column: Column) -> str:
    what = column.title
    if column.is_mean:
        what += " data sets" if column.title.startswith("mean of") else f" of {column.num_datasets} data sets"
    return f"{what}, {column.num_queries:,} queries"


def _describe_machines(points: Sequence[_Point]) -> str:
    rows = [row for point in points for row in point.entry.rows]
    machines = sorted({f"{row['device']} ({row['machine']})" for row in rows if row["machine"]})
    if len(machines) == 1:
        return f"timed on {machines[0]}"
    return f"timed on {len(machines)} different devices: speeds compare with care" if machines else "device unknown"


def _limit_axes(axes: Axes, points: Sequence[_Point], column: Column) -> None:
    """Set the limits, with room for labels beside the outermost points, and readable ticks."""
    speeds = [point.speed for point in points]
    heights = [column.first_stage]
    for point in points:
        heights += _whisker(point) or (point.cell.value, point.cell.value)
    margin = 0.12 * (max(heights) - min(heights)) or 0.05
    axes.set_xscale("log")
    room = 2.2 if len(points) > 1 else 5
    axes.set_xlim(min(speeds) / room, max(speeds) * room)
    axes.set_ylim(min(heights) - margin, max(heights) + margin)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(speeds) / min(speeds) < 100 else (1,)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
    axes.grid(color="#e2e2e2", linewidth=0.6)
    axes.set_axisbelow(True)


def _whisker(point: _Point) -> tuple[float, float] | None:
    """Return the interval of the value: that of the gain, moved by the first stage."""
    if point.cell.interval is None:
        return None
    first_stage = point.cell.value - point.cell.delta
    return first_stage + point.cell.interval[0], first_stage + point.cell.interval[1]


def _draw_point(axes: Axes, point: _Point) -> None:
    colour, marker = model_style(point.number)
    whisker = _whisker(point)
    if whisker is not None:
        axes.plot((point.speed, point.speed), whisker, color=colour, linewidth=1.2, alpha=0.55, zorder=3)
    axes.plot(point.speed, point.cell.value, marker, color=colour, markersize=7, zorder=4)


def _write_first_stage(axes: Axes, text: str, value: float) -> Bbox:
    """Name the first stage's line at its right end, and return the box in pixels that the name takes."""
    axes.text(0.995, value, text, transform=axes.get_yaxis_transform(), ha="right", va="bottom", color=GREY)
    figure = axes.get_figure(root=True)
    dpi = figure.dpi if figure is not None else 100.0
    x1, y0 = axes.transAxes.transform((1.0, 0.0))[0], axes.transData.transform((1.0, value))[1]
    return Bbox.from_extents(x1 - (text_width(text) + 0.1) * dpi, y0, x1, y0 + 1.5 * FONT_SIZE / 72 * dpi)
