"""The CLI reference, docs/cli.md, made from the commands themselves (a test compares the two)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, get_type_hints

import typer
from typer.models import ArgumentInfo, OptionInfo, ParameterInfo

from rerank_bench.cli import cache, datasets, gate
from rerank_bench.cli.candidates import candidates
from rerank_bench.cli.card import card
from rerank_bench.cli.classify import classify
from rerank_bench.cli.compare import compare
from rerank_bench.cli.depth import depth
from rerank_bench.cli.diff import diff
from rerank_bench.cli.doctor import doctor
from rerank_bench.cli.evaluate import evaluate
from rerank_bench.cli.inspect import inspect_run
from rerank_bench.cli.leaderboard import leaderboard
from rerank_bench.cli.merge import merge
from rerank_bench.cli.mine import mine
from rerank_bench.cli.plan import plan
from rerank_bench.cli.quickstart import quickstart
from rerank_bench.cli.run import run
from rerank_bench.cli.train import train

COMMANDS: dict[str, Callable[..., None]] = {
    "quickstart": quickstart,
    "run": run,
    "plan": plan,
    "merge": merge,
    "candidates": candidates,
    "evaluate": evaluate,
    "leaderboard": leaderboard,
    "compare": compare,
    "diff": diff,
    "inspect": inspect_run,
    "depth": depth,
    "gate": gate.gate,
    "gate accept": gate.accept,
    "gate calibrate": gate.calibrate,
    "doctor": doctor,
    "classify": classify,
    "mine": mine,
    "train": train,
    "card": card,
    "datasets list": datasets.list_datasets,
    "datasets show": datasets.show_dataset,
    "datasets verify": datasets.verify_dataset,
    "cache info": cache.show_cache,
    "cache clear": cache.clear,
}
"""Name -> the function that typer calls; a test compares the names with what the application offers."""

INTRODUCTION = """# Command line

Generated from the commands (`nox -s golden`); not edited by hand. Results go to stdout; progress, notes and errors go to
stderr. `--json` prints what the table shows as JSON.

| exit code | meaning |
|---|---|
| 0 | success |
| 1 | a gate is lost |
| 2 | bad input or request |
| 3 | a dependency, a device or the network is missing |
| 4 | inconclusive, under `--strict` |
| 5 | two results do not compare |
| 70 | a defect of rerank-bench (with traceback) |
| 130 | interrupted (Ctrl-C); no file is half-written |
| 143 | ended by SIGTERM (129: by SIGHUP), likewise |
"""


def render_reference() -> str:
    """Return the reference as Markdown."""
    return INTRODUCTION + "".join(_render_command(name, function) for name, function in COMMANDS.items())


def _render_command(name: str, function: Callable[..., None]) -> str:
    parameters = list(_parameters(function))
    arguments = [_argument_name(info) for _, info, _ in parameters if isinstance(info, ArgumentInfo)]
    lines = [
        f"\n## `rerank-bench {name}`\n",
        f"{inspect.getdoc(function)}\n",
        f"```\n{' '.join(['rerank-bench', name, *arguments, '[OPTIONS]'])}\n```\n",
        "| argument or option | default | meaning |",
        "|---|---|---|",
    ]
    lines += [_row(*parameter) for parameter in parameters]
    return "\n".join(lines) + "\n"


def _parameters(function: Callable[..., None]) -> Iterator[tuple[str, ParameterInfo, Any]]:
    """Yield (name, what typer was told of it, default), in the order of the signature."""
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        if hints[name] is typer.Context:  # what typer itself hands over
            continue
        info = next(extra for extra in hints[name].__metadata__ if isinstance(extra, ParameterInfo))
        yield name, info, parameter.default


def _argument_name(info: ParameterInfo) -> str:
    return str(info.metavar)


def _row(name: str, info: ParameterInfo, default: Any) -> str:
    if isinstance(info, OptionInfo):
        # Under Annotated, typer keeps the first spelling where it keeps a default otherwise.
        first = (info.default,) if isinstance(info.default, str) else ()
        names = (*first, *(info.param_decls or ())) or (f"--{name.replace('_', '-')}",)
        spelling = " ".join([", ".join(names), *([info.metavar] if info.metavar else [])])
    else:
        spelling = _argument_name(info)
    value = default.value if isinstance(default, Enum) else default
    shown = "" if value in (None, False) else "required" if value is inspect.Parameter.empty else f"`{value}`"
    cells = (f"`{spelling}`", shown, str(info.help))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
