"""Processes that need the same list, index or vectors at once: one builds, the others take what it built."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rerank_bench.first_stage.vector_store import VectorStore
from rerank_bench.locks import built_once


def build(folder: str, log: str, together: Any) -> None:
    """Take the lock, build what is not there, and say so in the log."""
    together.wait()
    result = Path(folder) / "result"
    with built_once("thing") as has_waited:
        if not (has_waited and result.exists()):
            with Path(log).open("a") as file:
                file.write("built\n")
            time.sleep(1.0)
            result.write_text("whole")


def test_one_process_builds_and_the_others_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANK_BENCH_CACHE", str(tmp_path / "cache"))
    context = multiprocessing.get_context("fork")
    log, together = tmp_path / "log", context.Barrier(4)
    processes = [context.Process(target=build, args=(str(tmp_path), str(log), together)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert log.read_text() == "built\n"
    assert [process.exitcode for process in processes] == [0] * 4


def test_without_locks_each_builds_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RERANK_BENCH_CACHE", str(tmp_path / "file"))
    with built_once("thing"):
        (tmp_path / "made").touch()
    with pytest.raises(PermissionError), built_once("thing"):
        raise PermissionError(13, "of the work, not of the lock")
    assert (tmp_path / "made").exists()


def encode(start: int, end: int) -> Any:
    return np.arange(start, end, dtype=np.float32)[:, None]


def test_a_chunk_that_another_process_wrote_meanwhile_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANK_BENCH_CACHE", str(tmp_path / "cache"))
    first, second = (VectorStore(tmp_path / "v", {"a": 1}, 10, encode, chunk_docs=4) for _ in range(2))
    ahead, behind = first.chunks(), second.chunks()
    start, vectors = next(ahead)
    assert (start, vectors[:, 0].tolist()) == (0, [0, 1, 2, 3])
    found = [vectors[:, 0].tolist() for _, vectors in behind]
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert second.num_encoded == 6
    assert [vectors[:, 0].tolist() for _, vectors in ahead] == [[4, 5, 6, 7], [8, 9]]
    assert first.num_encoded == 4
