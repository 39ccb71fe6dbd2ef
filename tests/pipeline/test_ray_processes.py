"""``run --engine ray`` as users start it, on a cluster of two nodes: nodes and drivers die, and the bytes stay the same."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ray_nodes import two_nodes
from tiny_models import WORDS, write_sequence_classifier

pytestmark = pytest.mark.slow
pytest.importorskip("ray")

DATASETS = ("data", "more")
MODELS = ("model", "other")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes of one core each; this process is not connected to them."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with two_nodes() as found:
        yield found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with two tiny models and two collections in which every query finds most documents."""
    for seed, name in enumerate(MODELS):
        write_sequence_classifier(tmp_path / name, seed=seed)
    for seed, name in enumerate(DATASETS):
        draw = random.Random(seed)
        data = tmp_path / name
        (data / "qrels").mkdir(parents=True)
        docs = [" ".join(["python", *draw.choices(WORDS, k=draw.randint(3, 40))]) for _ in range(50 + seed)]
        lines = [json.dumps({"_id": f"d{n}", "text": text}) for n, text in enumerate(docs)]
        (data / "corpus.jsonl").write_text("\n".join(lines) + "\n")
        queries = [" ".join(["python", *draw.choices(WORDS, k=4)]) for _ in range(20 + seed)]
        lines = [json.dumps({"_id": f"q{n}", "text": text}) for n, text in enumerate(queries)]
        (data / "queries.jsonl").write_text("\n".join(lines) + "\n")
        lines = ["query-id\tcorpus-id\tscore", *(f"q{n}\td{n}\t1" for n in range(20))]
        (data / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path


def start(place: Path, name: str, *options: str, models: tuple[str, ...] = MODELS) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rerank_bench", "run", "--batch-tokens", "100", "--json", "--out", name]
    for model in models:
        command += ["-m", model]
    for dataset in DATASETS:
        command += ["-d", dataset]
    environment = os.environ | {"RERANK_BENCH_CACHE": str(place / f"cache-{name}"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, *options],
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def start_on(cluster: Any, place: Path, name: str, models: tuple[str, ...] = MODELS) -> subprocess.Popen[str]:
    return start(place, name, "--engine", "ray", "--ray-address", cluster.address, "--ray-cores", "1", models=models)


def results_of(process: subprocess.Popen[str]) -> dict[str, dict[str, Any]]:
    """Return model -> result, once the process has ended well and has printed nothing but JSON."""
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return {result["model"]["spec"]: result for result in json.loads(output)}


def num_stored(place: Path, name: str) -> int:
    """Return how many scores the stores of a run hold by now."""
    total = 0
    for path in (place / f"cache-{name}" / "scores").glob("*.sqlite"):
        with closing(sqlite3.connect(path, timeout=20)) as connection:
            if connection.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'scores'").fetchone()[0]:
                total += connection.execute("SELECT COUNT(*) FROM scores").fetchone()[0]
    return total


def wait_for_scores(process: subprocess.Popen[str], place: Path, name: str, count: int) -> int:
    deadline = time.monotonic() + 300
    while (found := num_stored(place, name)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def check_same_bytes(place: Path, name: str, other: str, models: tuple[str, ...] = MODELS) -> None:
    for model in models:
        for dataset in DATASETS:
            for kind in ("candidates.trec.gz", "run.trec.gz", "missed.trec.gz", "queries.csv"):
                file = f"{model}/{dataset}.{kind}"
                assert (place / name / file).read_bytes() == (place / other / file).read_bytes(), file


WHAT_A_KILL_MOVES = {"load_seconds", "evaluate_seconds", "num_pairs_from_store"}
COUNTS = (
    "num_pairs",
    "num_distinct_pairs",
    "num_items",
    "num_tokens",
    "num_padded_tokens",
    "num_batches",
    "batch_tokens",
)


def without_times(result: dict[str, Any]) -> dict[str, Any]:
    datasets = {
        name: block | {"timing": {key: value for key, value in block["timing"].items() if key not in WHAT_A_KILL_MOVES}}
        for name, block in result["datasets"].items()
    }
    model = {key: value for key, value in result["model"].items() if key not in {"engine", "threads_per_worker"}}
    jobs = [{key: job[key] for key in ("datasets", *COUNTS)} for job in result["scoring"]["jobs"]]
    return result | {"provenance": None, "datasets": datasets, "model": model, "scoring": jobs}


def test_a_sweep_gives_the_results_of_the_local_engine_though_a_node_goes(cluster: Any, place: Path) -> None:
    here = results_of(start(place, "here", "--device", "cpu"))
    process = start_on(cluster, place, "cluster")
    wait_for_scores(process, place, "cluster", 100)
    cluster.remove_node(cluster.list_all_nodes()[1], allow_graceful=False)
    there = results_of(process)
    check_same_bytes(place, "here", "cluster")
    assert list(there) == list(here) == list(MODELS)
    for model in MODELS:
        assert without_times(there[model]) == without_times(here[model])
        block = there[model]["model"]
        assert (block["engine"], block["threads_per_worker"]) == ("ray", 1)
        assert "engine" not in here[model]["model"]


def test_a_killed_driver_is_started_again_and_loses_little(cluster: Any, place: Path) -> None:
    only = MODELS[:1]
    here = results_of(start(place, "here", "--device", "cpu", models=only))
    process = start_on(cluster, place, "cluster", models=only)
    wait_for_scores(process, place, "cluster", 500)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    kept = num_stored(place, "cluster")
    again = results_of(start_on(cluster, place, "cluster", models=only))
    (job,) = again["model"]["scoring"]["jobs"]
    assert job["num_pairs_from_store"] >= kept, "no score that was stored is computed again"
    check_same_bytes(place, "here", "cluster", only)
    assert without_times(again["model"]) == without_times(here["model"])
