"""Letters: two runs share one if and only if they are not different; there is always another letter."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_bench.comparison.groups import letter_groups, letter_name


@st.composite
def relations(draw: st.DrawFn) -> tuple[list[str], set[frozenset[str]]]:
    runs = [f"run{number}" for number in range(draw(st.integers(1, 8)))]
    pairs = [frozenset(pair) for pair in itertools.combinations(runs, 2)]
    return runs, {pair for pair in pairs if draw(st.booleans())}


@given(relations())
def test_two_runs_share_a_letter_if_and_only_if_they_do_not_differ(
    relation: tuple[list[str], set[frozenset[str]]],
) -> None:
    runs, different = relation
    letters = letter_groups(runs, different)
    assert list(letters) == runs
    for first, second in itertools.combinations(runs, 2):
        assert (not set(letters[first]) & set(letters[second])) == (frozenset({first, second}) in different)
    assert letters[runs[0]][0] == "a"
    assert all(letters.values())
    used = {letter for own in letters.values() for letter in own}
    assert used == {letter_name(number) for number in range(len(used))}


def test_the_example_that_is_not_transitive() -> None:
    """A chain: neighbours cannot be told apart, the ends can."""
    letters = letter_groups(["x", "y", "z"], {frozenset({"x", "z"})})
    assert letters == {"x": ("a",), "y": ("a", "b"), "z": ("b",)}


def test_letters_do_not_run_out() -> None:
    runs = [f"run{number}" for number in range(30)]
    all_different = {frozenset(pair) for pair in itertools.combinations(runs, 2)}
    letters = letter_groups(runs, all_different)
    assert letters["run25"] == ("z",)
    assert letters["run26"] == ("aa",)
    assert letters["run29"] == ("ad",)


@pytest.mark.parametrize(("number", "name"), [(0, "a"), (25, "z"), (26, "aa"), (27, "ab"), (701, "zz"), (702, "aaa")])
def test_names_count_as_spreadsheets_do(number: int, name: str) -> None:
    assert letter_name(number) == name
