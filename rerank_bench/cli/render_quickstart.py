"""What ``rerank-bench quickstart`` prints at the end: the table, the verdict, the files, the commands, what comes next."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from rerank_bench.gate.verdicts import GateReport
    from rerank_bench.jobs.quickstart import QuickstartReport

NEXT = """\
Next, from where you are:

  rerank-bench run --model YOUR-MODEL                # a hub id or a folder
  rerank-bench run --model YOUR-MODEL --dataset DIR  # on your own collection
  rerank-bench inspect {reranked}"""
INDENT = "  "
ABOUT_VALUES = frozenset({"below_first_stage", "below_random"})
"""Tripwires that say how good a run is; the others say that something is wrong with it."""


def render_quickstart(console: Console, report: QuickstartReport) -> None:
    """Print what the tour found, and how each of its commands is written."""
    from rerank_bench.cli.render_gate import STYLES
    from rerank_bench.gate.wording import describe_trips, headline
    from rerank_bench.reporting.terminal import render_terminal

    console.print(render_terminal(report.page.frame, view=report.run.view, width=console.width))
    console.print()
    console.print(Text(verdict_in_words(report.gate), style=STYLES[report.gate.outcome]))
    for line in (headline(report.gate), *describe_trips(report.gate)):
        console.print(Text(line))
    console.print()
    places = [
        ("checkpoint", f"{report.checkpoint}/"),
        ("results", f"{report.run.folder}/"),
        ("leaderboard", report.page.page),
        *(("picture", path) for path in report.page.plots if path.suffix == ".png"),
    ]
    for label, path in places:
        place = Text(f"{label:<12} ", style="bold").append(f"{report.folder}/{path}", style="not bold")
        console.print(place, soft_wrap=True)
    seconds = sum(step.seconds for step in report.steps)
    console.print(f"\nThe five commands ({seconds:.0f} s). One by one they do the same:\n", markup=False)
    for command in (f"cd {shlex.quote(str(report.folder))}", *(step.command for step in report.steps)):
        console.print(fold(command, console.width), soft_wrap=True, markup=False)
    following = NEXT.format(reranked=shlex.quote(str(report.folder / report.run.folder / report.checkpoint)))
    console.print(f"\n{following}", soft_wrap=True, markup=False)


def fold(command: str, width: int) -> str:
    """Return a command indented, and cut before options where it is too wide, in the way that a shell joins again."""
    first, *options = re.split(r" (?=--)", command)
    lines = [INDENT + first]
    for number, option in enumerate(options, start=1):
        end = " \\" if number < len(options) else ""
        if len(f"{lines[-1]} {option}{end}") > width:
            lines.append(INDENT * 3 + option)
        else:
            lines[-1] += f" {option}"
    return " \\\n".join(lines)


def verdict_in_words(gate: GateReport) -> str:
    """Return what the gate's verdict means for the new reranker, in one sentence."""
    failed = {trip.tripwire for trip in gate.trips if trip.level == "fail"}
    if failed - ABOUT_VALUES:
        return "Something is wrong with the new reranker: a tripwire of the gate, below, says what."
    if gate.verdict == "regressed":
        return "The new reranker is worse than the first stage."
    if failed:
        return "The new reranker is below the first stage, by no more than chance may explain."
    if gate.verdict == "improved":
        return "The new reranker is better than the first stage."
    if gate.verdict == "pass":
        return "The new reranker is not much worse than the first stage; that it is better is not shown."
    return "These queries cannot tell the new reranker from the first stage."
