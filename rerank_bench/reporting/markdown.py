"""The leaderboard as Markdown: what ``leaderboards/README.md`` holds, a function of the CSV alone.

The same rows give the same bytes; the file is never edited by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rerank_bench.records import VIEWS
from rerank_bench.reporting.columns import MEASURE_COLUMNS, PRIMARY_MEASURE, Row
from rerank_bench.reporting.formatting import (
    MISSING,
    describe_table,
    format_cell,
    format_delta,
    format_rate,
    format_value,
)
from rerank_bench.reporting.markdown_table import escape_markdown, render_markdown_table
from rerank_bench.reporting.tables import Cell, Column, Entry, Table, build_tables, pairs_per_second

if TYPE_CHECKING:
    import pandas as pd

RENDERED_BY = "Rendered from the leaderboard's CSV file by `rerank-bench leaderboard`; do not edit it by hand."
"""Stands on every page, and tells it from a file of the user's that has its name."""

_FINGERPRINT_DIGITS = 12
_HEADLINE_VIEWS = ("end_to_end", "injected")
"""What a user of the whole gets, and what model cards print; one of them stands beside any leading view."""


def render_markdown(
    frame: pd.DataFrame, *, view: str = "end_to_end", measure: str = PRIMARY_MEASURE, plots: Sequence[str] = ()
) -> str:
    """Return the whole page.

    Args:
        frame: A leaderboard.
        view: The view that leads; the injected one stands beside it (``end_to_end`` beside the injected one).
        measure: One of the leaderboard's measures; the second view is left out where it does not have it.
        plots: Paths, relative to the page, of pictures that exist; each is shown in this order.

    Raises:
        ConfigError, DataError: As ``tables.build_tables``.
    """
    leading = build_tables(frame, view=view, measure=measure)
    parts = ["# Leaderboard", _introduction(), _heading(2, f"View `{view}`"), *_view_parts(leading)]
    if plots:
        parts.append("\n\n".join(f"![{_alternative_text(path)}]({path})" for path in plots))
    beside = next(name for name in (*reversed(_HEADLINE_VIEWS), *VIEWS) if name != view)
    if _holds(frame, beside, measure):
        parts += [_heading(2, f"View `{beside}`"), *_view_parts(build_tables(frame, view=beside, measure=measure))]
    parts += [_heading(2, "Models"), _models(leading), _heading(2, "Data sets"), _datasets(leading)]
    if any(table.has_intervals for table in leading):
        parts += [_heading(2, f"Gains, view `{view}`"), _gains(leading)]
    return "\n\n".join(parts) + "\n"


def _introduction() -> str:
    return f"""\
{RENDERED_BY}

- A cell is the value of the reranked run and, in brackets, its gain over the first stage.
- **Bold**: the best model of a column.
- ≈: the 95% interval touches the best's, so the two are not distinguishable.
- {MISSING}: not run.
- *Baselines* in italics: the first stage's own order, a random order, and the ideal order of the candidates (`oracle`);
  never the best."""


def _view_parts(tables: Sequence[Table]) -> list[str]:
    parts = []
    for table in tables:
        if table.differences:
            reasons = "\n".join(f"- {escape_markdown(sentence)}" for sentence in table.differences)
            parts.append(f"Not comparable with the first table:\n\n{reasons}")
        parts += [f"{escape_markdown(describe_table(table))}.", _values(table)]
    return parts


def _values(table: Table) -> str:
    header = ["model", *(column.title for column in table.columns)]
    lines = [[_entry_name(entry), *map(_cell, entry.cells)] for entry in (*table.models, *table.baselines)]
    return render_markdown_table(header, lines, num_left=1)


def _cell(cell: Cell | None) -> str:
    text = format_cell(cell)
    if cell is not None and cell.is_best:
        return f"**{text}**"
    return f"{text} ≈" if cell is not None and cell.is_close else text


def _entry_name(entry: Entry) -> str:
    return f"*{escape_markdown(entry.label)}*" if entry.is_baseline else escape_markdown(entry.label)


def _holds(frame: pd.DataFrame, view: str, measure: str) -> bool:
    return bool(frame.loc[frame["view"] == view, MEASURE_COLUMNS[measure]].notna().any())


