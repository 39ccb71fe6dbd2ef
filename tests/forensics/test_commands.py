"""diff, inspect and depth as a user meets them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rerank_bench.cli.app import app

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Call the application on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return call


def test_diff_prints_writes_and_tells_its_page(invoke: Invoke, before: Path, after: Path, tmp_path: Path) -> None:
    result = invoke("diff", before, after, "--html", tmp_path / "page.html")
    assert result.exit_code == 0, result.output
    assert "hand · q-fell" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert f"page with all 5 queries: {tmp_path / 'page.html'}" in result.stderr
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("name", ["diff", "inspect", "depth"])
def test_json_is_json_and_nothing_else(invoke: Invoke, before: Path, after: Path, name: str) -> None:
    runs = [after] if name == "inspect" else [before, after]
    result = invoke(name, *runs, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["measure"] == "nDCG@10"
    assert result.stderr == ""


def test_inspect_in_markdown(invoke: Invoke, after: Path) -> None:
    result = invoke("inspect", after, "--format", "markdown", "--best", 1, "--measure", "MRR@10", "--view", "injected")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("## RR@10 · view injected")
    assert "hand · q\\-rose" in result.stdout or "hand · q-rose" in result.stdout


def test_depth_draws(invoke: Invoke, before: Path, after: Path, tmp_path: Path) -> None:
    result = invoke("depth", before, after, "--plot", tmp_path / "depth.svg")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "depth.svg").read_text().startswith("<?xml")
    assert "picture: " in result.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (("inspect", "{after}", "--query", "q-feld"), 2, "did you mean 'q-fell'"),
        (("inspect", "{after}", "--dataset", "hnd"), 5, "did you mean 'hand'"),
        (("inspect", "{after}", "--measure", "nope"), 2, "unknown measure 'nope'"),
        (("inspect", "{after}/nothing"), 2, "no such run"),
        (("inspect", "{after}", "--json", "--format", "terminal"), 2, "--json and --format terminal contradict"),
        (("diff", "{before}", "{after}", "--json", "--format", "markdown"), 2, "--format markdown contradict"),
        (("diff", "{before}", "{after}/hand.run.trec.gz"), 2, "a TREC run does not say"),
        (("depth", "{after}", "--plot", "x.pdf"), 2, "a picture is written as .png or .svg"),
    ],
)
def test_bad_requests(
    invoke: Invoke, before: Path, after: Path, arguments: tuple[str, ...], exit_code: int, message: str
) -> None:
    result = invoke(*(argument.format(before=before, after=after) for argument in arguments))
    assert result.exit_code == exit_code, result.output
    assert message in " ".join(result.stderr.split())


def test_runs_over_other_data_exit_with_5(invoke: Invoke, before: Path, after: Path) -> None:
    path = after / "result.json"
    result = json.loads(path.read_text())
    result["datasets"]["hand"]["depth"] = 50
    path.write_text(json.dumps(result))
    found = invoke("diff", before, after)
    assert found.exit_code == 5
    assert "depth of hand" in found.stderr


def test_no_torch_is_loaded(before: Path, after: Path, tmp_path: Path) -> None:
    commands = [
        ["inspect", str(after), "--html", str(tmp_path / "x.html")],
        ["diff", str(before), str(after)],
        ["depth", str(after)],
    ]
    code = (
        "import sys\n"
        "from rerank_bench.cli.app import main\n"
        f"for command in {commands!r}:\n"
        "    sys.argv = ['rerank-bench', *command]\n"
        "    try: main()\n"
        "    except SystemExit as error: print('EXIT', error.code)\n"
        "print('HEAVY', [name for name in ('torch', 'transformers', 'numba', 'matplotlib') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.count("EXIT 0") == 3
    assert "HEAVY []" in output
