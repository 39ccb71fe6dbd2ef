"""Stored indices: they find what a fresh one finds, and nothing else is taken for one."""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from watcher import Watcher

from rerank_bench.data.fingerprints import with_fingerprints
from rerank_bench.errors import DataError
from rerank_bench.first_stage import index_store
from rerank_bench.first_stage.analysis import AnalyzerConfig
from rerank_bench.first_stage.bm25 import BM25Config, BM25Index, build_index
from rerank_bench.first_stage.candidates import build_bm25_candidates
from rerank_bench.first_stage.index_store import HEADER, index_key, indexes_folder, open_index, read_inverted
from rerank_bench.progress import use_reporter
from rerank_bench.records import Collection, Dataset

QUERIES = ["river bank", "Bäume über flüsse", "nothing of this stands there", "river river stone"]
WORDS = ["river", "bank", "stone", "the", "running", "runs", "Bäume", "flüsse", "ÜBER", "naïve", "日本語", "x1", "42"]


def make_dataset(seed: int = 0, num_docs: int = 200) -> Dataset:
    rng = random.Random(seed)
    texts = [" ".join(rng.choices(WORDS, k=rng.randrange(12))) for _ in range(num_docs)]
    collection = Collection([f"d{number}" for number in range(num_docs)], texts)
    return with_fingerprints(
        Dataset(name="banks", queries={"q": "river"}, collection=collection, qrels={"q": {"d1": 1}})
    )


def opened(dataset: Dataset, config: BM25Config | None = None) -> tuple[BM25Index, list[str]]:
    """The index of a data set that is large enough to be stored, and what the user was told."""
    watcher = Watcher()
    with use_reporter(watcher):
        index = open_index(dataset, config or BM25Config(), min_docs=1)
    return index, watcher.notes


def stored_file() -> Path:
    (path,) = indexes_folder().glob("*")
    return path


def assert_same(index: BM25Index, fresh: BM25Index) -> None:
    for query in QUERIES:
        found, expected = index.score(query), fresh.score(query)
        assert found.positions.tolist() == expected.positions.tolist()
        assert found.scores.tobytes() == expected.scores.tobytes()
    for found, expected in zip(index.search(QUERIES, depth=3), fresh.search(QUERIES, depth=3), strict=True):
        assert dict(zip(found.positions, found.scores, strict=True)) == dict(
            zip(expected.positions, expected.scores, strict=True)
        )


@pytest.mark.parametrize(
    "config",
    [BM25Config(), BM25Config(variant="okapi", k1=1.2, b=0.4), BM25Config(analyzer=AnalyzerConfig(stemmer=None))],
    ids=["lucene", "okapi", "unstemmed"],
)
def test_a_stored_index_scores_as_a_fresh_one(config: BM25Config) -> None:
    dataset = make_dataset()
    fresh = build_index(dataset.collection, config)
    built, notes = opened(dataset, config)
    assert [note.partition(" (")[0] for note in notes] == [f"index of 'banks' kept in {stored_file()}"]
    loaded, notes = opened(dataset, config)
    assert notes == [f"index of 'banks' taken from {stored_file()}"]
    assert isinstance(_root(loaded.postings[1]), np.memmap)
    for index in (built, loaded):
        assert index.term_ids == fresh.term_ids
        assert_same(index, fresh)


def _root(array: np.ndarray[tuple[int], np.dtype[np.int32]]) -> object:
    found: object = array
    while isinstance(found, np.ndarray) and not isinstance(found, np.memmap):
        found = found.base
    return found


def test_a_real_index_is_stored_and_read(real_dataset: Callable[[str], Dataset]) -> None:
    dataset = real_dataset("vaswani")
    opened(dataset)
    loaded, notes = opened(dataset)
    assert "taken from" in notes[0]
    fresh = build_index(dataset.collection, BM25Config())
    queries = list(dataset.queries.values())
    for found, expected in zip(loaded.search(queries, depth=100), fresh.search(queries, depth=100), strict=True):
        assert np.array_equal(np.sort(found.scores), np.sort(expected.scores))
        assert set(found.positions.tolist()) == set(expected.positions.tolist())


