"""What ``rerank-bench mine`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from rerank_bench.cli.render_train import print_rows

if TYPE_CHECKING:
    from rerank_bench.jobs.mine import MiningReport

REASONS = {
    "positive": "a positive, a copy of one, or the query itself",
    "absolute_margin": "too close to the lowest positive (absolute margin)",
    "relative_margin": "too close to the lowest positive (relative margin)",
    "max_score": "above the highest score",
    "min_score": "below the lowest score",
}


def render_mining(console: Console, report: MiningReport) -> None:
    """Print what was found, what was taken out, and who got fewer than asked for."""
    share = report.num_short / report.num_queries
    by_count = ", ".join(
        f"{count:,} with {number}"
        for number, count in report.negatives_per_query.items()
        if number < report.asked_negatives
    )
    rows = {
        "source": report.source,
        "queries": f"{report.num_queries:,} with {report.num_positives:,} positives",
        "corpus": f"{report.num_documents:,} distinct texts",
        "negatives": f"{report.num_negatives:,}, of ranks up to {report.range_max}",
        "short": f"{report.num_short:,} queries ({share:.1%}) have fewer than {report.asked_negatives}"
        + (f": {by_count}" if by_count else ""),
    }
    if report.left_out_queries:
        rows["left out"] = f"{report.left_out_queries:,} queries have no row, for want of negatives"
    if report.num_without_positive:
        rows["no positive"] = f"{report.num_without_positive:,} queries were left out"
    if report.num_blank_documents:
        rows["blank"] = f"{report.num_blank_documents:,} documents were left out"
    for name, count in report.taken_out.items():
        rows[f"out: {name.replace('_', ' ')}"] = f"{count:,} candidates: {REASONS[name]}"
    for name, values in report.scores.items():
        rows[f"{name}' scores"] = ", ".join(f"{label} {value:.4f}" for label, value in values.items())
    rows["seconds"] = ", ".join(f"{name} {seconds:.1f}" for name, seconds in report.seconds.items())
    rows["written"] = f"{report.path} ({report.num_rows:,} rows)"
    print_rows(console, rows)
