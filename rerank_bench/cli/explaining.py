"""What ``diff`` and ``inspect`` share: their options, and the rendering of what they found."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rerank_bench.cli.console import print_json, stdout_console
from rerank_bench.cli.options import OUTPUT_PANEL
from rerank_bench.errors import ConfigError

if TYPE_CHECKING:
    from rerank_bench.forensics.records import Explanation


class FormatChoice(StrEnum):
    """How an explanation is printed."""

    terminal = "terminal"
    markdown = "markdown"


Datasets = Annotated[
    list[str] | None,
    typer.Option("--dataset", "-d", metavar="NAME", help="Only this data set of the run; repeatable. Default: all."),
]
Measure = Annotated[str, typer.Option(metavar="NAME", help="Any ir-measures name.")]
Worst = Annotated[
    int | None,
    typer.Option(metavar="N", min=0, help="Show the N queries that lost most. Default: 10 if nothing else is chosen."),
]
Best = Annotated[int | None, typer.Option(metavar="N", min=0, help="Show the N queries that gained most.")]
Query = Annotated[
    list[str] | None, typer.Option("--query", metavar="ID", help="Show this query, whatever became of it; repeatable.")
]
NoTexts = Annotated[
    bool, typer.Option("--no-texts", help="Do not read the data sets: ids only, and no slices by length. Faster.")
]
Format = Annotated[
    FormatChoice | None,
    typer.Option(
        "--format", metavar="NAME", help="terminal or markdown; default: terminal.", rich_help_panel=OUTPUT_PANEL
    ),
]
Html = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Also write one self-contained HTML page with every query, to sort and to search.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]


def show_explanation(
    explanation: Explanation,
    *,
    worst: int | None,
    best: int | None,
    query_ids: Sequence[str],
    style: FormatChoice | None,
    html: Path | None,
    json: bool,
) -> None:
    """Print the chosen queries in the chosen form, and write the page.

    Raises:
        ConfigError: A query id is unknown, or two forms are asked for.
        EnvironmentMissingError: The page cannot be written.
    """
    from rerank_bench.forensics.explain import select_queries
    from rerank_bench.forensics.html import write_html
    from rerank_bench.forensics.json_form import explanation_to_json
    from rerank_bench.forensics.markdown import render_markdown
    from rerank_bench.forensics.terminal import render_terminal
    from rerank_bench.progress import note

    if json and style is not None:
        msg = f"--json and --format {style} contradict one another; leave one out"
        raise ConfigError(msg)
    shown = select_queries(explanation, worst=worst, best=best, query_ids=query_ids)
    if html is not None:
        write_html(html, explanation)
        note(f"page with all {len(explanation.queries):,} queries: {html}")
    if json:
        print_json(explanation_to_json(shown))
    elif style is FormatChoice.markdown:
        typer.echo(render_markdown(shown), nl=False)
    else:
        console = stdout_console()
        console.print(render_terminal(shown, width=console.width))
