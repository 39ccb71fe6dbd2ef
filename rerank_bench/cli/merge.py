"""``rerank-bench merge``: the parts of ``run --shard`` joined."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rerank_bench.cli import options
from rerank_bench.cli.console import command, print_json, stdout_console


def merge(
    *,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What run --shard wrote: <out>/<model>.shards.")],
    leaderboard: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Default: leaderboards/results.csv if it stands here, else beside the results.",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Join the shards of a run into an ordinary run folder and leaderboard rows.

    Nothing may be missing or there twice (exit code 2), and all parts must be of the same model, data, protocol and versions
    (exit code 5; the field is named). The data sets and their candidates are read again.
    """
    with command(quiet=quiet):
        from rerank_bench.cli.render import render_report
        from rerank_bench.pipeline.merge import merge_shards

        report = merge_shards(folder, leaderboard=leaderboard)
        if json:
            print_json([outcome.result for outcome in report.outcomes])
        else:
            render_report(stdout_console(), report)
