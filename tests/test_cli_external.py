"""A rerank endpoint from the command line to the files: its scores arrive, its key does not."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import jsonschema
import pytest
from loopback_endpoint import LoopbackEndpoint, refuse
from typer.testing import CliRunner

from rerank_bench.cli.app import app
from rerank_bench.reporting.run_folder import result_schema

TINY = Path(__file__).parent / "data" / "tiny"
KEY = "sk-not-to-be-seen-4711"


@pytest.fixture(autouse=True)
def _empty_folder_and_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RERANK_BENCH_API_KEY", KEY)


@pytest.mark.parametrize("shape", ["documents", "texts"])
def test_a_run_over_an_endpoint_writes_its_scores_and_never_the_key(shape: str, tmp_path: Path) -> None:
    with LoopbackEndpoint(shape) as endpoint:
        url = f"{endpoint.url}/rerank#ranker"
        arguments = [
            "run",
            "-m",
            url,
            "-d",
            str(TINY),
            "--out",
            "out",
            "--external-docs",
            "2",
            "--external-timeout",
            "5",
        ]
        result = CliRunner().invoke(app, [*arguments, "--external-concurrency", "3"])
    assert result.exit_code == 0, result.output
    assert {headers["Authorization"] for headers in endpoint.headers} == {f"Bearer {KEY}"}
    assert max(len(body[shape]) for body in endpoint.bodies if shape in body) == 2
    (file,) = (tmp_path / "out").glob("*/result.json")
    written = json.loads(file.read_text())
    jsonschema.validate(written, result_schema())
    model = written["model"]
    assert (model["name"], model["family"], model["spec"], model["revision"]) == ("ranker", "external", url, None)
    scored = sum(len(body[shape]) for body in endpoint.bodies if shape in body)
    assert written["datasets"]["tiny"]["timing"]["num_distinct_pairs"] == scored - 2, "two were asked about on loading"
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert KEY.encode() not in (gzip.decompress(data) if path.suffix == ".gz" else data), path
    assert KEY not in result.stdout + result.stderr
    assert "is sent without encryption" in result.stderr


def test_a_refused_key_ends_with_a_line_that_does_not_show_it(tmp_path: Path) -> None:
    with LoopbackEndpoint("documents") as endpoint:
        endpoint.faults.append(refuse(401, f"unknown key {KEY}"))
        result = CliRunner().invoke(app, ["run", "-m", f"{endpoint.url}/rerank", "-d", str(TINY), "--out", "out"])
    assert result.exit_code == 2
    shown = " ".join(result.stderr.split())
    assert "when it was loaded: status 401 (Unauthorized): 'unknown key (key)'; expected a valid key" in shown
    assert KEY not in result.output
    assert not list(tmp_path.rglob("result.json"))
