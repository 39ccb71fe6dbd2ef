"""Stop words by name: function words that carry no topic; they are dropped before stemming.

``english`` is the list of 33 words that Lucene's English analyser drops, and bm25s after it.
"""

from __future__ import annotations

from collections.abc import Mapping

_ENGLISH = """
a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to was
will with
"""

STOP_WORDS: Mapping[str, frozenset[str]] = {"english": frozenset(_ENGLISH.split())}
"""Name of a list -> its words, lower-cased."""
