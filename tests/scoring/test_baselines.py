from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from watcher import Watcher

from rerank_bench import progress
from rerank_bench.errors import ConfigError, DataError
from rerank_bench.ranking import rank_docs
from rerank_bench.scoring.baselines import oracle_scores, random_scores, rank_baseline, rank_stored_run
from rerank_bench.scoring.loaded_scorer import load_scorer
from rerank_bench.scoring.specs import parse_model_spec

# Candidates in first-stage order; q1's "m" is a positive that the first stage missed, q3 has no candidate.
POOL = {"q1": ("a", "b", "c", "m"), "q2": ("c", "a"), "q3": ()}
QRELS = {"q1": {"b": 1, "m": 2, "z": 2}, "q2": {"a": 0}, "q9": {"a": 1}}


def ranking(scores: Any, query_id: str) -> list[str]:
    return list(rank_docs(query_id, POOL[query_id], scores[query_id]).doc_ids)


def test_first_stage_keeps_its_order() -> None:
    result = rank_baseline(parse_model_spec("first-stage"), POOL, qrels=QRELS)
    assert list(result.by_query) == list(POOL)
    for query_id, doc_ids in POOL.items():
        assert ranking(result.by_query, query_id) == list(doc_ids)
        assert result.by_query[query_id].dtype == np.float32
    assert result.description["name"] == "first-stage"


def test_the_oracle_ranks_by_grade_then_by_first_stage_order() -> None:
    result = rank_baseline(parse_model_spec("oracle"), POOL, qrels=QRELS)
    assert ranking(result.by_query, "q1") == ["m", "b", "a", "c"]
    assert ranking(result.by_query, "q2") == ["a", "c"], "judged before unjudged, as the ceiling has it"
    assert len(set(result.by_query["q1"].tolist())) == 4


def test_random_depends_on_ids_and_seed_alone() -> None:
    spec = parse_model_spec("random")
    first = rank_baseline(spec, POOL, qrels=QRELS, seed=1)
    reordered = rank_baseline(spec, {"q2": ("a", "c"), "q1": ("m", "a")}, qrels={}, seed=1)
    assert reordered.by_query["q1"].tolist() == first.by_query["q1"][[3, 0]].tolist()
    assert reordered.by_query["q2"].tolist() == first.by_query["q2"][[1, 0]].tolist()
    assert first.by_query["q1"][0] != first.by_query["q2"][1], "the same document under two queries"
    other = rank_baseline(spec, POOL, qrels=QRELS, seed=2)
    assert (other.by_query["q1"] != first.by_query["q1"]).all()
    assert first.description["seed"] == 1
    assert first.description["fingerprint"] != other.description["fingerprint"]


def test_random_scores_are_uniform_and_hardly_tie() -> None:
    scores = random_scores("q", [str(i) for i in range(20_000)], seed=0)
    assert 0 <= scores.min() < 0.001
    assert 0.999 < scores.max() < 1
    assert abs(scores.mean() - 0.5) < 0.01
    assert abs(scores.std() - 12**-0.5) < 0.01
    assert len(set(scores.tolist())) > 19_950


def write_run(path: Path, lines: list[tuple[str, str, float]]) -> Path:
    path.write_text("".join(f"{query} Q0 {doc} 1 {score} tag\n" for query, doc, score in lines))
    return path


def test_a_stored_run_gives_its_scores(tmp_path: Path) -> None:
    pool = {"q1": ("a", "b", "c"), "q2": ("c", "a")}
    lines = [("q1", "b", 3.5), ("q1", "c", -1), ("q1", "a", 2), ("q2", "a", 7), ("q2", "c", 7), ("q1", "z", 9)]
    path = write_run(tmp_path / "mine.trec", lines)
    result = rank_baseline(parse_model_spec(f"run:{path}"), pool, qrels={})
    assert result.by_query["q1"].tolist() == [2.0, 3.5, -1.0]
    assert result.by_query["q2"].tolist() == [7.0, 7.0], "ties stay ties"
    assert result.counts == {
        "unscored_docs": 0,
        "queries_with_unscored_docs": 0,
        "docs_outside_pool": 1,
        "queries_outside_pool": 0,
    }
    assert result.description["spec"] == "run:mine.trec"


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_documents_that_the_run_lacks_rank_last_in_first_stage_order(scale: float, tmp_path: Path) -> None:
    path = write_run(tmp_path / "short.trec", [("q1", "c", -5 * scale), ("q1", "b", 2 * scale)])
    notes: list[str] = []

    class Notes:
        def note(self, message: str) -> None:
            notes.append(message)

        def task(self, *_: Any) -> Any:
            raise NotImplementedError

    with progress.use_reporter(Notes()):
        result = rank_stored_run(path, {"q1": POOL["q1"]}, required=["q1"])
    # "m" would go before "a" by its id if the two were tied.
    assert ranking(result.by_query, "q1") == ["b", "c", "a", "m"]
    assert np.isfinite(result.by_query["q1"]).all()
    assert result.counts["unscored_docs"] == 2
    assert notes == [
        "run short.trec: 2 documents of the pool, in 1 queries, are not in the run; they rank last, in first-stage order"
    ]


def test_a_judged_query_that_is_missing_is_an_error_and_an_unjudged_one_keeps_its_order(tmp_path: Path) -> None:
    path = write_run(tmp_path / "part.trec", [("q1", "a", 1), ("q9", "a", 1)])
    with pytest.raises(
        DataError, match=r"no results for 1 of 2 judged queries \(first: 'q2'\); complete it, or pass --allow-m"
    ):
        rank_stored_run(path, POOL, required=["q1", "q2"])
    spec = parse_model_spec(f"run:{path}")
    result = rank_baseline(spec, POOL, qrels={"q1": {"a": 1}, "q3": {}})
    assert ranking(result.by_query, "q2") == list(POOL["q2"])
    assert result.counts["queries_outside_pool"] == 1


@pytest.mark.parametrize("allow_missing_queries", [False, True])
def test_a_run_of_another_data_set_is_an_error(tmp_path: Path, *, allow_missing_queries: bool) -> None:
    path = write_run(tmp_path / "other.trec", [("17", "a", 1)])
    with pytest.raises(DataError, match=r"3 of 3 judged queries .*was it made for another data set"):
        rank_stored_run(path, POOL, required=list(POOL), allow_missing_queries=allow_missing_queries)


def test_judged_queries_may_be_missing_where_that_is_allowed(tmp_path: Path) -> None:
    path = write_run(tmp_path / "part.trec", [("q1", "a", 1)])
    watcher = Watcher()
    with progress.use_reporter(watcher):
        result = rank_stored_run(path, POOL, required=["q1", "q2"], allow_missing_queries=True)
    assert result.missing == {"q2"}
    assert "run part.trec has no results for 1 of 2 judged queries (first: 'q2'); they count 0" in watcher.notes


def test_the_oracle_ranks_the_unjudged_behind_the_judged() -> None:
    scores = oracle_scores(["unjudged", "zero", "good", "worse"], {"zero": 0, "good": 2, "worse": -1})
    assert np.argsort(-scores).tolist() == [2, 1, 3, 0]


def test_scorers_and_baselines_refuse_each_others_specs() -> None:
    with pytest.raises(ConfigError, match=r"model 'demo' reads texts; use load_scorer"):
        rank_baseline(parse_model_spec("demo"), POOL, qrels={})
    with pytest.raises(ConfigError, match=r"model 'oracle' ranks documents by id.*use rank_baseline"):
        load_scorer("oracle")
