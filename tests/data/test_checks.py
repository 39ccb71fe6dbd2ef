from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_bench.data.checks import check_counts, check_ids, describe_bad_id, find_repeat
from rerank_bench.errors import DataError, ManifestError


def strings(values: list[str | None]) -> pa.Array:
    return pa.array(values, type=pa.large_string())


@given(st.lists(st.sampled_from("abcdef"), max_size=12))
def test_find_repeat_equals_a_loop(ids: list[str]) -> None:
    expected = None
    for again, value in enumerate(ids):
        if value in ids[:again]:
            expected = (ids.index(value), again)
            break
    assert find_repeat(strings(list(ids))) == expected


@pytest.mark.parametrize("value", ["", " ", "a b", "a\t", "\na", "a\u00a0b", "a\u2028b", "a\x1fb", "a\u3000"])
def test_ids_that_trec_files_cannot_carry(value: str) -> None:
    assert describe_bad_id(value) is not None
    with pytest.raises(DataError, match=r"corpus, row 2: id .* is empty or holds white space"):
        check_ids("corpus", strings(["ok", "süß-😀", value]))


def test_ids_may_be_anything_else() -> None:
    check_ids("corpus", strings(["a", "0", "-", "ü", "\u200b", 'quote"', "x" * 1000]))
    check_ids("corpus", strings([]))


def test_null_and_repeated_ids() -> None:
    with pytest.raises(DataError, match="corpus: 1 of 2 ids are null"):
        check_ids("corpus", strings(["a", None]))
    with pytest.raises(DataError, match="corpus: id 'b' stands in row 1 and again in row 3; ids must be unique"):
        check_ids("corpus", strings(["a", "b", "c", "b", "a"]))


def test_counts() -> None:
    found = {"queries": 3, "documents": 10_000, "judgements": 5}
    check_counts("x", {"queries": 3}, found)
    with pytest.raises(
        ManifestError, match="x: the data holds 10,000 documents instead of 12,000, 5 judgements instead of 6"
    ):
        check_counts("x", {"queries": 3, "documents": 12_000, "judgements": 6}, found)
