"""A gate's report in words and cells, the same in every rendering: terminal, markdown, JUnit, annotations, pytest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rerank_bench.gate.config import DEFAULT_NAME
from rerank_bench.gate.verdicts import GateReport, QualityResult, ReproResult
from rerank_bench.reporting.formatting import MISSING, format_delta, format_value


class Figure(NamedTuple):
    """One figure of a report."""

    label: str
    text: str


class DatasetLine(NamedTuple):
    """One data set of a report."""

    name: str
    cells: tuple[str, ...]
    """Aligned with ``dataset_titles``."""
    problems: tuple[str, ...]
    """Why this data set alone loses the gate; empty where it does not."""


def headline(report: GateReport) -> str:
    """Return the outcome in one sentence: ``gate nanobeir lost · regressed: the mean fell by …``."""
    name = "gate" if report.name == DEFAULT_NAME else f"gate {report.name}"
    tripped = ", ".join(dict.fromkeys(trip.tripwire for trip in report.trips if trip.level == "fail"))
    if report.result is None:
        return f"{name} lost · tripwire {tripped}; nothing could be judged"
    sentence = f"{report.verdict}: {report.result.reason}"
    return f"{name} lost · tripwire {tripped} · {sentence}" if tripped else f"{name} {report.outcome} · {sentence}"


def figures(report: GateReport) -> list[Figure]:
    """Return what the verdict stands on, label by label."""
    sides = [Figure("run", report.run), Figure("baseline", report.baseline)]
    if isinstance(report.result, QualityResult):
        return [*sides, *_quality_figures(report, report.result)]
    if isinstance(report.result, ReproResult):
        return [*sides, *_repro_figures(report, report.result)]
    return sides


def _quality_figures(report: GateReport, result: QualityResult) -> list[Figure]:
    primary, settings = result.primary, report.settings
    interval = "no interval (a data set has one query)"
    if primary.interval is not None:
        interval = f"{_confidence(report)} interval {_interval(primary.interval)}"
    sets = f"{len(report.datasets)} data sets" if len(report.datasets) > 1 else report.datasets[0]
    return [
        Figure(
            report.measure, f"{format_value(primary.run)}, baseline {format_value(primary.baseline)} ({report.view})"
        ),
        Figure("difference", f"{format_delta(primary.difference)}, {interval}"),
        Figure("one-sided p", f"{format_p(primary.p)} (regressed below {settings['alpha']:g})"),
        Figure(
            "queries",
            f"n = {primary.num_queries:,} in {sets}: {primary.better:,} better, {primary.equal:,} equal, "
            f"{primary.worse:,} worse",
        ),
        Figure("resolution", _resolution(result)),
    ]


def _resolution(result: QualityResult) -> str:
    visible = result.smallest_visible_drop
    if visible is None:
        return "the smallest drop this gate can see: unknown (the queries show no noise)"
    return f"the smallest drop this gate can see: {format_value(visible)} (in 80% of cases)"


def _repro_figures(report: GateReport, result: ReproResult) -> list[Figure]:
    settings = report.settings
    limit = settings["max_score_difference"]
    allowed = "any" if limit is None else f"{limit:g}"
    changed = sum(dataset.changed_top for dataset in result.datasets)
    queries = sum(dataset.num_queries for dataset in result.datasets)
    return [
        Figure(report.measure, f"{format_value(result.run)}, baseline {format_value(result.baseline)} ({report.view})"),
        Figure("difference", f"{result.difference:+.2g} of the means, tolerance {settings['tolerance']:g}"),
        Figure("scores", f"differ by up to {result.max_score_difference:.3g}, allowed is {allowed}"),
        Figure("top 10", f"changed in {changed:,} of n = {queries:,} queries"),
    ]


def dataset_titles(report: GateReport) -> tuple[str, ...]:
    """Return the columns' titles, the data set's name first."""
    if isinstance(report.result, ReproResult):
        return "data set", "pairs", "score diff.", "top 10", "lowest corr.", report.measure, "difference"
    return "data set", "n", report.measure, "difference", f"{_confidence(report)} interval", "p (Holm)"


def dataset_lines(report: GateReport) -> list[DatasetLine]:
    """Return every data set with its cells and its problems."""
    cells: dict[str, tuple[str, ...]] = dict.fromkeys(report.datasets, ())
    problems: dict[str, list[str]] = {name: [] for name in report.datasets}
    for trip in report.trips:
        if trip.dataset is not None and trip.level == "fail":
            problems[trip.dataset].append(f"{trip.tripwire}: {trip.message}")
    if isinstance(report.result, QualityResult):
        for found in report.result.datasets:
            cells[found.name] = (
                f"{found.num_queries:,}",
                format_value(found.run),
                format_delta(found.difference),
                MISSING if found.interval is None else _interval(found.interval),
                format_p(found.p_adjusted),
            )
            if found.is_catastrophic:
                problems[found.name].append(
                    f"catastrophic drop: {-found.difference:.4f} (Holm-adjusted p = {format_p(found.p_adjusted)})"
                )
    elif report.result is not None:
        limit = report.settings["max_score_difference"]
        for same in report.result.datasets:
            lowest = same.min_rank_correlation
            cells[same.name] = (
                f"{same.num_pairs:,}",
                f"{same.max_score_difference:.2g}",
                f"{same.changed_top:,}",
                MISSING if lowest is None else f"{lowest:.4f}",
                format_value(same.run),
                format_delta(same.difference),
            )
            if limit is not None and same.max_score_difference > limit:
                problems[same.name].append(
                    f"scores differ by up to {same.max_score_difference:.3g}, allowed is {limit:g}"
                )
    return [DatasetLine(name, cells[name], tuple(problems[name])) for name in report.datasets]


def overall_problems(report: GateReport) -> list[str]:
    """Return why the gate as a whole is lost, beside what its data sets say for themselves."""
    trips = [f"{t.tripwire}: {t.message}" for t in report.trips if t.dataset is None and t.level == "fail"]
    is_lost = report.result is not None and report.verdict in {"regressed", "changed"}
    return [*([f"{report.verdict}: {report.result.reason}"] if is_lost and report.result else []), *trips]


def describe_trips(report: GateReport) -> Sequence[str]:
    """Return one line for each tripwire that tripped."""
    return [
        f"tripwire {trip.tripwire} ({trip.level}), {trip.dataset or 'mean over the data sets'}: {trip.message}"
        for trip in report.trips
    ]


def report_text(report: GateReport) -> str:
    """Return the whole report as plain lines, for where there are no tables."""
    lines = [
        headline(report),
        *describe_trips(report),
        *(f"{figure.label}: {figure.text}" for figure in figures(report)),
    ]
    titles = dataset_titles(report)[1:]
    lines += [
        f"{line.name}: {', '.join(f'{title} {cell}' for title, cell in zip(titles, line.cells, strict=True))}"
        for line in dataset_lines(report)
        if line.cells
    ]
    return "\n".join(lines)


def format_p(value: float) -> str:
    """Return a p-value with as many digits as it is worth."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _confidence(report: GateReport) -> str:
    return f"{100 * (1 - 2 * report.settings['alpha']):g}%"


def _interval(pair: tuple[float, float]) -> str:
    return f"{format_delta(pair[0])} to {format_delta(pair[1])}"
