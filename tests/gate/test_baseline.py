"""The baseline file and its history: what is kept, what is refused, who moved it and why."""

from __future__ import annotations

import json
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rerank_bench.errors import ComparisonError, ConfigError, DataError, ParseError
from rerank_bench.gate.baseline import BASELINE_SCHEMA_VERSION, is_baseline_file, read_baseline
from rerank_bench.gate.config import GateConfig, read_gates
from rerank_bench.gate.gating import accept_run, check_gate
from rerank_bench.gate.history import check_is_accepted, history_path, read_history
from rerank_bench.reporting.stored_result import read_stored_result

MakeRun = Callable[..., Path]
OWN_GATES = Path(__file__).parents[1] / "baselines" / "gates.toml"


@pytest.fixture
def accept(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def call(run: Path, reason: str = "the first", **options: Any) -> dict[str, Any]:
        return accept_run(GateConfig(baseline=str(tmp_path / "base.json"), run=str(run), **options), reason=reason)[1]

    return call


def edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_a_baseline_holds_the_values_of_its_run(make_run: MakeRun, accept: Any, tmp_path: Path) -> None:
    run = make_run("base")
    accept(run)
    source = read_baseline(tmp_path / "base.json")
    stored = read_stored_result(run)
    assert source.datasets == stored.datasets
    for name in source.datasets:
        expected = {q: pair[1] for q, pair in stored.query_values(name, "end_to_end")["nDCG@10"].items()}
        assert source.query_values(name, "nDCG@10", "end_to_end") == expected
        block = stored.result["datasets"][name]
        assert source.identity(name) == {"protocol": 1, "depth": block["depth"], **block["fingerprints"]}
    lines = (tmp_path / "base.json").read_text().splitlines()
    assert sum('"beta-3":' in line for line in lines) == 1  # a query a line: a review sees what moved


def test_the_same_run_gives_the_same_bytes(make_run: MakeRun, accept: Any, tmp_path: Path) -> None:
    run = make_run("base")
    files = []
    for _ in range(2):
        accept(run, mode="repro")
        files.append({p.name: p.read_bytes() for p in tmp_path.glob("base.*") if p.suffix != ".toml"})
    assert files[0] == files[1]


def test_what_a_baseline_does_not_hold_is_named(make_run: MakeRun, accept: Any, tmp_path: Path) -> None:
    run = make_run("base")
    accept(run)
    for option, problem in (
        (
            {"measure": "P@1"},
            r"measure: .*base\.json holds nDCG@10, asked for is P@1; accept it again with --measure P@1",
        ),
        ({"view": "injected"}, "view: .* holds end_to_end, asked for is injected"),
        ({"mode": "repro"}, r"scores of alpha: .*base\.json holds none; .*accept --mode repro"),
    ):
        with pytest.raises(ComparisonError, match=problem):
            check_gate(baseline=tmp_path / "base.json", run=run, **option)


def test_scores_that_are_not_those_of_the_baseline(make_run: MakeRun, accept: Any, tmp_path: Path) -> None:
    run = make_run("base")
    accept(run, mode="repro")
    scores = tmp_path / "base.beta.run.trec.gz"
    scores.write_bytes((tmp_path / "base.alpha.run.trec.gz").read_bytes())
    with pytest.raises(DataError, match=r"base\.beta\.run\.trec\.gz: is not the file that .*its SHA-256 differs"):
        check_gate(baseline=tmp_path / "base.json", run=run, mode="repro")
    scores.unlink()
    with pytest.raises(DataError, match=r"base\.beta\.run\.trec\.gz: no such file, though"):
        check_gate(baseline=tmp_path / "base.json", run=run, mode="repro")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (
            {"schema_version": BASELINE_SCHEMA_VERSION - 1},
            "the file is older; make it anew with `rerank-bench gate accept`",
        ),
        ({"schema_version": BASELINE_SCHEMA_VERSION + 1}, "the file is newer; update rerank-bench"),
        ({"schema_version": None}, "is not a baseline file"),
        ({"datasets": {}}, "datasets is empty"),
        ({"datasets": {"a": 3}}, r"datasets\.a is 3, expected a table"),
        (
            {"datasets": {"a": {"queries": {"q": "x"}}}},
            r"datasets\.a\.fingerprints\.corpus is missing; .*queries\.q is 'x'",
        ),
        ({"measure": 3, "view": None}, "measure is 3, expected text; view is None, expected text"),
    ],
)
def test_a_baseline_of_another_version_or_shape(
    make_run: MakeRun, accept: Any, tmp_path: Path, fields: dict[str, Any], problem: str
) -> None:
    accept(make_run("base"))
    edit(tmp_path / "base.json", **fields)
    with pytest.raises(DataError, match=rf"base\.json: .*{problem}"):
        read_baseline(tmp_path / "base.json")


def test_fields_that_a_baseline_lacks_are_all_named(make_run: MakeRun, accept: Any, tmp_path: Path) -> None:
    accept(make_run("base"))
    content = json.loads((tmp_path / "base.json").read_text())
    del content["datasets"]["beta"]["queries"], content["datasets"]["alpha"]["depth"]
    (tmp_path / "base.json").write_text(json.dumps(content))
    with pytest.raises(ParseError, match=r"datasets\.alpha\.depth is missing; datasets\.beta\.queries is missing"):
        read_baseline(tmp_path / "base.json")


