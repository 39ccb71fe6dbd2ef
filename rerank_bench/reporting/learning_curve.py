"""The learning curve of a training: a measure over the steps of its checkpoints, with intervals, and the first stage.

One panel per data set, the means of suites first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_bench.reporting.columns import PRIMARY_MEASURE
from rerank_bench.reporting.formatting import format_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVE_FILE = "learning-curve"
"""File name without its suffix."""

# Inches.
_WIDTH, _PANEL_HEIGHT, _GAP, _LEFT, _RIGHT, _BELOW = 8.5, 2.7, 0.75, 0.75, 0.3, 0.55
_MAX_COLUMNS = 3
_CHAR_WIDTH = 0.085


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One checkpoint on one data set."""

    model: str
    """The checkpoint's name."""
    step: int | None
    """Optimizer steps; ``None`` where nothing says how many there were."""
    is_kept: bool
    """Whether these are the weights that the training kept."""
    value: float
    delta: float
    """Gain over the first stage."""
    interval: tuple[float, float] | None
    """95%, of the gain; ``None`` where there are too few queries."""
    p: float | None
    """Two-sided, of the gain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCurve:
    """All checkpoints on one data set, or their means over a suite."""

    name: str
    num_datasets: int
    """More than 1 for a suite."""
    num_queries: int
    first_stage: float
    """The first stage's value."""
    points: Sequence[CurvePoint]
    """By step, those without one last."""

    @property
    def title(self) -> str:
        """What it is of."""
        return self.name if self.num_datasets == 1 else f"{self.name}, mean of {self.num_datasets}"

    def as_dict(self) -> dict[str, Any]:
        """Return every field, JSON-able."""
        return asdict(self)


def build_curves(
    results: Sequence[Mapping[str, Any]], steps: Sequence[int | None], kept: Sequence[bool], *, view: str
) -> list[LearningCurve]:
    """Return the curves of a series of results over the same data sets, suites first.

    Args:
        results: Contents of ``result.json``, one per checkpoint.
        steps: Their steps.
        kept: Whether their weights are those that the training kept.
        view: Which view's values.
    """
    curves = []
    for kind in ("suites", "datasets"):
        for name in results[0][kind]:
            blocks = [result[kind][name] for result in results]
            members = [results[0]["datasets"][member] for member in blocks[0].get("datasets", [name])]
            summaries = [block["views"][view]["measures"][PRIMARY_MEASURE] for block in blocks]
            points = [
                CurvePoint(
                    model=result["model"]["name"],
                    step=step,
                    is_kept=is_kept,
                    value=summary["reranked"],
                    delta=summary["delta"],
                    interval=None if summary["ci"] is None else (summary["ci"][0], summary["ci"][1]),
                    p=summary["p"],
                )
                for result, step, is_kept, summary in zip(results, steps, kept, summaries, strict=True)
            ]
            curves.append(
                LearningCurve(
                    name=name,
                    num_datasets=len(members),
                    num_queries=sum(member["counts"]["evaluated"] for member in members),
                    first_stage=summaries[0]["first_stage"],
                    points=sorted(points, key=lambda point: (point.step is None, point.step or 0)),
                )
            )
    return curves


def write_curves(folder: Path, curves: Sequence[LearningCurve], notes: Sequence[str]) -> list[Path]:
    """Write the picture as PNG and SVG and return the files; none where no step is known.

    Args:
        folder: Made when absent.
        curves: At least one.
        notes: Lines below the title.

    Raises:
        EnvironmentMissingError: The folder is read-only or the disk is full.
    """
    from rerank_bench.reporting.drawing import plot_style
    from rerank_bench.reporting.plots import save_figure

    if all(point.step is None for point in curves[0].points):
        return []
    paths = [folder / f"{CURVE_FILE}.{suffix}" for suffix in ("png", "svg")]
    with plot_style():
        figure = draw_curves(curves, notes)
        for path in paths:
            save_figure(figure, path)
    return paths


def draw_curves(curves: Sequence[LearningCurve], notes: Sequence[str]) -> Figure:
    """Return the picture; to be called within ``drawing.plot_style``."""
    from rerank_bench.reporting.drawing import FONT_SIZE, make_figure, place_axes, title_inches, wrap_lines

    lines = wrap_lines(
        [
            *notes,
            "band: 95% interval of the gain over the first stage (dashed) · filled mark: the weights that were kept",
        ],
        _WIDTH - 0.3,
    )
    num_columns = min(_MAX_COLUMNS, len(curves))
    num_rows = -(-len(curves) // num_columns)
    above = title_inches(lines) + 0.45
    height = above + num_rows * _PANEL_HEIGHT + (num_rows - 1) * _GAP + _BELOW
    figure = make_figure(_WIDTH, height, f"{PRIMARY_MEASURE} by training step", lines)
    panel_width = (_WIDTH - _LEFT - _RIGHT - (num_columns - 1) * _GAP) / num_columns
    for number, curve in enumerate(curves):
        row, column = divmod(number, num_columns)
        left, top = _LEFT + column * (panel_width + _GAP), above + row * (_PANEL_HEIGHT + _GAP)
        axes = place_axes(
            figure,
            left=left,
            right=_WIDTH - left - panel_width,
            top=top,
            bottom=height - top - _PANEL_HEIGHT,
        )
        _draw_panel(axes, curve, number)
        axes.set_title(_panel_title(curve, panel_width), fontsize=FONT_SIZE, loc="left")
        if column == 0:
            axes.set_ylabel(PRIMARY_MEASURE)
    return figure


def _panel_title(curve: LearningCurve, width: float) -> str:
    from rerank_bench.reporting.labels import shorten_names

    queries = f" ({curve.num_queries:,} queries)"
    room = max(8, int(width / _CHAR_WIDTH) - len(queries))
    return shorten_names([curve.title], room)[curve.title] + queries


def _draw_panel(axes: Axes, curve: LearningCurve, number: int) -> None:
    from matplotlib.ticker import MaxNLocator

    from rerank_bench.reporting.drawing import FONT_SIZE, GREY, model_style

    colour, marker = model_style(number)
    points = [point for point in curve.points if point.step is not None]
    steps = [point.step or 0 for point in points]
    banded = [(point.step or 0, point.interval) for point in points if point.interval is not None]
    if banded:
        low, high = ([curve.first_stage + interval[end] for _, interval in banded] for end in (0, 1))
        axes.fill_between([step for step, _ in banded], low, high, color=colour, alpha=0.18, linewidth=0)
        if len(banded) == 1:  # whose band has no width
            axes.vlines([step for step, _ in banded], low, high, color=colour, alpha=0.5, linewidth=1.2)
    axes.plot(
        steps, [p.value for p in points], color=colour, marker=marker, markersize=4.5, markerfacecolor="white", zorder=4
    )
    kept = [point for point in points if point.is_kept]
    axes.plot([p.step or 0 for p in kept], [p.value for p in kept], marker, color=colour, markersize=7, zorder=5)
    axes.axhline(curve.first_stage, color=GREY, linewidth=1.0, linestyle=(0, (4, 3)), zorder=2)
    axes.margins(x=0.06, y=0.12)
    axes.annotate(
        f"first stage {format_value(curve.first_stage)}",
        (1, curve.first_stage),
        xycoords=axes.get_yaxis_transform(),
        xytext=(-2, 3),
        textcoords="offset points",
        ha="right",
        color=GREY,
        fontsize=FONT_SIZE - 1,
    )
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", color="#dddddd", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    axes.set_xlabel("optimizer steps")
