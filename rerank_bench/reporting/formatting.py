"""How a value, a difference, a rate and a table's conditions are written, the same in every rendering."""

from __future__ import annotations

from rerank_bench.reporting.tables import Cell, Table

VIEW_MEANINGS = {
    "end_to_end": "candidates only, all judgements",
    "injected": "candidates and missed positives, binary judgements",
    "retrieved": "candidates only, binary judgements of the positives among them",
}
MISSING = "–"
"""Stands where a model has no value."""


def format_value(value: float) -> str:
    """Return a measure's value with four decimals."""
    return f"{value:.4f}"


def format_delta(delta: float) -> str:
    """Return a difference with its sign (ASCII) and four decimals; zero, float64 noise aside, is ``+0.0000``."""
    return f"{round(delta, 9) + 0.0:+.4f}"


def format_cell(cell: Cell | None) -> str:
    """Return ``0.6561 (+0.1157)``, or ``–`` where there is no value."""
    return MISSING if cell is None else f"{format_value(cell.value)} ({format_delta(cell.delta)})"


def describe_table(table: Table) -> str:
    """Return one line: measure, gain, view, first stage, depth, protocol."""
    gain = ", linear gain" if table.measure.startswith("nDCG") else ""
    stages = " and ".join(table.first_stages)
    return (
        f"{table.measure}{gain} · view {table.view} ({VIEW_MEANINGS[table.view]}) · first stage {stages}, "
        f"depth {table.depth} · protocol {table.protocol_version}"
    )


def format_rate(rate: float | None) -> str:
    """Return pairs per second without false precision: ``1,234``, ``8.3``, ``0.42``."""
    if rate is None:
        return MISSING
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def format_p(p: float | None) -> str:
    """Return a p-value with three decimals, ``<0.001`` below that, or ``–`` where there is none."""
    if p is None:
        return MISSING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def format_interval(interval: tuple[float, float] | None) -> str:
    """Return the two ends of an interval of a difference, or ``–`` where there is none."""
    return MISSING if interval is None else " ".join(map(format_delta, interval))
