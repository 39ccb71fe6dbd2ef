"""What ``rerank-bench train`` prints: the look at the data, and the outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from rerank_bench.training.checks import DataReport
    from rerank_bench.training.outcome import TrainingOutcome

MAX_DOCS_SHOWN = 3
TEXT_CHARS = 160


def render_data_report(console: Console, report: DataReport) -> None:
    """Print examples, label balance, lengths, and what of the evaluation data sets was found."""
    low, high = report.group_sizes
    sizes = f"{low}" if low == high else f"{low} to {high}"
    tokens = report.tokens
    rows = {
        "source": report.source,
        "shape": f"{report.shape} ({report.columns})",
        "examples": f"{report.num_examples:,} queries, documents per query: {sizes}, pairs: {report.num_pairs:,}",
        "labels": _labels(report.labels),
        "tokens": f"median {tokens['p50']}, 90% {tokens['p90']}, 99% {tokens['p99']}, longest {tokens['max']} "
        f"({tokens['sampled_pairs']:,} pairs tokenised)",
        "truncated": f"{tokens['truncated_share']:.1%} at {tokens['max_length']} tokens",
        **{f"left out: {reason}": f"{count:,}" for reason, count in report.dropped.items()},
        **{f"in {name}": _contamination(found) for name, found in report.contamination.items()},
    }
    print_rows(console, rows)
    for example in report.shown:
        console.print(f"\n{example['place']}", style="dim", markup=False, soft_wrap=True)
        console.print(f"query    {_short(example['query'])}", markup=False)
        pairs = list(zip(example["labels"], example["documents"], strict=True))
        for label, doc in pairs[:MAX_DOCS_SHOWN]:
            console.print(f"{label:7g}  {_short(doc)}", markup=False)
        if len(pairs) > MAX_DOCS_SHOWN:
            console.print(f"         … and {len(pairs) - MAX_DOCS_SHOWN} more documents", markup=False)


def render_outcome(console: Console, outcome: TrainingOutcome) -> None:
    """Print what was trained, what was kept and where it stands."""
    saved = f"step {outcome.saved_step} of {outcome.steps}"
    if outcome.best_by is not None and outcome.best_value is not None:
        saved += f", best {outcome.best_by}: {outcome.best_value:.4f}"
    resumed = f", from step {outcome.resumed_from}" if outcome.resumed_from else ""
    rows = {
        "saved": saved,
        **{name: f"{value:.4f}" for name, value in outcome.values.items()},
        "trained": f"{outcome.seconds:.0f} s in {outcome.precision}{resumed}",
        "checkpoint": f"{outcome.folder}/",
        "log": f"{outcome.folder / 'log.csv'}",
        "picture": f"{outcome.folder / 'curves.png'}",
        "card": f"{outcome.folder / 'README.md'}",
    }
    print_rows(console, rows)
    console.print(f"\nmeasure it: rerank-bench run --model {outcome.folder}", markup=False, soft_wrap=True)


def print_rows(console: Console, rows: dict[str, str]) -> None:
    """Print names and what they stand for, in two columns."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table, markup=False)


def _labels(labels: dict[str, Any]) -> str:
    share = f"{labels['positive_share']:.1%} above 0"
    if "counts" in labels:
        counts = ", ".join(f"{count:,} of {label}" for label, count in labels["counts"].items())
        return f"{counts} ({share})"
    return f"{labels['min']:g} to {labels['max']:g}, mean {labels['mean']:.3g} ({share})"


def _contamination(found: dict[str, Any]) -> str:
    if not found["queries"] and not found["documents"]:
        return "none of its queries or documents"
    first = f"; first: {found['examples'][0]}" if found["examples"] else ""
    return f"{found['queries']:,} examples with one of its queries, {found['documents']:,} with a document{first}"


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= TEXT_CHARS else flat[: TEXT_CHARS - 1] + "…"
