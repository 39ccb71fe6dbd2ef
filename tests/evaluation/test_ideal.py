"""No order of a list has a higher value than the best one; no list at all has a higher one than the ideal."""

from __future__ import annotations

from itertools import permutations

import pytest

from rerank_bench.evaluation.ideal import best_order, has_best_order, ideal_order
from rerank_bench.evaluation.measures import evaluate_run
from rerank_bench.ranking import scores_from_ranks
from rerank_bench.records import ScoredDocs

JUDGED = {"a": 1, "b": 3, "c": 0, "missed": 2, "worse": -1}
DOCS = ("c", "unjudged", "a", "worse", "b")
MEASURES = ("nDCG@3", "RR@10", "AP", "R@2", "P@1", "Judged@3")


def value(doc_ids: tuple[str, ...], measure: str) -> float:
    run = {"q": ScoredDocs(doc_ids, scores_from_ranks(len(doc_ids)))}
    return evaluate_run({"q": JUDGED}, run, [measure])[measure]["q"]


@pytest.mark.parametrize("measure", MEASURES)
def test_no_permutation_is_better(measure: str) -> None:
    found = best_order(ScoredDocs(DOCS, scores_from_ranks(len(DOCS))), JUDGED)
    assert sorted(found.doc_ids) == sorted(DOCS)
    best = value(found.doc_ids, measure)
    assert best == pytest.approx(max(value(order, measure) for order in permutations(DOCS)), abs=1e-12)
    assert value(ideal_order(JUDGED).doc_ids, measure) >= best - 1e-12


def test_the_ideal_holds_every_judged_document_by_falling_grade() -> None:
    assert ideal_order(JUDGED).doc_ids == ("b", "missed", "a", "c", "worse")
    assert value(ideal_order(JUDGED).doc_ids, "nDCG@3") == 1.0


def test_gains_of_ones_own_have_no_best_order() -> None:
    assert has_best_order("nDCG@10")
    assert not has_best_order("nDCG(gains={1: 5, 2: 1})@10")
