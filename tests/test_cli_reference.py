"""docs/cli.md is what the commands say of themselves."""

from __future__ import annotations

from pathlib import Path

import typer

from rerank_bench.cli.app import app
from rerank_bench.cli.reference import COMMANDS, render_reference

REFERENCE = Path(__file__).parents[1] / "docs" / "cli.md"


def test_the_reference_is_up_to_date(*, update_golden: bool) -> None:
    rendered = render_reference()
    if update_golden:
        REFERENCE.write_text(rendered, encoding="utf-8")
    assert REFERENCE.read_text(encoding="utf-8") == rendered, "run `nox -s golden`"


def test_every_command_of_the_application_is_described() -> None:
    assert sorted(COMMANDS) == sorted(names_of(app))


def names_of(group: typer.Typer) -> list[str]:
    """Names as a user types them."""
    own = [info.name or info.callback.__name__ for info in group.registered_commands if info.callback]
    return (
        own
        + [
            f"{sub.name} {name}"
            for sub in group.registered_groups
            if sub.typer_instance
            for name in names_of(sub.typer_instance)
        ]
        + [str(sub.name) for sub in group.registered_groups if sub.typer_instance and runs_alone(sub.typer_instance)]
    )


def runs_alone(group: typer.Typer) -> bool:
    """Whether the group's name is a command by itself, as `rerank-bench gate` is."""
    return bool(group.info.invoke_without_command)


def test_every_option_has_help() -> None:
    rows = [line for line in render_reference().splitlines() if line.startswith("| `")]
    assert rows
    assert not [row for row in rows if row.endswith(("|  |", "| None |"))]
