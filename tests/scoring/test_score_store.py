"""The store: what is written is read, whatever happens to the file; nothing that happens to it stops a run."""

from __future__ import annotations

import random
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from watcher import Watcher

from rerank_bench import progress
from rerank_bench.scoring import score_store
from rerank_bench.scoring.score_rows import hash_texts
from rerank_bench.scoring.score_store import ScoreStore, describe_store

QUERIES = hash_texts(["how to stop", "sort", ""])
DOCS = hash_texts([f"text {number}" for number in range(40)])
PAIRS = np.stack([np.repeat([0, 1, 2], 40), np.tile(np.arange(40), 3)], axis=1)
SCORES = np.random.default_rng(3).normal(size=120).astype(np.float32)
TOKENS = np.random.default_rng(4).integers(-600, 600, size=120).astype(np.int32)


def open_store(path: Path) -> ScoreStore:
    return ScoreStore(path, "fingerprint", "tiny")


def write(path: Path) -> Path:
    with open_store(path) as store:
        store.insert(QUERIES, DOCS, PAIRS, SCORES, TOKENS)
        store.write_job(b"job", {"num_items": 120}, [np.arange(70), np.arange(70, 120)])
    return path


def look_up(path: Path, pairs: NDArray[np.int64] = PAIRS) -> tuple[NDArray[np.float32], NDArray[np.bool_], list[str]]:
    watcher = Watcher()
    with progress.use_reporter(watcher), open_store(path) as store:
        scores, tokens, is_known = store.look_up(QUERIES, DOCS, pairs)
    if pairs is PAIRS:
        assert tokens[is_known].tolist() == TOKENS[is_known].tolist()
    return scores, is_known, watcher.notes


def test_scores_come_back_bit_for_bit(tmp_path: Path) -> None:
    scores = SCORES.copy()
    scores[:6] = np.asarray([0.0, -0.0, 1.0, 3.4e38, 1.2e-38, 1e-45], dtype=np.float32)
    with open_store(tmp_path / "new" / "a.sqlite") as store:
        assert not store.look_up(QUERIES, DOCS, PAIRS).is_known.any()
        store.insert(QUERIES, DOCS, PAIRS[::2], scores[::2], TOKENS[::2])
    found, is_known, notes = look_up(tmp_path / "new" / "a.sqlite")
    assert is_known.tolist() == [True, False] * 60
    assert found[::2].tobytes() == scores[::2].tobytes()
    assert notes == []


def test_a_stored_score_is_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sqlite")
    with open_store(path) as store:
        store.insert(QUERIES, DOCS, PAIRS, SCORES + 1, TOKENS + 1)
    assert look_up(path)[0].tobytes() == SCORES.tobytes()


def test_numbers_of_threads_are_kept_and_taken_over(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sqlite")
    with open_store(path) as store:
        assert store.cpu_threads() == ()
        for number in (16, 2, 16):
            store.add_cpu_threads(number)
        assert store.cpu_threads() == (2, 16)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE scores SET value = value + 1 WHERE doc = ?", (DOCS[7],))
    assert "was set aside" in look_up(path)[2][0]
    with open_store(path) as store:
        assert store.cpu_threads() == (2, 16)


def test_a_batch_is_stored_whole_or_not_at_all(tmp_path: Path) -> None:
    broken = PAIRS.copy()
    broken[-1] = [0, 99]  # no such document
    with open_store(tmp_path / "a.sqlite") as store:
        with pytest.raises(IndexError):
            store.insert(QUERIES, DOCS, broken, SCORES, TOKENS)
        assert not store.look_up(QUERIES, DOCS, PAIRS).is_known.any()
        store.insert(QUERIES, DOCS, PAIRS, SCORES, TOKENS)
        assert store.look_up(QUERIES, DOCS, PAIRS).is_known.all()


def test_jobs_come_back(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sqlite")
    with open_store(path) as store:
        found = store.read_job(b"job")
        assert found is not None
        counts, batches = found
        assert counts == {"num_items": 120}
        assert [batch.tolist() for batch in batches or ()] == [list(range(70)), list(range(70, 120))]
        store.write_job(b"job", {"num_items": 7})
        assert store.read_job(b"job") == ({"num_items": 7}, None)
        assert store.read_job(b"other") is None


@pytest.mark.parametrize("seed", range(60))
def test_no_flipped_byte_makes_a_score_wrong(tmp_path: Path, seed: int) -> None:
    path = write(tmp_path / "a.sqlite")
    draw = random.Random(seed)
    content = bytearray(path.read_bytes())
    for _ in range(draw.choice([1, 1, 3])):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    scores, is_known, _ = look_up(path)
    assert scores[is_known].tobytes() == SCORES[is_known].tobytes()
    with open_store(path) as store:
        job = store.read_job(b"job")
        assert job is None or [len(batch) for batch in job[1] or ()] == [70, 50]


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.99])
def test_a_truncated_store_is_set_aside_and_used_again(tmp_path: Path, kept: float) -> None:
    path = write(tmp_path / "a.sqlite")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    scores, is_known, notes = look_up(path)
    assert scores[is_known].tobytes() == SCORES[is_known].tobytes()
    assert len(notes) == 1
    assert "the stored scores of tiny are damaged" in notes[0]
    assert "was set aside as" in notes[0]
    assert (tmp_path / "a.damaged-1.sqlite").stat().st_size == int(len(content) * kept)
    write(path)
    _, is_known, notes = look_up(path)
    assert is_known.all()
    assert notes == []


