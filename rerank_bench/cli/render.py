"""What the commands print: rich tables that stay readable in 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rerank_bench.cli.render_extras import print_agreements, print_latencies

if TYPE_CHECKING:
    import pandas as pd

    from rerank_bench.data.manifests import Manifest
    from rerank_bench.data.suites import Suite
    from rerank_bench.data.verify import DatasetCheck
    from rerank_bench.evaluation.stored_run import StoredRunEvaluation
    from rerank_bench.pipeline.run import RunReport
    from rerank_bench.reporting.columns import Row
    from rerank_bench.reporting.page import LeaderboardPage


def render_report(console: Console, report: RunReport) -> None:
    """Print the models of one run as a table, one for every depth, then where everything stands."""
    from rerank_bench.reporting.leaderboard import frame_from_rows
    from rerank_bench.reporting.rows import rows_from_result
    from rerank_bench.reporting.terminal import render_terminal

    rows_by_depth: dict[int, list[Row]] = {}
    for outcome in report.outcomes:
        rows = rows_from_result(outcome.result, str(outcome.folder), allow_incomparable=True)
        rows_by_depth.setdefault(outcome.result["request"]["depth"], []).extend(rows)
    for number, rows in enumerate(rows_by_depth.values()):
        if number:
            console.print()
        console.print(render_terminal(frame_from_rows(rows), view=report.view, width=console.width))
    results = [outcome.result for outcome in report.outcomes]
    _print_extra_measures(console, results)
    print_latencies(console, results)
    print_agreements(console, results)
    console.print()
    places: list[tuple[str, object]] = [("results", f"{report.folder}/")]
    if report.leaderboard is None:
        places.append(("--limit", "not all queries: compares with nothing, and stays out of the leaderboard"))
    else:
        places.append(("leaderboard", report.leaderboard))
    places += [("picture", path) for path in report.plots if path.suffix == ".png"]
    _print_places(console, places)


def _print_extra_measures(console: Console, results: Sequence[Mapping[str, Any]]) -> None:
    """Print what was measured beside the standard set, which the leaderboard has no columns for."""
    from rerank_bench.evaluation.measures import STANDARD_MEASURES
    from rerank_bench.reporting.formatting import MISSING, format_delta, format_value

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("measure", "data set", "model"):
        table.add_column(title, overflow="fold")
    for title in ("value (gain)", "95% interval"):
        table.add_column(title, justify="right", no_wrap=True)
    for result in results:
        extra = [name for name in result["request"]["measures"] if name not in STANDARD_MEASURES]
        for dataset, block in result["datasets"].items():
            for name in extra:
                summary = block["views"]["end_to_end"]["measures"][name]
                interval = MISSING if summary["ci"] is None else " ".join(map(format_delta, summary["ci"]))
                value = f"{format_value(summary['reranked'])} ({format_delta(summary['delta'])})"
                table.add_row(name, dataset, result["model"]["name"], value, interval)
    if table.row_count:
        console.print()
        console.print("View end_to_end, beside the standard measures", style="bold")
        console.print(table)


def _print_places(console: Console, places: Iterable[tuple[str, object]]) -> None:
    """Print one path a line; a path is never wrapped, so that it can be copied."""
    for label, path in places:
        console.print(Text(f"{label:<12} ", style="bold").append(str(path), style="not bold"), soft_wrap=True)


def render_leaderboard(console: Console, frame: pd.DataFrame, *, view: str, page: LeaderboardPage | None) -> None:
    """Print a leaderboard's tables, then where the page and the pictures stand, if they were rendered."""
    from rerank_bench.reporting.terminal import render_terminal

    console.print(render_terminal(frame, view=view, width=console.width))
    if page is not None:
        console.print()
        pictures = [("picture", path) for path in page.plots if path.suffix == ".png"]
        _print_places(console, [("page", page.page), *pictures])


