"""The ``rerank-bench`` command: its groups and the entry point."""

from __future__ import annotations

from typing import Annotated

import typer

import rerank_bench
from rerank_bench.cli.cache import cache_app
from rerank_bench.cli.candidates import candidates
from rerank_bench.cli.card import card
from rerank_bench.cli.classify import classify
from rerank_bench.cli.compare import compare
from rerank_bench.cli.datasets import datasets_app
from rerank_bench.cli.depth import depth
from rerank_bench.cli.diff import diff
from rerank_bench.cli.doctor import doctor
from rerank_bench.cli.evaluate import evaluate
from rerank_bench.cli.gate import gate_app
from rerank_bench.cli.inspect import inspect_run
from rerank_bench.cli.leaderboard import leaderboard
from rerank_bench.cli.merge import merge
from rerank_bench.cli.mine import mine
from rerank_bench.cli.plan import plan
from rerank_bench.cli.quickstart import quickstart
from rerank_bench.cli.run import run
from rerank_bench.cli.train import train

app = typer.Typer(
    name="rerank-bench",
    help="Measure rerankers: BM25 candidates, any cross-encoder, honest deltas, leaderboards.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:  # noqa: FBT001  typer passes the flag by position
    if requested:
        typer.echo(f"rerank-bench {rerank_bench.__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Measure rerankers: BM25 candidates, any cross-encoder, honest deltas, leaderboards."""


app.command()(quickstart)
app.command()(run)
app.command()(plan)
app.command()(merge)
app.command()(candidates)
app.command()(evaluate)
app.command()(leaderboard)
app.command()(compare)
app.command()(diff)
app.command("inspect")(inspect_run)
app.command()(depth)
app.command()(doctor)
app.command()(classify)
app.command()(mine)
app.command()(train)
app.command()(card)
app.add_typer(gate_app, name="gate")
app.add_typer(datasets_app, name="datasets")
app.add_typer(cache_app, name="cache")


def main() -> None:
    """Run the command line and end the process with its exit code."""
    app()
