"""The pytest plugin, in sessions of its own."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from gated_runs import bury_relevant, write_run

pytest_plugins = ["pytester"]

NAME = "rerank_bench_gate"
SUITE = """
def test_gate(rerank_bench_gate):
    report = rerank_bench_gate(baseline={baseline!r}, run={run!r}{options})
    assert report.mode == "quality"
"""


def test_the_plugin_is_installed_under_its_name() -> None:
    (plugin,) = [point for point in entry_points(group="pytest11") if point.name == NAME]
    assert plugin.value == "rerank_bench.gate.pytest_plugin"


def test_loading_the_plugin_loads_nothing_heavy() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import rerank_bench.gate.pytest_plugin; "
        "print(sorted(m for m in set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "['rerank_bench', 'rerank_bench.gate', 'rerank_bench.gate.pytest_plugin']"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written before pytester takes its snapshot of the loaded modules: what is loaded later, it throws out again."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "good")
    write_run(folder / "like", seed=5)
    write_run(folder / "bad", spoil=bury_relevant)
    write_run(folder / "foreign", corpus="e")
    return folder


def run_suite(pytester: pytest.Pytester, baseline: Path, run: Path, options: str = "") -> pytest.RunResult:
    pytester.makepyfile(SUITE.format(baseline=str(baseline), run=str(run), options=options))
    return pytester.runpytest_subprocess("--junit-xml=out.xml", "-p", "no:cacheprovider")


def test_a_sound_run_passes_and_leaves_its_figures(runs: Path, pytester: pytest.Pytester) -> None:
    run_suite(pytester, runs / "good", runs / "good").assert_outcomes(passed=1)
    root = ET.parse(pytester.path / "out.xml")  # noqa: S314  pytest's own
    found = {item.attrib["name"]: item.attrib["value"] for item in root.iter("property")}
    assert found == {"rerank_bench_verdict": "pass", "rerank_bench_difference": "0.0"}


def test_a_worse_run_fails_with_the_report_and_no_traceback(runs: Path, pytester: pytest.Pytester) -> None:
    result = run_suite(pytester, runs / "good", runs / "bad")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["gate lost · tripwire below_random*regressed: the mean fell by*", "*n = 40 in 2 data sets*"]
    )
    result.stdout.no_fnmatch_line("*gating.py*")


def test_inconclusive_fails_under_strict_only(runs: Path, pytester: pytest.Pytester) -> None:
    first, second = runs / "good", runs / "like"
    run_suite(pytester, first, second, ", margin=0.01").assert_outcomes(passed=1)
    run_suite(pytester, first, second, ", margin=0.01, strict=True").assert_outcomes(failed=1)


def test_runs_that_do_not_compare_are_an_error_with_the_field(runs: Path, pytester: pytest.Pytester) -> None:
    result = run_suite(pytester, runs / "good", runs / "foreign")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*ComparisonError: corpus of alpha*"])
