"""Gates from files: what is read, what the command line overrides, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from rerank_bench.errors import ConfigError, DataError, ParseError
from rerank_bench.gate.config import GateConfig, Tripwires, read_gates, resolve_gates

PYPROJECT = """
[project]
name = "anything"
[tool.rerank-bench.gate]
baseline = "baselines/suite.json"
run = "runs/mine"
margin = 0.01
strict = true
[tool.rerank-bench.gate.tripwires]
ties = "warn"
max_ties_share = 0.2
"""
SEVERAL = """
alpha = 0.01
[tripwires]
ties = "off"
truncation = "fail"
[gates.quality]
baseline = "a.json"
run = "/absolute/run"
[gates.engine]
mode = "repro"
baseline = "results.csv:my/model@suite"
run = "b"
tolerance = 0.0005
[gates.engine.tripwires]
ties = "fail"
"""


def test_the_table_of_a_pyproject_is_one_gate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    expected = GateConfig(
        baseline="baselines/suite.json",
        run="runs/mine",
        margin=0.01,
        strict=True,
        tripwires=Tripwires(ties="warn", max_ties_share=0.2),
    )
    monkeypatch.chdir(tmp_path)
    assert resolve_gates() == [expected]
    assert resolve_gates(tmp_path / "pyproject.toml")[0].baseline == str(tmp_path / "baselines/suite.json")


def test_a_pyproject_without_the_table_holds_no_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n[tool.other]\n")
    monkeypatch.chdir(tmp_path)
    assert resolve_gates(baseline="a", run="b") == [GateConfig(baseline="a", run="b")]


def test_several_gates_with_defaults(tmp_path: Path) -> None:
    (tmp_path / "gates.toml").write_text(SEVERAL)
    quality, engine = resolve_gates(tmp_path / "gates.toml")
    assert quality == GateConfig(
        name="quality",
        baseline=str(tmp_path / "a.json"),
        run="/absolute/run",
        alpha=0.01,
        tripwires=Tripwires(ties="off", truncation="fail"),
    )
    assert engine == GateConfig(
        name="engine",
        mode="repro",
        baseline=str(tmp_path / "results.csv:my/model@suite"),
        run=str(tmp_path / "b"),
        alpha=0.01,
        tolerance=0.0005,
        tripwires=Tripwires(ties="fail", truncation="fail"),
    )
    assert resolve_gates(tmp_path / "gates.toml", ["engine"]) == [engine]


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "gates.toml").write_text(SEVERAL)
    assert [gate.alpha for gate in resolve_gates(tmp_path / "gates.toml", alpha=0.1, margin=None)] == [0.1, 0.1]
    (gate,) = resolve_gates(tmp_path / "gates.toml", ["quality"], run="other")
    assert (gate.run, gate.alpha) == ("other", 0.01)
    with pytest.raises(ConfigError, match="there are quality, engine; choose one with --gate"):
        resolve_gates(tmp_path / "gates.toml", run="other")
    with pytest.raises(ConfigError, match="unknown gate 'engin'; did you mean 'engine'"):
        resolve_gates(tmp_path / "gates.toml", ["engin"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("margn = 0.01", "unknown key in the top table 'margn'; did you mean 'margin'"),
        ("[gates.a]\nmimmode = 1", "unknown key in gates.a 'mimmode'"),
        ("[tripwires]\ntie = 'off'", "unknown key in tripwires 'tie'; did you mean 'ties'"),
        ("[tripwires]\nties = 'no'", r"tripwires\.ties is 'no', expected 'fail' or 'warn' or 'off'"),
        ("mode = 'fast'", "mode is 'fast', expected 'quality' or 'repro'"),
        ("margin = '0.01'", "margin is '0.01', expected a number"),
        ("gates = 3", "gates is 3, expected a table"),
        ("alpha = ", "is not TOML"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_name(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "gates.toml").write_text(text)
    with pytest.raises(ParseError, match=rf"gates\.toml: .*{problem}"):
        read_gates(tmp_path / "gates.toml")


def test_all_problems_of_a_file_are_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "gates.toml").write_text("margn = 1\nalpha = 'x'\n")
    with pytest.raises(ParseError, match=r"margn.*; alpha is 'x'"):
        read_gates(tmp_path / "gates.toml")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"alpha": 0.5}, r"alpha is 0\.5, expected a share of at least 0\.001 and below 0\.5"),
        ({"alpha": 0.0001}, r"alpha is 0\.0001"),
        ({"min_drop": -0.1}, "min_drop is -0.1, expected a number of at least 0"),
        ({"tolerance": float("nan")}, "tolerance is nan"),
        ({"margin": 0.001}, r"margin is 0\.001 and min_drop 0\.005, expected a margin of at least min_drop"),
        ({"mode": "both"}, "mode is 'both'"),
        ({"view": "all"}, "view is 'all'"),
    ],
)
def test_values_out_of_range(options: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        GateConfig(**options)  # type: ignore[arg-type]


def test_a_value_out_of_range_names_the_file_and_the_gate(tmp_path: Path) -> None:
    (tmp_path / "gates.toml").write_text("[gates.a]\nmargin = 0.0\n")
    with pytest.raises(ConfigError, match=r"gates\.toml: gate 'a': margin is 0"):
        read_gates(tmp_path / "gates.toml")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.toml: no such file; a file of gates is TOML"):
        read_gates(tmp_path / "none.toml")
