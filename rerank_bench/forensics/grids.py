"""The tables over all queries, as rows of text: what the terminal, Markdown and HTML have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rerank_bench.forensics.records import Explanation, Slice
from rerank_bench.forensics.slices import FEW_QUERIES
from rerank_bench.forensics.wording import describe_happening
from rerank_bench.reporting.formatting import MISSING, format_delta, format_value
from rerank_bench.reporting.labels import shorten_datasets

FEW_MARK = "few"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table of text."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    delta_columns: frozenset[int] = frozenset()
    """Columns of differences, coloured by their sign."""
    remark: str = ""


def overview_grids(explanation: Explanation) -> list[Grid]:
    """Return the tables over all queries: data sets, parts of the loss, what happened."""
    parts = [_dataset_grid(explanation)]
    if explanation.overall.after_split is not None:
        parts.append(_loss_grid(explanation))
    parts.append(_happening_grid(explanation))
    return parts


def _dataset_grid(explanation: Explanation) -> Grid:
    names = shorten_datasets([entry.name for entry in explanation.datasets])
    rows = []
    for entry in [*([explanation.mean] if explanation.mean else []), *explanation.datasets]:
        summary = entry.summary
        p_value = MISSING if summary.p is None else "<0.001" if summary.p < 0.001 else f"{summary.p:.3f}"
        rows.append(
            (
                names.get(entry.name, entry.name),
                f"{entry.num_queries:,}",
                format_value(summary.first_stage),
                format_value(summary.reranked),
                format_delta(summary.delta),
                _interval(summary.ci),
                p_value,
                f"{summary.better}/{summary.equal}/{summary.worse}",
            )
        )
    header = ("data set", "n", explanation.before.short, explanation.after.short, "delta", "95% interval", "p", "+/=/-")
    remark = "n: queries · +/=/-: queries better, equal, worse"
    return Grid(title="", header=header, rows=rows, delta_columns=frozenset({4}), remark=remark)


def _loss_grid(explanation: Explanation) -> Grid:
    before, after = explanation.before.short, explanation.after.short
    header = ("data set", "ideal", "not retrieved", f"misranked {before}", f"misranked {after}")
    names = shorten_datasets([entry.name for entry in explanation.datasets])
    rows = []
    for entry in [*([explanation.mean] if explanation.mean else []), *explanation.datasets]:
        if entry.before_split is not None and entry.after_split is not None:
            cells = (entry.after_split.ideal, entry.after_split.not_retrieved)
            missed = (entry.before_split.misranked, entry.after_split.misranked)
            rows.append((names.get(entry.name, entry.name), *map(format_value, (*cells, *missed))))
    return Grid(
        title="Where the rest is lost",
        header=header,
        rows=rows,
        remark=f"ideal − {after} = not retrieved (no reranker can help) + misranked {after} (a better order would)",
    )


def _happening_grid(explanation: Explanation) -> Grid:
    rows = [
        (
            describe_happening(share.happening, explanation.cutoff),
            f"{share.num_queries:,}",
            format_delta(share.contribution),
        )
        for share in explanation.shares
    ]
    return Grid(
        title="What happened to the queries",
        header=("", "queries", "adds"),
        rows=rows,
        delta_columns=frozenset({2}),
        remark=f"the last column sums to the delta, {format_delta(explanation.overall.summary.delta)}",
    )


def slice_grid(explanation: Explanation) -> Grid:
    """Return all slices in one table; a row of one cell is the name of the feature that the rows below it are cut by."""
    rows: list[Sequence[str]] = []
    for slicing in explanation.slicings:
        rows.append((slicing.title,))
        rows += [(label, *_slice_cells(part)) for label, part in slicing.slices.items()]
    num_slices = sum(len(slicing.slices) for slicing in explanation.slicings)
    return Grid(
        title="Slices",
        header=("", "n", explanation.before.short, explanation.after.short, "delta", "95% interval"),
        rows=rows,
        delta_columns=frozenset({4}),
        remark=(
            "rank and document: of the relevant document that the first stage places best · every query counts the "
            f"same · each interval is of its slice alone: of {num_slices}, about {max(1, round(num_slices / 20))} would "
            f"exclude 0 by chance · {FEW_MARK}: under {FEW_QUERIES} queries, too few to trust the interval"
        ),
    )


def _slice_cells(part: Slice) -> tuple[str, ...]:
    few = f" {FEW_MARK}" if part.num_queries < FEW_QUERIES else ""
    return (
        f"{part.num_queries:,}",
        format_value(part.before),
        format_value(part.after),
        format_delta(part.delta),
        f"{_interval(part.interval)}{few}",
    )


def _interval(interval: tuple[float, float] | None) -> str:
    return MISSING if interval is None else " ".join(map(format_delta, interval))
