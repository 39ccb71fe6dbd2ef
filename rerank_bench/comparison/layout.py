"""A comparison as tables of texts, before a terminal, Markdown or LaTeX gives them their form.

Two runs make one table with a line per data set.  More runs make a table of their values, with letters, and then one
table of pairs per data set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from rerank_bench.comparison.records import Comparison, PairedDifference, Scope
from rerank_bench.reporting.formatting import (
    MISSING,
    format_delta,
    format_interval,
    format_p,
    format_value,
)

SIGNIFICANT = "*"


class TextColumn(NamedTuple):
    """A column of a table."""

    title: str
    is_name: bool = False
    """Whether it holds a run's name, which a narrow table may shorten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """One table; the first cell of a line says what the line is about."""

    heading: str | None
    corner: str
    columns: tuple[TextColumn, ...]
    lines: tuple[tuple[str, tuple[str, ...]], ...]
    """(name, one cell per column)."""


class _Figure(NamedTuple):
    title: str
    render: Callable[[PairedDifference, Comparison], str]


_FIGURES = (
    _Figure("difference", lambda pair, _: format_delta(pair.difference)),
    _Figure("95% interval", lambda pair, _: format_interval(pair.ci)),
    _Figure("p", lambda pair, _: format_p(pair.p)),
    _Figure("Holm", lambda pair, comparison: format_p(pair.p_adjusted) + _mark(pair, comparison)),
    _Figure("t", lambda pair, _: format_p(pair.p_t)),
    _Figure("better", lambda pair, _: f"{pair.better:,}"),
    _Figure("equal", lambda pair, _: f"{pair.equal:,}"),
    _Figure("worse", lambda pair, _: f"{pair.worse:,}"),
    _Figure("MDE", lambda pair, _: MISSING if pair.mde is None else format_value(pair.mde)),
)


def _mark(pair: PairedDifference, comparison: Comparison) -> str:
    return SIGNIFICANT if pair.p_adjusted < comparison.alpha else ""


def lay_out(comparison: Comparison) -> list[TextTable]:
    """Return the tables of a comparison, in the order in which they are read."""
    if len(comparison.runs) == 2:
        return [_two_runs(comparison)]
    return [_values(comparison), *(_pairs(comparison, scope) for scope in comparison.scopes)]


def _two_runs(comparison: Comparison) -> TextTable:
    first = comparison.scopes[0].pairs[0]
    names = (TextColumn(first.reference, is_name=True), TextColumn(first.run, is_name=True))
    return TextTable(
        heading=None,
        corner="data set",
        columns=(*names, *(TextColumn(figure.title) for figure in _FIGURES)),
        lines=tuple(
            (
                scope_title(scope),
                (format_value(pair.reference_value), format_value(pair.value), *_figures(pair, comparison)),
            )
            for scope in comparison.scopes
            for pair in scope.pairs
        ),
    )


def _figures(pair: PairedDifference, comparison: Comparison) -> tuple[str, ...]:
    return tuple(figure.render(pair, comparison) for figure in _FIGURES)


def _values(comparison: Comparison) -> TextTable:
    """Return the values of all runs, the best first by the last mean, which is over the most data sets."""
    leading = comparison.scopes[-1].values
    return TextTable(
        heading=None,
        corner="run",
        columns=tuple(TextColumn(scope_title(scope), is_name=True) for scope in comparison.scopes),
        lines=tuple(
            (label, tuple(_value(scope, label) for scope in comparison.scopes))
            for label in sorted(leading, key=lambda label: -leading[label])
        ),
    )


def _value(scope: Scope, label: str) -> str:
    value = format_value(scope.values[label])
    return value if scope.groups is None else f"{value} {join_letters(scope.groups[label])}"


def join_letters(letters: tuple[str, ...]) -> str:
    """Return the letters of a run, with commas where one of them has two characters: ``abc``, ``z,aa``."""
    return ("" if all(len(letter) == 1 for letter in letters) else ",").join(letters)


def _pairs(comparison: Comparison, scope: Scope) -> TextTable:
    return TextTable(
        heading=f"{scope_title(scope)}, {_count_queries(scope.num_queries)}",
        corner="pair",
        columns=tuple(TextColumn(figure.title) for figure in _FIGURES),
        lines=tuple((f"{pair.run} − {pair.reference}", _figures(pair, comparison)) for pair in scope.pairs),
    )


def scope_title(scope: Scope) -> str:
    """Return the name of a data set, or a suite's with ``(mean)`` behind it."""
    return scope.name if scope.kind == "dataset" else f"{scope.name} (mean)"


def describe_conditions(comparison: Comparison) -> str:
    """Return one line: measure, view, and how many queries in how many data sets."""
    datasets = [scope for scope in comparison.scopes if scope.kind == "dataset"]
    num_queries = sum(scope.num_queries for scope in datasets)
    gain = ", linear gain" if comparison.measure.startswith("nDCG") else ""
    sets = "" if len(datasets) == 1 else f" in {len(datasets)} data sets"
    return f"{comparison.measure}{gain} · view {comparison.view} · {_count_queries(num_queries)}{sets}"


def _count_queries(number: int) -> str:
    return "1 query" if number == 1 else f"{number:,} queries"


def describe_runs(comparison: Comparison) -> Mapping[str, str]:
    """Return label -> where the run stands; for several seeds, how many runs there are and where."""
    return {
        run.label: run.locations[0]
        if len(run.locations) == 1 and not comparison.is_over_seeds
        else f"{len(run.locations)} {'run' if len(run.locations) == 1 else 'runs'}: {', '.join(run.locations)}"
        for run in comparison.runs
    }


def explain(comparison: Comparison) -> list[str]:
    """Return what the columns mean, a sentence each."""
    first = comparison.scopes[0].pairs[0]
    difference = f"{first.run} − {first.reference}" if len(comparison.runs) == 2 else "as the pair is written"
    test = "bootstrap over seeds and queries" if comparison.is_over_seeds else "sign flips"
    interval = "two-level" if comparison.is_over_seeds else "BCa"
    t_test = "t over seeds and queries" if comparison.is_over_seeds else "paired t"
    number = comparison.num_pairs
    pairs = "1 pair" if number == 1 else f"{number:,} pairs"
    parts = [
        f"difference: {difference}; {interval} bootstrap, {comparison.resamples:,} resamples",
        f"p: {test}, two-sided; t: {t_test}",
        f"Holm: p adjusted for {pairs}, {SIGNIFICANT} below {comparison.alpha:g}",
        "better, equal, worse: queries; MDE: smallest true difference seen with 80% power",
    ]
    if any(scope.groups is not None for scope in comparison.scopes):
        parts.append(f"letters: runs that share one cannot be told apart (Holm, {comparison.alpha:g})")
    return parts
