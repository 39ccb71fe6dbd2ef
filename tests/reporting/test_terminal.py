from __future__ import annotations

import io
import re
from typing import Any, Literal

import pytest
from golden_files import assert_golden
from rich.console import Console
from sample_results import BASELINES, GAINS, NANOBEIR, make_rows

from rerank_bench.reporting.leaderboard import frame_from_rows
from rerank_bench.reporting.terminal import render_terminal

MODELS = list(GAINS)
SHAPES = {
    "one": make_rows(["demo", *BASELINES], {"pydocs": 0.45}),
    "few": make_rows([*MODELS[2:], *BASELINES], {"pydocs": 0.45}),
    "three": make_rows([*MODELS[:2], *BASELINES], dict(list(NANOBEIR.items())[:3]), suite="nanobeir-3"),
    "wide": make_rows([*MODELS, *BASELINES], NANOBEIR, suite="nanobeir"),
    "long": make_rows(["x" * 90, "demo"], {"a-data-set-" * 5: 0.4, "NanoNQ": 0.5}),
    "long one": make_rows(["x" * 90, "demo"], {"a-data-set-" * 5: 0.4}),
    "split": make_rows(MODELS[:3], {"pydocs": 0.45, "scifact": 0.69}) + make_rows(["demo"], {"pydocs": 0.45}, depth=50),
}


def render(rows: list[dict[str, Any]], width: int = 80, *, is_terminal: bool = False, **options: Any) -> str:
    color_system: Literal["truecolor"] | None = "truecolor" if is_terminal else None
    console = Console(width=width, file=io.StringIO(), force_terminal=is_terminal, color_system=color_system)
    console.print(render_terminal(frame_from_rows(rows), width=width, **options))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("shape", ["one", "few", "three", "wide", "split"])
def test_the_rendered_table_is_the_golden_one(shape: str, *, update_golden: bool) -> None:
    assert_golden(f"leaderboard_{shape}.txt", render(SHAPES[shape]), update=update_golden)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160, 240])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_line_keeps_to_the_width_and_every_value_is_shown(shape: str, width: int) -> None:
    rows, text = SHAPES[shape], render(SHAPES[shape], width)
    assert max(map(len, text.splitlines())) <= width
    shown = re.findall(r"(\d\.\d{4}) \(([+-]\d\.\d{4})\)", text)
    expected = [
        (f"{row['ndcg_at_10']:.4f}", f"{row['delta'] + 0.0:+.4f}") for row in rows if row["view"] == "end_to_end"
    ]
    # A table of several data sets without a suite adds the mean that it computes.
    missing = [cell for cell in set(expected) if expected.count(cell) > shown.count(cell)]
    assert missing == []


def test_values_stand_at_their_model_and_dataset() -> None:
    rows = make_rows([*MODELS[:2], *BASELINES], NANOBEIR)
    text = render(rows)
    for row in rows:
        if row["view"] == "end_to_end" and row["dataset"] == "NanoNQ":
            line = next(
                line for line in text.splitlines() if line.startswith("NQ ") and f"{row['ndcg_at_10']:.4f}" in line
            )
            assert f"({row['delta']:+.4f})" in line


def test_further_figures_stand_beside_a_single_dataset() -> None:
    text = render(make_rows(["demo"], {"pydocs": 0.45}), 120)
    (row,) = [row for row in make_rows(["demo"], {"pydocs": 0.45}) if row["view"] == "end_to_end"]
    header, line = (next(ln for ln in text.splitlines() if ln.startswith(start)) for start in ("model", "demo"))
    assert header.split() == [
        "model",
        "pydocs",
        "nDCG@10",
        "95%",
        "interval",
        "p",
        "headroom",
        "RR@10",
        "AP",
        "pairs/s",
    ]
    figures = [
        f"{row['ndcg_at_10']:.4f}",
        f"({row['delta']:+.4f})",
        f"{row['ci_low']:+.4f}",
        f"{row['ci_high']:+.4f}",
        f"{row['p']:.3f}",
        f"{row['headroom_used']:.0%}",
        f"{row['rr_at_10']:.4f}",
        f"{row['ap']:.4f}",
        f"{row['pairs_per_second']:.0f}",
    ]
    assert line.split() == ["demo", *figures]


def test_brackets_in_names_are_no_markup() -> None:
    rows = make_rows(["demo"], {"pydocs": 0.45}) + make_rows(["demo"], {"pydocs": 0.45}, dtype="bfloat16")
    text = render(rows, 100)
    assert "demo [float32]" in text
    assert "demo [bfloat16]" in text


def test_the_best_is_bold_on_a_terminal_even_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    coloured = render(SHAPES["split"], is_terminal=True)
    assert re.search(r"\x1b\[1m0\.\d{4} \(\+0\.\d{4}\)\*", coloured)
    assert "\x1b[33m" in coloured  # the reason for the second table
    monkeypatch.setenv("NO_COLOR", "1")
    plain = render(SHAPES["split"], is_terminal=True)
    assert re.search(r"\x1b\[1m0\.\d{4} \(\+0\.\d{4}\)\*", plain)
    assert "\x1b[33m" not in plain


def test_the_view_and_the_measure_are_stated() -> None:
    text = " ".join(render(SHAPES["one"], view="retrieved", measure="AP").split())
    assert text.startswith("AP · view retrieved (candidates only, binary judgements of the positives among them) · ")
    assert "pydocs AP" in text


def test_missing_values_are_explained() -> None:
    text = render(make_rows(["a/b"], {"pydocs": 0.45, "scifact": 0.69}) + make_rows(["demo"], {"pydocs": 0.45}))
    assert re.search(r"^demo +0\.\d{4} \([+-]0\.\d{4}\)\S? +– *$", text, re.MULTILINE)
    assert "– not run" in " ".join(text.split())
