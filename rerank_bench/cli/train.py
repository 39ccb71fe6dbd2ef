"""``rerank-bench train``: data and a base model become a cross-encoder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from rerank_bench.cli import options
from rerank_bench.cli import train_options as given
from rerank_bench.cli.console import command, print_json, stdout_console

RESUME_HINT = "Run the same command again to go on from the last checkpoint."


def train(
    *,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A published recipe: msmarco-bce, msmarco-lambda, gooaq-bce, pairs-bce; or pydocs, which needs no "
            "network. Every option below overrides a field of it.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="SPEC", help="Base model: folder, hub id, or demo.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(metavar="REV", help="Revision of a hub model: commit, tag or branch.")
    ] = None,
    trust_remote_code: Annotated[
        bool | None, typer.Option("--trust-remote-code", help="Let the base model bring code of its own.")
    ] = None,
    code_revision: options.CodeRevision = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Becomes the checkpoint; default: models/ and the preset's or model's name."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only look at the data: examples, labels, lengths, contamination.")
    ] = False,
    device: Annotated[
        given.TrainDeviceChoice | None, typer.Option(metavar="NAME", help="auto (default) or cpu.")
    ] = None,
    data: given.Data = None,
    data_config: given.DataConfig = None,
    data_split: given.DataSplit = None,
    data_revision: given.DataRevision = None,
    columns: given.ColumnNames = None,
    first_rows: given.FirstRows = None,
    held_out: given.HeldOut = None,
    limit: given.Limit = None,
    drop_unusable: given.DropUnusable = None,
    drop_contaminated: given.DropContaminated = None,
    loss: given.Loss = None,
    pos_weight: given.PosWeight = None,
    weighting: given.Weighting = None,
    sigma: given.Sigma = None,
    eps: given.Eps = None,
    top_k: given.TopK = None,
    log_base: given.LogBase = None,
    batch_size: given.BatchSize = None,
    accumulation: given.Accumulation = None,
    mini_batch: given.MiniBatch = None,
    epochs: given.Epochs = None,
    max_steps: given.MaxSteps = None,
    learning_rate: given.LearningRate = None,
    head_learning_rate: given.HeadLearningRate = None,
    schedule: given.Schedule = None,
    warmup: given.Warmup = None,
    weight_decay: given.WeightDecay = None,
    max_grad_norm: given.MaxGradNorm = None,
    max_length: given.MaxLength = None,
    dropout: given.Dropout = None,
    freeze_embeddings: given.FreezeEmbeddings = None,
    copy_segment: given.CopySegment = None,
    precision: given.Precision = None,
    gradient_checkpointing: given.GradientCheckpointing = None,
    group_by_length: given.GroupByLength = None,
    seed: given.Seed = None,
    log_steps: given.LogSteps = None,
    log_to: given.LogTo = None,
    evaluate: given.Evaluate = None,
    eval_steps: given.EvalSteps = None,
    eval_dtype: given.EvalDtype = None,
    best_by: given.BestBy = None,
    patience: given.Patience = None,
    keep_checkpoints: given.KeepCheckpoints = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a cross-encoder, measured while it trains by this very harness.

    The folder is a checkpoint that `run --model`, transformers and Sentence Transformers load. An interrupted training
    goes on where it was when the same command runs again.
    """
    values = locals()
    with command(quiet=quiet, resume_hint=RESUME_HINT):
        from rerank_bench.cli.render_train import render_data_report, render_outcome
        from rerank_bench.jobs.train import check_data, default_folder, run_training

        request = _request(values)
        if check:
            report = check_data(request)
            print_json(report.as_dict()) if json else render_data_report(stdout_console(), report)
            return
        outcome = run_training(request, out or default_folder(request))
        if os.environ.get("RANK", "0") != "0":  # torchrun: the first process speaks for all
            return
        print_json(outcome.as_dict()) if json else render_outcome(stdout_console(), outcome)


def _request(values: dict[str, Any]) -> Any:
    """Return the request that the options come to."""
    from rerank_bench.training.presets import preset
    from rerank_bench.training.request import override, parse_choices

    names = values.keys() - {"preset", "out", "check", "json", "quiet", "data", "top_k"}
    fields = {name: getattr(values[name], "value", values[name]) for name in names}
    fields |= {"sources": values["data"], "k": values["top_k"]}
    fields |= {"log_to": [str(logger) for logger in values["log_to"] or ()]}
    base = None if values["preset"] is None else preset(values["preset"])
    return override(base, parse_choices(fields))
