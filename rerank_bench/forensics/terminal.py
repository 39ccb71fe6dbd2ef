"""An explanation on a terminal: tables within its width, colours by sign, marks that say the same without colours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rerank_bench.forensics.grids import Grid, overview_grids, slice_grid
from rerank_bench.forensics.records import DocMove, Explanation, QueryExplanation
from rerank_bench.forensics.wording import (
    describe_fate,
    describe_lists,
    describe_loss,
    describe_query,
    doc_cells,
    doc_header,
    doc_text,
    headline,
    is_relevant,
    query_text,
    query_title,
    side_lines,
    snippet,
)
from rerank_bench.reporting.formatting import format_delta, format_value

RELEVANT_MARK, ABOVE_MARK = "+", "↑"
_INDENT = 4
_NAME_WIDTH = 14
"""The least that a table's first column gets."""
_NUMBER_WIDTH = 6
_SCORE_WIDTH = 9


def render_terminal(explanation: Explanation, *, width: int = 80) -> RenderableType:
    """Return the explanation as something that rich prints within ``width`` columns.

    Args:
        explanation: With the queries that are to be shown (see ``explain.select_queries``).
        width: Columns of the terminal; below 60 long cells are cut.
    """
    parts: list[RenderableType] = [Text(headline(explanation), style="bold")]
    lines = side_lines(explanation)
    indent = max(len(short) for short, _ in lines) + 2
    parts += [Text(short.ljust(indent), style="bold").append(long, style="not bold") for short, long in lines]
    parts += [Text(f"note: {note}", style="yellow") for note in explanation.notes]
    for grid in (*overview_grids(explanation), slice_grid(explanation)):
        parts += _grid_parts(grid)
    parts += [Text(), *_query_parts(explanation, width)]
    return Group(*parts)


def _grid_parts(grid: Grid) -> list[RenderableType]:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(grid.header[0], overflow="fold", min_width=_NAME_WIDTH)
    for title in grid.header[1:]:
        table.add_column(title, justify="right", no_wrap=True)
    for row in grid.rows:
        if len(row) == 1:
            table.add_row(Text(row[0], style="bold"))
            continue
        cells = [
            Text(cell, style=_tone(cell) if column in grid.delta_columns else "") for column, cell in enumerate(row)
        ]
        table.add_row(*cells)
    above: list[RenderableType] = [Text(grid.title, style="bold")] if grid.title else []
    below: list[RenderableType] = [Text(grid.remark, style="dim")] if grid.remark else []
    return [Text(), *above, table, *below]


def _tone(cell: str) -> str:
    if cell == format_delta(0.0):
        return ""
    return "green" if cell.startswith("+") else "red"


def _query_parts(explanation: Explanation, width: int) -> Iterator[RenderableType]:
    if not explanation.queries:
        yield Text("No query to show: none of them changed that way.", style="dim")
        return
    yield Text("Queries", style="bold")
    yield Text(
        f"{RELEVANT_MARK} relevant · {ABOVE_MARK} not relevant, above the first relevant one · (n) rank that its score "
        "would give a missed document",
        style="dim",
    )
    for number, query in enumerate(explanation.queries, start=1):
        yield Text()
        yield from _one_query(explanation, query, number, width)


def _one_query(explanation: Explanation, query: QueryExplanation, number: int, width: int) -> Iterator[RenderableType]:
    delta = format_delta(query.delta)
    title = Text(f"{number:>3} ", style="dim").append(f"{delta}  ", style=f"bold {_tone(delta)}".strip())
    title.append(query_title(query), style="bold not dim")
    before, after = explanation.before.short, explanation.after.short
    title.append(f"  {before} {format_value(query.before)} → {after} {format_value(query.after)}", style="not dim")
    yield title
    text = query_text(explanation, query)
    if text is not None:
        yield _indented(Text(f"“{snippet(text, 400)}”", style="italic"))
    yield _indented(Text(" ".join([*describe_query(explanation, query)] or [describe_fate(explanation, query)])))
    loss = describe_loss(query.after_split, after)
    if loss:
        yield _indented(Text(loss, style="dim"))
    yield from _doc_lines(explanation, query, width)


def _doc_lines(explanation: Explanation, query: QueryExplanation, width: int) -> Iterator[RenderableType]:
    yield _indented(Text(f"  {_aligned(explanation, doc_header(explanation))}  document", style="dim"))
    for mark, docs in ((RELEVANT_MARK, query.relevant), (ABOVE_MARK, query.above)):
        for doc in docs:
            yield from _doc_line(explanation, query, doc, mark, width)
    hidden = describe_lists(query)
    if hidden:
        yield _indented(Text(hidden, style="dim"))


def _doc_line(
    explanation: Explanation, query: QueryExplanation, doc: DocMove, mark: str, width: int
) -> Iterator[RenderableType]:
    cells = _aligned(explanation, doc_cells(explanation, doc))
    style = "green" if is_relevant(doc) else ""
    line = Text(f"{mark} {cells}  ", style=style, no_wrap=True, overflow="ellipsis").append(doc.doc_id)
    line.truncate(width - _INDENT, overflow="ellipsis")
    yield _indented(line)
    text = doc_text(explanation, query, doc.doc_id)
    if text is not None:
        short = Text(snippet(text), style="dim", no_wrap=True)
        short.truncate(width - _INDENT - 4, overflow="ellipsis")
        yield Padding(short, (0, 0, 0, _INDENT + 4))


def _aligned(explanation: Explanation, cells: Sequence[str]) -> str:
    titles = doc_header(explanation)
    widths = [_SCORE_WIDTH if title.startswith("score") else _NUMBER_WIDTH for title in titles]
    return "".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))


def _indented(text: Text) -> Padding:
    return Padding(text, (0, 0, 0, _INDENT))
