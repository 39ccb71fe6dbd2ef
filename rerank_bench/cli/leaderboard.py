"""``rerank-bench leaderboard``: a CSV leaderboard as a table, a README and plots."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rerank_bench.cli import options
from rerank_bench.cli.console import command, print_json, stdout_console

DEFAULT_CSV = Path("leaderboards/results.csv")


def leaderboard(
    *,
    csv: Annotated[Path, typer.Argument(metavar="CSV", help="The leaderboard.")] = DEFAULT_CSV,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", metavar="NAME", help="Show only this model; repeatable.")
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option("--dataset", "-d", metavar="NAME", help="Show only this data set or suite; repeatable."),
    ] = None,
    view: options.View = options.ViewChoice.end_to_end,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where README.md and plots go; default: beside the CSV.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 2 when README.md is not what the CSV renders to.")
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Print the leaderboard and render README.md and its plots (PNG and SVG) from the CSV.

    With --model or --dataset, only the table is printed.
    """
    with command(quiet=quiet):
        from rerank_bench.cli.render import render_leaderboard
        from rerank_bench.reporting.leaderboard import read_leaderboard, select_rows
        from rerank_bench.reporting.page import check_page, render_page
        from rerank_bench.reporting.summary import to_records

        if model or dataset:
            shown = select_rows(read_leaderboard(csv), models=model or (), datasets=dataset or ())
            page = None
        else:
            page = (check_page if check else render_page)(csv, view=view.value, out=out)
            shown = page.frame
        if json:
            print_json(to_records(shown, view=view.value))
        else:
            render_leaderboard(stdout_console(), shown, view=view.value, page=page)
