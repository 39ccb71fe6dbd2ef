from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_bench.errors import ConfigError, DataError, ParseError
from rerank_bench.first_stage.bm25 import BM25Config, build_index
from rerank_bench.first_stage.candidates import (
    build_bm25_candidates,
    candidates_fingerprint,
    candidates_from_lists,
    candidates_from_run,
)
from rerank_bench.first_stage.stages import FIRST_STAGES, parse_first_stage
from rerank_bench.progress import Advance, use_reporter
from rerank_bench.ranking import rank_docs
from rerank_bench.records import CandidateSet, Collection, Dataset, ScoredDocs


def make_dataset(docs: dict[str, str], queries: dict[str, str], *, drops_self_match: bool = False) -> Dataset:
    return Dataset(
        name="tiny",
        queries=queries,
        collection=Collection(list(docs), list(docs.values())),
        qrels={},
        drops_self_match=drops_self_match,
    )


FRUIT = make_dataset(
    {"a1": "apple tart", "b2": "apple and berry", "c3": "", "d4": "cherry cake"},
    {"q1": "apple", "q2": "cherry", "q3": "x"},
)


def ids(candidates: CandidateSet) -> dict[str, tuple[str, ...]]:
    return {query_id: docs.doc_ids for query_id, docs in candidates.by_query.items()}


