"""What ``rerank-bench plan`` and ``run --dry-run`` print."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from rerank_bench.cli.render_cache import format_bytes
from rerank_bench.planning.records import ModelPlan, Plan

BASES = {
    "lists": "candidate lists",
    "sample": "its texts; documents drawn at random",
    "counts": "the manifest's counts",
}


BUSY_SHARE = 0.2
"""Of the cores that others may take before a time is said to be theirs, too."""


def render_plan(console: Console, plan: Plan) -> None:
    """Print the data sets with their pairs, then what each model would cost."""
    console.print(f"Nothing was run. First stage {plan.first_stage}, depth {plan.depth}", soft_wrap=True, markup=False)
    datasets = _table("data set", "queries", "documents", "pairs", last="from")
    for dataset in plan.datasets:
        at_most = "" if dataset.basis == "lists" else "≤ "
        documents = "?" if dataset.documents is None else f"{dataset.documents:,}"
        pairs = f"{at_most}{dataset.pairs:,}"
        datasets.add_row(dataset.name, f"{dataset.queries:,}", documents, pairs, BASES[dataset.basis])
    console.print(datasets)
    models = _table("model", "pairs", "stored", "tokens", "TFLOP", "time", "memory")
    for model in plan.models:
        tokens = "–" if model.tokens is None else _short(model.tokens)
        flops = "–" if model.flops is None else f"{model.flops / 1e12:,.1f}"
        counts = (f"{model.pairs:,}", f"{model.stored_pairs:,}")
        models.add_row(model.spec, *counts, tokens, flops, _time(model), _memory(model))
    console.print(models)
    for model in plan.models:
        if model.note is not None:
            console.print(f"{model.spec}: {model.note}", soft_wrap=True, markup=False)
        elif model.calibration_seconds is not None:
            console.print(_details(model), soft_wrap=True, markup=False)


def format_seconds(seconds: float) -> str:
    """Return a time such as ``42 s``, ``7.5 min`` or ``3.1 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3_600:,.1f} h"


def _table(*titles: str, last: str | None = None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(titles[0], overflow="fold")
    for title in titles[1:]:
        table.add_column(title, justify="right", no_wrap=True)
    if last is not None:
        table.add_column(last, overflow="fold")
    return table


def _time(model: ModelPlan) -> str:
    return "–" if model.seconds is None else format_seconds(model.seconds)


def _memory(model: ModelPlan) -> str:
    parts = [format_bytes(size) for size in (model.host_bytes, model.device_bytes) if size is not None]
    return " + ".join(parts) or "–"


def _short(number: int) -> str:
    return f"{number / 1e6:,.1f} M" if number >= 1_000_000 else f"{number:,}"


def _details(model: ModelPlan) -> str:
    parts = [
        f"{name} {format_seconds(seconds)}"
        for name, seconds in (
            ("load", model.load_seconds),
            ("tokenise", model.tokenise_seconds),
            ("score", model.score_seconds),
        )
        if seconds is not None
    ]
    truncated = "" if not model.truncated_share else f"; {model.truncated_share:.1%} of them cut"
    busy = ""
    if model.busy_share is not None and model.processor_seconds is not None and model.busy_share > BUSY_SHARE:
        busy = (
            f". Other work took {model.busy_share:.0%} of the cores meanwhile; scoring needs "
            f"{format_seconds(model.processor_seconds)} of processor time"
        )
    return (
        f"{model.spec} on {model.device}: {', '.join(parts)}; {model.measured_pairs:,} pairs counted{truncated}; "
        f"{model.calibration_seconds:.1f} s timed{busy}"
    )
