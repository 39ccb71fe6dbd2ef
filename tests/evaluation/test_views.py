"""The pool and the three views, against the real evaluator of Sentence Transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_collections import candidate_set, distinct_scores, random_collection, scores_in_order

from rerank_bench.errors import DataError, InvalidScoreError, ScoringError
from rerank_bench.evaluation.evaluate import evaluate_reranker
from rerank_bench.evaluation.views import (
    BUILDERS,
    COMPATIBILITY_MEASURES,
    PoolScores,
    ScoredPool,
    ViewInputs,
    build_pool,
    check_pool_scores,
    missed_positives,
)
from rerank_bench.records import CandidateSet, MeasureSummary, Qrels, View
from rerank_bench.trec_io import read_qrels

QRELS: Qrels = {
    "q1": {"z": 2, "b": 1, "x": 0, "a": 1},  # x is judged not relevant; a and z are missed
    "q2": {"c": 1},  # found
    "q3": {"y": 1},  # missed, as all is: no candidate
}
CANDIDATES = candidate_set({"q1": ["c", "b"], "q2": ["d", "c"], "q3": [], "q4": ["e"]})


def scored(candidates: CandidateSet, qrels: Qrels, scores: PoolScores, query_ids: Sequence[str]) -> ScoredPool:
    return ScoredPool(
        query_ids=query_ids, candidates=candidates, pool=build_pool(candidates, qrels), scores=scores, qrels=qrels
    )


def view_of(name: View, scores: Mapping[str, Sequence[float]]) -> ViewInputs:
    arrays = {query_id: np.asarray(values, dtype=np.float32) for query_id, values in scores.items()}
    return BUILDERS[name](scored(CANDIDATES, QRELS, arrays, ["q1", "q2", "q3"]))


SCORES = {"q1": [0.0, 1.0, 5.0, 0.5], "q2": [1.0, 2.0], "q3": [0.0]}  # pools: c b z a | d c | y


def test_missed_positives_stand_in_the_order_of_the_qrels() -> None:
    assert missed_positives(CANDIDATES, QRELS) == {"q1": ("z", "a"), "q2": (), "q3": ("y",), "q4": ()}


def test_the_pool_is_the_candidates_then_the_missed_positives() -> None:
    assert build_pool(CANDIDATES, QRELS) == {"q1": ("c", "b", "z", "a"), "q2": ("d", "c"), "q3": ("y",), "q4": ("e",)}


def test_end_to_end_ranks_the_candidates_against_all_judgements() -> None:
    view = view_of("end_to_end", SCORES)
    assert {q: docs.doc_ids for q, docs in view.first_stage.items()} == {"q1": ("c", "b"), "q2": ("d", "c"), "q3": ()}
    assert {q: docs.doc_ids for q, docs in view.reranked.items()} == {"q1": ("b", "c"), "q2": ("c", "d"), "q3": ()}
    assert view.first_stage_qrels == view.reranked_qrels == {q: QRELS[q] for q in ("q1", "q2", "q3")}


def test_injected_ranks_the_pool_and_its_base_is_empty_where_no_positive_was_retrieved() -> None:
    view = view_of("injected", SCORES)
    assert {q: docs.doc_ids for q, docs in view.first_stage.items()} == {
        "q1": ("c", "b", "z", "a"),
        "q2": ("d", "c"),
        "q3": (),
    }
    assert {q: docs.doc_ids for q, docs in view.reranked.items()} == {
        "q1": ("z", "b", "a", "c"),
        "q2": ("c", "d"),
        "q3": ("y",),
    }
    assert (
        view.first_stage_qrels
        == view.reranked_qrels
        == {"q1": {"z": 1, "b": 1, "a": 1}, "q2": {"c": 1}, "q3": {"y": 1}}
    )


def test_retrieved_counts_missed_positives_on_the_first_stages_side_only() -> None:
    view = view_of("retrieved", SCORES)
    assert {q: docs.doc_ids for q, docs in view.first_stage.items()} == {
        "q1": ("c", "b", "z", "a"),
        "q2": ("d", "c"),
        "q3": (),
    }
    assert {q: docs.doc_ids for q, docs in view.reranked.items()} == {"q1": ("b", "c"), "q2": ("c", "d"), "q3": ()}
    assert view.first_stage_qrels == {"q1": {"z": 1, "b": 1, "a": 1}, "q2": {"c": 1}, "q3": {"y": 1}}
    assert view.reranked_qrels == {"q1": {"b": 1}, "q2": {"c": 1}, "q3": {}}


def test_a_query_without_an_entry_is_named() -> None:
    qrels = {**QRELS, "q9": {"a": 1}}
    pool = ScoredPool(
        query_ids=["q9"], candidates=CANDIDATES, pool=build_pool(CANDIDATES, qrels), scores={}, qrels=qrels
    )
    with pytest.raises(DataError, match=r"tiny: 1 of 1 judged queries have no entry in the candidate list .*'q9'"):
        check_pool_scores(pool)


def test_a_query_without_scores_is_named() -> None:
    with pytest.raises(ScoringError, match=r"tiny: 2 of 3 judged queries have no scores \(first: 'q2', 'q3'\)"):
        check_pool_scores(scored(CANDIDATES, QRELS, {"q1": np.zeros(4, np.float32)}, ["q1", "q2", "q3"]))


def test_scores_for_the_candidates_alone_are_refused() -> None:
    with pytest.raises(ScoringError, match=r"tiny, query 'q1': scores of shape \(2,\) for a pool of 4 documents"):
        check_pool_scores(scored(CANDIDATES, QRELS, {"q1": np.zeros(2, np.float32)}, ["q1"]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_a_score_that_is_no_number_names_query_and_document(bad: float) -> None:
    scores = {"q1": np.array([0.0, 1.0, bad, 0.5])}  # the third is a missed positive: only two views would see it
    with pytest.raises(InvalidScoreError, match=r"query 'q1', document 'z': score is"):
        check_pool_scores(scored(CANDIDATES, QRELS, scores, ["q1"]))


# The real evaluator of Sentence Transformers, fed with the same ids and the same scores.

EVALUATOR_NAMES = {"nDCG@10": "ndcg@10", "RR@10": "mrr@10", "AP": "map"}


class GivenScores:
    """What the evaluator wants of a model; the scores are looked up."""

    def __init__(self, scores: Mapping[tuple[str, str], float]) -> None:
        self.scores = scores
        self.model_card_data = self

    def predict(self, pairs: Sequence[Sequence[str]], **_options: Any) -> NDArray[np.float32]:
        return np.array([self.scores[query, document] for query, document in pairs], dtype=np.float32)

    def set_evaluation_metrics(self, *_arguments: Any) -> None:
        """Take what the evaluator would write into a model card."""


def evaluator_values(
    candidates: CandidateSet, qrels: Qrels, scores: PoolScores, *, always_rerank_positives: bool
) -> dict[str, float]:
    from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator

    samples = [
        {"query": q, "positive": [d for d, g in qrels[q].items() if g >= 1], "documents": list(docs.doc_ids)}
        for q, docs in candidates.by_query.items()
        if any(grade >= 1 for grade in qrels[q].values())
    ]
    by_pair = {
        (query_id, doc_id): float(score)
        for query_id, docs in build_pool(candidates, qrels).items()
        for doc_id, score in zip(docs, scores[query_id], strict=True)
    }
    evaluator = CrossEncoderRerankingEvaluator(
        samples=samples, always_rerank_positives=always_rerank_positives, write_csv=False
    )
    return {name: float(value) for name, value in evaluator(GivenScores(by_pair)).items()}


def assert_equals_evaluator(candidates: CandidateSet, qrels: Qrels, scores: PoolScores) -> None:
    evaluation = evaluate_reranker(
        query_ids=list(candidates.by_query), qrels=qrels, candidates=candidates, scores=scores, resamples=10
    )
    flags: list[tuple[View, bool]] = [("injected", True), ("retrieved", False)]
    for view, always_rerank_positives in flags:
        theirs = evaluator_values(candidates, qrels, scores, always_rerank_positives=always_rerank_positives)
        ours: Mapping[str, MeasureSummary] = evaluation.views[view].measures
        assert tuple(ours) == COMPATIBILITY_MEASURES
        for name, their_name in EVALUATOR_NAMES.items():
            assert ours[name].reranked == pytest.approx(theirs[their_name], abs=1e-6), (view, name)
            assert ours[name].first_stage == pytest.approx(theirs[f"base_{their_name}"], abs=1e-6), (view, name)


@pytest.mark.parametrize("seed", range(12))
def test_random_cases_equal_the_evaluator(seed: int) -> None:
    rng = np.random.default_rng(seed)
    candidates, qrels = random_collection(rng, num_queries=25, num_docs=40, depth=int(rng.integers(3, 30)))
    assert_equals_evaluator(candidates, qrels, distinct_scores(candidates, qrels, rng, skill=float(seed % 3)))


def test_the_identity_reranker_shows_the_evaluators_gain_in_retrieved() -> None:
    """Its base counts missed positives and its reranked side does not; end_to_end shows no difference."""
    candidates, qrels = random_collection(np.random.default_rng(0), num_queries=30, num_docs=40, depth=20)
    scores = scores_in_order(candidates, qrels)
    assert_equals_evaluator(candidates, qrels, scores)
    evaluation = evaluate_reranker(
        query_ids=list(qrels), qrels=qrels, candidates=candidates, scores=scores, resamples=10
    )
    assert evaluation.views["retrieved"].measures["nDCG@10"].delta > 0.01
    assert evaluation.views["end_to_end"].measures["nDCG@10"].delta == 0.0


def bm25_lists(folder: Path, depth: int) -> tuple[CandidateSet, Qrels]:
    """Real lists from an independent BM25, for the judged queries."""
    import json

    import bm25s

    qrels = read_qrels(folder / "qrels" / "test.tsv")
    docs = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    queries = {row["_id"]: row["text"] for row in map(json.loads, (folder / "queries.jsonl").read_text().splitlines())}
    index = bm25s.BM25()
    texts = [f"{doc['title']} {doc['text']}" for doc in docs]
    index.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
    asked = bm25s.tokenize([queries[q] for q in qrels], stopwords="en", show_progress=False)
    found, _ = index.retrieve(asked, k=depth, show_progress=False)
    doc_ids = [doc["_id"] for doc in docs]
    return candidate_set({q: [doc_ids[i] for i in row] for q, row in zip(qrels, found, strict=True)}), qrels


@pytest.mark.parametrize("name", ["scifact", "cranfield"])
def test_real_collections_equal_the_evaluator(shared_data: Path, name: str) -> None:
    candidates, qrels = bm25_lists(shared_data / name, depth=50)
    assert any(missed_positives(candidates, qrels).values())
    assert_equals_evaluator(candidates, qrels, distinct_scores(candidates, qrels, np.random.default_rng(1), skill=1.5))