def render_candidates(console: Console, summary: Mapping[str, Any]) -> None:
    """Print what a first stage found."""
    stage = summary["first_stage"]
    rows: list[tuple[str, object]] = [
        ("data set", summary["dataset"]),
        ("first stage", f"{stage['name']}, depth {summary['depth']}"),
        ("queries", f"{summary['queries']:,} ({summary['empty_lists']:,} without a candidate)"),
        ("documents", f"{summary['documents']:,}"),
        ("candidates", f"{summary['candidates']:,} (shortest list {summary['shortest_list']})"),
        ("fingerprint", summary["fingerprint"]),
    ]
    rows += [(name, f"{value:.4f}") for name, value in summary["measures"].items()]
    if summary["out"]:
        rows.append(("written to", summary["out"]))
    _print_pairs(console, rows)


def _print_pairs(console: Console, rows: Iterable[tuple[str, object]]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(str(value)))
    console.print(table)


def render_evaluation(console: Console, evaluation: StoredRunEvaluation, *, per_query: bool) -> None:
    """Print the means of a stored run with their intervals, the queries by fate and the ties."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("measure")
    table.add_column("mean", justify="right")
    table.add_column("95% interval", justify="right")
    for name, summary in evaluation.measures.items():
        interval = "–" if summary.ci is None else f"{summary.ci[0]:.4f} to {summary.ci[1]:.4f}"
        table.add_row(name, f"{summary.mean:.4f}", interval)
    console.print(table)
    console.print(_describe_queries(evaluation.counts))
    ties = evaluation.ties
    console.print(
        f"Ties cross rank {ties.cutoff} in {ties.share_crossing:.1%} of the queries; over all orders of tied documents "
        f"nDCG@{ties.cutoff} lies between {ties.lowest:.4f} and {ties.highest:.4f}."
    )
    if per_query:
        _print_per_query(console, evaluation.per_query)


def _describe_queries(counts: Mapping[str, int]) -> str:
    """Return how many queries the means run over, and what became of the others, where there are any."""
    others = (
        ("missing", "missing from the run count 0"),
        ("all_zero", "without a positive judgement left out"),
        ("unjudged", "of the run without a judgement left out"),
    )
    parts = [f"{counts['evaluated']:,} of {counts['queries']:,} judged queries evaluated"]
    parts += [f"{counts[name]:,} {fate}" for name, fate in others if counts[name]]
    return "; ".join(parts) + "."


def _print_per_query(console: Console, per_query: Mapping[str, Mapping[str, float]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("query_id", overflow="fold")
    for name in per_query:
        table.add_column(name, justify="right")
    for query_id in next(iter(per_query.values())):
        table.add_row(query_id, *(f"{values[query_id]:.4f}" for values in per_query.values()))
    console.print(table)


def render_dataset_list(console: Console, manifests: Sequence[Manifest], suites: Mapping[str, Suite]) -> None:
    """Print the data sets and the suites."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("data set", no_wrap=True, min_width=max(len(manifest.name) for manifest in manifests))
    for title in ("queries", "docs", "qrels"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("what", no_wrap=True, overflow="ellipsis", max_width=28)
    for manifest in manifests:
        counts = (manifest.counts.get(name) for name in ("queries", "documents", "judgements"))
        table.add_row(
            manifest.name,
            *("–" if n is None else f"{n:,}" for n in counts),
            Text(manifest.title),
        )
    console.print(table)
    suite_table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    suite_table.add_column("suite", no_wrap=True)
    suite_table.add_column("data sets", overflow="fold")
    for name, suite in suites.items():
        suite_table.add_row(name, ", ".join(suite.datasets))
    console.print(suite_table)


def render_manifest(console: Console, description: Mapping[str, Any]) -> None:
    """Print a manifest; nested tables as ``a.b``."""
    _print_pairs(console, _flatten(description))


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, object]]:
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _flatten(item, f"{prefix}{name}.")
        elif item is not None:
            yield f"{prefix}{name}", ", ".join(map(str, item)) if isinstance(item, list | tuple) else item


def render_checks(console: Console, name: str, checks: Sequence[DatasetCheck]) -> None:
    """Print what was verified of a data set, what was expected and found."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=name, title_justify="left")
    table.add_column("")
    for column in ("what", "expected", "found"):
        table.add_column(column, overflow="fold")
    for check in checks:
        mark = Text("ok", style="green") if check.is_ok else Text("differs", style="bold red")
        expected, found = ("–" if value is None else value for value in (check.expected, check.found))
        table.add_row(mark, check.what, Text(expected), Text(found))
    console.print(table)