def test_formulas_share_an_index_and_analysers_do_not() -> None:
    dataset = make_dataset()
    for config in (BM25Config(), BM25Config(variant="okapi"), BM25Config(k1=0.9, b=0.4)):
        opened(dataset, config)
    assert len(list(indexes_folder().glob("*"))) == 1
    opened(dataset, BM25Config(analyzer=AnalyzerConfig(stop_words=None)))
    opened(make_dataset(seed=1))
    opened(dataclasses.replace(dataset, name="another name"))
    assert len(list(indexes_folder().glob("*"))) == 3


def test_collections_without_terms_or_documents() -> None:
    for texts in (["the", "", "a"], [""]):
        collection = Collection([str(number) for number in range(len(texts))], texts)
        dataset = with_fingerprints(Dataset(name="blank", queries={}, collection=collection, qrels={}))
        for _ in range(2):
            index, notes = opened(dataset)
            assert len(notes) == 1
            assert len(index.score("river the").positions) == 0


def test_small_and_nameless_collections_are_not_stored() -> None:
    dataset = make_dataset()
    build_bm25_candidates(dataset, BM25Config(), depth=5)
    open_index(dataclasses.replace(dataset, fingerprints={}), BM25Config(), min_docs=1)
    assert not indexes_folder().exists()


def other_collection(path: Path) -> None:
    """Put the index of another collection of as many documents in its place."""
    content = path.read_bytes()
    path.unlink()
    opened(make_dataset(seed=9))
    (other,) = indexes_folder().glob("*")
    assert other.read_bytes() != content
    other.replace(path)


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "is no index, or its beginning is cut short or damaged"),
    "half a header": (lambda path: path.write_bytes(path.read_bytes()[: HEADER.size // 2]), "is no index"),
    "a header alone": (lambda path: path.write_bytes(path.read_bytes()[: HEADER.size]), "has 80 bytes, expected"),
    "cut short": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "it was cut short or added to"),
    "added to": (lambda path: path.write_bytes(path.read_bytes() + b"x"), "it was cut short or added to"),
    "a bit of the header": (lambda path: flip(path, 50), "is no index"),
    "a bit of the postings": (lambda path: flip(path, -200), "is damaged, its checksum differs"),
    "another collection": (other_collection, "is of another collection, analyser or version"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_cannot_be_used_is_built_anew(damage: str) -> None:
    dataset = make_dataset()
    fresh, _ = opened(dataset)
    path = stored_file()
    whole = path.read_bytes()
    change, problem = DAMAGES[damage]
    change(path)
    with pytest.raises(DataError, match=problem):
        read_inverted(path, index_key(dataset.fingerprints["corpus"], 200, AnalyzerConfig()))
    index, notes = opened(dataset)
    assert notes[0].startswith(f"the stored index cannot be used and is built anew: {path}: ")
    assert problem in notes[0]
    assert_same(index, fresh)
    assert path.read_bytes() == whole
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # no temporary file stays


@contextlib.contextmanager
def no_folder() -> Iterator[None]:
    indexes_folder().parent.mkdir(parents=True, exist_ok=True)
    indexes_folder().write_text("a file where the folder should be")
    yield
    indexes_folder().unlink()


def test_where_nothing_can_be_written_the_index_is_used_all_the_same() -> None:
    dataset = make_dataset()
    with no_folder():
        index, notes = opened(dataset)
    assert "the index of 'banks' is not kept for the next time" in notes[0]
    assert_same(index, build_index(dataset.collection, BM25Config()))


def test_a_file_that_cannot_be_opened_is_no_defect() -> None:
    dataset = make_dataset()
    path = indexes_folder() / f"{index_key(dataset.fingerprints['corpus'], 200, AnalyzerConfig()).hex()[:32]}.inverted"
    path.mkdir(parents=True)
    index, notes = opened(dataset)
    assert "cannot be read (Is a directory)" in notes[0]
    assert "is not kept for the next time" in notes[1]
    assert_same(index, build_index(dataset.collection, BM25Config()))


def test_new_code_builds_a_new_index(monkeypatch: pytest.MonkeyPatch) -> None:
    opened(make_dataset())
    monkeypatch.setattr(index_store, "CODE_VERSION", index_store.CODE_VERSION + 1)
    _, notes = opened(make_dataset())
    assert "kept in" in notes[0]
