"""``run --devices`` as users start it: one of its processes is killed, and the run ends with the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_models import WORDS, write_sequence_classifier

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes by Linux's /proc"),
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a tiny model and a collection in which every query finds most documents."""
    write_sequence_classifier(tmp_path / "model", seed=5)
    draw = random.Random(11)
    data = tmp_path / "data"
    (data / "qrels").mkdir(parents=True)
    docs = [" ".join(["python", *draw.choices(WORDS, k=draw.randint(3, 40))]) for _ in range(80)]
    (data / "corpus.jsonl").write_text("".join(f'{{"_id": "d{n}", "text": "{text}"}}\n' for n, text in enumerate(docs)))
    queries = [" ".join(["python", *draw.choices(WORDS, k=4)]) for _ in range(40)]
    (data / "queries.jsonl").write_text(
        "".join(f'{{"_id": "q{n}", "text": "{text}"}}\n' for n, text in enumerate(queries))
    )
    lines = ["query-id\tcorpus-id\tscore", *(f"q{n}\td{n}\t1" for n in range(40))]
    (data / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path


def start(place: Path, name: str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rerank_bench", "run", "-m", "model", "-d", "data", "--batch-tokens", "1"]
    environment = os.environ | {"RERANK_BENCH_CACHE": str(place / f"cache-{name}"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, "--out", name, *options], cwd=place, env=environment, stderr=subprocess.PIPE, text=True
    )


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_killed_process_changes_nothing_but_the_time(place: Path) -> None:
    alone = start(place, "alone", "--device", "cpu")
    assert alone.communicate(timeout=300) is not None
    assert alone.returncode == 0
    process = start(place, "two", "--devices", "cpu,cpu")
    store = place / "cache-two" / "scores"
    while not list(store.glob("*.sqlite")):  # made when the model is known, just before the first batch
        assert process.poll() is None
        time.sleep(0.01)
    processes = children(process.pid)
    assert len(processes) == 2
    os.kill(processes[0], signal.SIGKILL)
    errors = process.communicate(timeout=300)[1]
    assert process.returncode == 0, errors
    assert "the process on cpu was ended by SIGKILL" in errors
    for name in ("data.run.trec.gz", "data.missed.trec.gz", "data.queries.csv"):
        assert (place / "two" / "model" / name).read_bytes() == (place / "alone" / "model" / name).read_bytes()


def test_ctrl_c_leaves_no_process_and_the_next_run_goes_on(place: Path) -> None:
    process = start(place, "two", "--devices", "cpu,cpu")
    store = place / "cache-two" / "scores"
    while not list(store.glob("*.sqlite")):
        assert process.poll() is None
        time.sleep(0.01)
    processes = children(process.pid)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130, errors
    assert not any(Path(f"/proc/{pid}").exists() for pid in processes)
    again = start(place, "two", "--devices", "cpu,cpu")
    errors = again.communicate(timeout=300)[1]
    assert again.returncode == 0, errors
