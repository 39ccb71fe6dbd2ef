"""The engine with scorers that are real but need no model: word overlap, and a device that runs out of memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from watcher import Watcher

from rerank_bench import progress
from rerank_bench.errors import ConfigError, DataError, EnvironmentMissingError, InvalidScoreError, ScoringError
from rerank_bench.scoring.batching import BatchTooLargeError
from rerank_bench.scoring.callables import TextPairs
from rerank_bench.scoring.engine import score_indexed
from rerank_bench.scoring.scorer import EncodedItems


@dataclass
class Overlap:
    """Counts the words that query and document share; remembers what it was shown."""

    memory_words: int = 10**9
    """Words that fit the device."""
    default_batch_tokens: int = 50
    fingerprint: str = "overlap"
    seen: list[list[tuple[str, str]]] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        return {}

    def peak_device_bytes(self) -> int | None:
        return None

    def encode(self, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]) -> EncodedItems:
        return TextPairs(queries, docs, pairs)

    def score_batch(self, batch: list[tuple[str, str]]) -> NDArray[np.float32]:
        words = [len(query.split()) + len(doc.split()) for query, doc in batch]
        if max(words) * len(batch) > self.memory_words:
            raise BatchTooLargeError
        self.seen.append(batch)
        return np.asarray([overlap(query, doc) for query, doc in batch], dtype=np.float32)


def overlap(query: str, doc: str) -> float:
    return len(set(query.split()) & set(doc.split())) + len(doc) / 1000


words = st.lists(st.sampled_from("abcdefg"), max_size=6).map(" ".join)


@settings(deadline=None)
@given(
    queries=st.lists(words, min_size=1, max_size=5),
    docs=st.lists(words, min_size=1, max_size=8),
    data=st.data(),
    budget=st.integers(1, 60),
)
def test_every_pair_gets_its_own_score(queries: list[str], docs: list[str], data: Any, budget: int) -> None:
    index_pairs = st.tuples(st.integers(0, len(queries) - 1), st.integers(0, len(docs) - 1))
    pairs = np.asarray(data.draw(st.lists(index_pairs, max_size=20)), dtype=np.int64).reshape(-1, 2)
    scorer = Overlap()
    result = score_indexed(scorer, queries, docs, pairs, batch_tokens=budget)
    assert result.scores.dtype == np.float32
    expected = [np.float32(overlap(queries[q], docs[d])) for q, d in pairs]
    assert result.scores.tolist() == expected
    shown = [pair for batch in scorer.seen for pair in batch]
    assert len(shown) == len(set(shown)) == result.stats.num_distinct_pairs, "equal texts are scored once"
    assert set(shown) == {(queries[q], docs[d]) for q, d in pairs}
    assert result.stats.num_pairs == len(pairs)


def test_stats_add_up() -> None:
    queries, docs = ["a b", "a b"], ["a", "c d e f", "a"]
    pairs = np.asarray([[0, 0], [0, 1], [1, 1], [1, 2]])
    result = score_indexed(Overlap(), queries, docs, pairs, batch_tokens=100)
    stats = result.stats
    # Distinct: ("a b", "a") of 3 words and ("a b", "c d e f") of 6; one batch of 2 × 6.
    assert (stats.num_pairs, stats.num_distinct_pairs, stats.num_items) == (4, 2, 2)
    assert (stats.num_tokens, stats.num_padded_tokens, stats.num_batches, stats.batch_tokens) == (9, 12, 1, 100)
    assert stats.padding_share == pytest.approx(0.25)
    seconds = stats.tokenise_seconds + stats.score_seconds
    assert stats.pairs_per_second == pytest.approx(4 / seconds)
    assert stats.tokens_per_second == pytest.approx(9 / seconds)
    assert stats.as_dict()["num_tokens"] == 9
    assert result.facts.distinct[0] == result.facts.distinct[3] != result.facts.distinct[1]
    assert result.facts.tokens.tolist() == [3, 6, 6, 3]
    assert result.facts.taken(slice(1, 4)).summarise() == {
        "num_pairs": 3,
        "num_distinct_pairs": 2,
        "num_pairs_from_store": 0,
        "num_tokens": 9,
        "truncated_share": 0.0,
    }


def test_no_pairs_is_legal() -> None:
    result = score_indexed(Overlap(), [], [], np.empty((0, 2), dtype=np.int64))
    assert result.scores.shape == (0,)
    assert (result.stats.num_items, result.stats.padding_share) == (0, 0.0)
    assert result.facts.summarise()["truncated_share"] == 0.0


def test_progress_counts_the_distinct_pairs() -> None:
    watcher = Watcher()
    with progress.use_reporter(watcher):
        score_indexed(
            Overlap(), ["a"], ["a", "b", "a"], np.asarray([[0, 0], [0, 1], [0, 2]]), description="score pydocs"
        )
    assert watcher.tasks == [("score pydocs", 2, "pairs")]
    assert sum(watcher.advanced) == 2


def test_out_of_memory_halves_the_budget_and_loses_nothing() -> None:
    docs = [" ".join("abcdefgh"[: 1 + i % 8]) for i in range(40)]
    docs = [f"{doc} {i}" for i, doc in enumerate(docs)]
    pairs = np.stack([np.zeros(40, dtype=np.int64), np.arange(40)], axis=1)
    scorer = Overlap(memory_words=60)
    watcher = Watcher()
    with progress.use_reporter(watcher):
        result = score_indexed(scorer, ["a b c"], docs, pairs, batch_tokens=1_000)
    assert result.scores.tolist() == [np.float32(overlap("a b c", doc)) for doc in docs]
    assert result.stats.batch_tokens is not None
    assert result.stats.batch_tokens <= 60
    assert watcher.notes, "the user is told"
    assert all("out of memory; going on with batches of" in note for note in watcher.notes)
    assert sum(watcher.advanced) == 40


def test_a_pair_that_does_not_fit_alone_is_an_error() -> None:
    with pytest.raises(EnvironmentMissingError, match=r"one item of 7 tokens does not fit .*--max-length"):
        score_indexed(Overlap(memory_words=6), ["a b c"], ["a b c d"], np.asarray([[0, 0]]), batch_tokens=100)


class Faulty(Overlap):
    """Gives what it is told for the document "bad"."""

    value: float = float("nan")

    def score_batch(self, batch: list[tuple[str, str]]) -> NDArray[np.float32]:
        return np.asarray([self.value if doc == "bad" else 1.0 for _, doc in batch], dtype=np.float32)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_not_finite_names_the_pair(value: float) -> None:
    scorer = Faulty()
    scorer.value = value
    pairs = np.asarray([[0, 0], [1, 1], [0, 1]])
    names = ["query 'q1', document 'd7'", "query 'q2', document 'd8'", "query 'q1', document 'd8'"]
    with pytest.raises(InvalidScoreError, match=rf"query 'q[12]', document 'd8': score is {value}, expected a finite"):
        score_indexed(scorer, ["x", "y"], ["good", "bad"], pairs, pair_name=names.__getitem__)
    with pytest.raises(InvalidScoreError, match=r"query '[xy]', document 'bad': score is"):
        score_indexed(scorer, ["x", "y"], ["good", "bad"], pairs)


def test_a_wrong_number_of_scores_is_an_error() -> None:
    class TooFew(Overlap):
        def score_batch(self, batch: list[tuple[str, str]]) -> NDArray[np.float32]:
            return super().score_batch(batch)[:-1]

    with pytest.raises(ScoringError, match=r"returned 1 values for a batch of 2"):
        score_indexed(TooFew(), ["a"], ["a", "b"], np.asarray([[0, 0], [0, 1]]))


def test_a_budget_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"batch_tokens is -5"):
        score_indexed(Overlap(), ["a"], ["a"], np.asarray([[0, 0]]), batch_tokens=-5)


@pytest.mark.parametrize(
    ("doc", "message"),
    [
        (None, r"a document text is of type NoneType \(None\), expected str"),
        (17, r"a document text is of type int \(17\), expected str"),
        ("caf\ud83d", r"document text 'caf\\ud83d' holds half of a surrogate pair at character 3"),
    ],
)
def test_what_is_no_text_is_named(doc: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        score_indexed(Overlap(), ["a"], ["fine", doc], np.asarray([[0, 0], [0, 1]]))


@pytest.mark.parametrize("pair", [[0, -1], [0, 2], [1, 0]])
def test_indices_beyond_the_texts_do_not_wrap_around(pair: list[int]) -> None:
    with pytest.raises(IndexError, match=r"(query|document) indices run from .* but there are [12] texts"):
        score_indexed(Overlap(), ["a"], ["b", "c"], np.asarray([[0, 0], pair]))


def test_peak_memory_is_this_processs_own() -> None:
    code = (
        "import numpy as np; from rerank_bench.provenance import peak_memory_bytes\n"
        "before = peak_memory_bytes(); block = b'x' * (200 * 2**20); print(before, peak_memory_bytes())"
    )
    block = b"x" * (400 * 2**20)  # this process holds more than the other one ever will
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    before, after = (int(number) for number in output.split())
    assert 150 * 2**20 < after - before < 300 * 2**20
    assert before < len(block)
