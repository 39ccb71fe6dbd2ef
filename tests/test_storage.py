"""Files are whole or absent; locks keep writers apart; fingerprints depend on content and boundaries."""

from __future__ import annotations

import errno
import multiprocessing
import os
import tempfile
import threading
from pathlib import Path

import pytest
from filelock import FileLock
from watcher import Watcher

from rerank_bench import locks, progress
from rerank_bench.errors import DataError, EnvironmentMissingError, ParseError
from rerank_bench.locks import file_lock
from rerank_bench.storage import (
    atomic_writer,
    cache_folder,
    file_sha256,
    fingerprint_items,
    fingerprint_json,
    read_json,
    read_lines,
    remove_file,
    write_json,
    write_text,
)


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "kept.txt"
    write_text(path, "old")

    def interrupted() -> None:
        with atomic_writer(path) as file:
            file.write("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]


def test_what_a_killed_process_left_is_removed_when_the_file_is_written_again(tmp_path: Path) -> None:
    old, new, others = (tmp_path / f".{name}.tmp" for name in ("a[1].txt.x1", "a[1].txt.x2", "b.txt.x3"))
    for path in (old, new, others):
        path.write_text("half")
    for path in (old, others):
        os.utime(path, (1e9, 1e9))
    write_text(tmp_path / "a[1].txt", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"a[1].txt", new.name, others.name}


def test_a_written_file_has_the_usual_permissions(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full")
def test_a_full_disk_is_said_and_nothing_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    write_text(path, "old")
    # A real ENOSPC from the kernel: the temporary file is opened on a device that is always full.
    monkeypatch.setattr(tempfile, "mkstemp", lambda **_: (os.open("/dev/full", os.O_WRONLY), str(tmp_path / ".x.tmp")))
    with pytest.raises(
        EnvironmentMissingError, match=r"result\.json: cannot be written \(No space left on device\); free"
    ):
        write_text(path, "new" * 100_000)
    assert path.read_text() == "old"


@pytest.mark.parametrize("name", [".", "folder", "x" * 300], ids=["here", "folder", "long"])
def test_a_name_that_no_file_can_have_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(EnvironmentMissingError, match="cannot be written"):
        write_text(tmp_path / name, "x")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def test_a_path_below_a_file_is_said(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "x")
    with pytest.raises(EnvironmentMissingError, match="cannot be written"):
        write_text(tmp_path / "file" / "below", "x")


def test_a_removed_file_is_gone_and_what_prevents_it_is_said(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "x")
    with pytest.raises(EnvironmentMissingError, match="cannot be removed"):
        remove_file(tmp_path / "file" / "below")
    remove_file(tmp_path / "file")
    remove_file(tmp_path / "file")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(EnvironmentMissingError, match="cannot be written"):
        write_text(tmp_path / "f", "x")
    tmp_path.chmod(0o700)


def test_an_unknown_os_error_is_not_hidden(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_writer(tmp_path / "f"):
            raise OSError(errno.EIO, "input/output error")

    with pytest.raises(OSError, match="input/output error"):
        fail()


def _append_line(path: Path, number: int) -> None:
    with file_lock(path):
        lines = path.read_text() if path.exists() else ""
        write_text(path, f"{lines}{number}\n")


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append_line, args=(path, number)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert sorted(path.read_text().split()) == ["0", "1", "2", "3"]


def test_a_lock_that_is_held_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LOCK_SECONDS", 0.05)
    path = tmp_path / "results.csv"
    with (
        file_lock(path),
        pytest.raises(EnvironmentMissingError, match=r"\.results\.csv\.lock: another process"),
        file_lock(path),
    ):
        pass


def test_a_lock_that_is_held_for_a_while_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LOCK_NOTE_SECONDS", 0.05)
    watcher = Watcher()
    holder = FileLock(tmp_path / ".results.csv.lock", thread_local=False)
    holder.acquire()
    timer = threading.Timer(0.3, holder.release)
    timer.start()
    with progress.use_reporter(watcher), file_lock(tmp_path / "results.csv"):
        timer.join()
    assert watcher.notes == [f"{tmp_path}/.results.csv.lock is held by another process; waiting for it"]


def test_json_errors_name_the_line(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"ä": [1.5, None]})
    assert read_json(tmp_path / "a.json") == {"ä": [1.5, None]}
    (tmp_path / "b.json").write_text('{\n "a": 1,\n}')
    with pytest.raises(ParseError, match=r"b\.json, line 3: is not JSON"):
        read_json(tmp_path / "b.json")
    (tmp_path / "c.json").write_bytes(b"\xff")
    with pytest.raises(ParseError, match="is not UTF-8"):
        read_json(tmp_path / "c.json")
    with pytest.raises(DataError, match="no such file"):
        read_json(tmp_path / "d.json")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "e.json", float("nan"))
    assert not (tmp_path / "e.json").exists()


def test_lines_are_numbered_from_one_without_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\xef\xbb\xbfone\r\ntwo")
    assert list(read_lines(tmp_path / "f")) == [(1, "one"), (2, "two")]


def test_fingerprints_depend_on_boundaries_and_order() -> None:
    prints = {fingerprint_items(items) for items in (["ab", "c"], ["a", "bc"], ["c", "ab"], ["abc"], [])}
    assert len(prints) == 5
    assert fingerprint_json({"b": 1, "a": 2}) == fingerprint_json({"a": 2, "b": 1})


def test_a_file_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert file_sha256(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_cache_folder_follows_its_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RERANK_BENCH_CACHE", str(tmp_path / "c"))
    assert cache_folder() == tmp_path / "c"
    monkeypatch.delenv("RERANK_BENCH_CACHE")
    assert cache_folder().name == "rerank-bench"
