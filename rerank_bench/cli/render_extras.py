"""What ``run --measure-latency`` and ``run --check-dtype`` print below the table of the models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

Results = Sequence[Mapping[str, Any]]
Block = Mapping[str, Any]


def print_latencies(console: Console, results: Results) -> None:
    """Print how long a single query takes, for every model and data set that was asked."""
    heading = "Latency of a query: its list alone, from texts to scores, after a warm-up"
    _print_blocks(console, results, "latency", heading, ("p50", "p95", "p99", "docs", "queries"), _latency_cells)


def print_agreements(console: Console, results: Results) -> None:
    """Print how far two precisions rank alike, for every model and data set that was asked."""
    heading = "Rank agreement of two precisions, on a sample of queries"
    columns = ("Kendall", "top 10", "changed", "nDCG@10", "diff", "ties", "queries")
    if _print_blocks(console, results, "rank_agreement", heading, columns, _agreement_cells):
        console.print(
            "top 10 shared documents · changed queries with another top 10 or order · diff largest score difference, "
            "of the largest score · ties documents that tie in the run alone",
            style="dim",
        )


def _latency_cells(block: Block) -> list[str]:
    times = [_seconds(block[f"{name}_seconds"]) for name in ("p50", "p95", "p99")]
    return [*times, f"{block['docs_per_query']:.0f}", str(block["num_queries"])]


def _seconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms" if seconds < 1 else f"{seconds:,.2f} s"


def _agreement_cells(block: Block) -> list[str]:
    scale = block["largest_score"]
    return [
        "–" if block["kendall_tau"] is None else f"{block['kendall_tau']:.4f}",
        f"{block['top10_overlap']:.1%}",
        f"{block['top10_changed']:.0%}",
        "–" if block["ndcg10"] is None else f"{block['ndcg10'] - block['ndcg10_reference']:+.4f}",
        f"{block['largest_score_difference'] / scale:.1g}" if scale else "–",
        str(block["spurious_ties"]),
        str(block["num_queries"]),
    ]


def _print_blocks(
    console: Console,
    results: Results,
    name: str,
    heading: str,
    columns: Sequence[str],
    cells: Callable[[Block], list[str]],
) -> bool:
    """Print a table per result that has such blocks, a row per data set; return whether there was one."""
    has_depths = len({result["request"]["depth"] for result in results}) > 1
    is_first = True
    for result in results:
        blocks = {dataset: found[name] for dataset, found in result["datasets"].items() if found.get(name)}
        if not blocks:
            continue
        if is_first:
            console.print()
            console.print(heading, style="bold")
            is_first = False
        first = next(iter(blocks.values()))
        parts = [str(result["model"]["name"])]
        if "reference_dtype" in first:
            parts.append(f"{first['dtype']} against {first['reference_dtype']}")
        if has_depths:
            parts.append(f"depth {result['request']['depth']}")
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        table.add_column("data set", overflow="fold")
        for title in columns:
            table.add_column(title, justify="right", no_wrap=True)
        for dataset, block in blocks.items():
            table.add_row(Text(dataset), *cells(block))
        console.print(Text(", ".join(parts)))
        console.print(table)
    return not is_first
