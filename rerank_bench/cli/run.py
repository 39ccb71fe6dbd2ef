"""``rerank-bench run``: data sets → candidates → rerankers → results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rerank_bench.cli import options
from rerank_bench.cli.console import command, print_json, stdout_console

RESUME_HINT = (
    "Run the same command again to go on: stored scores and candidate lists are used again. Finished models stand in "
    "their folders and in the leaderboard."
)


def run(
    *,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="SPEC",
            help="Hub id, local folder, demo, module:callable, URL of a rerank endpoint, run:FILE, or a baseline (first-stage, "
            "random, oracle); repeatable. Default: demo and the three baselines.",
        ),
    ] = None,
    dataset: options.Datasets = None,
    suite: options.Suites = None,
    first_stage: options.FirstStage = "bm25",
    depth: options.Depths = "100",
    measure: options.Measures = None,
    view: options.View = options.ViewChoice.end_to_end,
    allow_missing_queries: Annotated[
        bool,
        typer.Option(
            "--allow-missing-queries",
            help="Judged queries that a stored run (run:FILE) lacks count 0, and are reported.",
        ),
    ] = False,
    split: options.Split = "test",
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Only the first N queries of each data set; never comparable."),
    ] = None,
    measure_latency: options.MeasureLatency = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Score and write nothing; say what it would cost, as rerank-bench plan does."),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Score the I-th of N parts only, for rerank-bench merge; auto: this process's part under torchrun or SLURM.",
        ),
    ] = None,
    device: options.Device = "auto",
    devices: options.Devices = None,
    engine: options.Engine = options.EngineChoice.local,
    ray_address: options.RayAddress = None,
    ray_cores: options.RayCores = None,
    dtype: options.Dtype = options.DtypeChoice.auto,
    check_dtype: options.CheckDtype = None,
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
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache", help="Score every pair afresh and store nothing.", rich_help_panel=options.MODEL_PANEL
        ),
    ] = False,
    external_model: options.ExternalModel = None,
    external_shape: options.ExternalShape = options.ShapeChoice.auto,
    external_docs: options.ExternalDocs = 100,
    external_concurrency: options.ExternalConcurrency = 8,
    external_timeout: options.ExternalTimeout = 60.0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the run folders; default: runs/ and the suite's or the data sets' names.",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = None,
    leaderboard: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Default: leaderboards/results.csv if it stands here, else inside the results' folder.",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Rerank the first stage's candidates and measure the difference.

    Without arguments: the embedded data set pydocs with the embedded demo encoder beside the baselines.
    """
    with command(quiet=quiet, resume_hint=RESUME_HINT):
        from rerank_bench.cli.render import render_report
        from rerank_bench.pipeline.depths import parse_depths
        from rerank_bench.pipeline.request import RunConfig
        from rerank_bench.pipeline.run import run_models
        from rerank_bench.pipeline.shards import AUTO, device_of_rank, parse_shard, run_shard
        from rerank_bench.scoring.device_list import parse_devices
        from rerank_bench.scoring.external_options import ExternalOptions
        from rerank_bench.scoring.ray_options import parse_engine
        from rerank_bench.scoring.templates import read_template

        part = None if shard is None else parse_shard(shard)
        if shard == AUTO and devices is None:
            device = device_of_rank(device)
        config = RunConfig(
            models=tuple(model or ()),
            datasets=tuple(dataset or ()),
            suites=tuple(suite or ()),
            first_stage=first_stage,
            depth=parse_depths(depth),
            extra_measures=tuple(measure or ()),
            view=view.value,
            out=out,
            leaderboard=leaderboard,
            split=split,
            limit=limit,
            use_cache=not no_cache,
            allow_missing_queries=allow_missing_queries,
            measure_latency=measure_latency,
            check_dtype=None if check_dtype is None else check_dtype.value,
            scorer={
                "family": family,
                "revision": revision,
                "trust_remote_code": trust_remote_code,
                "code_revision": code_revision,
                "device": device,
                "devices": () if devices is None else parse_devices(devices),
                "ray": parse_engine(engine.value, address=ray_address, cores=ray_cores),
                "dtype": dtype.value,
                "max_length": max_length,
                "batch_tokens": batch_tokens,
                "positive_label": positive_label,
                "external": ExternalOptions(
                    model=external_model,
                    shape=external_shape.value,
                    docs_per_request=external_docs,
                    concurrency=external_concurrency,
                    timeout_seconds=external_timeout,
                ),
                "instruction": instruction,
                "template": None if template is None else read_template(template),
                "positive_token": positive_token,
                "negative_token": negative_token,
            },
        )
        if dry_run and part is not None:
            from rerank_bench.errors import ConfigError

            msg = "--dry-run plans the whole run, of which a shard takes its part; drop --shard"
            raise ConfigError(msg)
        if dry_run:
            from rerank_bench.cli.render_plan import render_plan
            from rerank_bench.planning.plan import plan_run

            plan = plan_run(config)
            if json:
                print_json(plan.as_dict())
            else:
                render_plan(stdout_console(), plan)
            return
        if part is not None:
            paths = [str(path) for path in run_shard(config, part)]
            if json:
                print_json({"parts": paths})
            else:
                stdout_console().print("\n".join(paths), soft_wrap=True, markup=False)
            return
        report = run_models(config)
        if json:
            print_json([outcome.result for outcome in report.outcomes])
        else:
            render_report(stdout_console(), report)
