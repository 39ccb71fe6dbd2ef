"""Everything that the command line does around a command: streams, progress bars, errors to exit codes.

Results go to stdout; progress, notes and errors to stderr.  Bars are shown on a terminal only, and only for tasks that
last over a second.  Rich honours NO_COLOR by itself.
"""

from __future__ import annotations

import contextlib
import errno
import threading
import traceback
from collections.abc import Iterator

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from rerank_bench.cli.termination import Terminated, raise_when_terminated
from rerank_bench.errors import EnvironmentMissingError, RerankBenchError
from rerank_bench.progress import Advance, use_reporter

EXIT_DEFECT = 70
EXIT_INTERRUPTED = 130
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Met where a library writes, or stdout leads to a file; our own files say it themselves (``storage``)."""
SHOW_AFTER_SECONDS = 1.0


def stdout_console() -> Console:
    """Return the console for results; off a terminal it is 80 columns wide or as COLUMNS says."""
    return Console(highlight=False, soft_wrap=False)


def stderr_console() -> Console:
    """Return the console for notes and errors: long lines are left to the terminal to wrap, so paths stay whole."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


class _RateColumn(ProgressColumn):
    """Units done and units per second, such as ``8,100/9,120 pairs 312/s``."""

    def render(self, task: Task) -> Text:
        unit = str(task.fields.get("unit", ""))
        total = f"/{task.total:,.0f}" if task.total is not None else ""
        rate = f" {task.speed:,.0f}/s" if task.speed else ""
        return Text(f"{task.completed:,.0f}{total} {unit}{rate}")


class TerminalReporter:
    """Shows tasks as bars on stderr and notes as lines above them.

    Args:
        quiet: Show neither.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = stderr_console()

    @contextlib.contextmanager
    def task(self, description: str, total: int | None, unit: str) -> Iterator[Advance]:
        """Show one bar until the block ends, once it has lasted ``SHOW_AFTER_SECONDS``."""
        if self._quiet or not self._console.is_terminal:
            yield lambda _units: None
            return
        progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            _RateColumn(),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
        )
        task_id = progress.add_task(description, total=total, unit=unit)
        timer = threading.Timer(SHOW_AFTER_SECONDS, progress.start)
        timer.daemon = True
        timer.start()
        try:
            yield lambda units: progress.advance(task_id, units)
        finally:
            timer.cancel()
            timer.join()
            progress.stop()

    def note(self, message: str) -> None:
        """Print one line."""
        if not self._quiet:
            self._console.print(message, style="dim", markup=False)


@contextlib.contextmanager
def command(*, quiet: bool = False, resume_hint: str | None = None) -> Iterator[None]:
    """Run a command's body: progress to the terminal, errors to stderr and their exit code.

    Args:
        quiet: No progress, no notes; errors are always shown.
        resume_hint: What to say after Ctrl-C or SIGTERM about going on.

    Raises:
        typer.Exit: With the code of the error; 70 after an unexpected exception, whose traceback is printed.
    """
    try:
        with raise_when_terminated(), use_reporter(TerminalReporter(quiet=quiet)):
            yield
    except RerankBenchError as error:
        _print_error(str(error))
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        hint = f" {resume_hint}" if resume_hint else ""
        cause = f" by {error}" if isinstance(error, Terminated) else ""
        stderr_console().print(f"interrupted{cause}: no file is half-written.{hint}", style="yellow", markup=False)
        raise typer.Exit(error.exit_code if isinstance(error, Terminated) else EXIT_INTERRUPTED) from error
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise _defect(error) from error
        _print_error(f"{error}; free some space, or write elsewhere")
        raise typer.Exit(EnvironmentMissingError.exit_code) from error
    except Exception as error:
        raise _defect(error) from error


def _defect(error: Exception) -> typer.Exit:
    """Print what is not the user's fault, and return the exit that says so."""
    traceback.print_exception(error)
    _print_error("this is a defect of rerank-bench; please report it with the lines above and the command line")
    return typer.Exit(EXIT_DEFECT)


def _print_error(message: str) -> None:
    console = stderr_console()
    text = Text("error: ", style="bold red")
    text.append(message, style="default")
    console.print(text)


def print_json(value: object) -> None:
    """Print a value as JSON on stdout, the same off and on a terminal."""
    import json

    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
