"""What became of each query of the hand-made world, and identities of the loss over random ones."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from rerank_bench.evaluation.significance import mean
from rerank_bench.forensics.explain import ExplainOptions, explain_pair, explain_run
from rerank_bench.forensics.queries import explain_queries, split_losses
from rerank_bench.forensics.records import Explanation, Happening, QueryExplanation
from rerank_bench.forensics.sides import case_of_run
from rerank_bench.records import VIEWS
from rerank_bench.reporting.stored_result import read_stored_result

MEASURES = ("nDCG@10", "RR@10", "AP", "R@100", "P@1", "Judged@10", "nDCG@3", "ERR@5")


def by_id(explanation: Explanation) -> dict[str, QueryExplanation]:
    return {query.query_id: query for query in explanation.queries}


@pytest.fixture
def queries(before: Path, after: Path) -> dict[str, QueryExplanation]:
    return by_id(explain_pair(before, after))


def test_every_query_has_the_fate_that_was_made_for_it(queries: dict[str, QueryExplanation]) -> None:
    assert {query_id: query.happening for query_id, query in queries.items()} == {
        "q-fell": Happening.first_lower,
        "q-rose": Happening.entered,
        "q-missed": Happening.unreachable,
        "q-same": Happening.equal,
        "q-long": Happening.equal,
    }


def test_ranks_grades_and_scores_of_a_query_that_fell(queries: dict[str, QueryExplanation]) -> None:
    query = queries["q-fell"]
    # twin 50, d11 21, then good and d10 at 20 (the higher id first), d09 … d00, and best at the end.
    best, good = query.relevant
    assert (best.doc_id, best.grade, best.first_stage_rank, best.before_rank, best.after_rank) == ("best", 2, 1, 1, 15)
    assert (best.before_score, best.after_score, best.is_tied) == (9.0, 3.0, False)
    assert (good.doc_id, good.before_rank, good.after_rank, good.is_tied) == ("good", 2, 3, True)
    assert query.mover == best
    assert [doc.doc_id for doc in query.above] == ["twin", "d11"]
    assert (query.num_above, query.num_above_unjudged) == (2, 2)
    assert query.before == 1.0
    assert query.after == pytest.approx((1 / math.log2(4)) / (2 + 1 / math.log2(3)))


def test_a_missed_document_is_given_the_rank_that_its_score_would_earn(queries: dict[str, QueryExplanation]) -> None:
    (missed,) = queries["q-missed"].relevant
    assert (missed.first_stage_rank, missed.after_rank, missed.would_be_rank) == (None, None, 2)
    assert queries["q-missed"].best_first_stage_rank is None
    assert [doc.would_be_rank for doc in queries["q-long"].relevant] == [None, 1]
    assert queries["q-missed"].after_split is not None
    assert (queries["q-missed"].after_split.not_retrieved, queries["q-missed"].after_split.misranked) == (1.0, 0.0)


def test_the_first_stage_is_the_side_before_of_one_run(after: Path) -> None:
    queries = by_id(explain_run(after))
    rose = queries["q-rose"].mover
    assert rose is not None
    assert (rose.first_stage_rank, rose.before_rank, rose.after_rank) == (13, 13, 1)
    assert queries["q-rose"].happening == Happening.entered
    fell = queries["q-fell"].mover
    assert fell is not None
    assert (fell.doc_id, fell.before_rank, fell.after_rank) == ("best", 1, 15)


def test_leaving_the_top_is_told_from_moving_within_it(before: Path, after: Path) -> None:
    narrow = by_id(explain_pair(before, after, ExplainOptions(measure="nDCG@2")))
    assert narrow["q-fell"].happening == Happening.left
    whole = by_id(explain_pair(before, after, ExplainOptions(measure="AP")))
    assert (whole["q-fell"].happening, whole["q-rose"].happening) == (Happening.first_lower, Happening.first_higher)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("measure", MEASURES)
def test_the_loss_is_its_two_parts(random_runs: tuple[Path, Path], view: str, measure: str) -> None:
    options = ExplainOptions(measure=measure, view=view)  # type: ignore[arg-type]
    explanation = explain_pair(*random_runs, options)
    for query in explanation.queries:
        for split, value in ((query.before_split, query.before), (query.after_split, query.after)):
            assert split is not None
            assert split.ideal - value == pytest.approx(split.not_retrieved + split.misranked, abs=1e-12)
            assert split.not_retrieved >= -1e-12
            assert split.misranked >= -1e-12
            if measure.startswith(("nDCG", "AP", "RR")):
                assert split.ideal == pytest.approx(1.0)
            if view == "injected" and measure != "Judged@10":  # which divides by the length of a shorter list
                assert split.not_retrieved == pytest.approx(0.0)
    for entry in (*explanation.datasets, explanation.overall):
        split = entry.after_split
        assert split is not None
        lost = split.ideal - entry.summary.reranked
        assert lost == pytest.approx(split.not_retrieved + split.misranked, abs=1e-12)
    assert explanation.mean is not None
    assert explanation.mean.after_split is not None
    parts = [entry.after_split for entry in explanation.datasets]
    assert explanation.mean.after_split.misranked == pytest.approx(mean([part.misranked for part in parts if part]))


def test_the_ceiling_is_that_of_the_result_file(random_runs: tuple[Path, Path]) -> None:
    stored = read_stored_result(random_runs[0])
    for measure in ("nDCG@10", "AP", "R@100"):
        for entry in explain_run(random_runs[0], ExplainOptions(measure=measure)).datasets:
            recorded = stored.result["datasets"][entry.name]["views"]["end_to_end"]["measures"][measure]
            assert entry.after_split is not None
            assert entry.after_split.ceiling == pytest.approx(recorded["ceiling"], abs=1e-12)
            assert (entry.summary.first_stage, entry.summary.reranked) == (
                recorded["first_stage"],
                recorded["reranked"],
            )
            assert entry.summary.ci == pytest.approx(tuple(recorded["ci"]), abs=1e-12)
            assert entry.summary.p == recorded["p"]


@pytest.mark.parametrize("view", VIEWS)
def test_values_are_those_that_the_run_stored(random_runs: tuple[Path, Path], view: str) -> None:
    stored = read_stored_result(random_runs[1])
    for dataset in stored.datasets:
        recorded = stored.query_values(dataset, view)["nDCG@10"]  # type: ignore[arg-type]
        case = case_of_run(stored, dataset, view=view, measure="nDCG@10")  # type: ignore[arg-type]
        found = {query.query_id: (query.before, query.after) for query in explain_queries(case)}
        assert found == recorded


def test_a_measure_with_gains_of_its_own_has_no_split(after: Path) -> None:
    measure = "nDCG(gains={1: 5, 2: 1})@10"
    explanation = explain_run(after, ExplainOptions(measure=measure))
    assert {query.after_split for query in explanation.queries} == {None}
    assert explanation.overall.after_split is None
    stored = read_stored_result(after)
    case = case_of_run(stored, "hand", view="end_to_end", measure=explanation.measure)
    assert split_losses(case, case.after) is None


@pytest.mark.parametrize("view", VIEWS)
def test_the_shares_sum_to_the_difference(random_runs: tuple[Path, Path], view: str) -> None:
    explanation = explain_pair(*random_runs, ExplainOptions(view=view))  # type: ignore[arg-type]
    total = math.fsum(share.contribution for share in explanation.shares)
    assert total == pytest.approx(explanation.overall.summary.delta, abs=1e-12)
    assert sum(share.num_queries for share in explanation.shares) == len(explanation.queries)
    signs = {"lower": -1, "left": -1, "higher": 1, "entered": 1}
    for share in explanation.shares:
        sign = next((sign for name, sign in signs.items() if name in share.happening), 0)
        assert share.contribution * sign > 0 if sign else share.contribution == pytest.approx(0.0, abs=1e-12)


def test_long_lists_are_cut_and_counted(random_runs: tuple[Path, Path]) -> None:
    case = case_of_run(read_stored_result(random_runs[0]), "two", view="end_to_end", measure="nDCG@10")
    for query in explain_queries(case):
        judged = case.qrels[query.query_id]
        positives = {doc for doc, grade in judged.items() if grade >= 1}
        assert query.num_relevant == len(positives)
        assert {doc.doc_id for doc in query.relevant} <= positives
        assert len(query.relevant) == min(5, len(positives))
        order = case.after.run[query.query_id].doc_ids
        first = next((rank for rank, doc in enumerate(order) if doc in positives), None)
        expected = order[:10] if first is None else order[:first]
        assert query.num_above == len(expected)
        assert query.num_above_unjudged == sum(doc not in judged for doc in expected)
        assert [doc.doc_id for doc in query.above] == list(expected[:3])
        assert all(dataclasses.asdict(doc)["grade"] == judged.get(doc.doc_id) for doc in query.shown_docs)
