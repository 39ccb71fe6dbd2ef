"""``rerank-bench candidates``: the first stage alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rerank_bench.cli import options
from rerank_bench.cli.console import command, print_json, stdout_console


def candidates(
    *,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Data-set name or folder.")],
    first_stage: options.FirstStage = "bm25",
    depth: options.Depth = "100",
    split: options.Split = "test",
    out: Annotated[
        Path | None, typer.Option(metavar="RUN.trec.gz", help="Also write the list here, as a TREC run.")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Build (or reuse) the first stage's candidate list of a data set and say how good it is."""
    with command(quiet=quiet, resume_hint="Run the same command again."):
        from rerank_bench.cli.render import render_candidates
        from rerank_bench.pipeline.candidates import summarise_candidates
        from rerank_bench.pipeline.depths import parse_depth

        depth_of_list = parse_depth(depth)
        summary = summarise_candidates(dataset, first_stage=first_stage, depth=depth_of_list, split=split, out=out)
        if json:
            print_json(summary)
        else:
            render_candidates(stdout_console(), summary)
