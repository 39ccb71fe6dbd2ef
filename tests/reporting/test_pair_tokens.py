"""What was read of each relevant document comes back from the run folder, and nothing of an earlier run stays there."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_folders import write_run_of

from rerank_bench.errors import ComparisonError, ParseError
from rerank_bench.reporting.pair_tokens import ReadTokens, read_pair_tokens, write_pair_tokens
from rerank_bench.reporting.stored_result import read_stored_result

TOKENS = {
    "q1": {"d,1": ReadTokens(512, is_cut=True), "d2": ReadTokens(80, is_cut=False)},
    "größe": {"d2": ReadTokens(3, is_cut=False)},
}


def test_tokens_come_back(tmp_path: Path) -> None:
    path = tmp_path / "set.tokens.tsv"
    write_pair_tokens(path, TOKENS)
    assert read_pair_tokens(path) == TOKENS
    assert path.read_text(encoding="utf-8").splitlines()[:2] == ["query_id\tdoc_id\ttokens\tcut", "q1\td,1\t512\t1"]
    write_pair_tokens(path, {})
    assert read_pair_tokens(path) == {}


def test_a_folder_that_does_not_say_is_read_all_the_same(tmp_path: Path) -> None:
    stored = read_stored_result(write_run_of(tmp_path / "run", "model", {"alpha": 3}))
    assert stored.tokens("alpha") is None
    write_pair_tokens(tmp_path / "run" / "alpha.tokens.tsv", TOKENS)
    assert stored.tokens("alpha") == TOKENS
    with pytest.raises(ComparisonError, match="unknown data set 'beta'"):
        stored.tokens("beta")
    write_run_of(tmp_path / "run", "model", {"alpha": 3})
    assert stored.tokens("alpha") is None, "the file of an earlier run is taken away"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q1\td1\t5\t0\n", r"line 1: the header is 'q1\\td1\\t5\\t0', expected 'query_id"),
        ("query_id\tdoc_id\ttokens\tcut\nq1\td1\t5\n", r"line 2: expected query_id, doc_id, a number of tokens, and 0"),
        ("query_id\tdoc_id\ttokens\tcut\nq1\td1\t-5\t0\n", r"line 2: expected .*found 'q1\\td1\\t-5\\t0'"),
        ("query_id\tdoc_id\ttokens\tcut\nq1\td1\t5\tyes\n", r"line 2: expected .*parted by tabs"),
    ],
)
def test_what_is_no_such_file_is_named(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "set.tokens.tsv"
    path.write_text(content)
    with pytest.raises(ParseError, match=message):
        read_pair_tokens(path)
