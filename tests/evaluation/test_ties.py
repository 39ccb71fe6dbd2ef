"""Tie reports against all orders of the tied documents."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rerank_bench.evaluation.measures import evaluate_run
from rerank_bench.evaluation.ties import report_ties
from rerank_bench.ranking import rank_docs
from rerank_bench.records import EMPTY_DOCS, ScoredDocs, TieReport


def all_values(docs: ScoredDocs, grades: dict[str, int], cutoff: int) -> list[float]:
    """nDCG@cutoff of every order of the documents that the scores allow."""
    name = f"nDCG@{cutoff}"
    values = set()
    for order in itertools.permutations(range(len(docs))):
        scores = docs.scores[list(order)]
        if (np.diff(scores) <= 0).all():
            arranged = ScoredDocs(tuple(docs.doc_ids[i] for i in order), scores)
            values.add(evaluate_run({"q": grades}, {"q": arranged}, [name])[name]["q"])
    return sorted(values)


@pytest.mark.parametrize("seed", range(15))
def test_bounds_are_those_of_all_orders(seed: int) -> None:
    rng = np.random.default_rng(seed)
    doc_ids = [f"d{i}" for i in range(6)]
    grades = {f"d{i}": int(rng.integers(-1, 4)) for i in range(5)} | {"missed": 2}
    docs = rank_docs("q", doc_ids, rng.integers(0, 3, size=6).astype(np.float32))
    values = all_values(docs, grades, cutoff=3)
    report = report_ties({"q": docs}, {"q": grades}, cutoff=3)
    assert report.lowest == pytest.approx(values[0], abs=1e-12)
    assert report.highest == pytest.approx(values[-1], abs=1e-12)


def test_bounds_are_means_over_all_queries_of_the_run() -> None:
    run = {
        "tied": rank_docs("tied", ["a", "b"], [1.0, 1.0]),
        "clear": rank_docs("clear", ["c", "d"], [2.0, 1.0]),
        "empty": EMPTY_DOCS,
    }
    qrels = {"tied": {"a": 1}, "clear": {"c": 1}, "empty": {"e": 1}}
    report = report_ties(run, qrels)
    assert report.lowest == pytest.approx((1 / np.log2(3) + 1) / 3)
    assert report.highest == pytest.approx(2 / 3)


def test_shares_of_ties() -> None:
    run = {
        "across": rank_docs("across", ["a", "b", "c", "d"], [3.0, 2.0, 2.0, 1.0]),
        "across too": rank_docs("across too", ["a", "b", "c", "d"], [4.0, 3.0, 3.0, 3.0]),
        "inside": rank_docs("inside", ["a", "b", "c", "d"], [3.0, 3.0, 2.0, 1.0]),
        "below": rank_docs("below", ["a", "b", "c", "d"], [3.0, 2.0, 1.0, 1.0]),
        "short": rank_docs("short", ["a", "b"], [1.0, 1.0]),
    }
    report = report_ties(run, {query_id: {"a": 1} for query_id in run}, cutoff=2)
    assert report.share_crossing == pytest.approx(2 / 5)
    assert report.share_tied == pytest.approx(11 / 18)


def test_scores_that_are_equal_as_float32_tie() -> None:
    report = report_ties({"q": rank_docs("q", ["a", "b"], [1.0, 1.0 + 3e-8])}, {"q": {"a": 1}}, cutoff=1)
    assert (report.share_crossing, report.share_tied, report.lowest, report.highest) == (1.0, 1.0, 0.0, 1.0)


def test_without_ties_both_bounds_are_the_value() -> None:
    rng = np.random.default_rng(3)
    run = {f"q{n}": rank_docs(f"q{n}", [f"d{i}" for i in range(30)], rng.permutation(30)) for n in range(5)}
    qrels = {f"q{n}": {f"d{i}": int(rng.integers(0, 3)) for i in range(20)} for n in range(5)}
    value = np.mean(list(evaluate_run(qrels, run, ["nDCG@10"])["nDCG@10"].values()))
    assert report_ties(run, qrels) == TieReport(
        cutoff=10, share_crossing=0.0, share_tied=0.0, lowest=float(value), highest=float(value)
    )


def test_a_run_without_documents() -> None:
    expected = TieReport(cutoff=10, share_crossing=0.0, share_tied=0.0, lowest=0.0, highest=0.0)
    assert report_ties({"q": EMPTY_DOCS}, {"q": {"a": 1}}) == expected
    assert report_ties({}, {}) == expected
