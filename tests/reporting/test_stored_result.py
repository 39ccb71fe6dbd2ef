"""What was written is read back, to the last digit; what is broken says where."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from rerank_bench.errors import ComparisonError, DataError, ParseError
from rerank_bench.evaluation.evaluate import evaluate_reranker
from rerank_bench.locks import file_lock
from rerank_bench.ranking import rank_docs
from rerank_bench.records import VIEWS, CandidateSet
from rerank_bench.reporting.query_values import read_query_values
from rerank_bench.reporting.run_folder import RESULT_FILE, DatasetArtifacts, write_run_folder
from rerank_bench.reporting.stored_result import read_stored_result

QRELS = {"q1": {"d1": 1, "d3": 2}, "q,2": {"d2": 1}}


@pytest.fixture
def artifacts() -> DatasetArtifacts:
    by_query = {query_id: rank_docs(query_id, ["d1", "d2"], [2.0, 1.0]) for query_id in QRELS}
    pools = {"q1": ("d1", "d2", "d3"), "q,2": ("d1", "d2")}
    candidates = CandidateSet(dataset_name="a/b", depth=2, by_query=by_query, first_stage={}, fingerprint="0")
    scores = {
        "q1": np.array([0.1, 0.3, 1 / 3], dtype=np.float32),
        "q,2": np.array([-1.0, -2.0], dtype=np.float32),
    }
    evaluation = evaluate_reranker(
        query_ids=list(QRELS), qrels=QRELS, candidates=candidates, scores=scores, measures=["nDCG@10", "RR@10"]
    )
    return DatasetArtifacts(
        candidates=candidates,
        reranked={q: rank_docs(q, pools[q][:2], scores[q][:2]) for q in QRELS},
        missed={"q1": rank_docs("q1", ["d3"], [1 / 3])},
        qrels=QRELS,
        evaluation=evaluation,
    )


@pytest.fixture
def folder(tmp_path: Path, artifacts: DatasetArtifacts) -> Path:
    result = {"schema_version": 1, "model": {"name": "m"}, "datasets": {"a/b": {}}, "suites": {}}
    write_run_folder(tmp_path, result, {"a/b": artifacts}, run_name="m")
    return tmp_path


def test_everything_comes_back(folder: Path, artifacts: DatasetArtifacts) -> None:
    for stored in (read_stored_result(folder), read_stored_result(folder / "result.json")):
        assert (stored.name, stored.datasets, stored.folder) == ("m", ("a/b",), folder)
        assert stored.qrels("a/b") == QRELS
        for view in VIEWS:
            assert stored.query_values("a/b", view) == artifacts.evaluation.views[view].per_query
        for run, kept in (
            (stored.candidates("a/b"), artifacts.candidates.by_query),
            (stored.reranked("a/b"), artifacts.reranked),
            (stored.missed("a/b"), artifacts.missed),
        ):
            assert {q: (docs.doc_ids, docs.scores.tolist()) for q, docs in run.items()} == {
                q: (docs.doc_ids, docs.scores.tolist()) for q, docs in kept.items() if len(docs)
            }


def test_two_runs_do_not_write_one_folder_at_once(tmp_path: Path, artifacts: DatasetArtifacts) -> None:
    def write(name: str) -> None:
        result = {"schema_version": 1, "model": {"name": name}, "datasets": {"a/b": {}}, "suites": {}}
        write_run_folder(tmp_path / "run", result, {"a/b": artifacts}, run_name=name)

    write("first")
    with file_lock(tmp_path / "run" / RESULT_FILE):
        second = threading.Thread(target=write, args=("second",))
        second.start()
        second.join(timeout=0.3)
        assert second.is_alive()  # it waits
        assert read_stored_result(tmp_path / "run").name == "first"  # and has taken nothing away
    second.join()
    assert read_stored_result(tmp_path / "run").name == "second"


def test_an_unknown_data_set_is_named(folder: Path) -> None:
    with pytest.raises(ComparisonError, match=r"unknown data set 'a/c'; did you mean 'a/b'"):
        read_stored_result(folder).qrels("a/c")


def test_a_file_that_is_gone_is_named(folder: Path) -> None:
    (folder / "a-b.run.trec.gz").unlink()
    with pytest.raises(DataError, match=r"a-b\.run\.trec\.gz: no such file.*run the same command again"):
        read_stored_result(folder).reranked("a/b")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("view,query_id", "views,query_id", r"queries\.csv, line 1: the header is 'views"),
        ("RR@10 reranked", "RR@5 reranked", r"line 1: the header is"),
        ("end_to_end,q1,", "end_to_end,", r"queries\.csv, line 2: expected \d+ cells, found \d+"),
        ("end_to_end,q1,0", "end_to_end,q1,x0", r"line 2: nDCG@10 of query 'q1': could not convert"),
    ],
)
def test_a_broken_line_is_named(folder: Path, old: str, new: str, message: str) -> None:
    path = folder / "a-b.queries.csv"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ParseError, match=message):
        read_query_values(path, "end_to_end")
