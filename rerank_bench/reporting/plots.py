"""The leaderboard's pictures as PNG and SVG files; the same leaderboard gives the same bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from rerank_bench.errors import ConfigError
from rerank_bench.reporting.columns import PRIMARY_MEASURE
from rerank_bench.reporting.tables import build_tables
from rerank_bench.storage import atomic_writer, remove_file

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

DELTA_PLOT, SPEED_PLOT = "gain-over-first-stage", "quality-against-speed"
"""File names without their suffix."""

_DPI = 150
_METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
"""Neither a time nor matplotlib's version may change the bytes."""


def write_plots(
    frame: pd.DataFrame, folder: str | Path, *, view: str = "end_to_end", measure: str = PRIMARY_MEASURE
) -> list[Path]:
    """Write the plots of one view, each as PNG and SVG, and return the files that exist now.

    Both draw the first table (see ``tables.build_tables``).  A plot that has nothing to show is not written, and its
    files of an earlier call are removed: the gains without a model beside the baselines, the speeds where no model was
    timed.

    Args:
        frame: A leaderboard.
        folder: Created when absent.
        view: The view to draw.
        measure: One of the leaderboard's measures; intervals are known for nDCG@10 only.

    Raises:
        ConfigError, DataError: As ``tables.build_tables``.
        EnvironmentMissingError: The folder is read-only or the disk is full.
    """
    from rerank_bench.reporting.delta_plot import draw_deltas
    from rerank_bench.reporting.drawing import plot_style
    from rerank_bench.reporting.speed_plot import draw_speeds

    tables = build_tables(frame, view=view, measure=measure)
    with plot_style():
        figures = {
            DELTA_PLOT: draw_deltas(tables[0], len(tables)) if tables[0].models else None,
            SPEED_PLOT: draw_speeds(tables[0], len(tables)),
        }
        written = []
        for name, figure in figures.items():
            for suffix in ("png", "svg"):
                path = Path(folder) / f"{name}.{suffix}"
                if figure is None:
                    remove_file(path)
                else:
                    save_figure(figure, path)
                    written.append(path)
    return written


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or SVG, by the name's ending; the same figure gives the same bytes.

    Raises:
        ConfigError: The name ends otherwise.
        EnvironmentMissingError: The folder is read-only or the disk is full.
    """
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in _METADATA:
        msg = f"{path}: a picture is written as {' or '.join(f'.{name}' for name in _METADATA)}; choose such a name"
        raise ConfigError(msg)
    picture = io.BytesIO()
    figure.savefig(picture, format=suffix, dpi=_DPI, metadata=_METADATA[suffix])
    with atomic_writer(path) as file:
        cast("TextIO", file).buffer.write(picture.getvalue())
