"""``rerank-bench inspect``: which queries a reranker broke or fixed, against its own first stage."""

from __future__ import annotations

from typing import Annotated

import typer

from rerank_bench.cli import explaining, options
from rerank_bench.cli.console import command


def inspect_run(
    *,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run folder, its result.json, or FILE.csv:MODEL.")],
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
    """Explain which queries a run made worse or better than its own first stage, and why.

    Works from the stored run folder: no model is loaded. Texts are shown where the data set is on this machine.
    """
    with command(quiet=quiet):
        from rerank_bench.forensics.explain import ExplainOptions, explain_run

        chosen = ExplainOptions(measure=measure, view=view.value, datasets=tuple(dataset or ()), use_texts=not no_texts)
        explaining.show_explanation(
            explain_run(run, chosen),
            worst=worst,
            best=best,
            query_ids=query or (),
            style=style,
            html=html,
            json=json,
        )
