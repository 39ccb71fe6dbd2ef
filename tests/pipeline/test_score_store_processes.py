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

from rerank_bench.reporting.leaderboard import read_rows
from rerank_bench.trec_io import read_run

NUM_QUERIES, NUM_DOCS = 12, 60
TIMES = {"load_seconds", "evaluate_seconds"}
JOB_COUNTS = {
    *("datasets", "num_pairs", "num_distinct_pairs", "num_pairs_from_store", "num_items", "num_tokens"),
    *("num_padded_tokens", "padding_share", "num_batches", "batch_tokens"),
}
"""What of a job is no time, no speed and no use of the machine."""
HISTORY = {"num_pairs_from_store"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model and two collections in which every query finds most documents.

    The smaller one shares its first texts with the larger one, under other ids.
    """
    folder = tmp_path_factory.mktemp("place")
    write_sequence_classifier(folder / "model", seed=5)
    draw = random.Random(11)
    docs = [" ".join(["python", *draw.choices(WORDS, k=draw.randint(3, 40))]) for _ in range(NUM_DOCS)]
    queries = [" ".join(["python", *draw.choices(WORDS, k=4)]) for _ in range(NUM_QUERIES)]
    _write_collection(folder / "data", "", docs, queries)
    own = [" ".join(["python", *draw.choices(WORDS, k=draw.randint(20, 60))]) for _ in range(8)]
    _write_collection(folder / "more", "more-", [*docs[:10], *own], queries[:4])
    return folder


def _write_collection(data: Path, prefix: str, docs: list[str], queries: list[str]) -> None:
    (data / "qrels").mkdir(parents=True)
    _write_lines(data / "corpus.jsonl", [{"_id": f"{prefix}d{n}", "text": text} for n, text in enumerate(docs)])
    _write_lines(data / "queries.jsonl", [{"_id": f"{prefix}q{n}", "text": text} for n, text in enumerate(queries)])
    lines = ["query-id\tcorpus-id\tscore", *(f"{prefix}q{n}\t{prefix}d{n}\t1" for n in range(len(queries)))]
    (data / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")


def _write_lines(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def start(place: Path, cache: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    """Start a run with batches of one pair each, so that there is time to end it."""
    command = [
        sys.executable,
        "-m",
        "rerank_bench",
        "run",
        "-m",
        "model",
        "-d",
        "data",
        "-d",
        "more",
        "--device",
        "cpu",
    ]
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
    result["scoring"] = [{name: job[name] for name in JOB_COUNTS - also} for job in jobs_of(result)]
    return result


def jobs_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = result["scoring"]["jobs"]
    return jobs


@pytest.fixture(scope="module")
def uninterrupted(place: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(results, cache) of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    finish(start(place, folder / "cache", folder / "out"))
    return folder / "out", folder / "cache"


def assert_same(out: Path, expected: Path, *, also: set[str] = HISTORY) -> None:
    assert without_times(result_of(out), also=also) == without_times(result_of(expected), also=also)
    kinds = ("run.trec.gz", "missed.trec.gz", "queries.csv", "candidates.trec.gz")
    for name in (f"{dataset}.{kind}" for dataset in ("data", "more") for kind in kinds):
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
    (job,) = jobs_of(result_of(tmp_path / "out"))
    num_scored = job["num_pairs"] - job["num_pairs_from_store"]
    shared = job["num_pairs"] - job["num_distinct_pairs"]
    assert shared > 0
    assert 0 <= num_scored - (total - kept) <= shared, "every pair that had been stored, and no more, was kept"
    assert_same(tmp_path / "out", uninterrupted[0])


def test_a_second_run_imports_no_torch(place: Path, uninterrupted: tuple[Path, Path], tmp_path: Path) -> None:
    code = (
        "import sys; from rerank_bench.pipeline.run import run\n"
        "run(['model'], datasets=['data', 'more'], out=sys.argv[1], scorer={'device': sys.argv[2], 'batch_tokens': 1})\n"
        "print(sorted({'torch', 'transformers', 'tokenizers'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out"), "cpu"]
    environment = os.environ | {"RERANK_BENCH_CACHE": str(uninterrupted[1])}
    finished = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"
    result = result_of(tmp_path / "out")
    (job,) = jobs_of(result)
    assert result["scoring"]["model_load_seconds"] is None
    assert job["num_pairs_from_store"] == job["num_pairs"]
    assert job["pairs_per_second"] is None
    assert_same(tmp_path / "out", uninterrupted[0])


def test_equal_texts_of_two_data_sets_are_scored_once_in_one_job(uninterrupted: tuple[Path, Path]) -> None:
    result = result_of(uninterrupted[0])
    (job,) = jobs_of(result)
    assert job["datasets"] == ["data", "more"]
    assert job["num_distinct_pairs"] == num_stored(uninterrupted[1]) < job["num_pairs"]
    timings = [result["datasets"][name]["timing"] for name in job["datasets"]]
    assert sum(timing["num_pairs"] for timing in timings) == job["num_pairs"]
    assert sum(timing["num_distinct_pairs"] for timing in timings) > job["num_distinct_pairs"]
    ranked = {name: read_run(uninterrupted[0] / "model" / f"{name}.run.trec.gz") for name in job["datasets"]}
    for query_id, docs in ranked["more"].items():
        scores = dict(zip(docs.doc_ids, docs.scores.tolist(), strict=True))
        own = ranked["data"][query_id.removeprefix("more-")]
        elsewhere = dict(zip(own.doc_ids, own.scores.tolist(), strict=True))
        shared = {
            doc: elsewhere.get(doc.removeprefix("more-")) for doc in scores if int(doc.removeprefix("more-d")) < 10
        }
        assert shared
        assert {doc: scores[doc] for doc in shared} == shared


def test_two_runs_at_once_share_a_store(place: Path, uninterrupted: tuple[Path, Path], tmp_path: Path) -> None:
    both = [start(place, tmp_path / "cache", tmp_path / out) for out in ("one", "two")]
    for process in both:
        assert "not stored" not in finish(process)
    assert num_stored(tmp_path / "cache") == num_stored(uninterrupted[1])
    for out in ("one", "two"):
        assert_same(tmp_path / out, uninterrupted[0])


def test_a_cache_folder_that_is_removed_under_a_run_changes_no_result(
    place: Path, uninterrupted: tuple[Path, Path], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    process = start(place, cache, tmp_path / "out")
    while process.poll() is None and num_stored(cache) < 20:
        time.sleep(0.005)
    cache.rename(tmp_path / "gone")  # at once, unlike removing file after file
    stderr = finish(process)
    assert "were removed or replaced while this run used them" in stderr
    assert_same(tmp_path / "out", uninterrupted[0])
    kept = num_stored(cache)
    assert 0 < kept < num_stored(uninterrupted[1])
    finish(start(place, cache, tmp_path / "again"))
    (job,) = jobs_of(result_of(tmp_path / "again"))
    assert job["num_pairs_from_store"] > 0, "what came after the removal was stored"


def test_two_runs_at_once_into_the_same_folder(place: Path, uninterrupted: tuple[Path, Path], tmp_path: Path) -> None:
    both = [start(place, tmp_path / "cache", tmp_path / "out", "-m", other) for other in ("first-stage", "random")]
    for process in both:
        finish(process)
    assert_same(tmp_path / "out", uninterrupted[0])
    rows = read_rows(tmp_path / "out" / "leaderboard.csv")
    keys = [(row["model"], row["dataset"], row["view"]) for row in rows]
    assert len(keys) == len(set(keys))
    assert {model for model, _, _ in keys} == {"model", "first-stage", "random"}
    assert not list((tmp_path / "out").rglob("*.tmp"))
