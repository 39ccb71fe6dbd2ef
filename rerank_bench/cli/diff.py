"""``rerank-bench diff``: which queries changed between two runs, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from rerank_bench.cli import explaining, options
from rerank_bench.cli.console import command


def diff(
    *,
    run_a: Annotated[str, typer.Argument(metavar="RUN_A", help="Run folder, its result.json, or FILE.csv:MODEL.")],
    run_b: Annotated[str, typer.Argument(metavar="RUN_B", help="The run that is explained against RUN_A.")],
    dataset: explaining.Datasets = None,
    measure: explaining.Measure = "nDCG@10",
    view: options.View = options.ViewChoice.end_to_end,
    worst: explaining.Worst = None,
    best: explaining.Best = None,
    query: explaining.Query = None,
    no_texts: explaining.NoTexts = False,
    style: explaining.Format = None,
    html: explaining.Html = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Explain which queries got worse or better from one run to another, and why.

    Works from stored run folders: no model is loaded. Texts are shown where the data set is on this machine.
    """
    with command(quiet=quiet):
        from rerank_bench.forensics.explain import ExplainOptions, explain_pair

        chosen = ExplainOptions(measure=measure, view=view.value, datasets=tuple(dataset or ()), use_texts=not no_texts)
        explaining.show_explanation(
            explain_pair(run_a, run_b, chosen),
            worst=worst,
            best=best,
            query_ids=query or (),
            style=style,
            html=html,
            json=json,
        )
