from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rerank_bench.errors import ConfigError, DataError, EnvironmentMissingError
from rerank_bench.first_stage import candidate_store
from rerank_bench.first_stage.bm25 import BM25Config
from rerank_bench.first_stage.candidate_store import (
    META_NAME,
    RUN_NAME,
    cached_candidates,
    load_candidates,
    save_candidates,
)
from rerank_bench.first_stage.candidates import build_bm25_candidates
from rerank_bench.records import CandidateSet, Collection, Dataset

DATASET = Dataset(
    name="fruit/dev",
    queries={"q1": "apple", "q2": "zebra", "q3": "berry apple"},
    collection=Collection(["a1", "b2", "c3"], ["apple tart", "apple and berry", "berry berry"]),
    qrels={"q1": {"a1": 1}},
    fingerprints={"corpus": "c0", "queries": "q0", "qrels": "r0"},
)


def assert_equal(one: CandidateSet, other: CandidateSet) -> None:
    assert list(one.by_query) == list(other.by_query)
    for query_id, docs in one.by_query.items():
        assert docs.doc_ids == other.by_query[query_id].doc_ids
        assert np.array_equal(docs.scores, other.by_query[query_id].scores)
    assert dataclasses.replace(one, by_query={}) == dataclasses.replace(other, by_query={})


def lists_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob(RUN_NAME))


def test_a_saved_list_loads_as_it_was(tmp_path: Path) -> None:
    candidates = build_bm25_candidates(DATASET, BM25Config(), depth=2)
    assert candidates.by_query["q2"].doc_ids == ()
    path = save_candidates(tmp_path, DATASET, candidates)
    assert path == tmp_path / RUN_NAME
    assert_equal(load_candidates(tmp_path, DATASET), candidates)


def test_a_real_list_loads_as_it_was(tmp_path: Path, real_dataset: Callable[[str], Dataset]) -> None:
    dataset = real_dataset("vaswani")
    candidates = build_bm25_candidates(dataset, BM25Config(), depth=100)
    save_candidates(tmp_path, dataset, candidates)
    assert_equal(load_candidates(tmp_path, dataset), candidates)


def test_the_sidecar_says_what_made_the_list(tmp_path: Path) -> None:
    candidates = build_bm25_candidates(DATASET, BM25Config(variant="okapi"), depth=2)
    save_candidates(tmp_path, DATASET, candidates)
    meta = json.loads((tmp_path / META_NAME).read_text(encoding="utf-8"))
    assert meta["first_stage"] == BM25Config(variant="okapi").describe()
    assert meta["dataset_fingerprints"] == {"corpus": "c0", "queries": "q0"}
    assert meta["counts"] == {
        "queries": 3,
        "candidates": 4,
        "queries_without_candidates": 1,
        "queries_below_depth": 1,
    }
    assert {"PyStemmer", "unicode", "numba", "numpy"} == set(meta["versions"])
    assert meta["fingerprint"] == candidates.fingerprint


def test_a_list_is_built_once(tmp_path: Path) -> None:
    first = cached_candidates(DATASET, BM25Config(), depth=2, folder=tmp_path)
    (path,) = lists_in(tmp_path)
    before = path.stat().st_mtime_ns
    assert_equal(cached_candidates(DATASET, BM25Config(), depth=2, folder=tmp_path), first)
    assert path.stat().st_mtime_ns == before


def change(dataset: Dataset, **fields: Any) -> Dataset:
    return dataclasses.replace(dataset, **fields)


@pytest.mark.parametrize(
    ("dataset", "config", "depth"),
    [
        (change(DATASET, fingerprints={**DATASET.fingerprints, "corpus": "c1"}), BM25Config(), 2),
        (change(DATASET, fingerprints={**DATASET.fingerprints, "queries": "q1"}), BM25Config(), 2),
        (change(DATASET, drops_self_match=True), BM25Config(), 2),
        (DATASET, BM25Config(k1=1.2), 2),
        (DATASET, BM25Config(variant="okapi"), 2),
        (DATASET, BM25Config(), 3),
    ],
    ids=["corpus", "queries", "self match", "parameter", "variant", "depth"],
)
def test_whatever_changes_a_list_makes_another(
    tmp_path: Path, dataset: Dataset, config: BM25Config, depth: int
) -> None:
    cached_candidates(DATASET, BM25Config(), depth=2, folder=tmp_path)
    changed = cached_candidates(dataset, config, depth=depth, folder=tmp_path)
    assert len(lists_in(tmp_path)) == 2
    assert_equal(changed, build_bm25_candidates(dataset, config, depth=depth))


def test_new_code_makes_another_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached_candidates(DATASET, BM25Config(), depth=2, folder=tmp_path)
    monkeypatch.setattr(candidate_store, "CODE_VERSION", candidate_store.CODE_VERSION + 1)
    cached_candidates(DATASET, BM25Config(), depth=2, folder=tmp_path)
    assert len(lists_in(tmp_path)) == 2


