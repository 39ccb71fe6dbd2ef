"""``rerank-bench compare`` from the command line: forms, files, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_folders import write_run_of
from typer.testing import CliRunner

from rerank_bench.cli.app import app


def invoke(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["compare", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def bad_runs(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good runs and with runs of another depth, over part of the queries, of an older schema."""
    folder = tmp_path_factory.mktemp("bad")
    for name in ("weak", "strong"):
        (folder / name).symlink_to(runs / name)
    deep = json.loads((runs / "weak" / "result.json").read_text(encoding="utf-8"))
    deep["model"]["name"] = "deep"
    deep["datasets"] = {name: {**block, "depth": 50} for name, block in deep["datasets"].items()}
    results = {"deep": deep, "old": {"schema_version": 0}}
    for name, result in results.items():
        (folder / name).mkdir()
        (folder / name / "result.json").write_text(json.dumps(result), encoding="utf-8")
    write_run_of(folder / "limited", "limited", {"alpha": 30, "beta": 17}, comparable=False)
    return folder


def test_every_form_goes_to_stdout_or_to_a_file(runs: Path, tmp_path: Path) -> None:
    pair = [runs / "weak", runs / "strong"]
    starts = {"text": "nDCG@10", "markdown": "nDCG@10", "latex": "% nDCG@10", "csv": "scope,kind", "json": "{\n"}
    suffixes = {"text": "txt", "markdown": "md", "latex": "tex", "csv": "csv", "json": "json"}
    for form, start in starts.items():
        code, out, err = invoke(*pair, "--format", form)
        assert (code, err, out.startswith(start)) == (0, "", True)
        file = tmp_path / f"comparison.{suffixes[form]}"
        code, nothing, err = invoke(*pair, "--output", file)
        assert (code, nothing) == (0, "")
        assert err == f"written to {file}\n"
        if form != "text":  # a file is wider than a terminal
            assert file.read_text(encoding="utf-8") == out
    assert json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8")) == json.loads(
        invoke(*pair, "--json")[1]
    )


def test_options_reach_the_comparison(runs: Path) -> None:
    arguments = ("--measure", "MRR@10", "--view", "injected", "--dataset", "beta", "--baseline", "strong", "--json")
    code, out, _ = invoke(runs / "weak", runs / "strong", *arguments, "--alpha", "0.1")
    value = json.loads(out)
    assert code == 0
    assert {key: value[key] for key in ("measure", "view", "baseline", "alpha")} == {
        "measure": "RR@10",
        "view": "injected",
        "baseline": "strong",
        "alpha": 0.1,
    }
    assert [scope["name"] for scope in value["scopes"]] == ["beta"]


def test_trec_runs_with_judgements(runs: Path) -> None:
    files = [runs / name / "beta.run.trec.gz" for name in ("weak", "strong")]
    code, out, err = invoke(*files, "--qrels", runs / "weak" / "beta.qrels.gz", "--json")
    assert (code, err) == (0, "")
    beta = json.loads(out)["scopes"][0]
    folders = json.loads(invoke(runs / "weak", runs / "strong", "--json")[1])["scopes"][1]
    for key in ("difference", "p", "better", "worse"):
        assert beta["pairs"][0][key] == pytest.approx(folders["pairs"][0][key])
    code, _, err = invoke(files[0], runs / "strong", "--dataset", "beta")
    assert code == 0
    assert "beta: a TREC run does not say which candidates it reranked" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["weak"], 2, "a comparison needs at least two runs, found weak"),
        (["weak", "nowhere"], 2, "nowhere: no such run"),
        (["weak", "strong", "--measure", "ndgc@10"], 2, "did you mean 'nDCG@10'"),
        (["weak", "strong", "--json", "--format", "csv"], 2, "--json and --format csv contradict one another"),
        (["weak", "strong", "--output", "x.html"], 2, "--output x.html: the suffix is none of .md, .tex"),
        (["weak", "strong", "--alpha", "5"], 2, "alpha is 5.0, expected a number between 0 and 1"),
        (["weak", "strong", "--group-by", "seed"], 2, "is in none of the places weak, strong"),
        (["weak", "strong", "--dataset", "gamma"], 5, "data set: weak lacks gamma, it has alpha, beta"),
        (["weak", "strong", "--measure", "P@1", "--view", "injected"], 5, "view injected has nDCG@10, RR@10, AP only"),
        (["weak", "deep"], 5, "depth of alpha: weak has 100, deep has 50"),
        (["weak", "limited"], 5, "was run over part of the queries (--limit 5)"),
        (["weak", "old"], 2, "schema_version is 0, expected 1"),
    ],
)
def test_bad_requests_and_runs_that_do_not_compare(
    bad_runs: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(bad_runs)
    found, out, err = invoke(*arguments)
    assert (found, out) == (code, "")
    assert message in " ".join(err.split())
