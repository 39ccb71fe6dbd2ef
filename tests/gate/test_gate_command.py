"""``rerank-bench gate`` as a user and a CI service meet it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from gated_runs import bury_relevant
from typer.testing import CliRunner, Result

from rerank_bench.cli.app import app

MakeRun = Callable[..., Path]
Invoke = Callable[..., Result]


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Invoke:
    """Call the application in the folder that holds ``runs``, on a terminal of 80 columns, outside any CI service."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_accept_then_gate(invoke: Invoke, make_run: MakeRun) -> None:
    make_run("old")
    make_run("new", spoil=bury_relevant)
    accepted = invoke("gate", "accept", "--baseline", "b/base.json", "--run", "runs/old", "--reason", "the first")
    assert accepted.exit_code == 0, accepted.output
    assert accepted.stdout.splitlines()[1:] == ["commit  b/base.json", "commit  b/base.history.toml"]
    won = invoke("gate", "--baseline", "b/base.json", "--run", "runs/old")
    assert won.exit_code == 0, won.output
    assert won.stdout.startswith("gate won · pass: ")
    lost = invoke("gate", "--baseline", "b/base.json", "--run", "runs/new")
    assert lost.exit_code == 1
    assert lost.stdout.startswith("gate lost · tripwire below_random")
    for result in (won, lost):
        assert result.stderr == ""
        assert max(map(len, result.stdout.splitlines())) <= 80
        assert "the smallest drop this gate can see" in " ".join(result.stdout.split())


def test_several_gates_of_a_file_and_the_worst_decides(invoke: Invoke, make_run: MakeRun, tmp_path: Path) -> None:
    make_run("old")
    make_run("new", seed=5)
    (tmp_path / "gates.toml").write_text(
        "baseline = 'runs/old'\n[gates.same]\nrun = 'runs/old'\n"
        "[gates.other]\nrun = 'runs/new'\nmargin = 0.01\nstrict = true\n"
        "[gates.scores]\nmode = 'repro'\nrun = 'runs/new'\n"
    )
    everything = invoke("gate", "--config", "gates.toml", "--json")
    reports = json.loads(everything.stdout)
    assert [(report["gate"], report["exit_code"]) for report in reports] == [("same", 0), ("other", 4), ("scores", 1)]
    assert everything.exit_code == 1
    assert invoke("gate", "--config", "gates.toml", "--gate", "other", "--gate", "same").exit_code == 4
    assert invoke("gate", "--config", "gates.toml", "--gate", "same").exit_code == 0


def test_what_ci_services_are_given(
    invoke: Invoke, make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("old")
    make_run("new", spoil=bury_relevant)
    summary = tmp_path / "summary.md"
    summary.write_text("# An earlier step\n")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    result = invoke(
        "gate", "--baseline", "runs/old", "--run", "runs/new", "--json", "--junit", "out/gate.xml", "--comment", "c.md"
    )
    assert result.exit_code == 1
    json.loads(result.stdout)  # nothing but JSON, though annotations were printed
    assert result.stderr.splitlines()[0].startswith("::error title=rerank-bench gate gate::gate lost")
    assert ET.parse(tmp_path / "out" / "gate.xml").getroot().attrib["failures"] == "3"  # noqa: S314  our own text
    assert "❌ gate lost" in (tmp_path / "c.md").read_text()
    assert summary.read_text().startswith("# An earlier step\n### ❌ gate lost")


@pytest.mark.parametrize(
    ("options", "code", "problem"),
    [
        (["--baseline", "runs/old", "--run", "runs/other"], 5, "corpus of alpha: "),
        (["--baseline", "runs/old", "--run", "runs/none"], 2, "runs/none: no such file"),
        (["--baseline", "runs/old"], 2, "gate 'gate' has no run; name --run"),
        (["--baseline", "runs/old", "--run", "runs/old", "--margin", "0"], 2, "expected a margin of at least min_drop"),
        (["--baseline", "runs/old", "--run", "runs/old", "--measure", "nDGC@10"], 2, "did you mean 'nDCG@10'"),
        (["--config", "none.toml"], 2, "none.toml: no such file; a file of gates is TOML"),
        (["accept", "--baseline", "b.json", "--run", "runs/old"], 2, "Missing option '--reason'"),
        (["accept", "--baseline", "runs/old", "--run", "runs/old", "--reason", "x"], 2, "is no baseline file"),
        (["calibrate", "runs/old"], 2, "needs at least two runs"),
    ],
)
def test_bad_requests(invoke: Invoke, make_run: MakeRun, options: list[str], code: int, problem: str) -> None:
    make_run("old")
    make_run("other", corpus="e")
    result = invoke("gate", *options)
    assert result.exit_code == code, result.output
    assert problem in " ".join(result.stderr.replace("│", " ").split())
    assert result.stdout == ""


def test_an_error_is_an_annotation_too(invoke: Invoke, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    make_run("old")
    make_run("other", corpus="e")
    result = invoke("gate", "--baseline", "runs/old", "--run", "runs/other")
    assert "::error title=rerank-bench gate::corpus of alpha: " in result.stderr


def test_options_of_gate_before_a_subcommand_are_refused(invoke: Invoke) -> None:
    result = invoke("gate", "--strict", "accept", "--reason", "x")
    assert result.exit_code == 2
    assert "--strict stands before accept" in " ".join(result.stderr.replace("│", " ").split())


def test_accept_needs_to_know_which_gate(invoke: Invoke, make_run: MakeRun, tmp_path: Path) -> None:
    make_run("old")
    (tmp_path / "gates.toml").write_text(
        "run = 'runs/old'\n[gates.a]\nbaseline = 'a.json'\n[gates.b]\nbaseline = 'b.json'\n"
    )
    result = invoke("gate", "accept", "--config", "gates.toml", "--reason", "x")
    assert result.exit_code == 2
    assert "Name its gate with --gate: a, b" in result.stderr
    entry = invoke("gate", "accept", "--config", "gates.toml", "--gate", "b", "--reason", "x", "--json")
    assert json.loads(entry.stdout)["reason"] == "x"
    assert sorted(path.name for path in tmp_path.glob("?.*")) == ["b.history.toml", "b.json"]


def test_calibrate(invoke: Invoke, make_run: MakeRun) -> None:
    make_run("a")
    make_run("b", spoil=lambda _d, _n, scores: scores + 1e-4)
    result = invoke("gate", "calibrate", "runs/a", "runs/b")
    assert result.exit_code == 0, result.output
    assert "tolerance = 0\nmax_score_difference = 0.0002" in result.stdout
    found = json.loads(invoke("gate", "calibrate", "runs/a", "runs/b", "--json").stdout)
    assert found["largest_score_difference"] == pytest.approx(1e-4, rel=0.01)
