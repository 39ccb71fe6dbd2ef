"""Docstrings from a made-up distribution, and the search task that is made of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rerank_bench.errors import DataError
from rerank_bench.training import docstring_groups
from rerank_bench.training import docstrings as docstrings_module
from rerank_bench.training.docstring_groups import (
    LOGITS_OF_BEST_MATCH,
    LOGITS_PER_COSINE,
    LONGEST_CUT,
    NUM_NEGATIVES,
    OPENINGS,
    OWN_LOGITS,
    SHORTEST_CUT,
    build_groups,
    cut_document,
    part_docstrings,
    phrase_query,
    read_groups,
    write_groups,
    write_held_out,
)
from rerank_bench.training.docstrings import Docstring, collect_docstrings, describe_distributions

SOURCE = '''
"""Tools that measure the quality of a ranking.

Each of them takes a ranked list and the judgements of its query, and returns a number.
"""
raise RuntimeError("parsed, never imported")

class Meter:
    """Measure one list after the other, slowly.

    A meter keeps no state between two lists, so that several threads may share it.
    """

    def read(self, ranked: list[str], *, depth: int = 10) -> float:
        """Return the value of one ranked list of documents.

        Documents below the depth do not count at all, whatever their grades may be.
        """

def short():
    """Too short.

    A first paragraph of two words asks for nothing, so this one is left out.
    """

def copied():
    """Return the arc tangent of the number x.

    The result lies between minus and plus half of the circle constant.
    """

async def later(a, /, b, *c, d=1, **e):
    """Return the value of one ranked list of documents.

    The same first paragraph again: whichever stands first is the one that stays.
    """
'''


@pytest.fixture
def site(tmp_path: Path) -> Path:
    for name, files in {
        "meters": {"meters/__init__.py": SOURCE, "meters/broken.py": "def (", "meters/tests/t.py": SOURCE}
    }.items():
        info = tmp_path / f"{name}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in files) + "../../bin/meter.py,,\n")
        for file, text in files.items():
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(text)
    return tmp_path


def test_docstrings_are_parsed_and_each_stands_once(site: Path) -> None:
    found = collect_docstrings(path=[str(site)], excluded=["Return the ARC tangent of the number x."])
    assert [(d.name, d.signature, d.summary) for d in found] == [
        ("meters", "", "Tools that measure the quality of a ranking."),
        ("meters.Meter", "", "Measure one list after the other, slowly."),
        ("meters.Meter.read", "(self, ranked, *, depth=10)", "Return the value of one ranked list of documents."),
    ]
    assert found[0].rest.startswith("Each of them takes")
    head = "meters.Meter.read(self, ranked, *, depth=10)"
    assert found[2].document == f"{head}\n\n{found[2].summary}\n\n{found[2].rest}"
    assert found[2].answer == f"{head}\n\n{found[2].rest}"
    short = Docstring("m.f", "()", "Say hello.", "")
    assert short.answer == short.document == "m.f()\n\nSay hello."
    assert "meters.copied" in [d.name for d in collect_docstrings(path=[str(site)])]
    with pytest.raises(DataError, match="no docstrings were found"):
        collect_docstrings(path=[str(site / "meters")])
    assert any(name.startswith("numpy==") for name in describe_distributions())


def docstrings(count: int) -> list[Docstring]:
    rest = "It says so in eight words or more."
    return [Docstring(f"m{i}", "(x)", f"Return query number {i}.", f"Answer number {i}. {rest}") for i in range(count)]


def no_search(queries: Sequence[str], _docs: Sequence[str], _depth: int) -> list[list[int]]:
    return [[] for _ in queries]


def teach_position(_queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    assert pairs[:, 1].tolist() == list(range(len(docs)))
    return np.linspace(-1, 1, len(docs), dtype=np.float32)


def match_nothing(_queries: Sequence[str], docs: Sequence[str], _pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.zeros(len(docs), dtype=np.float32)


def test_groups_hold_the_own_document_and_others_of_the_first_stage(tmp_path: Path) -> None:
    task = part_docstrings(docstrings(40), num_held_out=5, seed=3)
    assert len(task.held_out) == 5
    assert sorted([*task.training, *task.held_out]) == list(range(40))
    by_name = {d.name: d for d in task.docstrings}

    def search(queries: Sequence[str], docs: Sequence[str], _depth: int) -> list[list[int]]:
        assert len(docs) == 35
        numbers = [next(n for n, doc in enumerate(docs) if query in doc) for query in queries]
        return [[(n + step) % 35 for step in range(9)] if n != 7 else [7] for n in numbers]

    groups = build_groups(task, search, teach_position, match_nothing, seed=1)
    assert len(groups) == 35
    held_out = {f"m{number}" for number in task.held_out}
    heads = []
    for row in range(35):
        query, docs, _ = groups[row]
        names = [doc.partition("(x)")[0] for doc in docs]
        heads.append(names[0])
        own = task.docstrings.index(by_name[names[0]])
        assert groups.place(row) == f"docstring of {names[0]}"
        assert set(query.strip("?.").lower().split()[-1:]) & {str(own), "number", "query", "return"}
        assert len(set(names)) == 1 + NUM_NEGATIVES
        assert not held_out & set(names)
        place = task.training.index(own)
        near = {f"m{task.training[(place + step) % 35]}" for step in range(1, 9)}
        assert place == 7 or set(names[1:]) <= near
    assert sorted(heads) == sorted(f"m{number}" for number in task.training)  # each asks once
    forms = {doc for row in range(35) for doc in groups[row].docs}
    assert {by_name[doc.partition("(x)")[0]].answer == doc for doc in forms} == {True, False}
    texts = [text for d in task.docstrings for text in (d.answer, d.document)]
    assert all(any(" ".join(text.split()).startswith(" ".join(doc.split())) for text in texts) for doc in forms)

    write_groups(groups, tmp_path / "groups.parquet")
    read = read_groups(tmp_path / "groups.parquet")
    assert [read[row] for row in range(35)] == [groups[row] for row in range(35)]
    assert read.place(34) == groups.place(34)
    assert read.fingerprint() == groups.fingerprint()


@pytest.mark.parametrize(("share", "expected"), [(0.0, 3), (0.2, 7)])
def test_the_other_documents_come_from_the_best_share_of_a_large_collection(
    share: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docstring_groups, "NEGATIVE_DEPTH", 3)
    monkeypatch.setattr(docstring_groups, "NEGATIVE_SHARE", share)
    monkeypatch.setattr(docstring_groups, "SHARE_CUT", 0.0)
    task = part_docstrings(docstrings(40), num_held_out=5, seed=3)
    asked = []

    def search(queries: Sequence[str], docs: Sequence[str], depth: int) -> list[list[int]]:
        asked.append(depth)
        return [list(range(len(docs)))[:depth] for _ in queries]

    groups = build_groups(task, search, teach_position, match_nothing, seed=1)
    assert asked == [expected + 1]  # the query's own may be among them
    near = {f"m{number}" for number in task.training[: expected + 1]}
    drawn = {doc.partition("(x)")[0] for row in range(35) for doc in groups[row].docs[1:]}
    assert drawn == near if expected > NUM_NEGATIVES else drawn > near


def test_most_long_documents_are_cut_after_some_words() -> None:
    rng = np.random.default_rng(0)
    words = [f"w{number}" for number in range(200)]
    text = "\n".join(words)
    cut = [cut_document(text, rng) for _ in range(400)]
    lengths = [len(doc.split()) for doc in cut]
    assert 0.2 < cut.count(text) / 400 < 0.3
    assert all(doc.split() == words[:length] for doc, length in zip(cut, lengths, strict=True))
    shortened = [length for length in lengths if length < 200]
    assert min(shortened) == SHORTEST_CUT
    assert max(shortened) == LONGEST_CUT
    assert {cut_document("a  few\nwords", rng) for _ in range(20)} == {"a  few\nwords"}


def test_parsing_ends_when_there_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "many-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: many\nVersion: 1\n")
    (info / "RECORD").write_text("".join(f"many/f{number:02}.py,,\n" for number in range(40)))
    (tmp_path / "many").mkdir()
    for number in range(40):
        (tmp_path / "many" / f"f{number:02}.py").write_text(f'"""Say what stands under number {number}."""\n')
    monkeypatch.setattr(docstrings_module, "FILES_PER_ROUND", 5)
    everything = collect_docstrings(path=[str(tmp_path)])
    assert [d.name for d in everything] == [f"many.f{number:02}" for number in range(40)]
    some = collect_docstrings(path=[str(tmp_path)], enough=8, seed=3)
    assert len(some) == 10  # two rounds of five
    assert some == [d for d in everything if d in some]  # in the files' order
    assert some == collect_docstrings(path=[str(tmp_path)], enough=8, seed=3)
    assert some != collect_docstrings(path=[str(tmp_path)], enough=8, seed=4)
    assert collect_docstrings(path=[str(tmp_path)], enough=1000) == everything


def test_labels_are_cosines_and_matches_and_a_bonus() -> None:
    task = part_docstrings(docstrings(12), num_held_out=2, seed=0)

    def match(_queries: Sequence[str], _docs: Sequence[str], pairs: NDArray[np.int64]) -> NDArray[np.float32]:
        return (pairs[:, 1] % 3 / 2).astype(np.float32)

    groups = build_groups(task, no_search, teach_position, match, seed=5, limit=4)
    assert len(groups) == 4
    labels = groups.labels.reshape(4, 1 + NUM_NEGATIVES)
    cosines = np.linspace(-1, 1, labels.size, dtype=np.float32).reshape(labels.shape)
    shares = (np.arange(labels.size) % 3 / 2).reshape(labels.shape)
    expected = LOGITS_PER_COSINE * cosines + LOGITS_OF_BEST_MATCH * shares
    np.testing.assert_allclose(labels[:, 1:], expected[:, 1:], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(labels[:, 0], expected[:, 0] + OWN_LOGITS, rtol=1e-5, atol=1e-5)


def test_queries_are_phrased_in_three_ways_and_stay_about_the_same() -> None:
    rng = np.random.default_rng(0)
    summary = "Return the arc tangent of the number x."
    phrased = [phrase_query(summary, rng) for _ in range(300)]
    words = set(summary.lower().replace(".", "").split())
    asked = [query for query in phrased if query.endswith("?")]
    assert 0.2 < len(asked) / 300 < 0.5
    assert "how do I return the arc tangent of the number x?" in asked
    assert 0.2 < phrased.count(summary) / 300 < 0.5
    thinned = [query for query in phrased if query not in asked and query != summary]
    assert all(set(query.lower().replace(".", "").split()) <= words for query in thinned)
    assert max(len(query.split()) for query in thinned) < len(summary.split())
    assert phrase_query("Go.", np.random.default_rng(1)) in {"Go.", "go?", *(f"{o} go?" for o in OPENINGS)}


def test_held_out_documents_lack_the_paragraph_that_asks_for_them(tmp_path: Path) -> None:
    task = part_docstrings(docstrings(40), num_held_out=5, seed=3)
    write_held_out(task, tmp_path)
    queries = [json.loads(line) for line in (tmp_path / "queries.jsonl").read_text().splitlines()]
    assert [query["text"] for query in queries] == [f"Return query number {number}." for number in task.held_out]
    from rerank_bench.data.datasets import load_dataset

    dataset = load_dataset(str(tmp_path))
    assert len(dataset.collection) == 40
    for number in task.held_out:
        assert dataset.qrels[f"q{number}"] == {f"d{number}": 1}
        assert dataset.collection.text(number).startswith(f"m{number}(x)\n\nAnswer number {number}.")


def test_more_held_out_than_there_are() -> None:
    with pytest.raises(ValueError, match="3 docstrings cannot have 3 set aside"):
        part_docstrings(docstrings(3), num_held_out=3, seed=0)
    with pytest.raises(ValueError, match="4 docstrings are left to train on, expected at least 5"):
        part_docstrings(docstrings(6), num_held_out=2, seed=0)
