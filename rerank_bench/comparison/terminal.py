"""A comparison on a terminal: what does not fit beside one another stands below, with the lines' names repeated."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rerank_bench.comparison.layout import SIGNIFICANT, TextTable, describe_conditions, describe_runs, explain, lay_out
from rerank_bench.comparison.records import Comparison
from rerank_bench.reporting.labels import shorten_names

_GAP = 2
_NAME_WIDTH = 30
"""The most that a line's name gets: ``a − b`` of two shortened names."""
_TITLE_WIDTH = 16
"""The most that a run's or a data set's name gets as the title of a column."""


def render_terminal(comparison: Comparison, *, width: int = 80) -> RenderableType:
    """Return a comparison as something that rich prints within ``width`` columns."""
    parts: list[RenderableType] = [Text(describe_conditions(comparison), style="bold"), Text()]
    runs = Table(box=None, show_header=False, pad_edge=False, padding=(0, _GAP, 0, 0))
    runs.add_column(no_wrap=True)
    runs.add_column(overflow="fold")
    for label, place in describe_runs(comparison).items():
        runs.add_row(Text(label), Text(place, style="dim"))
    parts.append(runs)
    for table in lay_out(comparison):
        parts.append(Text())
        if table.heading:
            parts.append(Text(table.heading, style="bold"))
        parts += _grids(table, width)
    parts.append(Text())
    parts += [Text(sentence, style="dim") for sentence in explain(comparison)]
    return Group(*parts)


def _grids(table: TextTable, width: int) -> list[RenderableType]:
    """Return a table as blocks of columns, each within the width."""
    names = _shorten_lines([name for name, _ in table.lines])
    titles = _titles(table)
    name_width = max(len(table.corner), *(len(name) for name in names))
    widths = [
        max(len(title), *(len(cells[position]) for _, cells in table.lines)) for position, title in enumerate(titles)
    ]
    grids: list[RenderableType] = []
    for block in _blocks(widths, width - name_width):
        grid = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
        grid.add_column(table.corner, no_wrap=True)
        for position in block:
            grid.add_column(Text(titles[position]), no_wrap=True, justify="right")
        for name, (_, cells) in zip(names, table.lines, strict=True):
            grid.add_row(Text(name), *(_cell(cells[position]) for position in block))
        if grids:
            grids.append(Text())
        grids.append(grid)
    return grids


def _cell(text: str) -> Text:
    return Text(text, style="bold" if text.endswith(SIGNIFICANT) else "")


def _blocks(widths: Sequence[int], width: int) -> list[list[int]]:
    """Return the positions of the columns of each block: as many as fit, at least one."""
    blocks: list[list[int]] = [[]]
    left = width
    for position, needed in enumerate(widths):
        if blocks[-1] and needed + _GAP > left:
            blocks.append([])
            left = width
        blocks[-1].append(position)
        left -= needed + _GAP
    return blocks


def _titles(table: TextTable) -> list[str]:
    short = shorten_names([column.title for column in table.columns if column.is_name], _TITLE_WIDTH)
    return [short.get(column.title, column.title) if column.is_name else column.title for column in table.columns]


def _shorten_lines(names: Sequence[str]) -> list[str]:
    """Return the lines' names, at most ``_NAME_WIDTH`` long; of a pair each run's name is shortened by itself."""
    if max(map(len, names)) <= _NAME_WIDTH:
        return list(names)
    separator = " − "
    if all(separator in name for name in names):
        runs = [part for name in names for part in name.split(separator)]
        short = shorten_names(runs, (_NAME_WIDTH - len(separator)) // 2)
        return [separator.join(short[part] for part in name.split(separator)) for name in names]
    short = shorten_names(names, _NAME_WIDTH)
    return [short[name] for name in names]
