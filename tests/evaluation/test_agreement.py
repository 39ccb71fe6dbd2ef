"""Agreement of two runs, against what scipy and pencil say."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_bench.errors import ComparisonError
from rerank_bench.evaluation.agreement import rank_agreement
from rerank_bench.ranking import rank_docs
from rerank_bench.records import ScoredDocs


def ranked(scores: Mapping[str, Mapping[str, float]]) -> dict[str, ScoredDocs]:
    return {query_id: rank_docs(query_id, list(docs), list(docs.values())) for query_id, docs in scores.items()}


def test_by_hand() -> None:
    # q1: the pair (a, b) is swapped, 1 of 3 pairs discordant: tau = (2 − 1) / 3. q2: b and c tie in the run alone:
    # tau-b = 2 / sqrt(3 · 2).
    reference = ranked({"q1": {"a": 3.0, "b": 2.0, "c": -4.0}, "q2": {"a": 2.0, "b": 1.0, "c": 0.5}})
    run = ranked({"q1": {"a": 2.0, "b": 2.5, "c": -4.0}, "q2": {"a": 2.0, "b": 0.75, "c": 0.75}})
    found = rank_agreement(run, reference, {"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"a": 1}})
    assert found.kendall_tau == pytest.approx((1 / 3 + 2 / np.sqrt(6)) / 2)
    assert (found.num_queries, found.num_docs) == (2, 6)
    assert (found.top10_overlap, found.top10_changed) == (1.0, 1.0)  # q2: among equals, c stands before b
    assert (found.spurious_ties, found.largest_score_difference, found.largest_score) == (2, 1.0, 4.0)
    # q1: the positive falls from rank 1 to 2.
    assert found.ndcg10_reference == pytest.approx(1.0)
    assert found.ndcg10 == pytest.approx((1 / np.log2(3) + 1) / 2)


def test_the_overlap_counts_the_first_ten() -> None:
    docs = {f"d{n:02}": float(-n) for n in range(12)}
    moved = docs | {"d09": -10.5, "d10": -9.5, "d11": 0.5}
    found = rank_agreement(ranked({"q": moved}), ranked({"q": docs}), {})
    assert found.top10_overlap == pytest.approx(0.9)  # d11 in, d09 out
    assert (found.ndcg10, found.ndcg10_reference) == (None, None)


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-5, 5), min_size=1))
def test_a_run_agrees_with_itself(scores: dict[str, int]) -> None:
    run = ranked({"q": {doc: float(score) for doc, score in scores.items()}, "empty": {}})
    found = rank_agreement(run, run, {"q": {"a": 1}})
    assert found.kendall_tau == (pytest.approx(1.0) if len(set(scores.values())) > 1 else None)
    assert (found.top10_overlap, found.top10_changed, found.spurious_ties) == (1.0, 0.0, 0)
    assert found.largest_score_difference == 0.0
    assert found.ndcg10 == found.ndcg10_reference


def test_other_documents_or_none_are_an_error() -> None:
    run = ranked({"q1": {"a": 1.0}, "q2": {"a": 1.0}})
    for other in (ranked({"q1": {"a": 1.0}, "q2": {"b": 1.0}}), ranked({"q1": {"a": 1.0}})):
        with pytest.raises(ComparisonError, match="query 'q2': the two runs do not rank the same documents"):
            rank_agreement(run, other, {})
    with pytest.raises(ComparisonError, match="no query has a document"):
        rank_agreement(ranked({"q": {}}), ranked({"q": {}}), {})
