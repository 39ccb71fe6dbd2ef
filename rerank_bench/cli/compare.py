"""``rerank-bench compare``: two or more stored runs, paired by query; no model, no torch."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rerank_bench.cli import options
from rerank_bench.cli.console import command


class FormatChoice(StrEnum):
    """How a comparison is written."""

    text = "text"
    markdown = "markdown"
    latex = "latex"
    csv = "csv"
    json = "json"


def compare(
    *,
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Two or more of: a run folder, its result.json, FILE.csv:MODEL or FILE.csv:MODEL@SUITE (a leaderboard's "
            "row), a TREC run file.",
        ),
    ],
    measure: Annotated[str, typer.Option(metavar="NAME", help="Any ir-measures name.")] = "nDCG@10",
    view: Annotated[
        options.ViewChoice, typer.Option(metavar="VIEW", help="end_to_end, injected or retrieved.")
    ] = options.ViewChoice.end_to_end,
    dataset: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Compare on this data set only; repeatable. A TREC run is of this data set."),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="RUN", help="Compare all with this run, not every pair.")
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            metavar="seed|REGEX",
            help="Compare means over seeds: runs whose places differ in this part only (x-seed1, x-seed2) are one.",
        ),
    ] = None,
    alpha: Annotated[float, typer.Option(metavar="P", help="Level for the letters and the marks.")] = 0.05,
    qrels: Annotated[Path | None, typer.Option(metavar="FILE", help="Judgements of the TREC runs.")] = None,
    allow_missing_queries: Annotated[
        bool, typer.Option("--allow-missing-queries", help="Judged queries that a TREC run lacks count 0.")
    ] = False,
    form: Annotated[
        FormatChoice | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="text, markdown, latex, csv or json; default: text, or as the suffix of --output says.",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write to a file, not to stdout.", rich_help_panel=options.OUTPUT_PANEL),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare stored runs, paired by query: differences with intervals, p-values, and runs that cannot be told apart."""
    with command(quiet=quiet):
        from rerank_bench.cli.render_compare import choose_format, show_comparison
        from rerank_bench.comparison.compare import CompareConfig, compare_runs
        from rerank_bench.comparison.opening import open_sources

        chosen = choose_format(form, output=output, json=json)
        config = CompareConfig(
            measure=measure,
            view=view.value,
            datasets=tuple(dataset or ()),
            baseline=baseline,
            group_by=group_by,
            alpha=alpha,
        )
        sources = open_sources(runs, qrels=qrels, datasets=config.datasets, allow_missing_queries=allow_missing_queries)
        show_comparison(compare_runs(sources, config), chosen, output=output)
