"""Docstrings from a made-up distribution, and the search task that is made of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rerank_bench.errors import DataError
from rerank_bench.training.docstring_groups import NUM_NEGATIVES, build_groups, part_docstrings, write_held_out
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
    name, _, body = found[2].document.partition("\n\n")
    assert (name, body) == ("meters.Meter.read(self, ranked, *, depth=10)", found[2].rest)  # the query is not in it
    assert "meters.copied" in [d.name for d in collect_docstrings(path=[str(site)])]
    with pytest.raises(DataError, match="no docstrings were found"):
        collect_docstrings(path=[str(site / "meters")])
    assert any(name.startswith("numpy==") for name in describe_distributions())


def docstrings(count: int) -> list[Docstring]:
    return [Docstring(f"m{i}", "", f"query number {i}", f"answer number {i}") for i in range(count)]


def test_negatives_come_from_the_first_stage_and_held_out_documents_are_never_trained_on(tmp_path: Path) -> None:
    task = part_docstrings(docstrings(40), num_held_out=5, seed=3)
    assert len(task.held_out) == 5
    assert sorted([*task.training, *task.held_out]) == list(range(40))
    ranked = [[(number + step) % 35 for step in range(6)] for number in range(35)]
    ranked[7] = [7]  # shares words with nothing but its own
    groups = build_groups(task, lambda queries, docs, _depth: ranked if len(queries) == len(docs) == 35 else [], seed=1)
    held_out = {f"m{number}\n\nanswer number {number}" for number in task.held_out}
    for row in range(35):
        query, docs, labels = groups[row]
        own = task.training[row]
        assert query == f"query number {own}"
        assert docs[0] == f"m{own}\n\nanswer number {own}"
        assert labels == [1.0] + [0.0] * NUM_NEGATIVES
        assert len(set(docs)) == 1 + NUM_NEGATIVES
        assert not held_out & set(docs)
        if row != 7:
            drawn = [task.training[position] for position in ranked[row]]
            assert set(docs[1:]) <= {f"m{number}\n\nanswer number {number}" for number in drawn}
    assert groups.place(0) == f"docstring of m{task.training[0]}"
    write_held_out(task, tmp_path)
    queries = [json.loads(line) for line in (tmp_path / "queries.jsonl").read_text().splitlines()]
    assert [query["text"] for query in queries] == [f"query number {number}" for number in task.held_out]
    from rerank_bench.data.datasets import load_dataset

    dataset = load_dataset(str(tmp_path))
    assert len(dataset.collection) == 40
    for number in task.held_out:
        assert dataset.qrels[f"q{number}"] == {f"d{number}": 1}
        assert dataset.collection.text(number) == f"m{number}\n\nanswer number {number}"


def test_more_held_out_than_there_are() -> None:
    with pytest.raises(ValueError, match="3 docstrings cannot have 3 set aside"):
        part_docstrings(docstrings(3), num_held_out=3, seed=0)
