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
    dataset: options.Datasets = None,
    suite: options.Suites = None,
    first_stage: options.FirstStage = "bm25",
    depth: options.Depths = "100",
    split: options.Split = "test",
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the first N queries of each data set.")
    ] = None,
    device: options.Device = "auto",
    devices: options.Devices = None,
    dtype: options.Dtype = options.DtypeChoice.auto,
    max_length: options.MaxLength = None,
    batch_tokens: options.BatchTokens = None,
    family: options.Family = None,
    revision: options.Revision = None,
    trust_remote_code: options.TrustRemoteCode = False,
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
