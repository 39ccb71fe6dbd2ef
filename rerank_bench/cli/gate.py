"""``rerank-bench gate``: a finished run against a baseline; ``gate accept``, ``gate calibrate``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rerank_bench.cli import options
from rerank_bench.cli.console import command, print_json, stdout_console

if TYPE_CHECKING:
    from rerank_bench.gate.verdicts import GateReport

gate_app = typer.Typer(
    help="Hold a finished run against a baseline.", invoke_without_command=True, no_args_is_help=False
)

FILES_PANEL = "Files for a CI service"


class ModeChoice(StrEnum):
    """What a gate asks."""

    quality = "quality"
    repro = "repro"


Baseline = Annotated[
    str | None,
    typer.Option(
        metavar="RUN|FILE|CSV",
        help="What the run is held against: a baseline file, a run folder, its result.json, or results.csv:MODEL "
        "(MODEL@SUITE for one suite).",
    ),
]
Run = Annotated[str | None, typer.Option(metavar="RUN", help="The finished run: its folder or result.json.")]
Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="File of gates (TOML); default: the table tool.rerank-bench.gate of the pyproject.toml here, if any.",
    ),
]
Mode = Annotated[
    ModeChoice | None,
    typer.Option(metavar="NAME", help="quality (another checkpoint; default) or repro (same weights, other code)."),
]
Measure = Annotated[str | None, typer.Option(metavar="NAME", help="An ir-measures name; default: nDCG@10.")]
View = Annotated[
    options.ViewChoice | None,
    typer.Option(metavar="VIEW", help="end_to_end (default), injected or retrieved."),
]


@gate_app.callback()
def gate(
    context: typer.Context,
    *,
    baseline: Baseline = None,
    run: Run = None,
    config: Config = None,
    gate: Annotated[
        list[str] | None, typer.Option("--gate", metavar="NAME", help="Only this gate of the file; repeatable.")
    ] = None,
    mode: Mode = None,
    measure: Measure = None,
    view: View = None,
    min_drop: Annotated[
        float | None, typer.Option(metavar="X", help="A smaller drop is never called regressed; default: 0.005.")
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(metavar="P", help="Share of unchanged models that may be called regressed; default: 0.05."),
    ] = None,
    margin: Annotated[
        float | None, typer.Option(metavar="X", help="pass means: not worse by this much; default: 0.02.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(metavar="X", help="repro: largest |difference of means| that is reproduced; default: 0.002."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 4 when the verdict is inconclusive.")] = False,
    junit: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write JUnit XML, a test case per data set.", rich_help_panel=FILES_PANEL),
    ] = None,
    comment: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a pull-request comment (markdown).", rich_help_panel=FILES_PANEL),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Hold a finished run against a baseline: exit code 0 won, 1 lost, 4 inconclusive under --strict, 5 not comparable.

    Works from stored runs; no model is loaded. docs/gate.md says what the verdicts mean.
    """
    if context.invoked_subcommand is not None:
        _refuse_options_before(context)
        return
    with command(quiet=quiet), _annotated():
        from rerank_bench.cli.render_gate import render_gate
        from rerank_bench.gate.config import resolve_gates
        from rerank_bench.gate.gating import judge

        gates = resolve_gates(
            config,
            gate or (),
            baseline=baseline,
            run=run,
            mode=mode and mode.value,
            measure=measure,
            view=view and view.value,
            min_drop=min_drop,
            alpha=alpha,
            margin=margin,
            tolerance=tolerance,
            strict=strict or None,
        )
        reports = [judge(one) for one in gates]
        if json:
            print_json([report.as_dict() for report in reports])
        else:
            for number, report in enumerate(reports):
                if number:
                    typer.echo()
                render_gate(stdout_console(), report)
        _write_files(reports, junit=junit, comment=comment)
        code = min((report.exit_code for report in reports if report.exit_code), default=0)  # 1 lost before 4
        if code:
            raise typer.Exit(code)


def _refuse_options_before(context: typer.Context) -> None:
    """Raise where options of ``gate`` stand before a subcommand, which would not see them."""
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        # By its name: the enumeration's module differs between versions of typer.
        if parameter.name and getattr(context.get_parameter_source(parameter.name), "name", "") == "COMMANDLINE"
    ]
    if given:
        name = context.invoked_subcommand
        msg = f"{', '.join(given)} stands before {name}; write `gate {name} {given[0]} …`"
        raise typer.BadParameter(msg)


@contextlib.contextmanager
def _annotated() -> Iterator[None]:
    """Show an error that ends the command as an annotation too, under GitHub Actions."""
    from rerank_bench.errors import RerankBenchError

    try:
        yield
    except RerankBenchError as error:
        if _is_github():
            from rerank_bench.gate.annotations import annotation

            typer.echo(annotation("error", "rerank-bench gate", str(error)), err=True)
        raise


def _is_github() -> bool:
    return os.environ.get("GITHUB_ACTIONS") == "true"


def _write_files(reports: Sequence[GateReport], *, junit: Path | None, comment: Path | None) -> None:
    """Write what was asked for, and what GitHub Actions takes: annotations on stderr, the job's summary page."""
    from rerank_bench.gate.annotations import github_lines
    from rerank_bench.gate.junit import render_junit
    from rerank_bench.gate.markdown import render_comment, render_summary
    from rerank_bench.storage import write_text

    if junit is not None:
        write_text(junit, render_junit(reports))
    if comment is not None:
        write_text(comment, render_comment(reports))
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as page:  # other steps write to it too
            page.write(render_summary(reports) + "\n")
    if _is_github():
        for line in github_lines(reports):
            typer.echo(line, err=True)


@gate_app.command()
def accept(
    *,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why the baseline moves; goes into the history.")],
    baseline: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The baseline file (.json), to be written; the history stands beside."),
    ] = None,
    run: Run = None,
    config: Config = None,
    gate: Annotated[
        str | None, typer.Option("--gate", metavar="NAME", help="The gate of the file whose baseline moves.")
    ] = None,
    mode: Mode = None,
    measure: Measure = None,
    view: View = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Make a run the baseline, and write into the history beside it who did so, when and why.

    With the mode repro the scores are kept too. Commit the files that are named.
    """
    with command(quiet=quiet):
        from rerank_bench.cli.render_gate import render_accepted
        from rerank_bench.errors import ConfigError
        from rerank_bench.gate.config import resolve_gates
        from rerank_bench.gate.gating import accept_run

        gates = resolve_gates(
            config,
            [gate] if gate else (),
            baseline=baseline,
            run=run,
            mode=mode and mode.value,
            measure=measure,
            view=view and view.value,
        )
        if len(gates) > 1:
            msg = f"which baseline moves? Name its gate with --gate: {', '.join(one.name for one in gates)}"
            raise ConfigError(msg)
        accepted, entry = accept_run(gates[0], reason=reason)
        if json:
            print_json(entry)
        else:
            render_accepted(stdout_console(), accepted, entry)


@gate_app.command()
def calibrate(
    *,
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN RUN …", help="Runs of the same weights, scored with --no-cache.")
    ],
    measure: Measure = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure from repeated runs which tolerance the mode repro needs."""
    with command(quiet=quiet):
        import dataclasses

        from rerank_bench.cli.render_gate import render_calibration
        from rerank_bench.gate.gating import calibrate_runs

        found = calibrate_runs(runs, **({"measure": measure} if measure else {}))
        if json:
            print_json(dataclasses.asdict(found))
        else:
            render_calibration(stdout_console(), found)
