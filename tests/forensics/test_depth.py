"""Depth curves equal runs that were really reranked less deep."""

from __future__ import annotations

import io
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text
from rich.console import Console
from run_builder import World, write_run
from sample_worlds import AFTER, BEFORE, random_scores, random_world

from rerank_bench.errors import ComparisonError, ConfigError
from rerank_bench.evaluation.measures import evaluate_run
from rerank_bench.evaluation.significance import mean
from rerank_bench.forensics.depth import depths_to_json, depths_up_to, measure_depths
from rerank_bench.forensics.depth_plot import draw_depths, write_depth_plot
from rerank_bench.forensics.depth_table import render_depths
from rerank_bench.ranking import rank_docs
from rerank_bench.reporting.drawing import plot_style
from rerank_bench.reporting.stored_result import read_stored_result

MEASURES = ("nDCG@10", "AP", "RR@10", "R@100", "Judged@10", "P@1")
JUDGED_ONLY = "nDCG(judged_only=True)@10"


def test_the_depths() -> None:
    assert depths_up_to(100) == (0, *range(5, 101, 5))
    assert depths_up_to(12) == (0, 5, 10, 12)
    assert depths_up_to(3) == (0, 3)
    assert depths_up_to(400)[-5:] == (100, 150, 200, 300, 400)


@pytest.mark.parametrize("measure", MEASURES)
def test_the_ends_are_the_first_stage_and_the_run(random_runs: tuple[Path, Path], measure: str) -> None:
    report = measure_depths(random_runs, measure=measure)
    for run, curve in zip(random_runs, report.curves, strict=True):
        stored = read_stored_result(run)
        recorded = [
            stored.result["datasets"][name]["views"]["end_to_end"]["measures"][measure] for name in ("one", "two")
        ]
        assert curve.values[0] == pytest.approx(mean([values["first_stage"] for values in recorded]), abs=1e-12)
        assert curve.values[-1] == pytest.approx(mean([values["reranked"] for values in recorded]), abs=1e-12)
        assert curve.values_by_dataset["two"][-1] == pytest.approx(recorded[1]["reranked"], abs=1e-12)


@pytest.mark.parametrize("measure", [*MEASURES, JUDGED_ONLY])
def test_between_them_is_what_reranking_so_many_would_give(random_runs: tuple[Path, Path], measure: str) -> None:
    report = measure_depths(random_runs[:1], measure=measure, datasets=["two"])
    stored = read_stored_result(random_runs[0])
    candidates, reranked, qrels = stored.candidates("two"), stored.reranked("two"), stored.qrels("two")
    for position, depth in enumerate(report.depths):
        run = {}
        for query_id, docs in candidates.items():
            score = dict(zip(reranked[query_id].doc_ids, reranked[query_id].scores.tolist(), strict=True))
            # Those below the depth get scores under all others, falling in first-stage order.
            scores = [score[d] if rank < depth else -1000.0 - rank for rank, d in enumerate(docs.doc_ids)]
            run[query_id] = rank_docs(query_id, docs.doc_ids, scores)
        expected = mean(evaluate_run(qrels, run, [measure])[measure].values())
        assert report.curves[0].values[position] == pytest.approx(expected, abs=1e-12), depth


@pytest.fixture
def worse(tmp_path: Path, world: World) -> Path:
    """A run that only loses."""
    scores = {"q-fell": AFTER["q-fell"], "q-rose": {"d00": 1.0}}
    return write_run(tmp_path / "runs" / "worse", {"hand": world}, {"hand": scores})


def test_the_best_depth_is_the_smallest_among_equals(tmp_path: Path, world: World, before: Path, worse: Path) -> None:
    identity = write_run(tmp_path / "id", {"hand": world}, {"hand": {}}, name="identity")
    report = measure_depths([identity, before, worse])
    assert [report.depths[curve.best] for curve in report.curves] == [0, 5, 0]
    assert report.curves[0].best_gain_interval == (0.0, 0.0)
    for curve in report.curves:
        assert curve.values[curve.best] == max(curve.values)
        assert all(value < max(curve.values) for value in curve.values[: curve.best])
    gain = np.array(report.curves[2].values)[0] - report.curves[2].values[-1]
    low, high = report.curves[2].best_gain_interval or (np.nan, np.nan)
    assert low < gain < high


def test_runs_over_other_candidates_are_refused(tmp_path: Path, random_runs: tuple[Path, Path]) -> None:
    world = random_world(tmp_path / "one", 77, 9)
    other = write_run(tmp_path / "run", {"one": world}, {"one": random_scores(world, 1)})
    with pytest.raises(ComparisonError, match="corpus of one"):
        measure_depths([random_runs[0], other])


def test_json_and_table_say_the_same(before: Path, worse: Path) -> None:
    report = measure_depths([before, worse])
    found = depths_to_json(report)
    assert found["depths"] == list(report.depths)
    assert [curve["best_depth"] for curve in found["curves"]] == [5, 0]
    console = Console(file=io.StringIO(), width=80)
    console.print(render_depths(report, width=80))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert (
        f"{found['curves'][0]['values'][1]:.4f} (+{found['curves'][0]['values'][1] - found['curves'][0]['values'][0]:.4f})*"
        in text
    )
    assert "best at depth 0, without reranking" in " ".join(text.split())


def test_many_runs_are_cut_into_blocks(tmp_path: Path, world: World) -> None:
    runs = [
        write_run(tmp_path / f"r{n}", {"hand": world}, {"hand": BEFORE if n % 2 else AFTER}, name=f"m{n}")
        for n in range(6)
    ]
    console = Console(file=io.StringIO(), width=80)
    console.print(render_depths(measure_depths(runs), width=80))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    heads = [line.split()[1:] for line in lines if line.startswith("depth")]
    assert heads == [["m0", "m1", "m2", "m3"], ["m4", "m5"]]


def test_every_curve_is_drawn_and_named_once(random_runs: tuple[Path, Path]) -> None:
    report = measure_depths(random_runs)
    with plot_style():
        figure = draw_depths(report)
        figure.canvas.draw()
    lines = figure.axes[0].get_lines()
    for curve in report.curves:
        assert any(list(np.asarray(line.get_ydata())) == list(curve.values) for line in lines)
        best = (report.depths[curve.best], curve.values[curve.best])
        assert any((np.asarray(x)[0], np.asarray(y)[0]) == best for x, y in (line.get_data() for line in lines))
    labels = [text for text in figure.axes[0].texts if text.get_text()]
    assert len(labels) == len(report.curves) + 1
    boxes = [Text.get_window_extent(text) for text in (*labels, *figure.texts)]
    assert all(figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1 for box in boxes)
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]


def test_the_picture_is_the_same_every_time(tmp_path: Path, before: Path) -> None:
    report = measure_depths([before])
    for suffix in ("png", "svg"):
        paths = [tmp_path / f"{name}.{suffix}" for name in ("one", "two")]
        for path in paths:
            write_depth_plot(path, report)
        assert paths[0].read_bytes() == paths[1].read_bytes()
    with pytest.raises(ConfigError, match=r"one\.pdf: a picture is written as \.png or \.svg"):
        write_depth_plot(tmp_path / "one.pdf", report)