class Notes:
    """A reporter that keeps the notes."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def task(self, description: str, total: int | None, unit: str) -> AbstractContextManager[Advance]:
        del description, total, unit

        @contextlib.contextmanager
        def silent() -> Iterator[Advance]:
            yield lambda _units: None

        return silent()

    def note(self, message: str) -> None:
        self.messages.append(message)


def test_each_query_gets_its_own_documents() -> None:
    candidates = build_bm25_candidates(FRUIT, BM25Config(), depth=2)
    # Both fruit texts hold two terms, so their scores tie, and the higher id comes first.
    assert ids(candidates) == {"q1": ("b2", "a1"), "q2": ("d4",), "q3": ()}
    assert candidates.depth == 2
    assert candidates.dataset_name == "tiny"
    assert candidates.first_stage == BM25Config().describe()
    assert candidates.fingerprint == candidates_fingerprint(candidates.by_query)


def test_ties_at_the_depth_are_cut_by_id_as_a_string() -> None:
    docs = dict.fromkeys(["9", "10", "b", "B", "ä", "2"], "same apple") | {"best": "apple apple"}
    candidates = build_bm25_candidates(make_dataset(docs, {"q": "apple"}), BM25Config(), depth=4)
    assert ids(candidates) == {"q": ("best", "ä", "b", "B")}


@pytest.mark.parametrize("drops", [True, False])
def test_the_querys_own_document_is_dropped_before_the_cut(*, drops: bool) -> None:
    docs = {"d1": "apple pie", "q": "apple", "d2": "apple pie crust"}
    dataset = make_dataset(docs, {"q": "apple", "other": "apple"}, drops_self_match=drops)
    candidates = build_bm25_candidates(dataset, BM25Config(), depth=2)
    assert ids(candidates) == {"q": ("d1", "d2") if drops else ("q", "d1"), "other": ("q", "d1")}


@settings(deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(["apple", "berry", "cherry"]), max_size=4).map(" ".join), max_size=10),
    st.integers(1, 12),
    st.booleans(),
)
def test_candidates_are_the_head_of_the_whole_ranking(texts: list[str], depth: int, drops: bool) -> None:  # noqa: FBT001  Hypothesis passes by position
    docs = {str(number): text for number, text in enumerate(texts)}
    dataset = make_dataset(docs, {"1": "apple berry", "x": "cherry"}, drops_self_match=drops)
    index = build_index(dataset.collection, BM25Config())
    candidates = build_bm25_candidates(dataset, BM25Config(), depth=depth)
    for query_id, query_text in dataset.queries.items():
        matches = index.score(query_text)
        kept = [i for i, p in enumerate(matches.positions.tolist()) if not (drops and str(p) == query_id)]
        doc_ids = [str(matches.positions[i]) for i in kept]
        expected = rank_docs(query_id, doc_ids, matches.scores[kept], depth=depth)
        assert candidates.by_query[query_id].doc_ids == expected.doc_ids
        assert np.array_equal(candidates.by_query[query_id].scores, expected.scores)


def test_scifact_has_the_values_that_others_publish(real_dataset: Callable[[str], Dataset]) -> None:
    # bm25s with the same settings, as measured by MTEB: nDCG@10 0.687, R@100 0.913.
    dataset = real_dataset("scifact")
    candidates = build_bm25_candidates(dataset, BM25Config(), depth=100)
    run = {q: dict(zip(docs.doc_ids, docs.scores.tolist(), strict=True)) for q, docs in candidates.by_query.items()}
    measures = [ir_measures.nDCG @ 10, ir_measures.R @ 100]
    values = ir_measures.calc_aggregate(measures, dataset.qrels, run)
    assert 0.68 < values[measures[0]] < 0.70
    assert values[measures[1]] >= 0.90


def test_published_lists_are_taken_as_they_are_and_cut() -> None:
    lists = {"q1": ["d4", "a1", "b2"], "q3": [], "q2": ["a1"]}
    candidates = candidates_from_lists(FRUIT, lists, depth=2, first_stage={"name": "published"})
    assert ids(candidates) == {"q1": ("d4", "a1"), "q2": ("a1",), "q3": ()}
    assert candidates.by_query["q1"].scores.tolist() == [-1, -2]
    assert candidates.first_stage == {"name": "published"}


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"q1": []}, r"2 queries of the data set have no list \(first: 'q2', 'q3'\)"),
        ({"q1": [], "q2": [], "q3": [], "q4": []}, r"1 queries are not among the 3 of 'tiny' \(first: 'q4'\)"),
        (
            {"q1": ["z1", "a1", "z2"], "q2": ["z3", "z4"], "q3": ["z1"]},
            r"4 documents are not among the 4 of 'tiny' \(first: 'z1', 'z2', 'z3'\)",
        ),
        ({"q1": ["a1", "b2", "a1"], "q2": [], "q3": []}, "query 'q1' lists document 'a1' more than once"),
    ],
    ids=["missing query", "unknown query", "unknown documents", "duplicate"],
)
def test_a_wrong_list_is_named(lists: dict[str, list[str]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        candidates_from_lists(FRUIT, lists, depth=10, first_stage={"name": "published"})


def test_a_run_keeps_its_scores_and_is_ordered_by_them(tmp_path: Path) -> None:
    path = tmp_path / "first.trec"
    path.write_text("q1 Q0 a1 1 0.5 x\nq1 Q0 d4 2 2.5 x\nq1 Q0 b2 3 0.5 x\nq2 Q0 c3 1 7 x\n", encoding="utf-8")
    notes = Notes()
    with use_reporter(notes):
        candidates = candidates_from_run(FRUIT, path, depth=2)
    assert ids(candidates) == {"q1": ("d4", "b2"), "q2": ("c3",), "q3": ()}
    assert candidates.by_query["q1"].scores.tolist() == [2.5, 0.5]
    assert candidates.first_stage["name"] == "trec-run"
    assert candidates.first_stage["file"] == "first.trec"
    (message,) = notes.messages
    assert "1 of 3 queries have no line (first: 'q3') and no candidates" in message


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("q9 Q0 a1 1 1.0 x", DataError, "first.trec: 1 queries are not among the 3 of 'tiny' .*'q9'"),
        ("q1 Q0 zz 1 1.0 x", DataError, "first.trec: 1 documents are not among the 4 of 'tiny' .*'zz'"),
        ("q1 Q0 a1 1 nan x", ParseError, "first.trec, line 1: score .* is 'nan'"),
    ],
)
def test_a_wrong_run_is_named(tmp_path: Path, line: str, error: type[Exception], message: str) -> None:
    path = tmp_path / "first.trec"
    path.write_text(f"{line}\n", encoding="utf-8")
    with pytest.raises(error, match=message):
        candidates_from_run(FRUIT, path, depth=10)


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.trec: no such file"):
        candidates_from_run(FRUIT, tmp_path / "nowhere.trec", depth=10)


@pytest.mark.parametrize("depth", [0, -3])
def test_a_depth_below_one_is_refused(depth: int) -> None:
    with pytest.raises(ConfigError, match=f"depth is {depth}, expected at least 1"):
        build_bm25_candidates(FRUIT, BM25Config(), depth=depth)
    with pytest.raises(ConfigError, match=f"depth is {depth}"):
        candidates_from_lists(FRUIT, {}, depth=depth, first_stage={})
    with pytest.raises(ConfigError, match=f"depth is {depth}"):
        candidates_from_run(FRUIT, "nowhere", depth=depth)


def test_first_stages_by_name_and_by_file(tmp_path: Path) -> None:
    path = tmp_path / "bm25.trec"
    path.touch()
    assert parse_first_stage("bm25") == BM25Config()
    assert parse_first_stage("rank-bm25") == BM25Config(variant="okapi")
    assert parse_first_stage("published") == "published"
    assert parse_first_stage(str(path)) == path
    for name, stage in FIRST_STAGES.items():
        assert not isinstance(stage, BM25Config) or stage.describe()["name"] == name


@pytest.mark.parametrize("text", ["bm52", "./bm52.trec", "", "."])
def test_an_unknown_first_stage_is_neither_a_name_nor_a_file(text: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown first stage .*Known: bm25, .*no such file"):
        parse_first_stage(text)


def test_a_misspelt_first_stage_gets_a_hint() -> None:
    with pytest.raises(ConfigError, match="did you mean 'bm25'"):
        parse_first_stage("bm52")


def scored(*doc_ids: str) -> ScoredDocs:
    return ScoredDocs(doc_ids, np.zeros(len(doc_ids), dtype=np.float32))


def test_the_fingerprint_covers_ids_and_their_order_but_not_the_order_of_queries() -> None:
    base = candidates_fingerprint({"1": scored("a", "b"), "2": scored("c")})
    assert base == candidates_fingerprint({"2": scored("c"), "1": scored("a", "b")})
    others = [
        {"1": scored("b", "a"), "2": scored("c")},
        {"1": scored("a"), "2": scored("b", "c")},
        {"1": scored("a", "b", "2"), "c": scored()},
        {"1": scored("a", "b"), "2": scored("c"), "3": scored()},
    ]
    assert len({base, *map(candidates_fingerprint, others)}) == 5
