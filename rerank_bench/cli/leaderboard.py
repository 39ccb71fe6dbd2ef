"""``rerank-bench leaderboard``: a CSV leaderboard as a table, a README and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from rerank_bench.cli import options
from rerank_bench.cli.console import command, print_json, stdout_console

DEFAULT_CSV = Path("leaderboards/results.csv")
CHECKPOINTS_PANEL = "The checkpoints of a training"
RESUME_HINT = "Run the same command again to go on: stored scores are used again."


def leaderboard(
    *,
    csv: Annotated[
        Path | None,
        typer.Argument(
            metavar="CSV",
            help="The leaderboard; default: leaderboards/results.csv, or with --checkpoints one among the results.",
        ),
    ] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Measure all checkpoints of a training first (DIR/checkpoint-N and the final weights), add them to the "
            "leaderboard, and draw the learning curve.",
            rich_help_panel=CHECKPOINTS_PANEL,
        ),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", metavar="NAME", help="Show only this model; repeatable.")
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset",
            "-d",
            metavar="NAME",
            help="Show only this data set or suite; with --checkpoints: measure on this one; repeatable.",
        ),
    ] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(
            "--suite",
            "-s",
            metavar="NAME",
            help="Measure on this suite; repeatable. Default: pydocs.",
            rich_help_panel=CHECKPOINTS_PANEL,
        ),
    ] = None,
    first_stage: Annotated[
        str | None,
        typer.Option(metavar="NAME|RUN", help="As for run; default: bm25.", rich_help_panel=CHECKPOINTS_PANEL),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="As for run; default: 100.", rich_help_panel=CHECKPOINTS_PANEL),
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="As for run; default: auto.", rich_help_panel=CHECKPOINTS_PANEL)
    ] = None,
    dtype: Annotated[
        options.DtypeChoice | None,
        typer.Option(metavar="NAME", help="As for run; default: auto.", rich_help_panel=CHECKPOINTS_PANEL),
    ] = None,
    view: options.View = options.ViewChoice.end_to_end,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where README.md and plots go; default: beside the CSV; with --checkpoints: the results and the curve, by default "
            "runs/NAME-checkpoints.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 2 when README.md is not what the CSV renders to.")
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Print the leaderboard and render README.md and its plots (PNG and SVG) from the CSV.

    With --model or --dataset, only the table is printed. With --checkpoints, the steps of a training are: what was measured
    before is not scored again.
    """
    with command(quiet=quiet, resume_hint=None if checkpoints is None else RESUME_HINT):
        measuring = {"suite": suite, "first-stage": first_stage, "depth": depth, "device": device, "dtype": dtype}
        showing = {"model": model, "check": check or None}
        if checkpoints is not None:
            _refuse(showing, "does not go with --checkpoints")
            given = {name: value for name, value in {"device": device, "dtype": dtype}.items() if value is not None}
            _show_series(
                checkpoints,
                {
                    "datasets": tuple(dataset or ()),
                    "suites": tuple(suite or ()),
                    "first_stage": first_stage or "bm25",
                    "depth": depth or 100,
                    "view": view.value,
                    "out": out,
                    "leaderboard": csv,
                    "scorer": {name: str(value) for name, value in given.items()},
                },
                json=json,
            )
        else:
            _refuse(measuring, "says how checkpoints are measured; name their folder with --checkpoints")
            _show_leaderboard(
                csv or DEFAULT_CSV, model or (), dataset or (), view=view.value, out=out, check=check, json=json
            )


def _refuse(values: Mapping[str, object], problem: str) -> None:
    from rerank_bench.errors import ConfigError

    given = [f"--{name}" for name, value in values.items() if value is not None]
    if given:
        msg = f"{', '.join(given)}: {problem}"
        raise ConfigError(msg)


def _show_series(folder: Path, values: dict[str, Any], *, json: bool) -> None:
    from rerank_bench.cli.render_series import render_series
    from rerank_bench.jobs.checkpoint_series import evaluate_series
    from rerank_bench.pipeline.request import RunConfig

    series = evaluate_series(folder, RunConfig(**values))
    print_json(series.as_dict()) if json else render_series(stdout_console(), series)


def _show_leaderboard(
    csv: Path,
    models: Sequence[str],
    datasets: Sequence[str],
    *,
    view: str,
    out: Path | None,
    check: bool,
    json: bool,
) -> None:
    from rerank_bench.cli.render import render_leaderboard
    from rerank_bench.reporting.leaderboard import read_leaderboard, select_rows
    from rerank_bench.reporting.page import check_page, render_page
    from rerank_bench.reporting.summary import to_records

    if models or datasets:
        shown = select_rows(read_leaderboard(csv), models=models, datasets=datasets)
        page = None
    else:
        page = (check_page if check else render_page)(csv, view=view, out=out)
        shown = page.frame
    if json:
        print_json(to_records(shown, view=view))
    else:
        render_leaderboard(stdout_console(), shown, view=view, page=page)
