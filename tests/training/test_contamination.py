from __future__ import annotations

from pathlib import Path

from tiny_training import examples_of

from rerank_bench.training.contamination import EvaluationTexts, contaminated, find_contamination

ROWS = [
    {"query": "Sort a  LIST", "docs": ["one", "two"], "labels": [1, 0]},
    {"query": "unseen", "docs": ["Straße  42", "four"], "labels": [0, 1]},
    {"query": "stop", "docs": ["five", ""], "labels": [1, 0]},
]


def test_equal_texts_are_found_whatever_case_and_spacing(tmp_path: Path) -> None:
    examples = examples_of(tmp_path, ROWS)
    first = EvaluationTexts(name="first", queries=["sort a list", "never"], docs=["STRASSE 42", ""])
    second = EvaluationTexts(name="second", queries=["sto", "p"], docs=iter(["Five", "six"]))
    one, two = find_contamination(examples, [first, second])
    assert (one.queries.tolist(), one.docs.tolist()) == ([0], [1])
    assert (two.queries.tolist(), two.docs.tolist()) == ([], [2])
    assert any("line 1: query 'Sort a  LIST'" in line for line in one.shown)
    assert any("line 2: document 'Straße  42'" in line for line in one.shown)
    assert contaminated([one, two], include_docs=False).tolist() == [0]
    assert contaminated([one, two], include_docs=True).tolist() == [0, 1, 2]
    assert one.describe() == {"queries": 1, "documents": 1, "examples": list(one.shown)}


def test_texts_whose_hashes_meet_are_compared_in_full(tmp_path: Path, monkeypatch: object) -> None:
    import hashlib

    class Constant:
        def digest(self) -> bytes:
            return bytes(8)

    monkeypatch.setattr(hashlib, "blake2b", lambda *_a, **_k: Constant())  # type: ignore[attr-defined]
    (found,) = find_contamination(
        examples_of(tmp_path, ROWS), [EvaluationTexts(name="x", queries=["stop"], docs=["one"])]
    )
    assert (found.queries.tolist(), found.docs.tolist()) == ([2], [0])
