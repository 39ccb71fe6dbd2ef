"""``rerank-bench card``: the model card of a run, or of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rerank_bench.cli import options
from rerank_bench.cli.console import command


def card(
    *,
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="A run folder or its result.json, the folder of a finished training, or what classify --out wrote.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Write to a file, such as README.md, not to stdout."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is no card, or one that was changed by hand.")
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Write a model card as hubs read it: values with intervals in a model index and in tables, training data, log, versions.

    A run of what `train` made has the training in its card, too. Limited runs say so and stay out of the model index.
    """
    with command(quiet=quiet):
        from rerank_bench.errors import ConfigError
        from rerank_bench.jobs.card import make_card
        from rerank_bench.progress import note
        from rerank_bench.reporting.model_card import write_card

        if overwrite and output is None:
            msg = "--overwrite needs a file to replace; name it with --output"
            raise ConfigError(msg)
        text = make_card(run)
        if output is None:
            typer.echo(text, nl=False)
        else:
            write_card(output, text, overwrite=overwrite)
            note(f"{output}: written")