def test_what_can_be_read_of_a_damaged_store_is_taken_over(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sqlite")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE scores SET value = value + 1 WHERE query = ? AND doc = ?", (QUERIES[1], DOCS[7]))
    scores, is_known, notes = look_up(path)
    assert np.flatnonzero(~is_known).tolist() == [47]
    assert scores[is_known].tobytes() == SCORES[is_known].tobytes()
    assert "a score does not agree with its checksum" in notes[0]
    assert "119 scores that carry a correct checksum were taken over" in notes[0]


@pytest.mark.parametrize("content", [b"not a data base at all" * 200, b"SQLite format 3\x00" + b"\xff" * 4000])
def test_garbage_is_set_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(content)
    write(path)
    assert look_up(path)[1].all()
    assert (tmp_path / "a.damaged-1.sqlite").read_bytes() == content


def test_another_scorers_store_is_never_used(tmp_path: Path) -> None:
    write(tmp_path / "a.sqlite")
    shutil.copy(tmp_path / "a.sqlite", tmp_path / "b.sqlite")
    watcher = Watcher()
    with progress.use_reporter(watcher), ScoreStore(tmp_path / "b.sqlite", "another", "tiny") as store:
        assert not store.look_up(QUERIES, DOCS, PAIRS).is_known.any()
    assert "it belongs to another scorer or another version" in watcher.notes[0]
    assert " 0 scores" in watcher.notes[0]


def test_damage_that_shows_while_writing_loses_nothing_of_the_batch(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sqlite")
    watcher = Watcher()
    extra = hash_texts(["new"])
    with progress.use_reporter(watcher), open_store(path) as store:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DROP TABLE scores")
        store.insert(
            extra, DOCS, np.asarray([[0, 3]]), np.asarray([2.5], dtype=np.float32), np.asarray([-9], dtype=np.int32)
        )
        scores, tokens, is_known = store.look_up(extra, DOCS, np.asarray([[0, 3]]))
        assert (scores.tolist(), tokens.tolist(), is_known.tolist()) == ([2.5], [-9], [True])
    assert "no such table: scores" in watcher.notes[0]


def test_a_full_disk_is_told_once_and_keeps_what_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    watcher = Watcher()
    with progress.use_reporter(watcher), open_store(path) as store:
        store.insert(QUERIES, DOCS, PAIRS[:5], SCORES[:5], TOKENS[:5])
        assert store._connection is not None
        store._connection.execute("PRAGMA max_page_count = 1")  # SQLite's own way to run out of space
        for start in range(5, 120, 5):
            store.insert(QUERIES, DOCS, PAIRS[start : start + 5], SCORES[start : start + 5], TOKENS[start : start + 5])
        many = hash_texts([f"document {number}" for number in range(5_000)])
        rows = np.stack([np.zeros(5_000, dtype=np.int64), np.arange(5_000)], axis=1)
        store.insert(QUERIES, many, rows, np.ones(5_000, dtype=np.float32), np.ones(5_000, dtype=np.int32))
        store.insert(QUERIES, many, rows, np.ones(5_000, dtype=np.float32), np.ones(5_000, dtype=np.int32))
        assert not store.is_open
    assert len(watcher.notes) == 1
    assert "are not stored from here on" in watcher.notes[0]
    assert "database or disk is full" in watcher.notes[0]
    assert look_up(path, PAIRS[:5])[1].all()


def test_a_locked_store_is_told_and_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_store, "WAIT_SECONDS", 0.1)
    path = write(tmp_path / "a.sqlite")
    watcher = Watcher()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        with progress.use_reporter(watcher), open_store(path) as store:
            other.execute("BEGIN IMMEDIATE")
            store.insert(QUERIES, DOCS, PAIRS, SCORES, TOKENS)
            assert not store.is_open
        other.execute("ROLLBACK")
    assert "database is locked; those stored before are kept" in watcher.notes[0]
    assert look_up(path)[1].all()


