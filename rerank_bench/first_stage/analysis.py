"""The analyser: from a text to its terms.

A text is lower-cased and split into words by a regular expression; stop words are dropped, and what remains is stemmed
by a Snowball stemmer (Porter, 2001, https://snowballstem.org).  This is the definition, which queries go through; a
collection goes through ``tokenization``, which gives the same terms without a Python object per word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rerank_bench.errors import ConfigError, describe_unknown
from rerank_bench.first_stage.stopwords import STOP_WORDS
from rerank_bench.provenance import library_versions

WORD_PATTERN = r"(?u)\b\w\w+\b"
"""Maximal runs of at least two word characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalyzerConfig:
    """How a text becomes terms.

    Raises:
        ConfigError: An unknown name, or a pattern that is not a regular expression of words.
    """

    lowercase: bool = True
    token_pattern: str = WORD_PATTERN
    """Regular expression without groups; every match is a word."""
    stop_words: str | None = "english"
    """Name of a list of words that are dropped before stemming; ``None`` keeps all words."""
    stemmer: str | None = "english"
    """Name of a Snowball algorithm; ``None`` keeps the words as they are."""

    def __post_init__(self) -> None:
        try:
            num_groups = re.compile(self.token_pattern).groups
        except re.error as error:
            msg = f"token pattern {self.token_pattern!r} is not a regular expression: {error}"
            raise ConfigError(msg) from error
        if num_groups:
            msg = f"token pattern {self.token_pattern!r} has {num_groups} groups, expected none; write (?:…) for (…)"
            raise ConfigError(msg)
        if self.stop_words is not None and self.stop_words not in STOP_WORDS:
            raise ConfigError(describe_unknown("list of stop words", [self.stop_words], STOP_WORDS))
        if self.stemmer is not None:
            import Stemmer

            if self.stemmer not in Stemmer.algorithms():
                raise ConfigError(describe_unknown("stemmer", [self.stemmer], Stemmer.algorithms(), max_listed=40))

    def describe(self) -> dict[str, Any]:
        """Return the whole configuration, JSON-able."""
        return asdict(self)


def analyzer_versions() -> dict[str, str | None]:
    """Return the versions that decide what a text's terms are: the stemmer's, and Unicode's idea of a letter."""
    return {"unicode": unicodedata.unidata_version, **library_versions(("PyStemmer",))}


def split_words(text: str, config: AnalyzerConfig) -> list[str]:
    """Return the words of a text in order, stop words included, not stemmed."""
    return re.findall(config.token_pattern, text.lower() if config.lowercase else text)


def stem_words(words: Sequence[str], config: AnalyzerConfig) -> list[str | None]:
    """Return each word's term, ``None`` for a stop word."""
    stop_words = STOP_WORDS[config.stop_words] if config.stop_words else frozenset[str]()
    stems = words
    if config.stemmer:
        import Stemmer

        # No cache: every word is stemmed once, and the cache takes four fifths of the time.
        stems = Stemmer.Stemmer(config.stemmer, 0).stemWords(words)
    return [None if word in stop_words else stem for word, stem in zip(words, stems, strict=True)]


def tokenize_queries(query_texts: Sequence[str], config: AnalyzerConfig) -> list[list[str]]:
    """Return each query's terms in order; a term stands as often as it occurs."""
    words_by_query = [split_words(text, config) for text in query_texts]
    distinct = list(dict.fromkeys(word for words in words_by_query for word in words))
    term_of = dict(zip(distinct, stem_words(distinct, config), strict=True))
    return [[term for word in words if (term := term_of[word]) is not None] for words in words_by_query]
