"""The picture of a training: loss and evaluation values over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rerank_bench.training.job_folder import merge_history

PLOT = "curves.png"
NOT_DRAWN = frozenset({"step", "epoch", "loss", "held-out loss", "learning_rate", "grad_norm", "seconds"})


def draw_curves(folder: Path, history: Sequence[Mapping[str, Any]]) -> Path | None:
    """Draw loss above and evaluation values below, and return the file; ``None`` where there is nothing to draw."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = merge_history(history)
    values = list(dict.fromkeys(name for row in rows for name in row if name not in NOT_DRAWN))
    losses = [name for name in ("loss", "held-out loss") if any(name in row for row in rows)]
    panels = [names for names in (losses, values) if names]
    if not panels:
        return None
    figure = Figure(figsize=(7, 3 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, names in zip(axes, panels, strict=True):
        for name in names:
            points = [(row["step"], row[name]) for row in rows if name in row]
            label = "training loss" if name == "loss" else name
            axis.plot(*zip(*points, strict=True), marker="." if len(points) < 60 else None, label=label)
        axis.set_ylabel("loss" if names is losses else "value")
        axis.grid(alpha=0.3)
        axis.legend()
    axes[-1].set_xlabel("optimizer steps")
    path = folder / PLOT
    figure.savefig(path, dpi=120)
    return path