def test_other_judgements_use_the_same_list(tmp_path: Path) -> None:
    first = cached_candidates(DATASET, BM25Config(), depth=2, folder=tmp_path)
    dataset = change(DATASET, fingerprints={**DATASET.fingerprints, "qrels": "r1"})
    (path,) = lists_in(tmp_path)
    before = path.stat().st_mtime_ns
    assert_equal(cached_candidates(dataset, BM25Config(), depth=2, folder=tmp_path), first)
    assert path.stat().st_mtime_ns == before


def swap_two_documents(folder: Path) -> None:
    path = folder / RUN_NAME
    text = gzip.decompress(path.read_bytes()).decode()
    path.write_bytes(gzip.compress(text.replace(" a1 ", " x ").replace(" b2 ", " a1 ").replace(" x ", " b2 ").encode()))


def cut_the_file(folder: Path) -> None:
    path = folder / RUN_NAME
    path.write_bytes(path.read_bytes()[:-12])


def flip_bytes(folder: Path) -> None:
    path = folder / RUN_NAME
    data = bytearray(path.read_bytes())
    data[10:30] = bytes(255 - byte for byte in data[10:30])
    path.write_bytes(data)


def add_a_query(folder: Path) -> None:
    path = folder / RUN_NAME
    path.write_bytes(path.read_bytes() + gzip.compress(b"q9 Q0 a1 1 1 x\n"))


def remove_the_run(folder: Path) -> None:
    (folder / RUN_NAME).unlink()


def spoil_the_sidecar(folder: Path) -> None:
    (folder / META_NAME).write_text("[]", encoding="utf-8")


def strip_the_sidecar(folder: Path) -> None:
    (folder / META_NAME).write_text('{"schema_version": 1}', encoding="utf-8")


DAMAGES = {
    swap_two_documents: "fingerprint is .* expected .* changed or damaged",
    cut_the_file: "compressed file ends or breaks here",
    flip_bytes: "compressed file ends or breaks here",
    add_a_query: "'q9'",
    remove_the_run: "no such file",
    spoil_the_sidecar: "schema version is 'list', expected 1",
    strip_the_sidecar: "lacks 'dataset_fingerprints'",
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.items(), ids=lambda x: getattr(x, "__name__", ""))
def test_a_damaged_list_is_named_and_built_anew(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    first = cached_candidates(DATASET, BM25Config(), depth=2, folder=tmp_path)
    (path,) = lists_in(tmp_path)
    damage(path.parent)
    with pytest.raises(DataError, match=message):
        load_candidates(path.parent, DATASET)
    assert_equal(cached_candidates(DATASET, BM25Config(), depth=2, folder=tmp_path), first)
    assert_equal(load_candidates(path.parent, DATASET), first)


def test_a_list_without_its_sidecar_is_not_complete(tmp_path: Path) -> None:
    first = cached_candidates(DATASET, BM25Config(), depth=2, folder=tmp_path)
    (path,) = lists_in(tmp_path)
    (path.parent / META_NAME).unlink()
    with pytest.raises(DataError, match=r"meta\.json: no such file"):
        load_candidates(path.parent, DATASET)
    assert_equal(cached_candidates(DATASET, BM25Config(), depth=2, folder=tmp_path), first)


def test_a_list_of_another_data_set_is_refused(tmp_path: Path) -> None:
    save_candidates(tmp_path, DATASET, build_bm25_candidates(DATASET, BM25Config(), depth=2))
    other = change(DATASET, fingerprints={**DATASET.fingerprints, "corpus": "c1"})
    with pytest.raises(DataError, match="was made for 'fruit/dev' with another corpus"):
        load_candidates(tmp_path, other)


def test_a_data_set_without_fingerprints_is_never_taken_from_the_cache(tmp_path: Path) -> None:
    anonymous = change(DATASET, fingerprints={})
    expected = build_bm25_candidates(anonymous, BM25Config(), depth=2)
    assert_equal(cached_candidates(anonymous, BM25Config(), depth=2, folder=tmp_path), expected)
    assert lists_in(tmp_path) == []


@pytest.mark.parametrize("doc_id", ["a 1", "", "a\t1", "a\u00a01"])
def test_ids_that_a_trec_file_cannot_hold_are_refused(tmp_path: Path, doc_id: str) -> None:
    dataset = change(DATASET, collection=Collection([doc_id], ["apple"]))
    candidates = build_bm25_candidates(dataset, BM25Config(), depth=2)
    with pytest.raises(DataError, match="is empty or holds white space"):
        save_candidates(tmp_path, dataset, candidates)
    assert lists_in(tmp_path) == []


def test_a_depth_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="depth is 0"):
        cached_candidates(DATASET, BM25Config(), depth=0, folder=tmp_path)


def test_without_a_folder_the_cache_folder_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANK_BENCH_CACHE", str(tmp_path))
    cached_candidates(DATASET, BM25Config(), depth=2)
    assert lists_in(tmp_path / "candidates")


def test_a_cache_that_cannot_be_written_costs_only_the_cache(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    candidates = cached_candidates(DATASET, BM25Config(), depth=2, folder=tmp_path / "file" / "cache")
    assert_equal(candidates, build_bm25_candidates(DATASET, BM25Config(), depth=2))
    with pytest.raises(EnvironmentMissingError, match="cannot be written"):
        save_candidates(tmp_path / "file" / "cache", DATASET, candidates)
