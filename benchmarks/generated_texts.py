"""Generated texts for benchmarks: words whose frequencies follow Zipf's law, stop words as frequent as in English."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rerank_bench.first_stage.stopwords import STOP_WORDS

NUM_DISTINCT_WORDS = 500_000


class WordSource:
    """Words by falling frequency, and texts made of them.

    Args:
        rng: Draws the words now and the texts later.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._words = np.asarray(generate_words(rng), dtype=object)
        weights = 1.0 / (np.arange(len(self._words)) + 2.7) ** 1.07  # Zipf-Mandelbrot
        self._bounds = np.cumsum(weights / weights.sum())

    def draw(self, shape: tuple[int, ...]) -> NDArray[np.object_]:
        """Return words, each drawn by its frequency."""
        ranks = np.searchsorted(self._bounds, self._rng.random(shape))
        return np.asarray(self._words[np.minimum(ranks, len(self._words) - 1)], dtype=object)

    def texts(self, count: int, length: int) -> list[str]:
        """Return texts of equally many words."""
        return [sentence(row) for row in self.draw((count, length))]

    def texts_of_lengths(self, lengths: NDArray[np.int64]) -> list[str]:
        """Return one text for each number of words."""
        ends = np.cumsum(lengths)
        words = self.draw((int(ends[-1]),))
        return [
            sentence(words[end - length : end]) for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)
        ]


def sentence(words: Sequence[str] | NDArray[np.object_]) -> str:
    """Return words as a text."""
    return " ".join(words).capitalize() + "."


def generate_words(rng: np.random.Generator) -> list[str]:
    """Return distinct words by falling frequency: among the first hundred every third is a stop word."""
    stop_words = sorted(STOP_WORDS["english"])
    endings = ["", "", "", "s", "ed", "ing", "ation", "ly"]
    letters = np.asarray(list("etaoinshrdlucmfwypvbgkjqxz"))
    made: dict[str, None] = {}
    while len(made) < NUM_DISTINCT_WORDS:
        for length in rng.integers(3, 9, size=10_000):
            stem = "".join(letters[np.minimum(rng.exponential(6, size=length).astype(int), 25)])
            made[stem + endings[rng.integers(len(endings))]] = None
    words = list(made)[:NUM_DISTINCT_WORDS]
    for number, stop_word in enumerate(stop_words):
        words.insert(3 * number, stop_word)
    return words
