"""What ``gate`` prints on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rerank_bench.gate.baseline import BaselineSource
from rerank_bench.gate.history import history_path
from rerank_bench.gate.repro import Calibration
from rerank_bench.gate.verdicts import GateReport
from rerank_bench.gate.wording import dataset_lines, dataset_titles, describe_trips, figures, headline

STYLES = {"lost": "bold red", "undecided": "bold yellow", "won": "bold green"}


def render_gate(console: Console, report: GateReport) -> None:
    """Print the outcome, the figures that it stands on, the tripwires and every data set."""
    console.print(Text(headline(report), style=STYLES[report.outcome]))
    for line in describe_trips(report):
        console.print(Text(line, style="red" if "(fail)" in line else "yellow"))
    console.print()
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for figure in figures(report):
        grid.add_row(figure.label, Text(figure.text))
    console.print(grid)
    if report.result is not None:
        console.print()
        _print_datasets(console, report)


def _print_datasets(console: Console, report: GateReport) -> None:
    titles = dataset_titles(report)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(titles[0], overflow="fold")
    for title in titles[1:]:
        table.add_column(title, justify="right", no_wrap=True)
    for line in dataset_lines(report):
        table.add_row(Text(line.name), *line.cells, style="red" if line.problems else "")
    console.print(table)


def render_accepted(console: Console, baseline: BaselineSource, entry: Mapping[str, Any]) -> None:
    """Print what was accepted, and which files to commit."""
    old = entry.get("old_value")
    before = "" if old is None else f", before {old:.4f}"
    console.print(Text(f"{entry['measure']} {entry['new_value']:.4f}{before}; {entry['model']}", style="bold"))
    for name in (baseline.path, history_path(baseline.path), *baseline.score_files):
        console.print(f"commit  {name}", soft_wrap=True, markup=False)


def render_calibration(console: Console, found: Calibration) -> None:
    """Print how far the runs lie apart, and the lines to put into the configuration."""
    console.print(
        f"{found.num_runs} runs: {found.measure} differs by up to {found.largest_difference:.2g}, "
        f"one pair's scores by up to {found.largest_score_difference:.3g}. Twice that, rounded up:"
    )
    console.print(f"tolerance = {found.tolerance:g}\nmax_score_difference = {found.max_score_difference:g}")
