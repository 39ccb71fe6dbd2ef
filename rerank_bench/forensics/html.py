"""An explanation as one HTML file: no request leaves it, no library is in it, every query is.

It reads without JavaScript, too: every query is a ``<details>`` element; the script only sorts, filters and opens
them.  Whatever comes from a run or a data set is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

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
    side_lines,
    snippet,
)
from rerank_bench.reporting.formatting import format_delta, format_value
from rerank_bench.storage import write_text

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def write_html(path: str | Path, explanation: Explanation) -> None:
    """Write the page with every query of the explanation.

    Raises:
        EnvironmentMissingError: The folder is read-only or the disk is full.
    """
    write_text(path, render_html(explanation))


def render_html(explanation: Explanation) -> str:
    """Return the page."""
    title = "Explain " + " → ".join(side.long for side in (explanation.before, explanation.after))
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        # Nothing is fetched, whatever a text holds: the browser is told so as well.
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{_escape(title)}</title>",
        f"<style>\n{_resource('page.css')}</style></head><body><main>",
        f"<h1>{_escape(headline(explanation))}</h1>",
        "<dl>",
        *(f"<dt>{_escape(short)}</dt><dd>{_escape(long)}</dd>" for short, long in side_lines(explanation)),
        "</dl>",
        *(f'<p class="note">{_escape(note)}</p>' for note in explanation.notes),
        *(part for grid in overview_grids(explanation) for part in _grid(grid)),
        f"<details><summary>{slice_grid(explanation).title}</summary>",
        *_grid(slice_grid(explanation)),
        "</details>",
        *_controls(explanation),
        '<div id="queries">',
        *(_query(explanation, query) for query in explanation.queries),
        "</div>",
        f"<script>\n{_resource('page.js')}</script></main></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _resource(name: str) -> str:
    return resources.files("rerank_bench.forensics").joinpath(name).read_text(encoding="utf-8")


def _grid(grid: Grid) -> Iterator[str]:
    if grid.title:
        yield f"<h2>{_escape(grid.title)}</h2>"
    yield f"{_wide(grid.title or 'Data sets')}<table><thead><tr>"
    yield "".join(f'<th scope="col">{_escape(title)}</th>' for title in grid.header) + "</tr></thead><tbody>"
    for row in grid.rows:
        if len(row) == 1:
            yield f'<tr><th scope="rowgroup" colspan="{len(grid.header)}">{_escape(row[0])}</th></tr>'
            continue
        cells = (
            f"<td{_tone(cell) if column in grid.delta_columns else ''}>{_escape(cell)}</td>"
            for column, cell in enumerate(row)
        )
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table></div>"
    if grid.remark:
        yield f'<p class="remark">{_escape(grid.remark)}</p>'


def _wide(label: str) -> str:
    """Open a box that scrolls sideways, by the keyboard too: it takes the focus, and says what it is."""
    return f'<div class="wide" role="group" tabindex="0" aria-label="{_escape(label)}">'


def _tone(delta: str) -> str:
    if delta == format_delta(0.0):
        return ""
    return ' class="up"' if delta.startswith("+") else ' class="down"'


def _controls(explanation: Explanation) -> Iterator[str]:
    names = [entry.name for entry in explanation.datasets]
    options = "".join(f'<option value="{_escape(name)}">{_escape(name)}</option>' for name in names)
    yield "<h2>Queries</h2>"
    yield '<form id="controls">'
    yield '<label>find <input id="find" type="search" placeholder="text or id"></label>'
    if len(names) > 1:
        yield f'<label>data set <select id="dataset"><option value="">all</option>{options}</select></label>'
    yield (
        '<label>show <select id="change"><option value="">all</option><option value="down">worse</option>'
        '<option value="up">better</option><option value="same">equal</option></select></label>'
    )
    yield (
        '<label>sort <select id="sort"><option value="delta">delta</option><option value="after">value '
        f'{_escape(explanation.after.short)}</option><option value="before">value '
        f'{_escape(explanation.before.short)}</option><option value="name">name</option></select></label>'
    )
    yield '<button type="button" id="reverse">reverse</button> <button type="button" id="open">open all</button>'
    yield '<output id="count"></output></form>'
    yield (
        '<p class="remark">+ relevant · ↑ not relevant, above the first relevant one · (n) rank that its score would '
        "give a missed document</p>"
    )


def _query(explanation: Explanation, query: QueryExplanation) -> str:
    delta = format_delta(query.delta)
    text = query_text(explanation, query)
    sentences = describe_query(explanation, query) or [describe_fate(explanation, query)]
    notes = (describe_loss(query.after_split, explanation.after.short), describe_lists(query))
    header = "".join(f'<th scope="col">{title}</th>' for title in ("", *doc_header(explanation), "document"))
    return (
        f'<details class="q" data-s="{_escape(query.dataset)}" data-d="{query.delta:.6f}" data-b="{query.before:.6f}" '
        f'data-a="{query.after:.6f}"><summary><b{_tone(delta)}>{delta}</b> '
        f"<i>{_escape(query.dataset)} · {_escape(query.query_id)}</i> "
        f"<span>{format_value(query.before)} → {format_value(query.after)}</span>"
        f"{'' if text is None else f'<q>{_escape(snippet(text, 300))}</q>'}</summary>"
        f"<p>{_escape(' '.join(sentences))}</p>"
        f'{_wide("documents")}<table class="d"><tr>{header}</tr>'
        f"{''.join(_doc(explanation, query, doc) for doc in query.shown_docs)}</table></div>"
        f'<p class="remark">{_escape(" · ".join(note for note in notes if note))}</p></details>'
    )


def _doc(explanation: Explanation, query: QueryExplanation, doc: DocMove) -> str:
    cells = "".join(f"<td>{cell}" for cell in doc_cells(explanation, doc))
    text = doc_text(explanation, query, doc.doc_id)
    shown = "" if text is None else f" {_escape(snippet(text))}"
    mark, row = ("+", '<tr class="r">') if is_relevant(doc) else ("↑", "<tr>")
    return f"{row}<td>{mark}{cells}<td><b>{_escape(doc.doc_id)}</b>{shown}"


def _escape(text: str) -> str:
    return html.escape(text, quote=True)
