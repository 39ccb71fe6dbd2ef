"""The leaderboard on a terminal: tables that keep to the width, however many data sets and models there are.

Models stand in lines and data sets in columns where that fits.  Where it does not, the table is cut into blocks, either
way round: whichever takes fewer lines.  A mark beside the value (``*``, ``≈``) says what bold says, so nothing is lost
without styles.  Rich leaves colours out under NO_COLOR and off a terminal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from rerank_bench.reporting.columns import PRIMARY_MEASURE, Row
from rerank_bench.reporting.formatting import (
    MISSING,
    describe_table,
    format_cell,
    format_interval,
    format_p,
    format_rate,
    format_value,
)
from rerank_bench.reporting.labels import shorten_names
from rerank_bench.reporting.tables import Cell, Entry, Table, build_tables

if TYPE_CHECKING:
    import pandas as pd

BEST_MARK, CLOSE_MARK = "*", "≈"
_GAP = 2
"""Blanks between two columns."""
_NAME_WIDTH = 16
"""The least that a model's name gets, if it is that long."""
_ROOMY_NAME_WIDTH = 24
"""The same where only one data set is shown: further figures must not press the names."""
_TITLE_WIDTH = 24
"""The most that a data set's name gets."""
_CELL_WIDTH = len("0.6561 (+0.1157)*")


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a grid, before it is cut into blocks."""

    name: str
    cells: list[Text]
    style: str = ""


def render_terminal(
    frame: pd.DataFrame, *, view: str = "end_to_end", width: int = 80, measure: str = PRIMARY_MEASURE
) -> RenderableType:
    """Return the tables of one view as something that rich prints within ``width`` columns.

    Args:
        frame: A leaderboard.
        view: The view to show.
        width: Columns of the terminal; below 40 values are cut.
        measure: One of the leaderboard's measures.

    Raises:
        ConfigError, DataError: As ``tables.build_tables``.
    """
    parts: list[RenderableType] = []
    for number, table in enumerate(build_tables(frame, view=view, measure=measure)):
        if number:
            parts.append(Text())
        parts += _render_table(table, width)
    return Group(*parts)


def _render_table(table: Table, width: int) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(describe_table(table), style="bold")]
    if table.differences:
        parts.append(Text("Not comparable with the first table:", style="yellow"))
        parts += [Text(f"  {sentence}", style="yellow") for sentence in table.differences]
    parts.append(Text())
    if len(table.columns) == 1:
        grids = [_single_column(table, width)]
    else:
        upright, lying = _models_in_lines(table, width), _models_in_columns(table, width)
        grids = upright if len(upright) == 1 or _num_lines(upright) < _num_lines(lying) else lying
    for grid in grids:
        parts += [grid, Text()]
    parts.append(Text(_legend(table), style="dim"))
    return parts


def _num_lines(grids: Sequence[RichTable]) -> int:
    return sum(grid.row_count + 3 for grid in grids)


def _legend(table: Table) -> str:
    parts = ["(+…) gain over the first stage"]
    cells = [cell for entry in table.models for cell in entry.cells]
    if any(cell is not None and cell.is_best for cell in cells):
        parts.append(f"{BEST_MARK} best")
    if any(cell is not None and cell.is_close for cell in cells):
        parts.append(f"{CLOSE_MARK} 95% interval touches the best's: not distinguishable")
    if None in cells:
        parts.append(f"{MISSING} not run")
    return " · ".join(parts)


def _cell_text(cell: Cell | None) -> Text:
    if cell is None:
        return Text(MISSING)
    mark = BEST_MARK if cell.is_best else CLOSE_MARK if cell.is_close else " "
    return Text(format_cell(cell) + mark, style="bold" if cell.is_best else "")


def _style(entry: Entry) -> str:
    return "dim" if entry.is_baseline else ""


def _titles(table: Table, width: int) -> list[str]:
    """Return the columns' titles, short enough to stand beside a cell."""
    fitting = min(_TITLE_WIDTH, width - _CELL_WIDTH - _GAP)
    short = shorten_names([column.title for column in table.columns], max(8, fitting))
    return [short[column.title] for column in table.columns]


def _models_in_lines(table: Table, width: int) -> list[RichTable]:
    """Return blocks of columns, each with all models."""
    entries = (*table.models, *table.baselines)
    lines = [_Line(entry.label, [_cell_text(cell) for cell in entry.cells], _style(entry)) for entry in entries]
    titles = _titles(table, width)
    cell_width = max(_CELL_WIDTH, *map(len, titles))
    longest = max(len(line.name) for line in lines)
    blocks = _blocks(len(titles), width - min(longest, _NAME_WIDTH), cell_width)
    name_width = max(_NAME_WIDTH, width - len(blocks[0]) * (cell_width + _GAP))
    names = shorten_names([line.name for line in lines], name_width)
    return [
        _grid("model", titles, [_Line(names[ln.name], ln.cells, ln.style) for ln in lines], block) for block in blocks
    ]


