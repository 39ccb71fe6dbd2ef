"""Learning curves: values of the results they are made from, by step; the picture follows the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from sample_results import make_result

from rerank_bench.reporting.drawing import plot_style
from rerank_bench.reporting.learning_curve import LearningCurve, build_curves, draw_curves, write_curves

FIRST_STAGES = {"apples": 0.4, "pears": 0.6}


def results_of(*names: str, suite: str | None = "fruit") -> list[dict[str, Any]]:
    return [make_result(name, FIRST_STAGES, suite=suite) for name in names]


def curves_of(steps: list[int | None], kept: int = 0) -> list[LearningCurve]:
    results = results_of(*(f"step-{step}" for step in steps))
    return build_curves(results, steps, [number == kept for number in range(len(steps))], view="injected")


def test_curves_hold_the_values_of_their_results_by_step() -> None:
    steps: list[int | None] = [None, 200, 90]
    results = results_of("step-None", "step-200", "step-90")
    curves = curves_of(steps, kept=2)
    assert [(curve.name, curve.num_datasets) for curve in curves] == [("fruit", 2), ("apples", 1), ("pears", 1)]
    for curve in curves:
        assert [point.step for point in curve.points] == [90, 200, None]
        assert [point.is_kept for point in curve.points] == [True, False, False]
        for point in curve.points:
            result = next(result for result in results if result["model"]["name"] == point.model)
            block = result["suites" if curve.num_datasets > 1 else "datasets"][curve.name]
            summary = block["views"]["injected"]["measures"]["nDCG@10"]
            assert point.value == summary["reranked"]
            assert point.interval == tuple(summary["ci"])
            assert curve.first_stage == summary["first_stage"]
    assert curves[0].num_queries == curves[1].num_queries + curves[2].num_queries


def test_the_band_is_the_interval_and_the_line_the_values() -> None:
    curves = curves_of([10, 20, 30])
    with plot_style():
        figure = draw_curves(curves, ["note"])
    assert len(figure.axes) == 3
    for axes, curve in zip(figure.axes, curves, strict=True):
        line = axes.lines[0]
        assert np.asarray(line.get_xdata()).tolist() == [10, 20, 30]
        assert np.asarray(line.get_ydata()).tolist() == [point.value for point in curve.points]
        (band,) = (item for item in axes.collections if isinstance(item, PolyCollection))
        heights = np.asarray(band.get_paths()[0].vertices)[:, 1]
        lows = [curve.first_stage + point.interval[0] for point in curve.points if point.interval]
        highs = [curve.first_stage + point.interval[1] for point in curve.points if point.interval]
        assert heights.min() == pytest.approx(min(lows))
        assert heights.max() == pytest.approx(max(highs))
        assert np.asarray(axes.lines[-1].get_ydata())[0] == curve.first_stage


def test_a_step_that_is_unknown_is_in_no_picture(tmp_path: Path) -> None:
    assert write_curves(tmp_path, curves_of([None]), []) == []
    assert [path.name for path in write_curves(tmp_path, curves_of([None, 5]), [])] == [
        "learning-curve.png",
        "learning-curve.svg",
    ]
    with plot_style():
        figure = draw_curves(curves_of([None, 5]), [])
    assert np.asarray(figure.axes[0].lines[0].get_xdata()).tolist() == [5]


def test_the_same_curves_give_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write_curves(tmp_path / folder, curves_of([10, 20]), ["note"])
    for name in ("learning-curve.png", "learning-curve.svg"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
