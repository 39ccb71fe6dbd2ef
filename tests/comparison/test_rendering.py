"""What a comparison looks like: golden files, widths, and forms that other programs read back."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from pathlib import Path

import pytest
from golden_files import assert_golden
from rich.console import Console
from run_folders import write_run_of

from rerank_bench.comparison.compare import CompareConfig, compare_runs
from rerank_bench.comparison.documents import render_csv, render_latex, render_markdown
from rerank_bench.comparison.layout import join_letters
from rerank_bench.comparison.opening import open_sources
from rerank_bench.comparison.records import Comparison, comparison_to_json
from rerank_bench.comparison.terminal import render_terminal

SIZES = {"NanoClimateFEVER": 30, "NanoQuoraRetrieval": 17}
LONG = "an-organisation/a-reranker-of-some-size-with-a-long_name-v2"


@pytest.fixture(scope="module")
def comparisons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Comparison]:
    """Two, three and grouped runs; their places are relative, as golden files name no machine's paths."""
    with contextlib.chdir(tmp_path_factory.mktemp("rendered")):
        weak = write_run_of(Path("weak"), "weak", SIZES, skill=0.3, seed=1, suite="two")
        strong = write_run_of(Path("strong-seed1"), LONG, SIZES, skill=2, seed=2, suite="two")
        other = write_run_of(Path("strong-seed2"), f"{LONG}.1", SIZES, skill=2, seed=3, suite="two")
        three = open_sources([str(weak), str(strong), str(other)])
        return {
            "two": compare_runs(three[:2]),
            "three": compare_runs(three),
            "baseline": compare_runs(three, CompareConfig(baseline="weak")),
            "seeds": compare_runs(three, CompareConfig(group_by="seed", measure="AP", alpha=0.01)),
        }


def render_text(comparison: Comparison, width: int) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, no_color=True).print(render_terminal(comparison, width=width))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


@pytest.mark.parametrize("name", ["two", "three", "seeds"])
def test_the_terminal_golden(comparisons: dict[str, Comparison], name: str, *, update_golden: bool) -> None:
    assert_golden(f"compare_{name}.txt", render_text(comparisons[name], 80), update=update_golden)


def test_markdown_and_latex_golden(comparisons: dict[str, Comparison], *, update_golden: bool) -> None:
    assert_golden("compare.md", render_markdown(comparisons["three"]), update=update_golden)
    assert_golden("compare.tex", render_latex(comparisons["two"]), update=update_golden)


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("name", ["two", "three", "baseline", "seeds"])
def test_nothing_is_wider_than_the_terminal_and_nothing_is_lost(
    comparisons: dict[str, Comparison], name: str, width: int
) -> None:
    comparison = comparisons[name]
    text = render_text(comparison, width)
    assert max(map(len, text.splitlines())) <= width
    for scope in comparison.scopes:
        for pair in scope.pairs:
            assert f"{pair.difference:+.4f}" in text
            assert f"{pair.mde:.4f}" in text
            assert f"{pair.value:.4f}" in text
    assert "…" not in re.sub(r"an-org\S*…|NanoQuo…", "", text)  # names are shortened, numbers never


def test_csv_holds_every_number_in_full(comparisons: dict[str, Comparison]) -> None:
    comparison = comparisons["three"]
    lines = list(csv.DictReader(io.StringIO(render_csv(comparison))))
    pairs = [(scope, pair) for scope in comparison.scopes for pair in scope.pairs]
    assert len(lines) == len(pairs) == 9
    for line, (scope, pair) in zip(lines, pairs, strict=True):
        assert (line["scope"], line["run"], line["reference"]) == (scope.name, pair.run, pair.reference)
        for name in ("value", "reference_value", "difference", "p", "p_t", "p_adjusted", "sd", "mde"):
            assert float(line[name]) == getattr(pair, name)
        assert (float(line["ci_low"]), float(line["ci_high"])) == pair.ci
        assert [int(line[name]) for name in ("better", "equal", "worse")] == [pair.better, pair.equal, pair.worse]
        assert scope.groups is not None
        assert line["letters"] == "".join(scope.groups[pair.run])


def test_what_has_no_value_is_empty_or_a_dash(tmp_path: Path) -> None:
    one = {"one": 1}
    runs = [write_run_of(tmp_path / name, name, one, seed=seed) for seed, name in enumerate(("a_%", "b"))]
    comparison = compare_runs(open_sources([str(run) for run in runs]))
    (line,) = csv.DictReader(io.StringIO(render_csv(comparison)))
    assert (line["ci_low"], line["p_t"], line["mde"], line["letters"]) == ("", "", "", "")
    assert re.search(r"^one .* –$", render_text(comparison, 200), flags=re.MULTILINE)
    assert "1 query\n" in render_text(comparison, 200)
    latex = render_latex(comparison)
    assert r"data set & a\_\% & b & difference & 95\% interval" in latex
    assert " -- & " in latex


def test_letters_are_kept_apart_where_one_has_two_characters() -> None:
    assert join_letters(("a", "b")) == "ab"
    assert join_letters(("z", "aa")) == "z,aa"


def test_the_shape_of_the_json_is_documented(comparisons: dict[str, Comparison]) -> None:
    documented = (Path(__file__).parents[2] / "docs" / "compare.md").read_text(encoding="utf-8")
    value = comparison_to_json(comparisons["three"])
    for block in (value, value["runs"][0], value["scopes"][0], value["scopes"][0]["pairs"][0]):
        assert [key for key in block if f"`{key}`" not in documented] == []
