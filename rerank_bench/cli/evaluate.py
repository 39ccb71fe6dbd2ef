"""``rerank-bench evaluate``: a stored TREC run against qrels; no model, no data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rerank_bench.cli import options
from rerank_bench.cli.console import command, print_json, stdout_console


def evaluate(
    *,
    run: Annotated[Path, typer.Argument(metavar="RUN.trec", help="TREC run file, plain or gzip.")],
    qrels: Annotated[Path, typer.Option(metavar="FILE", help="Judgements, TREC or BEIR TSV form.")],
    measure: options.Measures = None,
    allow_missing_queries: Annotated[
        bool, typer.Option("--allow-missing-queries", help="Judged queries that the run lacks count 0.")
    ] = False,
    per_query: Annotated[bool, typer.Option("--per-query", help="Also the values of every query.")] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Evaluate a stored run: means with 95% intervals, ties, queries by fate."""
    with command(quiet=quiet):
        from rerank_bench.cli.render import render_evaluation
        from rerank_bench.evaluation.stored_run import stored_run_to_json
        from rerank_bench.pipeline.run import evaluate_run

        evaluation = evaluate_run(
            run, qrels, measures=tuple(measure or ()), allow_missing_queries=allow_missing_queries
        )
        if json:
            values = {"per_query": evaluation.per_query} if per_query else {}
            print_json(stored_run_to_json(evaluation) | values)
        else:
            render_evaluation(stdout_console(), evaluation, per_query=per_query)
