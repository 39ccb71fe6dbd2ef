from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from sample_results import BASELINES, GAINS, NANOBEIR, make_rows

from rerank_bench.errors import ConfigError
from rerank_bench.reporting.delta_plot import MAX_MODELS, draw_deltas
from rerank_bench.reporting.drawing import model_style, plot_style, text_width, wrap_lines
from rerank_bench.reporting.leaderboard import frame_from_rows
from rerank_bench.reporting.plots import DELTA_PLOT, SPEED_PLOT, write_plots
from rerank_bench.reporting.speed_plot import draw_speeds
from rerank_bench.reporting.tables import build_tables

MODELS = list(GAINS)
MANY = [f"org-{number % 3}/reranker-number-{number}-base" for number in range(14)]
SHAPES = {
    "one model": make_rows(["demo", *BASELINES], {"pydocs": 0.45}),
    "four models": make_rows([*MODELS[2:], *BASELINES], {"pydocs": 0.45}),
    "three data sets": make_rows([*MODELS[:2], *BASELINES], dict(list(NANOBEIR.items())[:3])),
    "wide": make_rows([*MODELS, *BASELINES], NANOBEIR, suite="nanobeir"),
    "one model, wide": make_rows(["demo", *BASELINES], NANOBEIR, suite="nanobeir"),
    "many": make_rows(MANY, {"pydocs": 0.45}) + make_rows(["demo"], {"pydocs": 0.45}, depth=50),
    "long names": make_rows(
        ["x" * 200, "y/" + "z" * 90], {"a-data-set-in-a-folder-with-a-very-" + "long-" * 9: 0.4, "nq": 0.5}
    ),
}


@cache
def draw(shape: str) -> tuple[Figure, Figure]:
    return draw_rows(SHAPES[shape])


def draw_rows(rows: list[dict[str, Any]]) -> tuple[Figure, Figure]:
    tables = build_tables(frame_from_rows(rows))
    with plot_style():
        deltas, speeds = draw_deltas(tables[0], len(tables)), draw_speeds(tables[0], len(tables))
        assert speeds is not None
        for figure in (deltas, speeds):
            figure.canvas.draw()
    return deltas, speeds


def boxes_of(figure: Figure) -> list[tuple[str, Bbox]]:
    """Return every text that is drawn, with its box in pixels."""
    texts: list[Text] = [*figure.texts]
    for legend in figure.legends:
        texts += legend.get_texts()
    for axes in figure.axes:
        texts += axes.texts
        for axis in (axes.xaxis, axes.yaxis):
            # The ticks in view: an axis keeps others, which it does not draw.
            drawn: Any = axis
            texts += [axis.label, *(tick.label1 for tick in drawn._update_ticks())]
    # Without the leader line, which belongs to an annotation's own extent.
    return [(text.get_text(), Text.get_window_extent(text)) for text in texts if text.get_text().strip()]


@pytest.mark.parametrize("shape", SHAPES)
def test_no_text_is_cut_and_none_covers_another(shape: str) -> None:
    for figure in draw(shape):
        boxes = boxes_of(figure)
        assert len(boxes) > 5
        for text, box in boxes:
            assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1, text
            assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, text
        covering = [(one[0], other[0]) for one, other in combinations(boxes, 2) if one[1].overlaps(other[1])]
        assert covering == []


def point_of(line: Line2D) -> tuple[float, float]:
    """Return the first point of a line."""
    return float(np.asarray(line.get_xdata())[0]), float(np.asarray(line.get_ydata())[0])


def marks_of(figure: Figure) -> tuple[dict[tuple[str, float], float], dict[tuple[str, float], tuple[float, float]]]:
    """(colour, height) -> gain, and -> interval, of everything that is drawn."""
    gains, intervals = {}, {}
    for line in figure.axes[0].get_lines():
        x, y = point_of(line)
        if line.get_markersize() == 5:
            gains[str(line.get_markeredgecolor()), y] = x
        elif line.get_linewidth() == 1.3:
            intervals[str(line.get_color()), y] = (x, float(np.asarray(line.get_xdata())[1]))
    return gains, intervals


def test_every_gain_stands_in_the_band_of_its_dataset_in_the_colour_of_its_model() -> None:
    table = build_tables(frame_from_rows(SHAPES["wide"]))[0]
    figure, _ = draw("wide")
    gains, intervals = marks_of(figure)
    ticks = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    band = figure.axes[0].get_ylim()[0] / len(table.columns)
    assert [tick.split("   ")[0] for tick in ticks] == [column.title for column in table.columns]
    assert ticks[0].endswith("n = 649")
    for number, entry in enumerate(table.models):
        colour = model_style(number)[0]
        for position, cell in enumerate(entry.cells):
            assert cell is not None
            here = [key for key in gains if key[0] == colour and position * band < key[1] < (position + 1) * band]
            assert [gains[key] for key in here] == [cell.delta]
            assert [intervals[key] for key in here] == [cell.interval]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [entry.label for entry in table.models]


def test_a_mark_is_hollow_when_its_interval_includes_zero() -> None:
    table = build_tables(frame_from_rows(SHAPES["four models"]))[0]
    figure, _ = draw("four models")
    faces = [line.get_markerfacecolor() for line in figure.axes[0].get_lines() if line.get_markersize() == 5]
    cells = [entry.cells[0] for entry in table.models]
    assert [face == "white" for face in faces] == [
        cell is not None and cell.interval is not None and cell.interval[0] <= 0 <= cell.interval[1] for cell in cells
    ]
    assert {face == "white" for face in faces} == {True, False}


