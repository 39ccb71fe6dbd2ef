"""Pictures of labelled pairs: precision against recall, and how far probabilities can be believed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rerank_bench.reporting.drawing import (
    COLOURS,
    FONT_SIZE,
    GREY,
    MARKERS,
    data_box,
    make_figure,
    place_axes,
    place_labels,
    title_inches,
    wrap_lines,
)
from rerank_bench.reporting.formatting import format_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

Floats = NDArray[np.float64]
Mark = tuple[str, float, float]
"""What a threshold is called, its recall, its precision."""

# Inches.
_WIDTH, _AXES_HEIGHT, _AXIS_LABELS, _COUNTS_HEIGHT = 6.5, 4.2, 0.55, 1.0


def draw_precision_recall(
    recall: Floats,
    precision: Floats,
    *,
    marks: Sequence[Mark],
    average: tuple[float, Sequence[float] | None],
    base_rate: float,
    subject: str,
) -> Figure:
    """Return the curve with the chosen thresholds marked; to be called within ``drawing.plot_style``.

    Args:
        recall: (T,) ascending, one per threshold.
        precision: (T,)
        marks: The thresholds that are named.
        average: Average precision and its interval.
        base_rate: Share of positives: the precision of guessing.
        subject: The model and the pairs.
    """
    value, interval = average
    spread = "" if interval is None else f", 95% interval {format_value(interval[0])} to {format_value(interval[1])}"
    notes = wrap_lines([subject, f"average precision {format_value(value)}{spread}"], _WIDTH - 0.3)
    figure, axes = _figure("Precision and recall", notes)
    axes.axhline(base_rate, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    # A step at every threshold: what lies between two of them is reached by none.
    axes.step(np.append(0.0, recall), np.append(precision[0], precision), where="pre", color=COLOURS[0], linewidth=1.4)
    for number, (_, x, y) in enumerate(marks):
        axes.plot(x, y, MARKERS[number % len(MARKERS)], color=COLOURS[1 + number % (len(COLOURS) - 1)], zorder=5)
    _unit_axes(axes, "recall", "precision")
    points = [(x, y) for _, x, y in marks]
    place_labels(axes, points, [name for name, _, _ in marks], lines=_boxes_along(axes, recall, precision))
    axes.annotate(
        f"guessing: {base_rate:.2f}",
        (0.0, base_rate),
        xytext=(4, 3 if base_rate < 0.9 else -11),
        textcoords="offset points",
        fontsize=FONT_SIZE - 1,
        color=GREY,
    )
    return figure


def draw_calibration(
    probabilities: Floats, shares: Floats, counts: NDArray[np.int64], *, ece: float, brier: float, subject: str
) -> Figure:
    """Return the reliability diagram with the number of pairs below; to be called within ``drawing.plot_style``.

    Args:
        probabilities: (K,) mean probability of each bin that holds a pair.
        shares: (K,) share of label 1.
        counts: (K,) pairs.
        ece: Expected calibration error.
        brier: Brier score.
        subject: The model and the pairs.
    """
    lines = [
        subject,
        f"expected calibration error {format_value(ece)} · Brier score {format_value(brier)}",
        "probability: the sigmoid of the score · on the diagonal it can be believed",
    ]
    notes = wrap_lines(lines, _WIDTH - 0.3)
    below = _COUNTS_HEIGHT + 0.25
    figure, axes = _figure("Calibration", notes, below=below)
    axes.plot((0, 1), (0, 1), color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.plot(probabilities, shares, MARKERS[0] + "-", color=COLOURS[0], linewidth=1.2, markersize=5)
    _unit_axes(axes, "", "share of label 1")
    axes.tick_params(labelbottom=False)
    height = figure.get_size_inches()[1]
    low = place_axes(figure, left=0.75, right=0.3, top=height - _AXIS_LABELS - _COUNTS_HEIGHT, bottom=_AXIS_LABELS)
    low.bar(probabilities, counts, width=0.03, color=COLOURS[0], alpha=0.7, linewidth=0)
    low.set_xlim(-0.02, 1.02)
    low.set_xlabel("mean probability of the bin")
    low.set_ylabel("pairs")
    return figure


def _figure(title: str, notes: list[str], *, below: float = 0.0) -> tuple[Figure, Axes]:
    above = title_inches(notes) + 0.2
    figure = make_figure(_WIDTH, above + _AXES_HEIGHT + below + _AXIS_LABELS, title, notes)
    return figure, place_axes(figure, left=0.75, right=0.3, top=above, bottom=_AXIS_LABELS + below)


def _unit_axes(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(visible=True, color="#eeeeee", linewidth=0.6)
    axes.set_axisbelow(True)


def _boxes_along(axes: Axes, x: Floats, y: Floats) -> list[Bbox]:
    """Return boxes in pixels along a curve, for labels to keep off."""
    picks = np.unique(np.linspace(0, len(x) - 1, 60).astype(int))
    return [
        data_box(axes, (float(x[a]), float(x[b])), (float(min(y[a], y[b])), float(max(y[a], y[b]))))
        for a, b in itertools.pairwise(picks)
    ]