def test_a_store_that_is_locked_for_a_while_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_store, "NOTE_SECONDS", 0.05)
    path = write(tmp_path / "a.sqlite")
    more, watcher = hash_texts(["another"]), Watcher()
    row = np.asarray([[0, 0]])
    with (
        closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other,
        progress.use_reporter(watcher),
        open_store(path) as store,
    ):
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.5, lambda: other.execute("ROLLBACK"))
        timer.start()
        store.insert(more, DOCS, row, SCORES[:1], TOKENS[:1])
        timer.join()
        assert store.is_open
    assert watcher.notes == [f"{path} is locked by another process; waiting for it for up to 20 s"]
    with open_store(path) as store:
        assert store.look_up(more, DOCS, row).scores.tolist() == SCORES[:1].tolist()
    assert look_up(path)[1].all()


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_store_that_is_removed_while_it_is_open_is_begun_anew(tmp_path: Path, *, is_replaced: bool) -> None:
    """SQLite itself writes on into a file that has no name any more."""
    path = tmp_path / "scores" / "a.sqlite"
    watcher = Watcher()
    with progress.use_reporter(watcher), open_store(path) as store:
        store.insert(QUERIES, DOCS, PAIRS[:60], SCORES[:60], TOKENS[:60])
        shutil.rmtree(path.parent)
        if is_replaced:
            with open_store(path) as other:
                other.insert(QUERIES, DOCS, PAIRS[:10], SCORES[:10], TOKENS[:10])
        store.insert(QUERIES, DOCS, PAIRS[60:], SCORES[60:], TOKENS[60:])
        store.write_job(b"job", {"num_items": 120})
    assert len(watcher.notes) == 1
    assert "were removed or replaced while this run used them" in watcher.notes[0]
    scores, is_known, notes = look_up(path)
    assert np.flatnonzero(is_known).tolist() == [*range(10 if is_replaced else 0), *range(60, 120)]
    assert scores[is_known].tobytes() == SCORES[is_known].tobytes()
    assert notes == []


def test_a_store_of_a_newer_schema_is_kept_beside_ours(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sqlite")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE meta SET value = '99' WHERE name = 'schema'")
        connection.execute("ALTER TABLE scores RENAME COLUMN tokens TO tokens_and_more")
    _, is_known, notes = look_up(path)
    assert not is_known.any()
    assert "it belongs to another scorer or another version" in notes[0]
    with closing(sqlite3.connect(tmp_path / "a.damaged-1.sqlite")) as connection:
        assert connection.execute("SELECT COUNT(*) FROM scores").fetchone() == (120,), "nothing of it is lost"


def test_a_folder_that_cannot_be_written_is_told_and_passed_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of the folder")
    scores, is_known, notes = look_up(tmp_path / "file" / "a.sqlite")
    assert not is_known.any()
    assert scores.tolist() == [0.0] * 120
    assert len(notes) == 1
    assert "scores of tiny are not stored from here on" in notes[0]
    assert "set RERANK_BENCH_CACHE to another folder" in notes[0]


def test_a_read_only_folder_is_told_and_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "a" / "a.sqlite")
    path.parent.chmod(0o500)
    try:
        (path.parent / "probe").touch()
    except PermissionError:
        notes = look_up(path)[2]
        assert "scores of tiny are not stored from here on" in notes[0]
    else:
        pytest.skip("this user may write anywhere")
    finally:
        path.parent.chmod(0o700)
    assert look_up(path)[1].all()


def test_a_description_counts_and_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sqlite")
    described = describe_store(path)
    assert (described["file"], described["name"], described["scores"]) == ("a.sqlite", "tiny", 120)
    assert described["bytes"] == path.stat().st_size
    path.write_bytes(b"garbage" * 1000)
    assert describe_store(path)["problem"] == "file is not a database"
