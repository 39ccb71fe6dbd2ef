"""The evaluation of a reranker and of a suite: identities, bounds, fates of queries, errors."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_collections import candidate_set, distinct_scores, random_collection, scores_in_order

from rerank_bench.errors import ComparisonError, ConfigError, DataError, InvalidScoreError
from rerank_bench.evaluation.evaluate import evaluate_reranker, evaluate_suite
from rerank_bench.evaluation.measures import STANDARD_MEASURES
from rerank_bench.evaluation.significance import MDE_TWO_SIDED
from rerank_bench.evaluation.views import COMPATIBILITY_MEASURES, PoolScores, build_pool
from rerank_bench.records import VIEWS, CandidateSet, Evaluation, Qrels, ScoredDocs


def evaluate(
    candidates: CandidateSet, qrels: Qrels, scores: PoolScores, *, resamples: int = 50, missing: Collection[str] = ()
) -> Evaluation:
    return evaluate_reranker(
        query_ids=list(candidates.by_query),
        qrels=qrels,
        candidates=candidates,
        scores=scores,
        resamples=resamples,
        missing=missing,
    )


def random_evaluation(seed: int, *, num_queries: int = 20, skill: float = 1.0) -> Evaluation:
    rng = np.random.default_rng(seed)
    candidates, qrels = random_collection(rng, num_queries=num_queries, num_docs=60, depth=30)
    return evaluate(candidates, qrels, distinct_scores(candidates, qrels, rng, skill=skill), resamples=500)


def test_values_by_hand_in_all_views() -> None:
    qrels = {"q": {"a": 2, "m": 1}}  # m is missed by the first stage
    candidates = candidate_set({"q": ["x", "a"]})
    evaluation = evaluate(candidates, qrels, {"q": np.array([0.0, 1.0, 2.0], np.float32)})  # pool: x a m
    by_view = {view: evaluation.views[view].per_query["AP"]["q"] for view in VIEWS}
    assert by_view["end_to_end"] == pytest.approx((1 / 4, 1 / 2))
    assert by_view["injected"] == pytest.approx(((1 / 2 + 2 / 3) / 2, 1.0))
    assert by_view["retrieved"] == pytest.approx(((1 / 2 + 2 / 3) / 2, 1.0))
    summary = evaluation.views["end_to_end"].measures["nDCG@10"]
    ideal = 2 + 1 / np.log2(3)
    assert summary.first_stage == pytest.approx(2 / np.log2(3) / ideal)
    assert summary.reranked == summary.ceiling == pytest.approx(2 / ideal)
    assert summary.headroom_used == pytest.approx(1.0)
    assert (summary.better, summary.equal, summary.worse) == (1, 0, 0)
    assert (summary.ci, summary.sd, summary.mde) == (None, None, None)


def test_views_have_their_measures() -> None:
    evaluation = random_evaluation(0)
    assert tuple(evaluation.views) == VIEWS
    assert tuple(evaluation.views["end_to_end"].measures) == STANDARD_MEASURES
    for view in ("injected", "retrieved"):
        assert tuple(evaluation.views[view].measures) == COMPATIBILITY_MEASURES
        assert all(summary.ceiling is None for summary in evaluation.views[view].measures.values())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_identity_reranker_changes_nothing_anywhere(seed: int) -> None:
    candidates, qrels = random_collection(np.random.default_rng(seed), num_queries=8, num_docs=40, depth=25)
    evaluation = evaluate(candidates, qrels, scores_in_order(candidates, qrels))
    view = evaluation.views["end_to_end"]
    for name, summary in view.measures.items():
        assert summary.delta == 0.0, name
        assert (summary.ci, summary.p) == ((0.0, 0.0), 1.0), name
        assert (summary.better, summary.equal, summary.worse) == (0, 8, 0), name
        assert all(before == after for before, after in view.per_query[name].values())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), skill=st.floats(-2, 6))
def test_values_lie_between_zero_and_their_ceiling(seed: int, skill: float) -> None:
    rng = np.random.default_rng(seed)
    candidates, qrels = random_collection(rng, num_queries=8, num_docs=40, depth=25)
    evaluation = evaluate(candidates, qrels, distinct_scores(candidates, qrels, rng, skill=skill))
    for view in VIEWS:
        for pairs in evaluation.views[view].per_query.values():
            assert all(0.0 <= value <= 1.0 + 1e-12 for pair in pairs.values() for value in pair)
    for name, summary in evaluation.views["end_to_end"].measures.items():
        assert summary.ceiling is not None
        assert max(summary.first_stage, summary.reranked) <= summary.ceiling, name
        if summary.headroom_used is not None:
            assert summary.headroom_used <= 1.0, name


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_oracle_reaches_the_ceiling_of_every_measure(seed: int) -> None:
    candidates, qrels = random_collection(np.random.default_rng(seed), num_queries=37, num_docs=40, depth=25)
    scores = {
        q: np.array([qrels[q].get(d, -1) for d in docs], np.float32)
        for q, docs in build_pool(candidates, qrels).items()
    }
    evaluation = evaluate(candidates, qrels, scores)
    for name, summary in evaluation.views["end_to_end"].measures.items():
        assert summary.reranked == summary.ceiling, name  # to the last digit: nothing is above its ceiling
        assert summary.headroom_used in {1.0, None}, name
    assert evaluation.views["injected"].measures["nDCG@10"].reranked == pytest.approx(1.0)


def test_there_is_no_headroom_when_depth_bounds_the_measure() -> None:
    """R@100 of 30 candidates cannot change; its share of headroom is not 0 / 0."""
    summary = random_evaluation(2).views["end_to_end"].measures["R@100"]
    assert summary.ceiling == summary.first_stage
    assert summary.headroom_used is None


def test_a_measure_with_gains_of_its_own_has_no_ceiling() -> None:
    candidates, qrels = random_collection(np.random.default_rng(1), num_queries=5, num_docs=40, depth=25)
    name = "nDCG(gains={1:5})@10"
    evaluation = evaluate_reranker(
        query_ids=list(qrels),
        qrels=qrels,
        candidates=candidates,
        scores=scores_in_order(candidates, qrels),
        measures=[name],
        resamples=10,
    )
    assert evaluation.views["end_to_end"].measures[name].ceiling is None


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shifts=st.lists(st.integers(-1000, 1000), min_size=6, max_size=6),
    factor=st.sampled_from([0.5, 2.0, 8.0]),
)
def test_only_the_order_of_scores_counts(seed: int, shifts: list[int], factor: float) -> None:
    rng = np.random.default_rng(seed)
    candidates, qrels = random_collection(rng, num_queries=6, num_docs=40, depth=25)
    scores = distinct_scores(candidates, qrels, rng)
    moved = {
        q: s * np.float32(factor) + np.float32(shift) for (q, s), shift in zip(scores.items(), shifts, strict=True)
    }
    assert evaluate(candidates, qrels, moved) == evaluate(candidates, qrels, scores)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), are_tied=st.booleans())
def test_the_candidates_order_does_not_reach_the_reranked_values(seed: int, are_tied: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis, not called by a reader
    rng = np.random.default_rng(seed)
    candidates, qrels = random_collection(rng, num_queries=6, num_docs=40, depth=25)
    scores = distinct_scores(candidates, qrels, rng)
    if are_tied:
        scores = {query_id: values // 4 for query_id, values in scores.items()}
    by_doc = {q: dict(zip(docs, scores[q], strict=True)) for q, docs in build_pool(candidates, qrels).items()}
    shuffled = candidate_set({q: list(rng.permutation(docs.doc_ids)) for q, docs in candidates.by_query.items()})
    reordered = {q: np.array([by_doc[q][d] for d in docs]) for q, docs in build_pool(shuffled, qrels).items()}
    before, after = evaluate(candidates, qrels, scores), evaluate(shuffled, qrels, reordered)
    assert before.ties == after.ties
    for view in VIEWS:
        for name, pairs in before.views[view].per_query.items():
            other = after.views[view].per_query[name]
            assert {q: pair[1] for q, pair in pairs.items()} == {q: pair[1] for q, pair in other.items()}


def test_the_value_lies_between_the_bounds_of_its_ties() -> None:
    rng = np.random.default_rng(4)
    candidates, qrels = random_collection(rng, num_queries=20, num_docs=40, depth=25)
    scores = {q: rng.integers(0, 5, size=len(d)).astype(np.float32) for q, d in build_pool(candidates, qrels).items()}
    evaluation = evaluate(candidates, qrels, scores)
    value = evaluation.views["end_to_end"].measures["nDCG@10"].reranked
    assert evaluation.ties.lowest < value < evaluation.ties.highest
    assert evaluation.ties.share_tied > 0.9


def test_queries_by_fate() -> None:
    qrels = {
        "found": {"a": 1},
        "missed": {"m": 1},
        "no candidates": {"m": 2},
        "all zero": {"a": 0, "b": -1},
        "of another split": {"a": 1},
    }
    lists = {"found": ["b", "a"], "missed": ["a"], "no candidates": [], "all zero": ["a"], "unjudged": ["a"]}
    candidates = candidate_set(lists)
    scores = {q: np.arange(len(docs), dtype=np.float32) for q, docs in build_pool(candidates, qrels).items()}
    evaluation = evaluate(candidates, qrels, scores)
    assert evaluation.counts == {
        "queries": 5,
        "evaluated": 3,
        "unjudged": 1,
        "all_zero": 1,
        "empty_candidates": 1,
        "no_positive_retrieved": 2,
        "missing": 0,
    }
    rr = {view: dict(evaluation.views[view].per_query["RR@10"]) for view in VIEWS}
    assert rr["end_to_end"] == {"found": (0.5, 1.0), "missed": (0.0, 0.0), "no candidates": (0.0, 0.0)}
    assert rr["injected"] == {"found": (0.5, 1.0), "missed": (0.0, 1.0), "no candidates": (0.0, 1.0)}
    assert rr["retrieved"] == rr["end_to_end"]
    assert evaluation.views["end_to_end"].measures["RR@10"].reranked == pytest.approx(1 / 3)


def test_a_query_that_was_not_reranked_counts_0_after_reranking_in_every_view() -> None:
    rng = np.random.default_rng(5)
    candidates, qrels = random_collection(rng, num_queries=8, num_docs=40, depth=25)
    scores = distinct_scores(candidates, qrels, rng, skill=1.0)
    whole = evaluate(candidates, qrels, scores)
    absent = next(q for q, (_, after) in whole.views["end_to_end"].per_query["P@1"].items() if after > 0)
    part = evaluate(candidates, qrels, scores, missing={absent, "not judged"})
    assert part.counts == {**whole.counts, "missing": 1}
    for view in VIEWS:
        for name, pairs in whole.views[view].per_query.items():
            expected = {q: (before, 0.0 if q == absent else after) for q, (before, after) in pairs.items()}
            assert part.views[view].per_query[name] == expected, (view, name)


def test_scores_of_queries_that_are_not_evaluated_are_not_needed() -> None:
    qrels = {"q": {"a": 1}, "zero": {"a": 0}}
    candidates = candidate_set({"q": ["a", "b"], "zero": ["a"], "unjudged": ["a"]})
    assert evaluate(candidates, qrels, {"q": np.array([1.0, 0.0], np.float32)}).counts["evaluated"] == 1


@pytest.mark.parametrize(
    ("qrels", "problem"),
    [
        ({}, r"tiny: none of 1 queries has a positive judgement \(0 are judged at all\)"),
        ({"q": {"a": 0}}, r"tiny: none of 1 queries has a positive judgement \(1 are judged at all\)"),
        ({"7": {"a": 1}}, r"expected grades of at least 1 for ids such as 'q'"),
    ],
)
def test_nothing_to_evaluate(qrels: Qrels, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        evaluate(candidate_set({"q": ["a"]}), qrels, {})


def test_bad_scores_and_bad_measures_are_errors() -> None:
    candidates, qrels = candidate_set({"q": ["a", "b"]}), {"q": {"a": 1}}
    with pytest.raises(InvalidScoreError, match="query 'q', document 'b': score is nan"):
        evaluate(candidates, qrels, {"q": np.array([1.0, np.nan], np.float32)})
    with pytest.raises(ConfigError, match="unknown measure 'nDGC@10'"):
        evaluate_reranker(query_ids=["q"], qrels=qrels, candidates=candidates, scores={}, measures=["nDGC@10"])


def test_one_candidate_only() -> None:
    evaluation = evaluate(candidate_set({"q": ["a"]}), {"q": {"a": 1}}, {"q": np.zeros(1, np.float32)})
    assert evaluation.views["end_to_end"].per_query["nDCG@10"] == {"q": (1.0, 1.0)}


def test_the_seed_decides_the_interval() -> None:
    rng = np.random.default_rng(0)
    candidates, qrels = random_collection(rng, num_queries=20, num_docs=40, depth=25)
    scores = distinct_scores(candidates, qrels, rng)
    results = [
        evaluate_reranker(
            query_ids=list(qrels), qrels=qrels, candidates=candidates, scores=scores, seed=seed, resamples=300
        )
        for seed in (1, 1, 2)
    ]
    assert results[0] == results[1]
    assert results[0].views["injected"].measures["AP"].ci != results[2].views["injected"].measures["AP"].ci


def test_summary_of_one_data_set() -> None:
    evaluation = random_evaluation(3, num_queries=40)
    for view in VIEWS:
        for name, summary in evaluation.views[view].measures.items():
            pairs = np.array(list(evaluation.views[view].per_query[name].values()))
            differences = pairs[:, 1] - pairs[:, 0]
            assert summary.first_stage == pytest.approx(pairs[:, 0].mean())
            assert summary.reranked == pytest.approx(pairs[:, 1].mean())
            assert summary.delta == pytest.approx(differences.mean())
            assert summary.sd == pytest.approx(differences.std(ddof=1))
            assert summary.mde == pytest.approx(MDE_TWO_SIDED * differences.std(ddof=1) / np.sqrt(40))
            assert summary.ci is not None
            assert summary.ci[0] <= summary.delta <= summary.ci[1]


def test_a_suite_weighs_its_data_sets_alike() -> None:
    parts = {"small": random_evaluation(1, num_queries=8), "large": random_evaluation(2, num_queries=60)}
    suite = evaluate_suite(parts, resamples=500)
    for view in VIEWS:
        assert tuple(suite[view]) == tuple(parts["small"].views[view].measures)
        for name, summary in suite[view].items():
            small, large = (parts[p].views[view].measures[name] for p in ("small", "large"))
            assert summary.reranked == pytest.approx((small.reranked + large.reranked) / 2)
            assert summary.delta == pytest.approx((small.delta + large.delta) / 2)
            assert (summary.better, summary.equal, summary.worse) == (
                small.better + large.better,
                small.equal + large.equal,
                small.worse + large.worse,
            )
            assert small.mde is not None
            assert large.mde is not None
            assert summary.mde == pytest.approx(np.hypot(small.mde, large.mde) / 2)
    ceilings = [parts[p].views["end_to_end"].measures["nDCG@10"].ceiling for p in ("small", "large")]
    assert suite["end_to_end"]["nDCG@10"].ceiling == pytest.approx(np.mean([c for c in ceilings if c is not None]))


def test_a_suite_of_one_data_set_is_that_data_set() -> None:
    only = random_evaluation(5, num_queries=30)
    suite = evaluate_suite({"only": only}, resamples=500)
    for view in VIEWS:
        assert suite[view] == only.views[view].measures


def test_a_suite_does_not_depend_on_the_order_of_its_data_sets() -> None:
    first, second = random_evaluation(1), random_evaluation(2, num_queries=9)
    assert evaluate_suite({"a": first, "b": second}, resamples=99) == evaluate_suite(
        {"b": second, "a": first}, resamples=99
    )


def test_the_order_of_a_files_lines_moves_no_digit() -> None:
    """Intervals, p-values and means too: a data set's fingerprints do not know that order."""
    rng = np.random.default_rng(5)
    candidates, qrels = random_collection(rng, num_queries=30, num_docs=40, depth=25)
    scores = distinct_scores(candidates, qrels, rng)
    turned = evaluate_reranker(
        query_ids=list(candidates.by_query)[::-1],
        qrels={query_id: qrels[query_id] for query_id in reversed(qrels)},
        candidates=candidates,
        scores=scores,
        resamples=50,
    )
    evaluation = evaluate(candidates, qrels, scores)
    assert turned == evaluation
    assert evaluate_suite({"a": turned}, resamples=50) == evaluate_suite({"a": evaluation}, resamples=50)


