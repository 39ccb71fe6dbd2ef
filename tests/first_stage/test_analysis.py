from __future__ import annotations

import bm25s
import pytest
import Stemmer
from bm25s.stopwords import STOPWORDS_EN
from hypothesis import given
from hypothesis import strategies as st

from rerank_bench.errors import ConfigError
from rerank_bench.first_stage.analysis import (
    AnalyzerConfig,
    analyzer_versions,
    split_words,
    stem_words,
    tokenize_queries,
)
from rerank_bench.first_stage.stopwords import STOP_WORDS


def test_words_are_lower_cased_runs_of_two_word_characters() -> None:
    assert split_words("A Cat's x-ray, naïve co_op 42!", AnalyzerConfig()) == ["cat", "ray", "naïve", "co_op", "42"]


def test_stop_words_are_dropped_before_stemming_and_not_after() -> None:
    # "ands" is stemmed to the stop word "and", and stays.
    assert stem_words(["the", "ands", "running"], AnalyzerConfig()) == [None, "and", "run"]


def test_the_english_stop_words_are_those_of_bm25s() -> None:
    assert STOP_WORDS["english"] == set(STOPWORDS_EN)


def test_a_query_keeps_its_terms_order_and_repetitions() -> None:
    assert tokenize_queries(["The cats and the dog of cats", ""], AnalyzerConfig()) == [["cat", "dog", "cat"], []]


@given(st.lists(st.text(), max_size=5))
def test_terms_equal_those_of_bm25s(texts: list[str]) -> None:
    stemmer = Stemmer.Stemmer("english")
    expected = bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False)
    assert tokenize_queries(texts, AnalyzerConfig()) == expected


def test_every_step_can_be_left_out() -> None:
    config = AnalyzerConfig(lowercase=False, stop_words=None, stemmer=None)
    assert tokenize_queries(["The running Cats"], config) == [["The", "running", "Cats"]]


def test_the_description_holds_every_choice() -> None:
    assert AnalyzerConfig(stemmer="german").describe() == {
        "lowercase": True,
        "token_pattern": r"(?u)\b\w\w+\b",
        "stop_words": "english",
        "stemmer": "german",
    }


def test_versions_that_decide_terms_are_known() -> None:
    assert set(analyzer_versions()) == {"unicode", "PyStemmer"}
    assert None not in analyzer_versions().values()


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"stop_words": "englisch"}, "unknown list of stop words 'englisch'; did you mean 'english'"),
        ({"stemmer": "englsh"}, "unknown stemmer 'englsh'; did you mean 'english'"),
        ({"token_pattern": "(["}, "token pattern .* is not a regular expression"),
        ({"token_pattern": r"(\w)\w"}, "has 1 groups, expected none"),
    ],
)
def test_a_wrong_choice_is_named(choice: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AnalyzerConfig(**choice)  # type: ignore[arg-type]  # the table holds strings only
