"""SIGTERM, SIGHUP and SIGINT in every phase of a run: the exit code says so, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_models import write_sequence_classifier

from rerank_bench.cli.termination import Terminated, raise_when_terminated

TINY = Path(__file__).parents[1] / "data" / "tiny"
SIGNALLED = Path(__file__).parents[1] / "signalled.py"

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no such signals")

Start = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sequence_classifier(tmp_path_factory.mktemp("models") / "reranker", seed=2)


@pytest.fixture
def run(tmp_path: Path) -> Start:
    (tmp_path / "temporary").mkdir()

    def start(model: object, *options: str, phase: str = "", number: int = 0) -> subprocess.CompletedProcess[str]:
        probe = [str(SIGNALLED), phase, str(number)] if phase else ["-m", "rerank_bench"]
        command = [sys.executable, *probe, "run", "-m", str(model), "-d", str(TINY), "--device", "cpu", *options]
        return subprocess.run(
            [*command, "--out", "out"],
            cwd=tmp_path,
            env=os.environ | environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return start


def environment(folder: Path) -> dict[str, str]:
    return {
        "RERANK_BENCH_CACHE": str(folder / "cache"),
        "TMPDIR": str(folder / "temporary"),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
    }


def left_overs(folder: Path) -> list[Path]:
    return [*folder.rglob("*.tmp"), *(folder / "temporary").iterdir(), *folder.rglob("result.json")]


@pytest.mark.parametrize(
    ("phase", "number"),
    [
        ("rerank_bench.data.jsonl.record_id", signal.SIGTERM),
        ("rerank_bench.first_stage.candidates.rank_docs", signal.SIGTERM),
        ("rerank_bench.storage._default_mode", signal.SIGTERM),
        ("rerank_bench.storage._default_mode", signal.SIGHUP),
        ("rerank_bench.storage._default_mode", signal.SIGINT),
        ("rerank_bench.reporting.run_folder.write_query_values", signal.SIGTERM),
    ],
    ids=lambda value: str(getattr(value, "name", value)).rpartition(".")[2],
)
def test_reading_ranking_and_writing_leave_nothing_half_done(
    run: Start, tmp_path: Path, phase: str, number: signal.Signals
) -> None:
    finished = run("first-stage", phase=phase, number=number)
    assert finished.returncode == 128 + number, finished.stderr
    cause = "interrupted:" if number == signal.SIGINT else f"interrupted by {number.name}:"
    assert f"{cause} no file is half-written" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert left_overs(tmp_path) == []


def test_scoring_is_taken_up_where_it_was_ended(run: Start, model: Path, tmp_path: Path) -> None:
    options = ("--batch-tokens", "1", "--depth", "5")
    ended = run(model, *options, phase="rerank_bench.scoring.score_store.pack_rows", number=signal.SIGTERM)
    assert ended.returncode == 143, ended.stderr
    assert left_overs(tmp_path) == []
    assert run(model, *options).returncode == 0
    resumed = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*/*.run.trec.gz")}
    assert run(model, *options, "--no-cache").returncode == 0
    assert resumed == {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*/*.run.trec.gz")}


@pytest.mark.slow
def test_the_processes_of_several_devices_end_too(model: Path, tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    command = [sys.executable, "-m", "rerank_bench", "run", "-m", str(model), "-d", str(TINY), "--out", "out"]
    process = subprocess.Popen(
        [*command, "--devices", "cpu,cpu", "--batch-tokens", "1"],
        cwd=tmp_path,
        env=os.environ | environment(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 60
    while process.poll() is None and len(found := children.read_text().split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 143, stderr
    assert left_overs(tmp_path) == []
    while any(Path(f"/proc/{number}").exists() for number in found):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_handler_of_somebody_else_stays_and_ours_goes() -> None:
    taken: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda number, _frame: taken.append(number))
    try:
        with raise_when_terminated():
            os.kill(os.getpid(), signal.SIGHUP)
            with pytest.raises(Terminated, match="SIGTERM") as caught:
                os.kill(os.getpid(), signal.SIGTERM)
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "asked again, the process ends at once"
        assert taken == [signal.SIGHUP]
        assert caught.value.exit_code == 143
    finally:
        signal.signal(signal.SIGHUP, before)
