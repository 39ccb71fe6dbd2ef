"""``rerank-bench plan``: what a run would cost."""

from __future__ import annotations

from typing import Annotated

import typer

from rerank_bench.cli import options
from rerank_bench.cli.console import command, print_json, stdout_console


def plan(
    *,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", metavar="SPEC", help="As for run; repeatable.")
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option("--dataset", "-d", metavar="NAME|FOLDER", help="Data set or folder; repeatable."),
    ] = None,
    suite: Annotated[
        list[str] | None, typer.Option("--suite", "-s", metavar="NAME", help="Suite of data sets; repeatable.")
    ] = None,
    first_stage: options.FirstStage = "bm25",
    depth: options.Depths = "100",
    split: options.Split = "test",
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the first N queries of each data set.")
    ] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    devices: options.Devices = None,
    dtype: Annotated[
        options.DtypeChoice,
        typer.Option(metavar="NAME", help="Width of the trunk: auto, float32, bfloat16 or float16."),
    ] = options.DtypeChoice.auto,
    max_length: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Tokens per pair; default: what the checkpoint says.")
    ] = None,
    batch_tokens: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Padded tokens per batch; default: chosen for the device.")
    ] = None,
    family: Annotated[
        str | None, typer.Option(metavar="NAME", help="Overrides the family that the checkpoint's files state.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(metavar="REV", help="Revision of a hub model: commit, tag or branch.")
    ] = None,
    trust_remote_code: Annotated[
        bool,
        typer.Option(
            "--trust-remote-code",
            help="Let the checkpoint run Python code of its own; of a hub model, at --revision COMMIT only.",
        ),
    ] = False,
    code_revision: options.CodeRevision = None,
    positive_label: options.PositiveLabel = None,
    instruction: options.Instruction = None,
    template: options.Template = None,
    positive_token: options.PositiveToken = None,
    negative_token: options.NegativeToken = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Say what a run would cost, without running it: pairs, tokens, operations, time on this device, memory.

    Tokens are counted on the real candidate lists where the data are on this machine, else taken from the manifest's counts;
    no data are fetched. Times come from a few batches of the job, timed for some seconds; scores that are stored already cost
    nothing. `run --dry-run` shows the same.
    """
    with command(quiet=quiet):
        from rerank_bench.cli.render_plan import render_plan
        from rerank_bench.pipeline.depths import parse_depths
        from rerank_bench.pipeline.request import RunConfig
        from rerank_bench.planning.plan import plan_run
        from rerank_bench.scoring.device_list import parse_devices
        from rerank_bench.scoring.templates import read_template

        found = plan_run(
            RunConfig(
                models=tuple(model or ()),
                datasets=tuple(dataset or ()),
                suites=tuple(suite or ()),
                first_stage=first_stage,
                depth=parse_depths(depth),
                split=split,
                limit=limit,
                scorer={
                    "family": family,
                    "revision": revision,
                    "trust_remote_code": trust_remote_code,
                    "code_revision": code_revision,
                    "device": device,
                    "devices": () if devices is None else parse_devices(devices),
                    "dtype": dtype.value,
                    "max_length": max_length,
                    "batch_tokens": batch_tokens,
                    "positive_label": positive_label,
                    "instruction": instruction,
                    "template": None if template is None else read_template(template),
                    "positive_token": positive_token,
                    "negative_token": negative_token,
                },
            )
        )
        if json:
            print_json(found.as_dict())
        else:
            render_plan(stdout_console(), found)
