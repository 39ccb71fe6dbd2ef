"""``rerank-bench depth``: what runs would be worth had they reranked fewer documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rerank_bench.cli import explaining, options
from rerank_bench.cli.console import command, print_json, stdout_console


def depth(
    *,
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN…", help="Run folders over the same candidates, or FILE.csv:MODEL.")
    ],
    dataset: explaining.Datasets = None,
    measure: explaining.Measure = "nDCG@10",
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also draw the curves: .png or .svg.", rich_help_panel=options.OUTPUT_PANEL),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Show the value by reranking depth, from the one scoring pass of a stored run, and mark the best depth.

    At depth d the first d candidates are reranked and the others follow in first-stage order.
    """
    with command(quiet=quiet):
        from rerank_bench.forensics.depth import depths_to_json, measure_depths
        from rerank_bench.forensics.depth_table import render_depths
        from rerank_bench.progress import note

        report = measure_depths(runs, measure=measure, datasets=tuple(dataset or ()))
        if plot is not None:
            from rerank_bench.forensics.depth_plot import write_depth_plot

            write_depth_plot(plot, report)
            note(f"picture: {plot}")
        if json:
            print_json(depths_to_json(report))
        else:
            console = stdout_console()
            console.print(render_depths(report, width=console.width))
