"""Processes that need the same list, index or vectors at once: one builds, the others take what it built."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from watcher import Watcher

from rerank_bench import progress
from rerank_bench.first_stage.vector_store import VectorStore
from rerank_bench.locks import taken_or_built
from rerank_bench.storage import cache_folder


def build_slowly(folder: Path, together: Any) -> None:
    """Take what is there, or build it and say so in the log."""
    result = folder / "result"

    def build() -> str:
        with (folder / "log").open("a") as file:
            file.write("built\n")
        time.sleep(1.0)
        result.write_text("whole")
        return "whole"

    together.wait()
    assert taken_or_built(result, "thing", lambda: result.read_text() if result.exists() else None, build) == "whole"


def test_one_process_builds_and_the_others_wait(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    together = context.Barrier(4)
    processes = [context.Process(target=build_slowly, args=(tmp_path, together)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert (tmp_path / "log").read_text() == "built\n"
    assert [process.exitcode for process in processes] == [0] * 4


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Callable[[], Any]], None]]:
    """Let another holder of a lock do something before the lock is released."""
    threads = []

    def hold(name: str, action: Callable[[], Any]) -> None:
        (cache_folder() / "locks").mkdir(parents=True, exist_ok=True)
        is_held = threading.Event()

        def act() -> None:
            with FileLock(cache_folder() / "locks" / f"{name}.lock"):
                is_held.set()
                time.sleep(0.3)  # until the other one waits
                action()

        threads.append(threading.Thread(target=act))
        threads[-1].start()
        is_held.wait()

    monkeypatch.setattr("rerank_bench.locks.LOCK_NOTE_SECONDS", 0.05)
    yield hold
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("is_built", [False, True])
def test_who_waited_looks_again(tmp_path: Path, meanwhile: Callable[..., None], *, is_built: bool) -> None:
    path, watcher = tmp_path / "result", Watcher()
    path.write_text("damaged")
    looks: list[str] = []

    def find() -> str | None:
        looks.append(path.read_text())
        return None if looks[-1] == "damaged" else looks[-1]

    def replace() -> None:
        path.unlink()
        path.write_text("theirs")

    meanwhile("thing", replace if is_built else lambda: None)
    with progress.use_reporter(watcher):
        found = taken_or_built(path, "thing", find, lambda: "ours")
    assert found == ("theirs" if is_built else "ours")
    assert looks == (["damaged", "theirs"] if is_built else ["damaged"]), "what is damaged is not read twice"
    assert any("is held by another process; waiting for it" in note for note in watcher.notes)


def test_without_locks_each_builds_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RERANK_BENCH_CACHE", str(tmp_path / "file"))
    assert taken_or_built(tmp_path / "none", "thing", lambda: None, lambda: 5) == 5

    def fail() -> int:
        raise PermissionError(13, "of the work, not of the lock")

    with pytest.raises(PermissionError, match="of the work"):
        taken_or_built(tmp_path / "none", "thing", lambda: None, fail)


def encode(start: int, end: int) -> Any:
    return np.arange(start, end, dtype=np.float32)[:, None]


def test_a_chunk_that_another_process_writes_meanwhile_is_taken(tmp_path: Path, meanwhile: Callable[..., None]) -> None:
    theirs, ours = (VectorStore(tmp_path / "v", {"a": 1}, 10, encode, chunk_docs=4) for _ in range(2))
    meanwhile(f"{ours.key.hex()[:32]}-000001.vectors", lambda: theirs._build(ours.folder / "000001.vectors", 1, 4, 8))
    assert [vectors[:, 0].tolist() for _, vectors in ours.chunks()] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert (theirs.num_encoded, ours.num_encoded) == (4, 6)
