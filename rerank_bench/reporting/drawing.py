"""What both plots share: style, colours and markers, margins in inches, and labels that do not overlap.

Figures are made through matplotlib's object-oriented interface: no pyplot, no state left behind, no window.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patheffects import withStroke
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Bbox

from rerank_bench.reporting.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, told apart with any colour vision; yellow is left out, as it is too light for thin lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
GREY = "#666666"
FONT_SIZE = 9.0
_FONT = "DejaVu Sans"
"""Comes with matplotlib, so a picture does not depend on the machine's fonts."""
_POINTS_PER_INCH = 72.0
_RENDERED_WIDER = 1.05
"""Rendered letters are fitted to pixels, which makes a line up to about 5% wider than its outlines."""
_BEARING_INCHES = 0.02
"""The blank before the first letter and after the last."""
_TITLE_INCHES = 0.30
_LINE_INCHES = 0.18
_CROSSING_COST = 2.5
"""What a label that crosses a line costs, in steps away from its point."""

_STYLE = {
    "font.family": _FONT,
    "font.size": FONT_SIZE,
    "axes.edgecolor": "#999999",
    "axes.grid": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "rerank-bench",  # else the ids in an SVG are random
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
}


@contextmanager
def plot_style() -> Iterator[None]:
    """Draw with matplotlib's own defaults and ours on top, whatever the user's matplotlibrc says."""
    from matplotlib import style

    with mpl.rc_context(), style.context(["default", _STYLE]):
        yield


def model_style(number: int) -> tuple[str, str]:
    """Return (colour, marker) of the model at a position of its table, from 0; the first 49 differ."""
    return COLOURS[number % len(COLOURS)], MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]


@functools.cache
def text_width(text: str, size: float = FONT_SIZE) -> float:
    """Return the width of one line of text in inches."""
    if not text.strip():
        return 0.0
    font = FontProperties(family=_FONT, size=size)
    points, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return _RENDERED_WIDER * points / _POINTS_PER_INCH + _BEARING_INCHES


def wrap_lines(lines: Sequence[str], width: float) -> list[str]:
    """Return the lines broken between words so that none is wider than ``width`` inches."""
    wrapped = []
    for line in lines:
        current = ""
        for word in line.split():
            longer = f"{current} {word}".strip()
            if current and text_width(longer) > width:
                wrapped.append(current)
                longer = word
            current = longer
        wrapped.append(current)
    return wrapped


def title_inches(subtitle: Sequence[str]) -> float:
    """Return the inches that a title with these lines below it takes from the top."""
    return _TITLE_INCHES + _LINE_INCHES * len(subtitle)


def make_figure(width: float, height: float, title: str, subtitle: Sequence[str]) -> Figure:
    """Return a figure with its title; title and subtitle take 0.3 + 0.18 · (number of lines) inches from the top.

    Args:
        width: In inches.
        height: In inches.
        title: One line.
        subtitle: Further lines below it.
    """
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    top = _TITLE_INCHES
    figure.text(0.15 / width, 1 - top / height, title, fontsize=FONT_SIZE + 3, fontweight="bold", va="baseline")
    for line in subtitle:
        top += _LINE_INCHES
        figure.text(0.15 / width, 1 - top / height, line, color=GREY, va="baseline")
    return figure


def place_axes(figure: Figure, *, left: float, right: float, top: float, bottom: float) -> Axes:
    """Return axes with margins in inches."""
    width, height = figure.get_size_inches()
    return figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height))


def condition_lines(table: Table, num_tables: int) -> list[str]:
    """Return the subtitle: the view, the first stage and the depth, and how many tables are not drawn.

    Args:
        table: The table that is drawn.
        num_tables: How many the leaderboard splits into.
    """
    stages = " and ".join(table.first_stages)
    lines = [f"view {table.view} · first stage {stages}, depth {table.depth} · protocol {table.protocol_version}"]
    if num_tables > 1:
        others = "another table" if num_tables == 2 else f"{num_tables - 1} other tables"
        lines.append(f"{others} of the leaderboard: not comparable with this one, not drawn")
    return lines


