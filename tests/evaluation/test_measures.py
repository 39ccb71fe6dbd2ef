"""Measures: names, and values against trec_eval's own output and known values of real runs."""

from __future__ import annotations

import warnings
from pathlib import Path

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_bench.errors import ConfigError, DataError, EnvironmentMissingError
from rerank_bench.evaluation.measures import (
    PRIMARY_MEASURE,
    STANDARD_MEASURES,
    evaluate_run,
    measure_object,
    measure_param,
    parse_measures,
)
from rerank_bench.ranking import rank_docs
from rerank_bench.records import EMPTY_DOCS, ScoredDocs
from rerank_bench.trec_io import read_qrels, read_run


def ranked(*doc_ids: str) -> ScoredDocs:
    """Documents in this order, with scores that say the opposite: the order alone must count."""
    return ScoredDocs(doc_ids, np.arange(len(doc_ids), dtype=np.float32))


def test_standard_measures_are_their_own_canonical_names() -> None:
    assert parse_measures(STANDARD_MEASURES) == STANDARD_MEASURES
    assert PRIMARY_MEASURE in STANDARD_MEASURES


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("MRR@10", "RR@10"),
        ("MAP", "AP"),
        ("Recall@100", "R@100"),
        (" nDCG @ 10 ", "nDCG@10"),
        ("AP(rel=2)", "AP(rel=2)"),
        ("AP(rel=2)@100", "AP(rel=2)@100"),
        ("P(judged_only=True)@5", "P(judged_only=True)@5"),
        ("IPrec@0.1", "IPrec@0.1"),
        ("nDCG(dcg='exp-log2')@10", "nDCG(dcg='exp-log2')@10"),
        ("nDCG(gains={1: 5})@10", "nDCG(gains={1:5})@10"),
    ],
)
def test_names_read_as_ir_measures_reads_them(name: str, canonical: str) -> None:
    assert parse_measures([name]) == (canonical,)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert measure_object(name) == ir_measures.parse_measure(name.strip())


def test_reading_a_name_never_warns() -> None:
    """ir-measures' own parser warns under Python 3.12 and 3.13 and fails under 3.14."""
    measure_object.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse_measures(["nDCG@7", "AP(rel=3)"]) == ("nDCG@7", "AP(rel=3)")


def test_the_same_measure_twice_counts_once() -> None:
    assert parse_measures(["RR@10", "MRR@10", "AP"]) == ("RR@10", "AP")


def test_all_wrong_names_are_reported_at_once_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_measures(["ndgc@10", "AP", "mrr@10", "P", "nDCG@0"])
    message = str(caught.value)
    assert "unknown measure 'ndgc@10'; did you mean 'nDCG@10'" in message
    assert "unknown measure 'mrr@10'; did you mean 'RR@10'" in message
    assert "measure 'P': it needs cutoff; write P@10" in message
    assert "measure 'nDCG@0': cutoff is 0, which it does not take" in message
    assert "'AP'" not in message.replace("'MAP', 'AP'", "")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "unknown measure ''"),
        ("nDCG@10@5", "unknown measure 'nDCG@10@5'"),
        ("nDCG(10)", "unknown measure"),
        ("P@x", "unknown measure 'P@x'"),
        ("__import__('os')", "unknown measure"),
        ("nDCG(foo=1)@10", "it takes no parameter 'foo', only cutoff, dcg, gains, judged_only"),
        ("nDCG(dcg='x')@10", "dcg is 'x', which it does not take"),
        ("P@True", "cutoff is True"),
        ("R@1.5", "cutoff is 1.5"),
        ("nDCG@-1", "cutoff is -1"),
        ("BPM@10", r"it needs max_rel; write BPM\(max_rel=…\)"),
    ],
)
def test_wrong_names(name: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse_measures([name])


def test_no_measure_at_all_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"no measure is asked for; name at least one, such as nDCG@10"):
        parse_measures([])


def test_a_measure_that_cannot_be_computed_says_why() -> None:
    with pytest.raises(ConfigError, match="measure 'RBP': ir-measures knows it, but computes it with other parameters"):
        parse_measures(["RBP"])
    if not ir_measures.pyndeval.is_available():
        with pytest.raises(EnvironmentMissingError, match=r"measure 'alpha_nDCG@10' needs a package .* pip install"):
            parse_measures(["alpha_nDCG@10"])


def test_parameters_of_a_name() -> None:
    assert measure_param("nDCG@10", "cutoff") == 10
    assert measure_param("AP(rel=2)", "rel") == 2
    assert measure_param("AP", "cutoff") is None


