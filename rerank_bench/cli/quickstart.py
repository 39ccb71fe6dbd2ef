"""``rerank-bench quickstart``: the whole mission in one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rerank_bench.cli import options
from rerank_bench.cli.console import command, print_json, stdout_console

RESUME_HINT = "Run the same command again to go on: what is finished is not done again."


def quickstart(
    *,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Everything is written here; a tour that was interrupted goes on.")
    ] = Path("rerank-bench-quickstart"),
    max_steps: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Optimizer steps of the training; default: 200, about two and a half minutes on two cores.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Of the training; default: the preset's, 12.")] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Try everything on this machine, offline: find candidates, train a reranker, measure it, rank it, gate it.

    Five commands on the embedded data set pydocs, which are printed: typed one by one they do the same. Exit code 0 when the
    tour succeeded, whatever the gate says of the new reranker.
    """
    with command(quiet=quiet, resume_hint=RESUME_HINT):
        from rerank_bench.cli.render_quickstart import render_quickstart
        from rerank_bench.jobs.quickstart import DEFAULT_STEPS, QuickstartConfig, run_quickstart

        config = QuickstartConfig(folder=out, max_steps=max_steps or DEFAULT_STEPS, seed=seed)
        report = run_quickstart(config)
        print_json(report.as_dict()) if json else render_quickstart(stdout_console(), report)
