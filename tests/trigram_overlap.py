"""A tiny scorer whose scores are the same on every machine: ``--model trigram_overlap:score``, without torch.

Every operation is a whole number, or a division and a sum that IEEE 754 rounds correctly, so no library and no processor
can change a digit.  Letter trigrams meet half words (``braking`` and ``brake``), so it is no mere word count.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

MIN_LETTERS = 3
SAY_LITTLE = frozenset({"after", "and", "are", "does", "for", "from", "how", "the", "there", "this", "when", "with"})
LIKE = 0.4
"""Words below this likeness have nothing in common."""


def score(pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Return how much of the query the document says: each word by its likest word there, long words count more."""
    return [_coverage(query, doc) for query, doc in pairs]


def _coverage(query: str, doc: str) -> float:
    asked, said = _words(query), [_trigrams(word) for word in _words(doc)]
    if not asked or not said:
        return 0.0
    likest = [(word, max(_dice(_trigrams(word), other) for other in said)) for word in asked]
    found = [len(word) * likeness**2 for word, likeness in likest if likeness >= LIKE]
    return math.fsum(found) / sum(map(len, asked)) - len(doc) / 1_000_000  # of two alike the shorter one


def _words(text: str) -> list[str]:
    return [word for word in re.findall(r"[a-z]+", text.lower()) if len(word) >= MIN_LETTERS and word not in SAY_LITTLE]


def _trigrams(word: str) -> frozenset[str]:
    return frozenset(f"^{word}$"[i : i + 3] for i in range(len(word)))


def _dice(first: frozenset[str], second: frozenset[str]) -> float:
    return 2 * len(first & second) / (len(first) + len(second))
