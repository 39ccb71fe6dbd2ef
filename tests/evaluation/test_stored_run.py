"""Stored runs: published values, missing queries, intervals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from rerank_bench.errors import ConfigError, DataError
from rerank_bench.evaluation.stored_run import evaluate_stored_run, stored_run_to_json
from rerank_bench.ranking import rank_docs
from rerank_bench.records import Qrels, Run
from rerank_bench.trec_io import read_qrels, read_run

QRELS: Qrels = {"1": {"a": 1}, "2": {"b": 2, "c": 0}, "3": {"d": 1}, "zero": {"a": 0}}
RUN: Run = {
    "1": rank_docs("1", ["a", "x"], [2.0, 1.0]),
    "2": rank_docs("2", ["x", "b"], [2.0, 1.0]),
    "unjudged": rank_docs("unjudged", ["a"], [1.0]),
}


@pytest.mark.parametrize(
    ("file", "ndcg_at_10", "ap"), [("BM25.2019.res.gz", 0.4795, 0.2864), ("bm25_VBERT.2019.res.gz", 0.6855, 0.4441)]
)
def test_published_values_of_trec_dl_2019(shared_data: Path, file: str, ndcg_at_10: float, ap: float) -> None:
    folder = shared_data / "trec_dl_2019"
    qrels, run = read_qrels(folder / "qrels.dl19-passage.txt"), read_run(folder / file)
    evaluation = evaluate_stored_run(run, qrels, ["nDCG@10", "AP(rel=2)"])
    assert evaluation.measures["nDCG@10"].mean == pytest.approx(ndcg_at_10, abs=5e-5)
    assert evaluation.measures["AP(rel=2)"].mean == pytest.approx(ap, abs=5e-5)
    assert evaluation.counts == {"queries": 43, "evaluated": 43, "unjudged": 0, "all_zero": 0, "missing": 0}
    assert evaluation.ties.lowest <= evaluation.measures["nDCG@10"].mean <= evaluation.ties.highest
    values = np.array(list(evaluation.per_query["nDCG@10"].values()))
    theirs = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=10_000, rng=1).confidence_interval
    assert evaluation.measures["nDCG@10"].ci == pytest.approx((theirs.low, theirs.high), abs=0.004)
    assert evaluation.measures["nDCG@10"].sd == pytest.approx(values.std(ddof=1))


def test_the_order_of_a_files_lines_moves_no_digit(shared_data: Path) -> None:
    folder = shared_data / "trec_dl_2019"
    qrels, run = read_qrels(folder / "qrels.dl19-passage.txt"), read_run(folder / "BM25.2019.res.gz")
    turned = {query_id: qrels[query_id] for query_id in reversed(qrels)}
    names = ["nDCG@10", "AP"]
    assert evaluate_stored_run(run, turned, names, resamples=100) == evaluate_stored_run(
        run, qrels, names, resamples=100
    )


def test_a_missing_query_is_an_error() -> None:
    with pytest.raises(DataError, match=r"lacks 1 of 3 judged queries \(first: '3'\).*pass --allow-missing-queries"):
        evaluate_stored_run(RUN, QRELS)


def test_a_missing_query_counts_zero_when_that_is_allowed_and_the_result_says_so() -> None:
    evaluation = evaluate_stored_run(RUN, QRELS, ["RR@10"], allow_missing_queries=True, resamples=100)
    assert evaluation.per_query == {"RR@10": {"1": 1.0, "2": 0.5, "3": 0.0}}
    assert evaluation.measures["RR@10"].mean == pytest.approx(0.5)
    assert evaluation.counts == {"queries": 4, "evaluated": 3, "unjudged": 1, "all_zero": 1, "missing": 1}


@pytest.mark.parametrize("allow", [False, True])
def test_a_run_of_another_data_set_is_an_error_in_any_case(allow: bool) -> None:  # noqa: FBT001 - a parameter of the test
    run = {"doc7": rank_docs("doc7", ["a"], [1.0])}
    with pytest.raises(DataError, match=r"none of the 3 judged queries: it has 'doc7', the qrels have '1', '2', '3'"):
        evaluate_stored_run(run, QRELS, allow_missing_queries=allow)


def test_judgements_without_a_positive_are_an_error() -> None:
    with pytest.raises(DataError, match="the qrels: none of 1 queries has a positive judgement"):
        evaluate_stored_run(RUN, {"1": {"a": 0}})


def test_an_unknown_measure_is_an_error() -> None:
    with pytest.raises(ConfigError, match="unknown measure 'nDCGG@10'"):
        evaluate_stored_run(RUN, QRELS, ["nDCGG@10"])


def test_one_query_has_a_mean_but_no_interval() -> None:
    summary = evaluate_stored_run(RUN, {"2": {"b": 1}}, ["P@1", "RR@10"]).measures["RR@10"]
    assert (summary.mean, summary.ci, summary.sd) == (0.5, None, None)


def test_a_stored_run_as_json() -> None:
    qrels = {query_id: QRELS[query_id] for query_id in ("1", "2")}
    report = json.loads(json.dumps(stored_run_to_json(evaluate_stored_run(RUN, qrels, ["RR@10"], resamples=100))))
    low, high = report["measures"]["RR@10"].pop("ci")
    assert 0.5 <= low <= 0.75 <= high <= 1.0
    assert report == {
        "measures": {"RR@10": {"mean": 0.75, "sd": pytest.approx(0.125**0.5)}},
        "ties": {
            "cutoff": 10,
            "share_crossing": 0.0,
            "share_tied": 0.0,
            "lowest": pytest.approx(report["ties"]["highest"]),
            "highest": pytest.approx((1 + 1 / np.log2(3)) / 2),
        },
        "counts": {"queries": 2, "evaluated": 2, "unjudged": 1, "all_zero": 0, "missing": 0},
    }
    alone = stored_run_to_json(evaluate_stored_run(RUN, {"2": {"b": 1}}, ["RR@10"]))
    assert alone["measures"] == {"RR@10": {"mean": 0.5, "ci": None, "sd": None}}
