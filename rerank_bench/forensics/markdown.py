"""An explanation as Markdown: the same tables and queries, for a pull request or a notebook."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rerank_bench.forensics.grids import Grid, overview_grids, slice_grid
from rerank_bench.forensics.records import Explanation, QueryExplanation
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

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&!])")


def render_markdown(explanation: Explanation) -> str:
    """Return the explanation as GitHub-flavoured Markdown; texts are escaped and show as they are."""
    lines = [f"## {_escape(headline(explanation))}", ""]
    lines += [f"- **{short}**: {_escape(long)}" for short, long in side_lines(explanation)]
    lines += [f"- note: {_escape(note)}" for note in explanation.notes]
    for grid in (*overview_grids(explanation), slice_grid(explanation)):
        lines += ["", *_grid_lines(grid)]
    lines += ["", "### Queries", ""]
    if not explanation.queries:
        lines.append("No query to show: none of them changed that way.")
    for query in explanation.queries:
        lines += _query_lines(explanation, query)
    return "\n".join(lines).rstrip() + "\n"


def _grid_lines(grid: Grid) -> Iterator[str]:
    if grid.title:
        yield f"### {grid.title}"
        yield ""
    yield _row([_escape(title) for title in grid.header])
    yield _row(["---", *["---:"] * (len(grid.header) - 1)])
    for row in grid.rows:
        if len(row) == 1:
            yield _row([f"**{_escape(row[0])}**", *[""] * (len(grid.header) - 1)])
        else:
            yield _row([_escape(cell) for cell in row])
    if grid.remark:
        yield ""
        yield f"{_escape(grid.remark)}"


def _query_lines(explanation: Explanation, query: QueryExplanation) -> Iterator[str]:
    sides = f"{explanation.before.short} {format_value(query.before)} → {explanation.after.short} {format_value(query.after)}"
    yield f"#### {format_delta(query.delta)} {_escape(query_title(query))}"
    yield ""
    text = query_text(explanation, query)
    if text is not None:
        yield f"> {_escape(snippet(text, 400))}"
        yield ""
    sentences = describe_query(explanation, query) or [describe_fate(explanation, query)]
    loss = describe_loss(query.after_split, explanation.after.short)
    yield f"{sides}. {_escape(' '.join(sentences))}{f' {loss}.' if loss else ''}"
    yield ""
    titles = ["", *doc_header(explanation), "document"]
    yield _row(titles)
    yield _row(["---", *["---:"] * (len(titles) - 2), "---"])
    for doc in query.shown_docs:
        mark = "relevant" if is_relevant(doc) else "above"
        doc_id = _escape(doc.doc_id)
        text = doc_text(explanation, query, doc.doc_id)
        name = f"**{doc_id}**" if text is None else f"**{doc_id}** {_escape(snippet(text))}"
        yield _row([mark, *doc_cells(explanation, doc), name])
    hidden = describe_lists(query)
    if hidden:
        yield ""
        yield hidden
    yield ""


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    return _MARKUP.sub(r"\\\1", text)