def test_every_point_stands_at_its_speed_and_value() -> None:
    table = build_tables(frame_from_rows(SHAPES["many"]))[0]
    _, figure = draw("many")
    points = {point_of(line) for line in figure.axes[0].get_lines() if line.get_markersize() == 7}
    rows = [row for row in SHAPES["many"] if row["view"] == "end_to_end" and row["depth"] == 100]
    assert points == {(row["pairs_per_second"], row["ndcg_at_10"]) for row in rows}
    assert {text.get_text() for text in figure.axes[0].texts} == {*MANY, "first stage 0.4500"}
    assert len(table.models) == len(MANY)


def test_the_conditions_are_stated() -> None:
    deltas, speeds = (" ".join(t.get_text() for t in figure.texts) for figure in draw("many"))
    for text in (deltas, speeds):
        assert "pydocs, 90 queries · view end_to_end · first stage bm25, depth 100 · protocol 1" in text
        assert "another table of the leaderboard: not comparable with this one, not drawn" in text
    assert deltas.startswith("Gain in nDCG@10 over the first stage")
    assert f"the best {MAX_MODELS} of 14 models" in deltas
    assert speeds.startswith("nDCG@10 against speed")
    assert "timed on cpu (Example CPU, 2 cores, Linux)" in speeds


def test_a_mean_without_an_interval_is_explained() -> None:
    for shape, is_noted in (("three data sets", True), ("wide", False)):
        deltas, _ = draw(shape)
        assert ("without a whisker" in " ".join(text.get_text() for text in deltas.texts)) is is_noted


def test_one_timed_model_is_noted() -> None:
    _, speeds = draw("one model")
    assert "one model was timed" in " ".join(text.get_text() for text in speeds.texts)


def test_different_devices_are_noted() -> None:
    rows = make_rows(["a/b"], {"pydocs": 0.45}) + make_rows(["demo"], {"pydocs": 0.45}, device="cuda")
    _, speeds = draw_rows(rows)
    assert "timed on 2 different devices" in " ".join(text.get_text() for text in speeds.texts)


def test_the_files_are_pictures_and_the_same_every_time(tmp_path: Path) -> None:
    frame = frame_from_rows(SHAPES["three data sets"])
    written = write_plots(frame, tmp_path / "one")
    assert [path.name for path in written] == [
        f"{plot}.{suffix}" for plot in (DELTA_PLOT, SPEED_PLOT) for suffix in ("png", "svg")
    ]
    with mpl.rc_context(
        {"font.size": 30, "svg.fonttype": "none", "axes.facecolor": "red"}
    ):  # a user's own matplotlibrc
        again = write_plots(frame, tmp_path / "two")
    for first, second in zip(written, again, strict=True):
        assert first.read_bytes() == second.read_bytes()
    for path in written:
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG\r\n" if path.suffix == ".png" else b"<?xml")
        assert b"Software" not in content
        assert not re.search(rb"dc:date|dc:creator|20\d\d-\d\d-\d\d", content)


def test_what_has_nothing_to_show_is_not_written_and_an_old_picture_goes(tmp_path: Path) -> None:
    write_plots(frame_from_rows(SHAPES["one model"]), tmp_path)
    assert write_plots(frame_from_rows(make_rows(BASELINES, {"pydocs": 0.45})), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_models_that_share_no_dataset_have_no_speed_plot(tmp_path: Path) -> None:
    rows = make_rows(["a/b"], {"pydocs": 0.45}) + make_rows(["demo"], {"scifact": 0.69})
    written = write_plots(frame_from_rows(rows), tmp_path)
    assert {path.stem for path in written} == {DELTA_PLOT}


def test_a_dollar_sign_is_no_formula(tmp_path: Path) -> None:
    assert write_plots(frame_from_rows(make_rows(["a$b$c_{"], {"pydocs": 0.45})), tmp_path)


def test_an_unknown_measure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown measure 'nDCG@5'"):
        write_plots(frame_from_rows(SHAPES["one model"]), tmp_path, measure="nDCG@5")
    assert list(tmp_path.iterdir()) == []


def test_drawing_leaves_no_trace_and_opens_no_window(tmp_path: Path) -> None:
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from sample_results import make_rows
from rerank_bench.reporting.leaderboard import frame_from_rows
from rerank_bench.reporting.plots import write_plots
import matplotlib
before = list(dict.items(matplotlib.rcParams))  # through dict: asking for the backend would load pyplot
write_plots(frame_from_rows(make_rows(["demo"], {"pydocs": 0.45})), sys.argv[2])
print(before == list(dict.items(matplotlib.rcParams)), "matplotlib.pyplot" in sys.modules, "torch" in sys.modules)
"""
    tests = str(Path(__file__).parents[1])
    output = subprocess.run(
        [sys.executable, "-c", code, tests, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert output.stdout.split() == ["True", "False", "False"]


def test_styles_differ_for_many_models() -> None:
    assert len({model_style(number) for number in range(49)}) == 49


def test_lines_are_broken_between_words() -> None:
    text = "one two three " * 20
    lines = wrap_lines([text, "short"], 4.0)
    assert " ".join(lines[:-1]) == text.strip()
    assert lines[-1] == "short"
    assert all(text_width(line) <= 4.0 for line in lines)
    assert wrap_lines(["x" * 300], 1.0) == ["x" * 300]


def test_a_width_is_about_what_is_drawn() -> None:
    figure = Figure()
    with plot_style():
        for text in ("cross-encoder/ms-marco-MiniLM-L6-v2", "demo", "WWWWiiii 0.1234"):
            drawn = figure.text(0, 0, text).get_window_extent().width / figure.dpi
            assert drawn <= text_width(text) <= 1.15 * drawn
    assert text_width("  ") == 0.0