def _models(tables: Sequence[Table]) -> str:
    """Return what each model is and how it was run; rates and shares are over all its data sets."""
    rows_by_label: dict[str, list[Row]] = {}
    for entry in (entry for table in tables for entry in table.models):
        rows_by_label.setdefault(entry.label, []).extend(entry.rows)
    header = ["model", "family", "parameters", "max length", "dtype", "device", "pairs/s", "truncated"]
    lines = []
    for label, rows in rows_by_label.items():
        if not rows:
            continue  # a suite whose data sets are not in the leaderboard
        row = rows[0]
        settings = [_or_missing(row[name]) for name in ("max_length", "dtype", "device")]
        parameters = _format_parameters(row["num_parameters"])
        figures = [format_rate(pairs_per_second(rows)), _share(rows), *_identity(row)]
        lines.append([escape_markdown(label), row["family"], parameters, *settings, *figures])
    return render_markdown_table([*header, "revision", "weights"], lines, num_left=2) + _machines(
        rows_by_label.values()
    )


def _identity(row: Row) -> list[str]:
    return [_code(_shorten_hash(row[name])) for name in ("revision", "weights_fingerprint")]


def _shorten_hash(text: str) -> str:
    """Return the first digits of a commit or a fingerprint; a version or a branch's name stays whole."""
    return text[:_FINGERPRINT_DIGITS] if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", text) else text


def _machines(groups: Iterable[Sequence[Row]]) -> str:
    machines = sorted({row["machine"] for rows in groups for row in rows} - {""})
    return f"\n\nMeasured on: {escape_markdown('; '.join(machines))}." if machines else ""


def _format_parameters(number: int | None) -> str:
    return MISSING if number is None else f"{number / 1e6:,.1f} M"


def _share(rows: Sequence[Row]) -> str:
    """Return the share of all pairs that were truncated."""
    if any(row["truncated_share"] is None for row in rows):
        return MISSING
    cut = sum(row["truncated_share"] * row["num_pairs"] for row in rows)
    return f"{cut / sum(row['num_pairs'] for row in rows):.1%}"


def _datasets(tables: Sequence[Table]) -> str:
    """Return what each column stands on, baselines' rows included."""
    header = [
        "data set",
        "queries",
        "pairs",
        "first stage",
        "depth",
        "first-stage value",
        "ceiling",
        "corpus",
        "candidates",
    ]
    lines = [
        _dataset_line(table, column, row)
        for table in tables
        for position, column in enumerate(table.columns)
        if not column.is_mean and (row := _row_of(table, position)) is not None
    ]
    return render_markdown_table(header, lines, num_left=1)


def _row_of(table: Table, position: int) -> Row | None:
    cells = (entry.cells[position] for entry in (*table.models, *table.baselines))
    return next((cell.row for cell in cells if cell is not None), None)


def _dataset_line(table: Table, column: Column, row: Row) -> list[str]:
    ceiling = MISSING if column.ceiling is None else format_value(column.ceiling)
    return [
        escape_markdown(column.name),
        f"{column.num_queries:,}",
        f"{row['num_pairs']:,}",
        escape_markdown(row["first_stage"]),
        str(table.depth),
        format_value(column.first_stage),
        ceiling,
        _code(row["corpus_fingerprint"][:_FINGERPRINT_DIGITS]),
        _code(row["candidates_fingerprint"][:_FINGERPRINT_DIGITS]),
    ]


def _gains(tables: Sequence[Table]) -> str:
    """Return every gain with its interval, folded away: there is one line per model and data set."""
    header = ["data set", "model", "gain", "95% interval", "p", "headroom used", "MDE (80% power)"]
    parts, num_gains = [], 0
    for table in tables:
        lines = [
            [
                escape_markdown(column.name),
                escape_markdown(entry.label),
                *_gain_figures(cell.delta, cell.interval, cell.row),
            ]
            for position, column in enumerate(table.columns)
            for entry in table.models
            if (cell := entry.cells[position]) is not None and cell.interval is not None and cell.row is not None
        ]
        if lines:
            num_gains += len(lines)
            parts += [
                f"{escape_markdown(describe_table(table))}.",
                render_markdown_table(header, lines, num_left=2),
            ]
    body = "\n\n".join(parts)
    summary = "1 gain with its interval" if num_gains == 1 else f"{num_gains} gains with their intervals"
    return f"<details>\n<summary>{summary}</summary>\n\n{body}\n\n</details>"


def _gain_figures(delta: float, interval: tuple[float, float], row: Row) -> list[str]:
    return [
        format_delta(delta),
        f"{format_delta(interval[0])} to {format_delta(interval[1])}",
        MISSING if row["p"] is None else f"{row['p']:.4f}",
        MISSING if row["headroom_used"] is None else f"{row['headroom_used']:.1%}",
        MISSING if row["mde"] is None else format_value(row["mde"]),
    ]


def _alternative_text(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0].replace("-", " ").replace("_", " ")


def _heading(level: int, text: str) -> str:
    return f"{'#' * level} {text}"


def _or_missing(value: object) -> str:
    return MISSING if value is None or value == "" else escape_markdown(str(value))


def _code(text: str) -> str:
    return f"`{text}`" if text else MISSING
