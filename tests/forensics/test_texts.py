"""Texts are shown where they are those of the run; everything else works without them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from loopback_hub import LoopbackHub, use_hub
from run_builder import World

from rerank_bench.forensics.explain import explain_run
from rerank_bench.forensics.texts import load_texts
from rerank_bench.forensics.wording import describe_query, doc_text, query_text


def test_texts_of_queries_and_documents(after: Path) -> None:
    explanation = explain_run(after)
    query = next(query for query in explanation.queries if query.query_id == "q-fell")
    assert query_text(explanation, query) == "mend a chain"
    assert doc_text(explanation, query, "twin") == "how to mend a broken chain"
    assert doc_text(explanation, query, "nothing") is None
    assert explanation.notes == []


def test_a_folder_that_moved_is_a_note(world: World, after: Path) -> None:
    shutil.move(world.folder, world.folder.with_name("elsewhere"))
    explanation = explain_run(after)
    assert explanation.notes == [f"texts of hand are not shown: {world.folder}: no such folder"]
    assert query_text(explanation, explanation.queries[0]) is None
    assert explanation.queries[0].query_id == "q-fell"
    assert describe_query(explanation, explanation.queries[0])


@pytest.mark.parametrize(
    ("file", "old", "new", "what"),
    [
        ("corpus.jsonl", "chains and their care", "chains and their cares", "documents"),
        ("queries.jsonl", "mend a chain", "mend two chains", "queries"),
    ],
)
def test_other_texts_are_not_shown_as_if_they_were_the_runs(
    world: World, after: Path, file: str, old: str, new: str, what: str
) -> None:
    path = world.folder / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    explanation = explain_run(after)
    assert explanation.notes == [f"texts of hand are not shown: the {what} here are not those of the run"]
    assert query_text(explanation, explanation.queries[0]) is None


def test_another_split_is_read_again(world: World, after: Path) -> None:
    (world.folder / "qrels" / "test.tsv").rename(world.folder / "qrels" / "dev.tsv")
    result_path = after / "result.json"
    result = json.loads(result_path.read_text())
    result["datasets"]["hand"]["source"]["split"] = "dev"
    result_path.write_text(json.dumps(result))
    assert explain_run(after).notes == []


def test_nothing_is_fetched_for_an_explanation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    block = {"source": {"kind": "hub"}, "fingerprints": {}}
    with LoopbackHub() as hub:
        use_hub(monkeypatch, hub, tmp_path / "hf")
        texts, problem = load_texts("NanoNQ", block, query_ids=[], doc_ids=[])
        assert hub.requests == []
    assert problem.startswith("texts of NanoNQ are not shown: only what is on this machine is used here, and ")
    assert texts.queries == texts.docs == {}