def test_values_by_hand() -> None:
    qrels = {"q": {"a": 2, "b": 1, "c": 0}}
    values = evaluate_run(qrels, {"q": ranked("c", "a", "x", "b")}, STANDARD_MEASURES)
    gain = 2 / np.log2(3) + 1 / np.log2(5)
    ideal = 2 + 1 / np.log2(3)
    assert values["nDCG@10"]["q"] == pytest.approx(gain / ideal)
    assert values["RR@10"]["q"] == 0.5
    assert values["AP"]["q"] == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert values["R@100"]["q"] == 1.0
    assert values["P@1"]["q"] == 0.0
    assert values["Judged@10"]["q"] == pytest.approx(3 / 4)


def test_every_query_of_the_run_gets_a_value_and_no_other() -> None:
    qrels = {"judged": {"a": 1}, "empty": {"a": 1}, "not in the run": {"a": 1}}
    run = {"unjudged": ranked("a"), "empty": EMPTY_DOCS, "judged": ranked("b", "a")}
    values = evaluate_run(qrels, run, ["RR@10", "Judged@10"])
    assert values == {
        "RR@10": {"unjudged": 0.0, "empty": 0.0, "judged": 0.5},
        "Judged@10": {"unjudged": 0.0, "empty": 0.0, "judged": 0.5},
    }
    assert list(values["RR@10"]) == list(run)


def test_two_names_of_one_measure_both_have_values() -> None:
    values = evaluate_run({"q": {"a": 1}}, {"q": ranked("b", "a")}, ["MRR@10", "RR@10", "MAP"])
    assert values == {"MRR@10": {"q": 0.5}, "RR@10": {"q": 0.5}, "MAP": {"q": 0.5}}


def test_more_queries_than_one_call_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    qrels = {f"q{i}": {f"d{i}": 1} for i in range(10)}
    run = {f"q{i}": ranked("x", f"d{i}") if i % 2 else ranked(f"d{i}") for i in range(10)}
    whole = evaluate_run(qrels, run, ["RR@10"])
    monkeypatch.setattr("rerank_bench.evaluation.measures.QUERIES_PER_CALL", 3)
    assert evaluate_run(qrels, run, ["RR@10"]) == whole
    assert list(whole["RR@10"].values()) == [1.0, 0.5] * 5


def test_all_providers_see_the_same_order_of_tied_documents() -> None:
    """By themselves pytrec_eval takes tied ids falling and msmarco rising: RR and RR@10 would be 0.5 and 1.0."""
    tied = rank_docs("q", ["a", "b"], [1.0, 1.0])
    values = evaluate_run({"q": {"a": 1}}, {"q": tied}, ["RR", "RR@10"])
    assert values == {"RR": {"q": 0.5}, "RR@10": {"q": 0.5}}


def test_a_negative_grade_gains_nothing_and_counts_as_judged() -> None:
    values = evaluate_run({"q": {"a": -1, "b": 1}}, {"q": ranked("a", "b")}, ["nDCG@10", "P@1", "Judged@10"])
    assert values["nDCG@10"]["q"] == pytest.approx(1 / np.log2(3))
    assert values["P@1"]["q"] == 0.0
    assert values["Judged@10"]["q"] == 1.0


@pytest.mark.parametrize("other", ["AP(rel=2)", "AP(rel=3)", "P(judged_only=True)@2"])
def test_a_measure_does_not_depend_on_which_others_are_asked_for(other: str) -> None:
    qrels = {"q": {"a": 1, "b": 2, "c": 0}}
    run = {"q": ranked("x", "c", "a", "b")}
    alone = evaluate_run(qrels, run, ["nDCG@10"])["nDCG@10"]
    assert evaluate_run(qrels, run, [other, "nDCG@10"])["nDCG@10"] == alone


def test_exponential_gain_comes_from_the_external_program() -> None:
    if not ir_measures.gdeval.is_available():
        pytest.skip("gdeval needs perl")
    name = "nDCG(dcg='exp-log2')@10"
    qrels = {"not a number": {"a": 1, "b": 2}, "another": {"a": 1}}
    values = evaluate_run(qrels, {"not a number": ranked("a", "b"), "another": ranked("a")}, [name])
    expected = (1 + 3 / np.log2(3)) / (3 + 1 / np.log2(3))
    assert values[name] == pytest.approx({"not a number": expected, "another": 1.0}, abs=1e-5)
    with pytest.raises(DataError, match=r"gdeval\), which refused these judgements .*; it takes grades up to 4 only"):
        evaluate_run({"q": {"a": 5, "b": 1}}, {"q": ranked("a", "b")}, [name])


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0, 1.0 + 3e-8]), min_size=1, max_size=14),
    grades=st.lists(st.integers(-1, 3), min_size=14, max_size=14),
)
def test_our_order_is_the_one_that_trec_eval_evaluates(scores: list[float], grades: list[int]) -> None:
    import pytrec_eval

    doc_ids = [f"d{i}" for i in range(len(scores))]
    qrels = {"q": {f"d{i}": grade for i, grade in enumerate(grades) if i % 3}}
    ours = evaluate_run(qrels, {"q": rank_docs("q", doc_ids, scores)}, ["nDCG@10", "AP", "RR", "P@5"])
    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut_10", "map", "recip_rank", "P_5"}).evaluate(
        {"q": dict(zip(doc_ids, scores, strict=True))}
    )["q"]
    for name, key in {"nDCG@10": "ndcg_cut_10", "AP": "map", "RR": "recip_rank", "P@5": "P_5"}.items():
        assert ours[name]["q"] == theirs[key]


