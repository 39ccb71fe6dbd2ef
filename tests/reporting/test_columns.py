from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_bench.reporting.columns import (
    COLUMN_BY_NAME,
    COLUMNS,
    COMPARABILITY_COLUMNS,
    HEADER,
    KEY_COLUMNS,
    MODEL_COLUMNS,
    format_field,
    parse_field,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "leaderboard.md"
VALUE = COLUMN_BY_NAME["ndcg_at_10"]
QUERIES = COLUMN_BY_NAME["num_queries"]
P_VALUE = COLUMN_BY_NAME["p"]


def test_the_documented_columns_are_the_columns() -> None:
    lines = re.findall(
        r"^\| `(\w+)` \| (\w+) \| (yes)? ?\| (.+) \|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert lines == [(c.name, c.kind, "yes" if c.is_required else "", c.meaning) for c in COLUMNS]


def test_the_documented_key_is_the_key() -> None:
    text = " ".join(DOCUMENT.read_text(encoding="utf-8").split())
    for columns in (KEY_COLUMNS, COMPARABILITY_COLUMNS):
        assert ", ".join(f"`{name}`" for name in columns) in text


def test_names_are_unique_and_keys_are_columns() -> None:
    assert len(set(HEADER)) == len(HEADER)
    assert set(KEY_COLUMNS) | set(COMPARABILITY_COLUMNS) | set(MODEL_COLUMNS) <= set(HEADER)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_the_same_bits(value: float) -> None:
    assert parse_field(VALUE, format_field(VALUE, value)) == value


@given(st.integers())
def test_an_integer_reads_back(value: int) -> None:
    assert parse_field(QUERIES, format_field(QUERIES, value)) == value


def test_an_optional_field_may_be_empty() -> None:
    assert format_field(P_VALUE, None) == ""
    assert parse_field(P_VALUE, "") is None
    assert parse_field(COLUMN_BY_NAME["revision"], "") == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"column 'ndcg_at_10' is empty, expected a finite number"),
        ("0,5", r"column 'ndcg_at_10' is '0,5', expected a finite number"),
        ("nan", r"column 'ndcg_at_10' is 'nan', expected a finite number"),
        ("inf", r"column 'ndcg_at_10' is 'inf', expected a finite number"),
    ],
)
def test_a_wrong_number_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_field(VALUE, text)


def test_a_wrong_integer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"column 'num_queries' is '90\.0', expected a whole number"):
        parse_field(QUERIES, "90.0")
    with pytest.raises(ValueError, match=r"column 'num_queries' is 90\.0, expected a whole number"):
        format_field(QUERIES, 90.0)


@pytest.mark.parametrize("value", [float("nan"), "much", None])
def test_a_wrong_value_is_not_written(value: object) -> None:
    with pytest.raises(ValueError, match=r"column 'ndcg_at_10' is .*, expected a finite number"):
        format_field(VALUE, value)
