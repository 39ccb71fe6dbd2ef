"""Runs and qrels: round trips, and errors that name the line."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_bench.errors import DataError, ParseError
from rerank_bench.ranking import rank_docs
from rerank_bench.trec_io import iter_qrels, read_qrels, read_run, write_qrels, write_run

IDS = st.text("abc019-_é", min_size=1, max_size=6)
FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.dictionaries(IDS, st.dictionaries(IDS, FLOAT32, min_size=1, max_size=6), min_size=1, max_size=4))
def test_a_written_run_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, scores: dict[str, dict[str, float]]
) -> None:
    path = tmp_path_factory.mktemp("run") / "some.run.trec.gz"
    run = {query_id: rank_docs(query_id, list(docs), list(docs.values())) for query_id, docs in scores.items()}
    write_run(path, run, run_name="a name")
    again = read_run(path)
    assert {q: docs.doc_ids for q, docs in again.items()} == {q: docs.doc_ids for q, docs in run.items()}
    for query_id, docs in again.items():
        np.testing.assert_array_equal(docs.scores, run[query_id].scores)


def test_the_score_column_decides_not_rank_or_line_order(tmp_path: Path) -> None:
    path = tmp_path / "r.trec"
    path.write_text("q Q0 low 1 0.1 t\nq Q0 high 2 0.9 t\n\nq Q0 mid 3 0.5 t\n")
    assert read_run(path)["q"].doc_ids == ("high", "mid", "low")
    assert read_run(path, depth=1)["q"].doc_ids == ("high",)


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    run = {"q": rank_docs("q", ["a"], [1.0])}
    write_run(tmp_path / "1.gz", run, run_name="r")
    write_run(tmp_path / "2.gz", run, run_name="r")
    assert (tmp_path / "1.gz").read_bytes() == (tmp_path / "2.gz").read_bytes()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("q Q0 d 1 0.5 t\nq Q0 d 2 0.4 t\n", r"line 2: document 'd' of query 'q' stands already in line 1"),
        ("q Q0 d 1 nan t\n", r"line 1: score of query 'q', document 'd' is 'nan', expected a finite"),
        ("q Q0 d 1 1e39 t\n", r"line 1: score .* is '1e39', expected a finite float32"),
        ("q Q0 d 1 high t\n", r"line 1: score of query 'q', document 'd' is 'high', expected a number"),
        ("q Q0 d 1 0.5\n", r"line 1: expected 6 fields \(query_id Q0 doc_id rank score tag\), found 5: 'q Q0 d 1 0.5'"),
    ],
    ids=["duplicate", "nan", "overflow", "word", "fields"],
)
def test_a_bad_run_line_is_named(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "bad.trec"
    path.write_text(text)
    with pytest.raises(ParseError, match=match):
        read_run(path)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("42 0 MED-10\n", r"line 1: expected 4 fields \(query_id iteration doc_id relevance\), found 3: '42 0 MED-10'"),
        ("1 0 a 1\n1 0 b 0.5\n", r"line 2: relevance is '0.5', expected a whole number"),
        ("1 0 a 1\n1 0 a 0\n", r"line 2: document 'a' of query '1' was judged before \(1\)"),
        ("query-id\tcorpus-id\tscore\nq1\td1\n", r"line 2: expected 3 tab-separated fields .* found 2"),
        ("\n\n", r"holds no judgement"),
    ],
    ids=["fields", "fraction", "duplicate", "tsv", "empty"],
)
def test_a_bad_qrels_line_is_named(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "bad.qrels"
    path.write_text(text)
    with pytest.raises(ParseError, match=match):
        read_qrels(path)


def test_both_forms_of_qrels_read_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("query-id\tcorpus-id\tscore\r\nq1\td1\t2\r\nq2\td1\t0\r\n")
    (tmp_path / "b.qrels").write_text("q1 0 d1 2\nq2 0 d1 0\n")
    expected = {"q1": {"d1": 2}, "q2": {"d1": 0}}
    assert read_qrels(tmp_path / "a.tsv") == read_qrels(tmp_path / "b.qrels") == expected
    write_qrels(tmp_path / "c.qrels.gz", expected)
    assert list(iter_qrels(read_qrels(tmp_path / "c.qrels.gz"))) == [("q1", "d1", 2), ("q2", "d1", 0)]


def test_missing_non_utf8_and_cut_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.trec: no such file"):
        read_run(tmp_path / "absent.trec")
    with pytest.raises(DataError, match="cannot be read"):
        read_run(tmp_path)
    (tmp_path / "latin.qrels").write_bytes("q 0 caf\xe9 1\n".encode("latin-1"))
    with pytest.raises(ParseError, match=r"latin\.qrels.*not UTF-8.*0xe9.*convert"):
        read_qrels(tmp_path / "latin.qrels")
    whole = gzip.compress(b"q Q0 d 1 0.5 t\n" * 1)
    (tmp_path / "cut.trec.gz").write_bytes(whole[:-6])
    with pytest.raises(ParseError, match=r"cut\.trec\.gz.*ends or breaks"):
        read_run(tmp_path / "cut.trec.gz")
    (tmp_path / "torn.trec.gz").write_bytes(whole[:12] + b"\xff\xff" + whole[14:])
    with pytest.raises(ParseError, match=r"torn\.trec\.gz, line \d.*(ends or breaks|not UTF-8)"):
        read_run(tmp_path / "torn.trec.gz")


def test_the_shared_trec_dl_run_is_read_whole(shared_data: Path) -> None:
    run = read_run(shared_data / "trec_dl_2019" / "bm25_VBERT.2019.res.gz", depth=1000)
    assert len(run) >= 43
    # In this file rank and line order are BM25's; the score column is the reranker's.
    assert all((docs.scores[:-1] >= docs.scores[1:]).all() for docs in run.values())


def test_lines_of_a_query_that_stand_apart_read_the_same(tmp_path: Path) -> None:
    lines = [f"q{query} Q0 d{doc} 1 {(doc * 7 + query) % 5} x" for query in range(3) for doc in range(6)]
    (tmp_path / "grouped.trec").write_text("\n".join(lines))
    (tmp_path / "mixed.trec").write_text("\n".join(lines[::2] + lines[1::2]))
    grouped, mixed = (read_run(tmp_path / f"{name}.trec", depth=4) for name in ("grouped", "mixed"))
    assert {query_id: docs.doc_ids for query_id, docs in grouped.items()} == {
        query_id: docs.doc_ids for query_id, docs in mixed.items()
    }
    # A document below the depth is found again all the same.
    (tmp_path / "twice.trec").write_text("\n".join([*lines[::2], *lines[1::2], lines[4]]))
    with pytest.raises(ParseError, match="line 19: document 'd4' of query 'q0' stands already in line 3"):
        read_run(tmp_path / "twice.trec", depth=1)


def test_a_bad_line_far_down_is_named(tmp_path: Path) -> None:
    path = tmp_path / "long.trec"
    with path.open("w") as file:
        file.writelines(f"q{row // 100} Q0 d{row % 100} 1 {row % 100} x\n" for row in range(50_000))
        file.write("q500 Q0 d1 1 x\n")
    with pytest.raises(ParseError, match=r"long.trec, line 50001: expected 6 fields .*found 5"):
        read_run(path, depth=3)


def test_memory_holds_what_is_kept_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "deep.trec"
    with path.open("w") as file:
        file.writelines(f"q{row // 1000} Q0 d{row % 1000} 1 {row % 1000} x\n" for row in range(100_000))
    tracemalloc.start()
    try:
        read_run(path, depth=10)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000  # 20 bytes per line; all lines at once take over 100
