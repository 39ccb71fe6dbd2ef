"""Agreement of two scorings, against scipy; tolerances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rerank_bench.errors import ComparisonError
from rerank_bench.gate.repro import judge_repro, rank_correlation, round_up
from rerank_bench.ranking import rank_docs
from rerank_bench.records import Run

DOCS = [f"d{i}" for i in range(30)]


def run_of(scores_by_query: dict[str, np.ndarray]) -> Run:
    return {query_id: rank_docs(query_id, DOCS[: len(s)], s) for query_id, s in scores_by_query.items()}


@given(st.permutations(range(12)))
def test_rank_correlation_equals_scipys(ranks: list[int]) -> None:
    expected = stats.spearmanr(np.arange(12), ranks).statistic
    assert rank_correlation(np.array(ranks)) == pytest.approx(expected)


def test_agreement_equals_scipys_on_scores() -> None:
    rng = np.random.default_rng(3)
    before = {f"q{i}": rng.normal(size=30) for i in range(5)}
    after = {query_id: scores + 0.3 * rng.normal(size=30) for query_id, scores in before.items()}
    after["q4"] = before["q4"].copy()
    result = judge_repro(
        {"set": (0.5, 0.4991)}, lambda _: (run_of(before), run_of(after)), tolerance=0.001, max_score_difference=None
    )
    (found,) = result.datasets
    gaps = np.concatenate([np.abs(before[q].astype(np.float32) - after[q].astype(np.float32)) for q in before])
    assert found.max_score_difference == pytest.approx(gaps.max(), rel=1e-6)
    assert found.mean_score_difference == pytest.approx(gaps.mean(), rel=1e-6)
    correlations = [stats.spearmanr(before[q], after[q]).statistic for q in before]
    assert found.mean_rank_correlation == pytest.approx(np.mean(correlations))
    assert found.min_rank_correlation == pytest.approx(min(correlations))
    changed = [q for q in before if list(np.argsort(-before[q])[:10]) != list(np.argsort(-after[q])[:10])]
    assert (found.changed_top, changed) == (4, ["q0", "q1", "q2", "q3"])
    assert result.verdict == "reproduced"


@pytest.mark.parametrize(("run", "verdict"), [(0.502, "reproduced"), (0.498, "reproduced"), (0.5021, "changed")])
def test_the_tolerance_holds_both_ways_and_its_edge_is_inside(run: float, verdict: str) -> None:
    scores = run_of({"q": np.arange(3.0)})
    result = judge_repro({"set": (0.5, run)}, lambda _: (scores, scores), tolerance=0.002, max_score_difference=None)
    assert result.verdict == verdict


def test_what_was_scored_in_one_run_only_is_named() -> None:
    full = run_of({"q1": np.arange(4.0), "q2": np.arange(4.0)})
    for other, problem in (
        (run_of({"q1": np.arange(4.0)}), r"queries of set: the run lacks 1 \(first: 'q2'\)"),
        (run_of({"q1": np.arange(4.0), "q2": np.arange(3.0)}), r"documents of set, query 'q2': the run lacks 1"),
        (run_of({"q1": np.arange(4.0), "q2": np.arange(5.0)}), r"query 'q2': the baseline lacks 1 \(first: 'd4'\)"),
    ):
        rankings = {"set": (full, other)}
        with pytest.raises(ComparisonError, match=problem):
            judge_repro({"set": (0.5, 0.5)}, rankings.__getitem__, tolerance=1.0, max_score_difference=None)


def test_lists_of_one_document_have_no_correlation() -> None:
    one = run_of({"q": np.array([1.0])})
    result = judge_repro({"set": (0.5, 0.5)}, lambda _: (one, one), tolerance=0.0, max_score_difference=0.0)
    assert (result.datasets[0].mean_rank_correlation, result.datasets[0].min_rank_correlation) == (None, None)


@given(st.floats(1e-9, 1e3))
def test_rounding_up_goes_up_by_less_than_a_tenth(value: float) -> None:
    rounded = round_up(value)
    assert value * (1 - 1e-9) <= rounded <= value * 1.1 + 1e-12
    assert float(f"{rounded:.2g}") == rounded


def test_nothing_rounds_to_nothing() -> None:
    assert round_up(0.0) == 0.0
