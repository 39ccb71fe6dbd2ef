"""A comparison for documents and programs: Markdown, LaTeX, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from rerank_bench.comparison.layout import (
    TextTable,
    describe_conditions,
    describe_runs,
    explain,
    join_letters,
    lay_out,
)
from rerank_bench.comparison.records import Comparison
from rerank_bench.reporting.markdown_table import escape_markdown, render_markdown_table

CSV_HEADER = (
    "scope",
    "kind",
    "num_queries",
    "measure",
    "view",
    "run",
    "reference",
    "value",
    "reference_value",
    "difference",
    "ci_low",
    "ci_high",
    "p",
    "p_t",
    "p_adjusted",
    "better",
    "equal",
    "worse",
    "sd",
    "mde",
    "letters",
    "reference_letters",
)
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"$<$",
        ">": r"$>$",
        "−": r"$-$",
        "–": "--",
        "…": r"\ldots{}",
    }
)


def render_markdown(comparison: Comparison) -> str:
    """Return a comparison as Markdown: conditions, runs, tables, what the columns mean, notes."""
    parts = [escape_markdown(describe_conditions(comparison))]
    parts.append("\n".join(f"- {escape_markdown(f'{k}: {v}')}" for k, v in describe_runs(comparison).items()))
    for table in lay_out(comparison):
        if table.heading:
            parts.append(f"**{escape_markdown(table.heading)}**")
        header = [table.corner, *(escape_markdown(column.title) for column in table.columns)]
        lines = [[escape_markdown(name), *map(escape_markdown, cells)] for name, cells in table.lines]
        parts.append(render_markdown_table(header, lines, num_left=1))
    parts.append("\n".join(f"- {escape_markdown(text)}" for text in (*explain(comparison), *comparison.notes)))
    return "\n\n".join(parts) + "\n"


def render_latex(comparison: Comparison) -> str:
    """Return a comparison as LaTeX tables, for the package ``booktabs``; what the columns mean stands in comments."""
    parts = [_comment([describe_conditions(comparison), *explain(comparison), *comparison.notes])]
    parts += [_tabular(table) for table in lay_out(comparison)]
    return "\n\n".join(parts) + "\n"


def _comment(sentences: Sequence[str]) -> str:
    return "\n".join(f"% {' '.join(sentence.split())}" for sentence in (*sentences, r"needs \usepackage{booktabs}"))


def _tabular(table: TextTable) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(cells) + r" \\"

    header = [_escape_latex(text) for text in (table.corner, *(column.title for column in table.columns))]
    heading = [] if table.heading is None else [f"% {table.heading}"]
    return "\n".join(
        [
            *heading,
            rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
            r"\toprule",
            line(header),
            r"\midrule",
            *(line([_escape_latex(name), *map(_latex_number, cells)]) for name, cells in table.lines),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _latex_number(text: str) -> str:
    """Return a cell; a leading sign becomes a true minus or plus."""
    return " ".join(f"${part}$" if part[:1] in {"-", "+"} else _escape_latex(part) for part in text.split(" "))


def _escape_latex(text: str) -> str:
    return text.translate(_LATEX)


def render_csv(comparison: Comparison) -> str:
    """Return one row per pair and data set (or suite), numbers in full precision; an empty field has no value."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for scope in comparison.scopes:
        for pair in scope.pairs:
            low, high = pair.ci or (None, None)
            letters = [join_letters(scope.groups[name]) if scope.groups else "" for name in (pair.run, pair.reference)]
            conditions = (scope.name, scope.kind, scope.num_queries, comparison.measure, comparison.view)
            values = (pair.value, pair.reference_value, pair.difference, low, high, pair.p, pair.p_t, pair.p_adjusted)
            counts = (pair.better, pair.equal, pair.worse, pair.sd, pair.mde)
            writer.writerow([*conditions, pair.run, pair.reference, *map(_exact, (*values, *counts)), *letters])
    return stream.getvalue()


def _exact(value: float | None) -> str:
    return "" if value is None else repr(value)
