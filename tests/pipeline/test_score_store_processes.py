"""Real processes in front of the score store: killed, resumed, run twice, run at once."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tiny_models import WORDS, write_sequence_classifier

NUM_QUERIES, NUM_DOCS = 12, 60
TIMES = {"load_seconds", "evaluate_seconds", "tokenise_seconds", "score_seconds", "pairs_per_second"}
TIMES |= {"tokens_per_second", "peak_host_bytes"}
HISTORY = {"num_pairs_from_store"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model and a collection in which every query finds most documents."""
    folder = tmp_path_factory.mktemp("place")
    write_sequence_classifier(folder / "model", seed=5)
    draw = random.Random(11)
    docs = [" ".join(["python", *draw.choices(WORDS, k=draw.randint(3, 40))]) for _ in range(NUM_DOCS)]
    queries = [" ".join(["python", *draw.choices(WORDS, k=4)]) for _ in range(NUM_QUERIES)]
    data = folder / "data"
    (data / "qrels").mkdir(parents=True)
    _write_lines(data / "corpus.jsonl", [{"_id": f"d{n}", "text": text} for n, text in enumerate(docs)])
    _write_lines(data / "queries.jsonl", [{"_id": f"q{n}", "text": text} for n, text in enumerate(queries)])
    lines = ["query-id\tcorpus-id\tscore", *(f"q{n}\td{n}\t1" for n in range(NUM_QUERIES))]
    (data / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    return folder


def _write_lines(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def start(place: Path, cache: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    """Start a run with batches of one pair each, so that there is time to end it."""
    command = [sys.executable, "-m", "rerank_bench", "run", "-m", "model", "-d", "data", "--device", "cpu"]
    command += ["--batch-tokens", "1", "--out", str(out), *options]
    environment = os.environ | {"RERANK_BENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=place, env=environment, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    stderr = process.communicate(timeout=120)[1]
    assert process.returncode == 0, stderr
    return stderr


def num_stored(cache: Path) -> int:
    """Scores that are committed in the one store there is."""
    total = 0
    for path in (cache / "scores").glob("*.sqlite"):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            try:
                total += connection.execute("SELECT COUNT(*) FROM scores").fetchone()[0]
            except sqlite3.OperationalError:  # not created yet
                return 0
    return total


def kill_after(process: subprocess.Popen[str], cache: Path, wanted: int) -> None:
    """Kill a run once so many scores are stored."""
    deadline = time.monotonic() + 120
    while process.poll() is None and num_stored(cache) < wanted:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def result_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "model" / "result.json").read_text())
    return found


def without_times(result: dict[str, Any], *, also: set[str] = HISTORY) -> dict[str, Any]:
    del result["provenance"]
    for block in result["datasets"].values():
        block["timing"] = {name: value for name, value in block["timing"].items() if name not in TIMES | also}
    return result


@pytest.fixture(scope="module")
def uninterrupted(place: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(results, cache) of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    finish(start(place, folder / "cache", folder / "out"))
    return folder / "out", folder / "cache"


def assert_same(out: Path, expected: Path, *, also: set[str] = HISTORY) -> None:
    assert without_times(result_of(out), also=also) == without_times(result_of(expected), also=also)
    for name in ("data.run.trec.gz", "data.missed.trec.gz", "data.queries.csv", "data.candidates.trec.gz"):
        assert (out / "model" / name).read_bytes() == (expected / "model" / name).read_bytes(), name


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_killed_run_resumes_and_ends_with_the_same_bytes(
    place: Path, uninterrupted: tuple[Path, Path], tmp_path: Path
) -> None:
    total = num_stored(uninterrupted[1])
    assert total > 400
    kept = 0
    for share in sorted(random.Random().uniform(0.02, 0.6) for _ in range(2)):
        kill_after(start(place, tmp_path / "cache", tmp_path / "out"), tmp_path / "cache", int(share * total))
        assert num_stored(tmp_path / "cache") >= max(kept, int(share * total)), "nothing that was stored is lost"
        kept = num_stored(tmp_path / "cache")
        assert kept < total, "killed too late to say anything"
        assert not (tmp_path / "out" / "model" / "result.json").exists()
    finish(start(place, tmp_path / "cache", tmp_path / "out"))
    timing = result_of(tmp_path / "out")["datasets"]["data"]["timing"]
    assert timing["num_pairs_from_store"] == kept, "every pair that had been stored, and no more, was not scored again"
    assert_same(tmp_path / "out", uninterrupted[0])


def test_a_second_run_imports_no_torch(place: Path, uninterrupted: tuple[Path, Path], tmp_path: Path) -> None:
    code = (
        "import sys; from rerank_bench.pipeline.run import run\n"
        "run(['model'], datasets=['data'], out=sys.argv[1], scorer={'device': sys.argv[2], 'batch_tokens': 1})\n"
        "print(sorted({'torch', 'transformers', 'tokenizers'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out"), "cpu"]
    environment = os.environ | {"RERANK_BENCH_CACHE": str(uninterrupted[1])}
    finished = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"
    timing = result_of(tmp_path / "out")["datasets"]["data"]["timing"]
    assert timing["num_pairs_from_store"] == timing["num_pairs"]
    assert timing["pairs_per_second"] is None
    assert_same(tmp_path / "out", uninterrupted[0])


def test_two_runs_at_once_share_a_store(place: Path, uninterrupted: tuple[Path, Path], tmp_path: Path) -> None:
    both = [start(place, tmp_path / "cache", tmp_path / out) for out in ("one", "two")]
    for process in both:
        assert "not stored" not in finish(process)
    assert num_stored(tmp_path / "cache") == num_stored(uninterrupted[1])
    for out in ("one", "two"):
        assert_same(tmp_path / out, uninterrupted[0])
