"""Reports as markdown: for a job's summary page, and for a comment on a pull request."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rerank_bench.gate.verdicts import GateReport
from rerank_bench.gate.wording import dataset_lines, dataset_titles, describe_trips, figures, headline

COMMENT_MARK = "<!-- rerank-bench gate -->"
"""First line of a comment: an action that finds it replaces its own comment instead of adding one."""
SYMBOLS = {"lost": "❌", "undecided": "⚠️", "won": "✅"}
MAX_OPEN_DATASETS = 3
"""Tables of more data sets are folded in a comment."""

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def render_summary(reports: Sequence[GateReport]) -> str:
    """Return all gates of one invocation for a summary page."""
    return "\n".join(_report(report, is_folded=False) for report in reports)


def render_comment(reports: Sequence[GateReport]) -> str:
    """Return all gates of one invocation as a comment, long tables folded."""
    folded = [_report(report, is_folded=len(report.datasets) > MAX_OPEN_DATASETS) for report in reports]
    return "\n".join([COMMENT_MARK, *folded])


def _report(report: GateReport, *, is_folded: bool) -> str:
    lines = [f"### {SYMBOLS[report.outcome]} {_escape(headline(report))}", ""]
    lines += [f"- {_escape(line)}" for line in describe_trips(report)]
    if report.trips:
        lines.append("")
    lines += ["| | |", "|---|---|"]
    lines += [f"| **{_escape(figure.label)}** | {_escape(figure.text)} |" for figure in figures(report)]
    lines.append("")
    if report.result is not None:
        table = _dataset_table(report)
        if is_folded:
            table = [f"<details><summary>{len(report.datasets)} data sets</summary>", "", *table, "", "</details>"]
        lines += [*table, ""]
    return "\n".join(lines)


def _dataset_table(report: GateReport) -> list[str]:
    titles = [_escape(title) for title in dataset_titles(report)]
    rows = [
        f"| {_escape(line.name)}{' ❌' if line.problems else ''} | {' | '.join(map(_escape, line.cells))} |"
        for line in dataset_lines(report)
    ]
    return [f"| {' | '.join(titles)} |", f"|---|{'---:|' * (len(titles) - 1)}", *rows]


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