def place_labels(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    labels: Sequence[str],
    *,
    obstacles: Sequence[Bbox] = (),
    lines: Sequence[Bbox] = (),
) -> None:
    """Write a label beside each point so that none covers another one, a point or an obstacle.

    The nearest free place of a fixed list is taken, the points furthest to the right first; a label that had to go far
    gets a thin line to its point.

    Args:
        axes: With its final limits and position.
        points: In data coordinates.
        labels: One per point.
        obstacles: Boxes in pixels that labels keep off.
        lines: Boxes in pixels that labels cross only where every other place is further away.
    """
    dpi = _dpi(axes)
    scale = dpi / _POINTS_PER_INCH
    centres = [axes.transData.transform(point) for point in points]
    taken = [
        *obstacles,
        *(Bbox.from_extents(x - 6 * scale, y - 6 * scale, x + 6 * scale, y + 6 * scale) for x, y in centres),
    ]
    space = _Space(axes.get_window_extent(), taken, lines)
    for number in sorted(range(len(points)), key=lambda i: (-centres[i][0], -centres[i][1])):
        x, y = centres[number]
        size = text_width(labels[number], FONT_SIZE - 1) * dpi, 1.35 * (FONT_SIZE - 1) * scale
        box = space.find(x, y, size, gap=8 * scale)
        taken.append(box)
        is_near = box.y0 < y + 12 * scale and box.y1 > y - 12 * scale
        # Aligned at the side that faces the point: the width is an estimate.
        side, anchor = ("right", box.x1) if box.x1 < x else ("left", box.x0) if box.x0 > x else ("center", x)
        text = axes.annotate(
            labels[number],
            points[number],
            xytext=((anchor - x) / scale, ((box.y0 + box.y1) / 2 - y) / scale),
            textcoords="offset points",
            fontsize=FONT_SIZE - 1,
            ha=side,
            va="center_baseline",
            zorder=6,
            arrowprops=None if is_near else {"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkB": 4},
        )
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])  # readable where it crosses a line


def _dpi(axes: Axes) -> float:
    figure = axes.get_figure(root=True)
    if figure is None:
        msg = "labels need axes that stand in a figure"
        raise ValueError(msg)
    return figure.dpi


class _Space(NamedTuple):
    """Where labels may go; boxes in pixels."""

    frame: Bbox
    taken: Sequence[Bbox]
    lines: Sequence[Bbox]

    def find(self, x: float, y: float, size: tuple[float, float], *, gap: float) -> Bbox:
        """Return the cheapest free box of a size around a point; to its right if there is none."""
        width, height = size
        best, lowest = Bbox.from_bounds(x + gap, y - height / 2, width, height), math.inf
        for step in range(15):
            for side, dx in enumerate((gap, -gap - width, -width / 2)):
                for dy in (0.6 * step * height, -0.6 * step * height):
                    box = Bbox.from_bounds(x + dx, y + dy - height / 2, width, height)
                    cost = step + 0.1 * side + _CROSSING_COST * box.count_overlaps(self.lines)
                    if cost < lowest and self._is_free(box):
                        best, lowest = box, cost
        return best

    def _is_free(self, box: Bbox) -> bool:
        frame = self.frame
        inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
        return inside and not box.count_overlaps(self.taken)


def data_box(axes: Axes, x: tuple[float, float], y: tuple[float, float]) -> Bbox:
    """Return a box in pixels from two corners in data coordinates, a pixel wider on each side."""
    (x0, y0), (x1, y1) = axes.transData.transform([(x[0], y[0]), (x[1], y[1])])
    return Bbox.from_extents(x0 - 1, y0 - 1, x1 + 1, y1 + 1)