def test_only_a_baseline_file_is_one(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    assert not is_baseline_file(run)
    assert not is_baseline_file(run / "result.json")
    assert not is_baseline_file(tmp_path / "none.json")


def test_the_history_says_who_moved_what_and_why(
    make_run: MakeRun, accept: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig")), ("GIT_CONFIG_NOSYSTEM", "1")):
        monkeypatch.setenv(name, value)
    (tmp_path / "gitconfig").write_text("[user]\nname = Ada L.\nemail = ada@example.org\n")
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    head = subprocess.run(
        ["git", "-C", str(tmp_path), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    accept(make_run("old"), reason="the first")
    text = (tmp_path / "base.history.toml").read_text()
    old = read_baseline(tmp_path / "base.json")
    accept(make_run("new", seed=4), reason='better: "+0.01",\nas the \\ says')
    assert (tmp_path / "base.history.toml").read_text().startswith(text)  # it only grows
    new = read_baseline(tmp_path / "base.json")
    first, second = tomllib.loads((tmp_path / "base.history.toml").read_text())["accepted"]
    assert first["reason"] == "the first"
    assert "old_value" not in first
    assert second["reason"] == 'better: "+0.01",\nas the \\ says'
    assert (second["user"], second["commit"]) == ("Ada L. <ada@example.org>", head)
    assert (second["old_value"], second["new_value"]) == (old.content["mean"], new.content["mean"])
    assert (second["replaced_fingerprint"], second["fingerprint"]) == ("f-old", "f-new")
    assert (second["replaced_baseline"], second["baseline"]) == (old.fingerprint, new.fingerprint)
    assert second["datasets"]["beta"] == {
        "old": old.content["datasets"]["beta"]["mean"],
        "new": new.content["datasets"]["beta"]["mean"],
    }
    assert "changed" not in second


def test_the_history_says_what_of_the_data_changed(make_run: MakeRun, accept: Any) -> None:
    accept(make_run("old", datasets=["alpha"]))
    entry = accept(make_run("new", corpus="e"))
    assert entry["changed"] == [
        "data set beta",
        *(f"{field} of alpha" for field in ("corpus", "queries", "qrels", "candidates")),
    ]


def test_without_git_the_account_is_named(make_run: MakeRun, accept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    entry = accept(make_run("base"))
    assert entry["user"] == "octocat"
    assert "commit" not in entry
    monkeypatch.delenv("GITHUB_ACTOR")
    monkeypatch.setenv("LOGNAME", "ada")
    assert accept(make_run("base"))["user"] == "ada"


def test_a_baseline_that_was_changed_by_hand_is_refused(make_run: MakeRun, accept: Any, tmp_path: Path) -> None:
    run = make_run("base")
    accept(run)
    content = json.loads((tmp_path / "base.json").read_text())
    content["datasets"]["alpha"]["queries"]["alpha-1"] -= 0.01
    (tmp_path / "base.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"base\.history\.toml says was accepted last; it was changed by hand"):
        check_gate(baseline=tmp_path / "base.json", run=run)
    accept(run, reason="put right")
    assert check_gate(baseline=tmp_path / "base.json", run=run).exit_code == 0


def test_scores_that_a_baseline_has_are_kept_up_to_date(make_run: MakeRun, accept: Any, tmp_path: Path) -> None:
    """Two gates may share the file: moving it for one must not break the other."""
    accept(make_run("old"), mode="repro")
    accept(make_run("new", seed=2, datasets=["beta"]), mode="quality")
    assert sorted(path.name for path in tmp_path.glob("base.*.gz")) == ["base.beta.run.trec.gz"]
    report = check_gate(baseline=tmp_path / "base.json", run=tmp_path / "runs" / "new", mode="repro")
    assert report.verdict == "reproduced"
    with pytest.raises(ComparisonError, match=r"request\.cache"):
        accept(make_run("stored", cache=True), mode="quality")


def test_a_broken_history_is_not_added_to(make_run: MakeRun, accept: Any, tmp_path: Path) -> None:
    history = tmp_path / "base.history.toml"
    run = make_run("base")
    for text, problem in (("[[accepted", "is not TOML"), ("accepted = 3", "expected .*accepted.* tables")):
        history.write_text(text)
        with pytest.raises(ParseError, match=rf"base\.history\.toml: {problem}"):
            accept(run)
        assert history.read_text() == text
    assert read_history(tmp_path / "none.toml") == []


def test_an_older_baseline_is_replaced(make_run: MakeRun, accept: Any, tmp_path: Path) -> None:
    run = make_run("base")
    accept(run)
    edit(tmp_path / "base.json", schema_version=0)
    entry = accept(run, reason="anew")
    assert "old_value" not in entry
    assert check_gate(baseline=tmp_path / "base.json", run=run).exit_code == 0


def test_what_is_no_baseline_file_is_not_overwritten(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("base")
    (tmp_path / "other.json").write_text("{}")
    for path in (run, run / "result.json", tmp_path / "other.json", tmp_path / "base.toml"):
        with pytest.raises(ConfigError, match="is no baseline file, and cannot be moved"):
            accept_run(GateConfig(baseline=str(path), run=str(run)), reason="x")
    with pytest.raises(ConfigError, match="for a reason; say it with --reason"):
        accept_run(GateConfig(baseline=str(tmp_path / "base.json"), run=str(run)), reason=" ")


@pytest.mark.parametrize("gate", read_gates(OWN_GATES).values(), ids=lambda gate: str(gate.name))
def test_the_projects_own_baselines_are_the_accepted_ones(gate: GateConfig) -> None:
    source = read_baseline(gate.baseline)
    check_is_accepted(source)
    assert history_path(source.path).exists()
    if gate.mode == "repro":
        assert all(len(source.ranking(dataset)) for dataset in source.datasets)
