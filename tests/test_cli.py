"""The command line as a user meets it: streams, exit codes, messages, a narrow terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rerank_bench.cli.app import app
from rerank_bench.cli.leaderboard import DEFAULT_CSV

TINY = Path(__file__).parent / "data" / "tiny"
Invoke = Callable[..., Result]
RUN_TINY = ["run", "-m", "first-stage", "-m", "oracle", "-m", "word_overlap:score", "-d", str(TINY)]


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Invoke:
    """Call the application in an empty working directory, on a terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return call


def test_a_run_prints_its_table_and_where_everything_stands(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke(*RUN_TINY)
    assert result.exit_code == 0, result.output
    for name in ("first-stage", "oracle", "word_overlap:score"):
        assert name in result.stdout
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    places = dict(line.split(maxsplit=1) for line in lines[-4:] if line.strip())
    assert places["results"] == "runs/tiny/"
    assert (tmp_path / places["leaderboard"]).is_file()
    assert (tmp_path / places["picture"]).read_bytes().startswith(b"\x89PNG")
    assert "8 queries, 15 documents" in result.stderr


def test_json_is_the_result_file_and_nothing_else(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke(*RUN_TINY, "--json", "--quiet")
    assert result.stderr == ""
    models = [
        json.loads((path / "result.json").read_text())
        for path in sorted((tmp_path / "runs/tiny").glob("*/"))
        if (path / "result.json").exists()
    ]
    assert sorted(json.loads(result.stdout), key=lambda r: r["model"]["name"]) == sorted(
        models, key=lambda r: r["model"]["name"]
    )


def test_the_commands_work_one_after_the_other(invoke: Invoke, shared_qrels: Path, tmp_path: Path) -> None:
    assert invoke(*RUN_TINY, "--out", "out").exit_code == 0
    board = invoke("leaderboard", "out/leaderboard.csv")
    assert board.exit_code == 0, board.output
    assert "word_overlap:score" in board.stdout
    assert (tmp_path / "out" / "README.md").read_text().startswith("# Leaderboard")
    assert invoke("leaderboard", "out/leaderboard.csv", "--check").exit_code == 0
    with (tmp_path / "out" / "README.md").open("a") as page:
        page.write("edited by hand")
    checked = invoke("leaderboard", "out/leaderboard.csv", "--check")
    assert checked.exit_code == 2
    assert "is not what out/leaderboard.csv renders to" in checked.stderr
    (table,) = json.loads(invoke("leaderboard", "out/leaderboard.csv", "--json").stdout)
    assert sorted(entry["model"] for entry in table["entries"]) == ["first-stage", "oracle", "word_overlap:score"]
    chosen = invoke("leaderboard", "out/leaderboard.csv", "--model", "word_overlap:score", "--dataset", "tiny")
    assert "word_overlap:score" in chosen.stdout
    assert "README.md" not in chosen.stdout
    assert "did you mean 'oracle'" in invoke("leaderboard", "out/leaderboard.csv", "--model", "oracl").stderr
    run_file = "out/word_overlap-score/tiny.run.trec.gz"
    evaluated = invoke("evaluate", run_file, "--qrels", shared_qrels, "--allow-missing-queries", "--json")
    assert evaluated.exit_code == 0, evaluated.output
    measures = json.loads((tmp_path / "out/word_overlap-score/result.json").read_text())["datasets"]["tiny"]["views"]
    for name, summary in json.loads(evaluated.stdout)["measures"].items():
        assert summary["mean"] == pytest.approx(measures["end_to_end"]["measures"][name]["reranked"]), name


@pytest.fixture
def shared_qrels() -> Path:
    """The judgements of the tiny collection."""
    return TINY / "qrels" / "test.tsv"


def test_evaluate_shows_values_per_query(invoke: Invoke, shared_qrels: Path) -> None:
    invoke(*RUN_TINY, "--out", "out")
    arguments = ("evaluate", "out/oracle/tiny.run.trec.gz", "--qrels", shared_qrels, "--measure", "nDCG@3")
    missing = invoke(*arguments)
    assert missing.exit_code == 2
    assert "the run lacks 2 of 6 judged queries (first: 'q-nothing', 'q-blank')" in missing.stderr
    shown = invoke(*arguments, "--allow-missing-queries", "--per-query")
    assert shown.exit_code == 0
    assert "nDCG@3" in shown.stdout
    assert "q-nothing" in shown.stdout
    assert "2 missing from the run count 0" in " ".join(shown.stdout.split())


def test_candidates_are_described_and_written(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("candidates", TINY, "--depth", 3, "--out", "list.trec")
    assert result.exit_code == 0, result.output
    assert "8 (2 without a candidate)" in result.stdout
    assert (tmp_path / "list.trec").read_text().startswith("q-drink Q0 ")
    again = invoke("candidates", TINY, "--depth", 3, "--json")
    assert json.loads(again.stdout)["depth"] == 3


def test_data_sets_are_listed_and_shown(invoke: Invoke) -> None:
    listed = invoke("datasets", "list")
    assert listed.exit_code == 0, listed.output
    assert max(map(len, listed.stdout.splitlines())) <= 80
    for name in ("pydocs", "NanoMSMARCO", "gooaq-dev", "nanobeir-11"):
        assert name in listed.stdout
    names = [row["name"] for row in json.loads(invoke("datasets", "list", "--json").stdout)["datasets"]]
    assert "NanoTouche2020" in names
    shown = invoke("datasets", "show", "nanomsmarco")
    assert "7b8ff22f2771dc65ac5b439f222eb19a1f56abda" in shown.stdout
    assert json.loads(invoke("datasets", "show", "pydocs", "--json").stdout)["name"] == "pydocs"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["run", "-d", "nano-msmarcoo"], 2, "unknown data set 'nano-msmarcoo'; did you mean"),
        (["run", "-s", "nanobeir-12"], 2, "unknown suite 'nanobeir-12'; did you mean"),
        (["run", "-m", "first_stage"], 2, "unknown model 'first_stage'; did you mean 'first-stage'"),
        (["run", "-m", "./nowhere"], 2, "no such folder"),
        (["run", "-m", "run:nowhere.trec"], 2, "no such file"),
        (["run", "--measure", "nDGC@10"], 2, "unknown measure 'nDGC@10'; did you mean 'nDCG@10'"),
        (["run", "--first-stage", "nowhere.trec"], 2, "no such file 'nowhere.trec'"),
        (["run", "--device", "tpu9"], 2, "tpu9"),
        (["run", "--depth", "0"], 2, "depth is 0, expected whole numbers of at least 1"),
        (["run", "--dept", "3"], 2, "--depth"),
        (["evaluate", "nowhere.trec", "--qrels", "nowhere.qrels"], 2, "nowhere.trec: no such file"),
        (["leaderboard", "nowhere.csv"], 2, "nowhere.csv"),
        (["leaderboard"], 2, str(DEFAULT_CSV)),
        (["candidates", "nowhere"], 2, "unknown data set 'nowhere'"),
        (["datasets", "show", "pydoc"], 2, "did you mean 'pydocs'"),
        (["frobnicate"], 2, "frobnicate"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_request_ends_with_its_exit_code_and_says_why(
    invoke: Invoke, arguments: list[str], exit_code: int, message: str, tmp_path: Path
) -> None:
    result = invoke(*arguments)
    assert result.exit_code == exit_code
    assert message in " ".join(result.stderr.split())
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_leaderboard_with_another_header_is_refused_and_kept(invoke: Invoke, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("model,score\nx,1\n")
    result = invoke(*RUN_TINY, "--leaderboard", other)
    assert result.exit_code == 2
    assert "other.csv" in result.stderr
    assert other.read_text() == "model,score\nx,1\n"


def test_ctrl_c_says_how_to_go_on(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("run", "-m", "word_overlap:interrupt", "-d", TINY)
    assert result.exit_code == 130
    assert "interrupted: no file is half-written. Run the same command again to go on" in result.stderr
    assert not list(tmp_path.rglob("result.json"))
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full")
@pytest.mark.parametrize("arguments", [["datasets", "list"], ["datasets", "show", "pydocs", "--json"]], ids=" ".join)
def test_a_full_disk_behind_stdout_is_no_defect(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "rerank_bench", *arguments]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 3
    assert "No space left on device; free some space" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_limited_table_says_so_beside_its_values(invoke: Invoke) -> None:
    shown = invoke("run", "-m", "oracle", "-d", TINY, "--limit", 2, "--quiet")
    assert "not all queries: compares with nothing" in " ".join(shown.stdout.split())
    assert shown.stderr == ""


def test_measures_beside_the_standard_set_are_shown(invoke: Invoke, tmp_path: Path) -> None:
    shown = invoke("run", "-m", "oracle", "-d", TINY, "--measure", "ERR@20", "--view", "injected", "--out", "out")
    result = json.loads((tmp_path / "out/oracle/result.json").read_text())["datasets"]["tiny"]["views"]["end_to_end"]
    summary = result["measures"]["ERR@20"]
    (line,) = [line for line in shown.stdout.splitlines() if "ERR@20" in line]
    assert f"{summary['reranked']:.4f} ({summary['delta']:+.4f})" in line
    assert max(map(len, shown.stdout.splitlines())) <= 80


def test_a_defect_shows_its_traceback_and_exit_code_70(invoke: Invoke) -> None:
    result = invoke("run", "-m", "word_overlap:crash", "-d", TINY)
    assert result.exit_code == 70
    assert "MemoryError" in result.stderr
    assert "this is a defect of rerank-bench" in result.stderr


def run_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rerank_bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['rerank-bench', '--help']\n"
        "from rerank_bench.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = ('torch', 'transformers', 'numpy', 'pandas', 'pyarrow', 'matplotlib', 'numba', 'datasets')\n"
        "print('HEAVY', [name for name in heavy if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "HEAVY []" in output


@pytest.mark.parametrize(
    "arguments",
    [
        ["leaderboard", "out/leaderboard.csv"],
        [
            "evaluate",
            "out/oracle/tiny.run.trec.gz",
            "--qrels",
            str(TINY / "qrels" / "test.tsv"),
            "--allow-missing-queries",
        ],
        ["run", "-m", "first-stage", "-d", str(TINY)],
        ["datasets", "list"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_commands_without_a_model_load_no_torch(invoke: Invoke, tmp_path: Path, arguments: list[str]) -> None:
    invoke(*RUN_TINY, "--out", "out")
    code = (
        f"import sys; sys.argv = {['rerank-bench', *arguments]!r}\n"
        "from rerank_bench.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as error: print('EXIT', error.code)\n"
        "print('HEAVY', [name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout
    assert "EXIT 0" in output
    assert "HEAVY []" in output


def test_the_version_is_printed() -> None:
    assert run_process("--version").stdout.startswith("rerank-bench ")


def test_no_colour_without_a_terminal_nor_under_no_color(tmp_path: Path) -> None:
    plain = run_process("datasets", "list")
    assert "\x1b[" not in plain.stdout
    forced = run_process("leaderboard", str(tmp_path / "no.csv"), FORCE_COLOR="1", NO_COLOR="1")
    assert "\x1b[31m" not in forced.stderr
    assert "\x1b[1;31m" not in forced.stderr


def test_completion_can_be_shown() -> None:
    shown = run_process("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "complete" in shown.stdout + shown.stderr


def test_a_killed_run_leaves_no_half_written_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rerank_bench", *RUN_TINY, "--out", str(tmp_path / "out")]
    for delay in (0.8, 1.6, 2.4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=TINY.parents[1])
        time.sleep(delay)
        process.kill()
        process.wait()
        for path in (tmp_path / "out").rglob("result.json"):
            assert json.loads(path.read_text())["schema_version"] == 1
    assert subprocess.run(command, check=False, capture_output=True, cwd=TINY.parents[1]).returncode == 0
