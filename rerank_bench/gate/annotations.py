"""Lines that GitHub Actions shows beside a job: ``::error title=…::…`` and ``::warning …``.

The form and its escapes: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

from collections.abc import Sequence

from rerank_bench.gate.verdicts import GateReport
from rerank_bench.gate.wording import dataset_lines, headline


def github_lines(reports: Sequence[GateReport]) -> list[str]:
    """Return a line per lost gate and per data set that loses it; warnings for what is undecided or only warned of."""
    lines = []
    for report in reports:
        title = f"rerank-bench gate {report.name}"
        if report.outcome != "won":
            is_error = report.is_lost or report.is_strict
            lines.append(annotation("error" if is_error else "warning", title, headline(report)))
        for line in dataset_lines(report):
            lines += [annotation("error", f"{title}: {line.name}", problem) for problem in line.problems]
        lines += [
            annotation("warning", f"{title}: {trip.dataset or 'all data sets'}", f"{trip.tripwire}: {trip.message}")
            for trip in report.trips
            if trip.level == "warn"
        ]
    return lines


def annotation(level: str, title: str, message: str) -> str:
    """Return one workflow command; ``level`` is ``error`` or ``warning``."""
    escaped = _escape(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={escaped}::{_escape(message)}"


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