def test_a_suite_with_a_data_set_of_one_query_has_no_interval() -> None:
    suite = evaluate_suite({"a": random_evaluation(1), "one": random_evaluation(2, num_queries=1)}, resamples=99)
    summary = suite["end_to_end"]["nDCG@10"]
    assert (summary.ci, summary.mde) == (None, None)
    assert summary.p is not None
    assert summary.sd is not None


def test_suites_that_cannot_be_averaged() -> None:
    with pytest.raises(DataError, match="a suite needs at least one evaluated data set"):
        evaluate_suite({})
    whole = random_evaluation(1)
    view = whole.views["end_to_end"]
    fewer = replace(view, measures={name: view.measures[name] for name in STANDARD_MEASURES[:-1]})
    part = replace(whole, views={**whole.views, "end_to_end": fewer})
    with pytest.raises(ComparisonError, match=r"'a' and 'b' .* only one has Judged@10 \(end_to_end\)"):
        evaluate_suite({"a": whole, "b": part})


def test_inputs_are_left_as_they_are() -> None:
    rng = np.random.default_rng(6)
    candidates, qrels = random_collection(rng, num_queries=5, num_docs=40, depth=25)
    scores = distinct_scores(candidates, qrels, rng)
    lists = {q: (docs.doc_ids, docs.scores.copy()) for q, docs in candidates.by_query.items()}
    copies = {q: values.copy() for q, values in scores.items()}
    for values in scores.values():
        values.flags.writeable = False
    evaluate(candidates, qrels, scores)
    assert all(np.array_equal(copies[q], scores[q]) for q in scores)
    assert all(_same(docs, lists[q]) for q, docs in candidates.by_query.items())


def _same(docs: ScoredDocs, before: tuple[tuple[str, ...], object]) -> bool:
    return docs.doc_ids == before[0] and np.array_equal(docs.scores, np.asarray(before[1]))


def test_fifty_queries_take_well_under_a_second() -> None:
    rng = np.random.default_rng(0)
    candidates, qrels = random_collection(rng, num_queries=50, num_docs=300, depth=100)
    scores = distinct_scores(candidates, qrels, rng, skill=1.0)
    evaluate(candidates, qrels, scores)  # the first call imports ir-measures and scipy
    started = time.perf_counter()
    evaluate(candidates, qrels, scores, resamples=10_000)
    # 0.15 s on an idle core; the bound leaves room for a busy machine.
    assert time.perf_counter() - started < 2.0
