"""The order of the protocol, against trec_eval itself (through pytrec_eval)."""

from __future__ import annotations

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from rerank_bench.errors import InvalidScoreError
from rerank_bench.ranking import check_finite, rank_docs, scores_from_ranks

# Few distinct values, so that most lists hold ties; 1 and 1 + 3e-8 are one float32.
SCORES = st.sampled_from([0.0, -0.0, 1.0, 1.0 + 3e-8, 2.5, -7.25, 1e-30])
DOCS = st.dictionaries(st.text("ab1029é", min_size=1, max_size=4), SCORES, min_size=1, max_size=12)


@given(DOCS, st.randoms(use_true_random=False))
def test_order_is_the_one_that_trec_eval_evaluates(scores: dict[str, float], random: object) -> None:
    doc_ids = list(scores)
    random.shuffle(doc_ids)  # type: ignore[attr-defined]
    ranked = rank_docs("q", doc_ids, [scores[d] for d in doc_ids])
    # With one relevant document, trec_eval's reciprocal rank tells the position it saw.
    for position, doc_id in enumerate(ranked.doc_ids, start=1):
        evaluator = pytrec_eval.RelevanceEvaluator({"q": {doc_id: 1}}, {"recip_rank"})
        assert evaluator.evaluate({"q": scores})["q"]["recip_rank"] == pytest.approx(1 / position)


def test_ties_at_the_depth_are_cut_by_descending_id() -> None:
    ranked = rank_docs("q", ["a", "c", "b"], [1.0, 1.0, 1.0], depth=2)
    assert ranked.doc_ids == ("c", "b")
    assert ranked.scores.dtype == np.float32


def test_no_document_gives_an_empty_list() -> None:
    assert rank_docs("q", [], []).doc_ids == ()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e300])
def test_a_score_that_is_not_finite_names_query_and_document(bad: float) -> None:
    with pytest.raises(InvalidScoreError, match=r"query 'q7', document 'd2': score is (nan|inf), expected a finite"):
        rank_docs("q7", ["d1", "d2"], [0.5, bad])


def test_check_finite_accepts_finite_scores() -> None:
    check_finite("q", ["a"], np.array([1.0], dtype=np.float32))


def test_scores_from_ranks_keep_the_order_of_the_list() -> None:
    assert rank_docs("q", ["z", "a", "m"], scores_from_ranks(3)).doc_ids == ("z", "a", "m")
