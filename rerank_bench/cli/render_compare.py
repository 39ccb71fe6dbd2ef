"""How ``rerank-bench compare`` writes what it found: to stdout or to a file, in one of five forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rerank_bench.cli.compare import FormatChoice
from rerank_bench.cli.console import stdout_console
from rerank_bench.errors import ConfigError
from rerank_bench.progress import note

if TYPE_CHECKING:
    from rerank_bench.comparison.records import Comparison

SUFFIXES = {
    ".md": FormatChoice.markdown,
    ".tex": FormatChoice.latex,
    ".csv": FormatChoice.csv,
    ".json": FormatChoice.json,
    ".txt": FormatChoice.text,
}
FILE_WIDTH = 120
"""Columns of a text that goes to a file."""


def choose_format(form: FormatChoice | None, *, output: Path | None, json: bool) -> FormatChoice:
    """Return the form that ``--format``, ``--json`` and the suffix of ``--output`` ask for.

    Raises:
        ConfigError: ``--json`` beside another ``--format``, or a suffix that says nothing.
    """
    if json and form not in {None, FormatChoice.json}:
        msg = f"--json and --format {form} contradict one another; leave one out"
        raise ConfigError(msg)
    if json:
        return FormatChoice.json
    if form is not None:
        return form
    if output is None:
        return FormatChoice.text
    if output.suffix.lower() not in SUFFIXES:
        msg = f"--output {output}: the suffix is none of {', '.join(SUFFIXES)}; say --format"
        raise ConfigError(msg)
    return SUFFIXES[output.suffix.lower()]


def show_comparison(comparison: Comparison, form: FormatChoice, *, output: Path | None) -> None:
    """Print a comparison on stdout, or write it to a file; its notes go to stderr too.

    Raises:
        EnvironmentMissingError: The file cannot be written.
    """
    for sentence in comparison.notes:
        note(sentence)
    if output is not None:
        from rerank_bench.storage import write_text

        write_text(output, _render(comparison, form))
        note(f"written to {output}")
    elif form is FormatChoice.text:
        from rerank_bench.comparison.terminal import render_terminal

        console = stdout_console()
        console.print(render_terminal(comparison, width=console.width))
    else:
        typer.echo(_render(comparison, form), nl=False)


def _render(comparison: Comparison, form: FormatChoice) -> str:
    from rerank_bench.comparison import documents
    from rerank_bench.comparison.records import comparison_to_json

    if form is FormatChoice.json:
        return json.dumps(comparison_to_json(comparison), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if form is FormatChoice.text:
        return _plain_text(comparison)
    renderers = {
        FormatChoice.markdown: documents.render_markdown,
        FormatChoice.latex: documents.render_latex,
        FormatChoice.csv: documents.render_csv,
    }
    return renderers[form](comparison)


def _plain_text(comparison: Comparison) -> str:
    import io

    from rich.console import Console

    from rerank_bench.comparison.terminal import render_terminal

    stream = io.StringIO()
    Console(file=stream, width=FILE_WIDTH, no_color=True).print(render_terminal(comparison, width=FILE_WIDTH))
    return stream.getvalue()