def _models_in_columns(table: Table, width: int) -> list[RichTable]:
    """Return blocks of models, each with all data sets."""
    entries = (*table.models, *table.baselines)
    lines = [
        _Line(title, [_cell_text(entry.cells[position]) for entry in entries])
        for position, title in enumerate(_titles(table, width))
    ]
    names = shorten_names([entry.label for entry in entries], 2 * _CELL_WIDTH)
    titles = [_fold(names[entry.label], _CELL_WIDTH) for entry in entries]
    label_width = max(len("data set"), *(len(line.name) for line in lines))
    blocks = _blocks(len(titles), width - label_width, _CELL_WIDTH)
    styles = [_style(entry) for entry in entries]
    return [_grid("data set", titles, lines, block, styles=styles) for block in blocks]


def _blocks(num_columns: int, width: int, cell_width: int) -> list[range]:
    """Return the positions of each block, as even as can be, at least one column each."""
    fitting = max(1, width // (cell_width + _GAP))
    size = math.ceil(num_columns / math.ceil(num_columns / fitting))
    return [range(start, min(start + size, num_columns)) for start in range(0, num_columns, size)]


def _fold(name: str, width: int) -> str:
    """Return the name on at most two lines of ``width`` characters, broken after a separator if it can be."""
    if len(name) <= width:
        return name
    breaks = [i + 1 for i, letter in enumerate(name[:width]) if letter in "/-_ " and len(name) - i - 1 <= width]
    at = breaks[-1] if breaks else width
    return f"{name[:at]}\n{name[at:]}"


def _grid(
    corner: str,
    titles: Sequence[str],
    lines: Sequence[_Line],
    block: range,
    *,
    styles: Sequence[str] | None = None,
    right_from: int | None = None,
) -> RichTable:
    """Return one block; the columns from ``right_from`` on are aligned to the right."""
    grid = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    grid.add_column(corner, no_wrap=True, vertical="bottom")
    for position in block:
        grid.add_column(
            Text(titles[position]),  # as Text: brackets in a name are no markup
            no_wrap=True,
            style=styles[position] if styles else "",
            justify="right" if right_from is not None and position >= right_from else "left",
        )
    for line in lines:
        grid.add_row(Text(line.name), *(line.cells[position] for position in block), style=line.style)
    return grid


class _Figure(NamedTuple):
    """A further figure that stands beside the value of a single data set."""

    title: str
    width: int
    render: Callable[[Row], str]


def _figure(title: str, width: int, column: str, render: Callable[[float], str]) -> _Figure:
    return _Figure(title, width, lambda row: MISSING if row[column] is None else render(row[column]))


_INTERVAL = _Figure(
    "95% interval",
    len("+0.0580 +0.1590"),
    lambda row: format_interval(None if row["ci_low"] is None else (row["ci_low"], row["ci_high"])),
)
_SPEED = _figure("pairs/s", 7, "pairs_per_second", format_rate)
_HEADROOM = _figure("headroom", 8, "headroom_used", "{:.0%}".format)
_P_VALUE = _figure("p", 6, "p", format_p)
_RECIPROCAL_RANK = _figure("RR@10", 6, "rr_at_10", format_value)
_PRECISION = _figure("AP", 6, "ap", format_value)
_FIGURES = (_INTERVAL, _P_VALUE, _HEADROOM, _RECIPROCAL_RANK, _PRECISION, _SPEED)
_FIGURES_BY_NEED = (_INTERVAL, _SPEED, _HEADROOM, _P_VALUE, _RECIPROCAL_RANK, _PRECISION)


def _single_column(table: Table, width: int) -> RichTable:
    """Return the table of one data set, with as many further figures as the width allows."""
    entries = (*table.models, *table.baselines)
    title = f"{_titles(table, width - len(table.measure))[0]} {table.measure}"
    value_width = max(_CELL_WIDTH, len(title))
    roomy = max(8, min(_ROOMY_NAME_WIDTH, width - _GAP - value_width))
    longest = min(max(len(entry.label) for entry in entries), roomy)
    left = width - longest - _GAP - value_width
    chosen = []
    for figure in _FIGURES_BY_NEED if table.measure == PRIMARY_MEASURE else (_SPEED,):
        if figure.width + _GAP > left:
            break
        left -= figure.width + _GAP
        chosen.append(figure)
    figures = [figure for figure in _FIGURES if figure in chosen]
    names = shorten_names([entry.label for entry in entries], longest + max(0, left))
    lines = []
    for entry in entries:
        cell = entry.cells[0]
        texts = [Text(MISSING if cell is None or cell.row is None else figure.render(cell.row)) for figure in figures]
        lines.append(_Line(names[entry.label], [_cell_text(cell), *texts], _style(entry)))
    titles = [title, *(figure.title for figure in figures)]
    return _grid("model", titles, lines, range(len(titles)), right_from=1)