CUTOFFS = (5, 10, 15, 20, 30, 100, 200, 500, 1000)
TREC_NAMES = {
    "AP": "map",
    "Rprec": "Rprec",
    "Bpref": "bpref",
    "RR": "recip_rank",
    "nDCG": "ndcg",
    **{f"P@{k}": f"P_{k}" for k in CUTOFFS},
    **{f"R@{k}": f"recall_{k}" for k in CUTOFFS},
    **{f"nDCG@{k}": f"ndcg_cut_{k}" for k in CUTOFFS},
    **{f"AP@{k}": f"map_cut_{k}" for k in CUTOFFS},
    **{f"Success@{k}": f"success_{k}" for k in (1, 5, 10)},
}
"""Interpolated precision is left out: pytrec_eval's differs from this output where recall times relevant is no integer."""


def read_trec_eval_output(path: Path) -> dict[tuple[str, str], str]:
    """(measure, query_id or "all") -> printed value."""
    rows = [line.split() for line in path.read_text().splitlines()]
    return {(measure, query_id): value for measure, query_id, value in rows}


@pytest.mark.parametrize(
    ("run_name", "qrels_name", "output", "rel"),
    [
        ("results.test", "qrels.test", "out.test.aq", 1),
        ("results.trunc", "qrels.test", "out.test.aqc", 1),
        ("results.test", "qrels.rel_level", "out.test.aql", 2),
    ],
    ids=["ties", "missing query counts 0", "graded, relevant from 2"],
)
def test_trec_evals_own_expected_output(
    shared_data: Path, tmp_path: Path, run_name: str, qrels_name: str, output: str, rel: int
) -> None:
    folder = shared_data / "trec_eval_oracle"
    qrels = read_qrels(folder / qrels_name)
    # One of the files carries junk after the sixth field, which trec_eval ignores and our reader refuses.
    lines = [" ".join(line.split()[:6]) for line in (folder / run_name).read_text().splitlines()]
    (tmp_path / "run.trec").write_text("\n".join(lines))
    run = read_run(tmp_path / "run.trec")
    expected = read_trec_eval_output(folder / output)

    names = {(_with_rel(name, rel)): trec_name for name, trec_name in TREC_NAMES.items()}
    values = evaluate_run(qrels, {query_id: run.get(query_id, EMPTY_DOCS) for query_id in qrels}, list(names))
    for name, trec_name in names.items():
        for query_id in run:
            assert f"{values[name][query_id]:.4f}" == expected[trec_name, query_id], f"{name}, query {query_id}"
        assert f"{np.mean(list(values[name].values())):.4f}" == expected[trec_name, "all"], name


def _with_rel(name: str, rel: int) -> str:
    if rel == 1 or name.startswith("nDCG"):
        return name
    measure, at, cutoff = name.partition("@")
    return f"{measure}(rel={rel}){at}{cutoff}"


@pytest.mark.parametrize(
    ("file", "ndcg_at_10", "ap"),
    [
        ("BM25.2019.res.gz", 0.4795, 0.2864),
        ("bm25_VBERT.2019.res.gz", 0.6855, 0.4441),
        ("ANCE.2019.res.gz", 0.6537, 0.3715),
    ],
)
def test_published_values_of_trec_dl_2019(shared_data: Path, file: str, ndcg_at_10: float, ap: float) -> None:
    folder = shared_data / "trec_dl_2019"
    qrels = read_qrels(folder / "qrels.dl19-passage.txt")
    values = evaluate_run(qrels, read_run(folder / file), ["nDCG@10", "AP(rel=2)"])
    assert np.mean(list(values["nDCG@10"].values())) == pytest.approx(ndcg_at_10, abs=5e-5)
    assert np.mean(list(values["AP(rel=2)"].values())) == pytest.approx(ap, abs=5e-5)
