"""``rerank-bench cache``: what is kept between runs, and how to be rid of it."""

from __future__ import annotations

from typing import Annotated

import typer

from rerank_bench.cli import options
from rerank_bench.cli.console import command, print_json, stdout_console

cache_app = typer.Typer(
    help="Show and clear stored scores, candidate lists, indices, vectors and training data.", no_args_is_help=True
)


@cache_app.command("info")
def show_cache(*, json: options.Json = False) -> None:
    """Show what the cache folder holds: stored scores by model, candidate lists, indices, vectors, training data, sizes.

    The folder is $RERANK_BENCH_CACHE, else the platform's own. A file that was found damaged is listed too.
    """
    with command():
        from rerank_bench.cli.render_cache import render_cache
        from rerank_bench.pipeline.cache import describe_cache

        description = describe_cache()
        if json:
            print_json(description)
        else:
            render_cache(stdout_console(), description)


@cache_app.command("clear")
def clear(
    *,
    scores: Annotated[bool, typer.Option("--scores", help="Delete the stored scores.")] = False,
    candidates: Annotated[bool, typer.Option("--candidates", help="Delete the candidate lists.")] = False,
    indexes: Annotated[bool, typer.Option("--indexes", help="Delete BM25's indices of large collections.")] = False,
    vectors: Annotated[bool, typer.Option("--vectors", help="Delete the vectors of dense:MODEL.")] = False,
    training: Annotated[
        bool, typer.Option("--training", help="Delete training data that were built: docstrings, labels, mined pairs.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Delete all of them.")] = False,
    json: options.Json = False,
) -> None:
    """Delete what can be computed again; results and leaderboards are not touched.

    End running commands first: what they store into a deleted file is lost to the next run.
    """
    with command():
        from rerank_bench.cli.render_cache import format_bytes
        from rerank_bench.errors import ConfigError
        from rerank_bench.pipeline.cache import clear_cache

        if not (scores or candidates or indexes or vectors or training or everything):
            msg = "cache clear: nothing was chosen; pass --scores, --candidates, --indexes, --vectors, --training or --all"
            raise ConfigError(msg)
        num_bytes = clear_cache(
            scores=scores or everything,
            candidates=candidates or everything,
            indexes=indexes or everything,
            vectors=vectors or everything,
            training=training or everything,
        )
        if json:
            print_json({"freed_bytes": num_bytes})
        else:
            stdout_console().print(f"freed {format_bytes(num_bytes)}")
