"""The engine in front of a store: what is scored, in which batches, and what the counts say of it."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from watcher import Watcher

from rerank_bench import progress
from rerank_bench.errors import InvalidScoreError
from rerank_bench.scoring.batching import BatchTooLargeError
from rerank_bench.scoring.callables import TextPairs
from rerank_bench.scoring.device_use import DeviceUse
from rerank_bench.scoring.engine import score_indexed, score_stored
from rerank_bench.scoring.engine_result import EngineResult
from rerank_bench.scoring.score_store import ScoreStore
from rerank_bench.scoring.scorer import EncodedItems, Scorer, TextEncoder

QUERIES = ["a b", "a c d", "b"]
DOCS = [" ".join("abcdefgh"[: 1 + number % 8]) + f" {number}" for number in range(50)]
PAIRS = np.stack([np.repeat([0, 1, 2], 50), np.tile(np.arange(50), 3)], axis=1)

TIMES = {"tokenise_seconds", "score_seconds", "pairs_per_second", "tokens_per_second", "peak_host_bytes"}
TIMES |= {field.name for field in fields(DeviceUse)}
HISTORY = {"num_pairs_from_store"}


class KilledError(Exception):
    """Stands for what ends a process between two batches."""


@dataclass
class Sensitive:
    """A score depends on the batch, as with real models in the last digits: any other batching shows."""

    lives: int = 10**9
    """Batches until the process is killed."""
    memory_words: int = 10**9
    default_batch_tokens: int = 30
    fingerprint: str = "sensitive"
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
        if len(self.seen) >= self.lives:
            raise KilledError
        self.seen.append(batch)
        shared = [len(set(query.split()) & set(doc.split())) for query, doc in batch]
        return np.asarray(shared, dtype=np.float32) + np.float32(1e-3) * len(batch) + np.float32(1e-5) * sum(words)


def score(path: Path, scorer: Any, pairs: NDArray[np.int64] = PAIRS, **options: Any) -> EngineResult:
    with ScoreStore(path, "f", "tiny") as store:
        return score_stored(lambda: scorer, store, QUERIES, DOCS, pairs, **options)


def not_loaded() -> Scorer | TextEncoder:
    msg = "the model was loaded"
    raise AssertionError(msg)


def counts(result: EngineResult) -> dict[str, Any]:
    found = result.stats.as_dict() | {"facts": result.facts.distinct.tolist(), "tokens": result.facts.tokens.tolist()}
    return {name: value for name, value in found.items() if name not in TIMES | HISTORY}


@pytest.mark.parametrize("memory_words", [10**9, 20], ids=["plenty", "out of memory on the way"])
@pytest.mark.parametrize("lives", [0, 1, 7, 20])
def test_a_resumed_run_replays_the_batches(tmp_path: Path, lives: int, memory_words: int) -> None:
    plain = Sensitive(memory_words=memory_words)
    expected = score_indexed(plain, QUERIES, DOCS, PAIRS)
    killed = Sensitive(lives=lives, memory_words=memory_words)
    with pytest.raises(KilledError):
        score(tmp_path / "a.sqlite", killed)
    # Other defaults than before, as after an upgrade, or on a machine with less memory free: the job keeps its own.
    rest = Sensitive(memory_words=memory_words, default_batch_tokens=7)
    resumed = score(tmp_path / "a.sqlite", rest)
    assert killed.seen + rest.seen == plain.seen
    assert resumed.scores.tobytes() == expected.scores.tobytes()
    assert counts(resumed) == counts(expected)
    num_stored = sum(len(batch) for batch in killed.seen)
    assert resumed.stats.num_pairs_from_store == num_stored
    assert resumed.stats.pairs_per_second == pytest.approx(
        (150 - num_stored) / (resumed.stats.tokenise_seconds + resumed.stats.score_seconds)
    )


def test_a_run_killed_many_times_ends_with_the_same_bytes(tmp_path: Path) -> None:
    plain = Sensitive()
    expected = score_indexed(plain, QUERIES, DOCS, PAIRS)
    seen: list[Any] = []
    for _ in range(100):
        scorer = Sensitive(lives=3)
        try:
            resumed = score(tmp_path / "a.sqlite", scorer)
        except KilledError:
            seen += scorer.seen
        else:
            seen += scorer.seen
            break
    assert seen == plain.seen
    assert resumed.scores.tobytes() == expected.scores.tobytes()


def test_a_second_run_loads_no_model_and_says_the_same(tmp_path: Path) -> None:
    first = score(tmp_path / "a.sqlite", Sensitive())
    with ScoreStore(tmp_path / "a.sqlite", "f", "tiny") as store:
        second = score_stored(not_loaded, store, QUERIES, DOCS, PAIRS)
    assert second.scores.tobytes() == first.scores.tobytes()
    assert counts(second) == counts(first)
    stats = second.stats
    assert (stats.num_pairs_from_store, stats.pairs_per_second, stats.tokens_per_second) == (150, None, None)
    assert stats.tokenise_seconds == stats.score_seconds == 0.0


def test_fewer_pairs_cost_nothing_and_more_pairs_cost_the_rest(tmp_path: Path) -> None:
    shallow = PAIRS[PAIRS[:, 1] < 20]
    score(tmp_path / "a.sqlite", Sensitive(), shallow)
    scorer = Sensitive()
    deep = score(tmp_path / "a.sqlite", scorer)
    shown = [pair for batch in scorer.seen for pair in batch]
    assert sorted(shown) == sorted((QUERIES[q], DOCS[d]) for q, d in PAIRS if d >= 20)
    assert deep.stats.num_pairs_from_store == len(shallow)
    assert deep.stats.num_items == len(PAIRS) - len(shallow)
    middle = PAIRS[(PAIRS[:, 1] > 10) & (PAIRS[:, 1] < 30)][::-1]
    with ScoreStore(tmp_path / "a.sqlite", "f", "tiny") as store:
        found = score_stored(not_loaded, store, QUERIES, DOCS, middle)
    score_of = {tuple(pair): value for pair, value in zip(PAIRS.tolist(), deep.scores.tolist(), strict=True)}
    assert found.scores.tolist() == [score_of[tuple(pair)] for pair in middle.tolist()]
    first, again = (
        {tuple(p): n for p, n in zip(of.tolist(), r.facts.tokens.tolist(), strict=True)}
        for of, r in ((PAIRS, deep), (middle, found))
    )
    assert again == {pair: first[pair] for pair in again}, "what is known of a pair does not depend on the request"


def test_pairs_asked_for_twice_are_counted_as_asked(tmp_path: Path) -> None:
    twice = np.concatenate([PAIRS[:10], PAIRS[:10]])
    first = score(tmp_path / "a.sqlite", Sensitive(), twice)
    assert (first.stats.num_pairs, first.stats.num_distinct_pairs, first.stats.num_pairs_from_store) == (20, 10, 0)
    assert score(tmp_path / "a.sqlite", Sensitive(), twice).stats.num_pairs_from_store == 20


def test_another_budget_is_another_job(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        score(tmp_path / "a.sqlite", Sensitive(lives=3), batch_tokens=30)
    rest = Sensitive()
    resumed = score(tmp_path / "a.sqlite", rest, batch_tokens=8)
    assert all(len(batch) == 1 or len(batch) * 2 <= 8 for batch in rest.seen)
    assert resumed.stats.batch_tokens == 8
    assert resumed.stats.num_pairs_from_store == 150 - sum(len(batch) for batch in rest.seen)


def test_a_score_that_is_not_finite_is_not_stored(tmp_path: Path) -> None:
    class Faulty(Sensitive):
        def score_batch(self, batch: list[tuple[str, str]]) -> NDArray[np.float32]:
            values = super().score_batch(batch)
            values[[doc.startswith("a b c 2") for _, doc in batch]] = np.nan
            return values

    with pytest.raises(InvalidScoreError, match=r"query 'a b', document 'a b c 2': score is nan"):
        score(tmp_path / "a.sqlite", Faulty(), PAIRS[:50])
    good = Sensitive()
    assert np.isfinite(score(tmp_path / "a.sqlite", good, PAIRS[:50]).scores).all()
    assert ("a b", "a b c 2") in [pair for batch in good.seen for pair in batch]


@dataclass
class Vectors:
    """A text encoder: a text's vector is its length and its number of words, and what its batch was."""

    lives: int = 10**9
    memory_words: int = 10**9
    memory_queries: int = 10**9
    """Queries that fit the memory at once."""
    default_batch_tokens: int = 20
    fingerprint: str = "vectors"
    seen: list[list[str]] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        return {}

    def peak_device_bytes(self) -> int | None:
        return None

    def encode_texts(self, queries: Sequence[str], docs: Sequence[str]) -> EncodedItems:
        texts = [*queries, *docs]
        return TextPairs(texts, [""], np.stack([np.arange(len(texts)), np.zeros(len(texts), dtype=np.int64)], axis=1))

    def embed_batch(self, batch: list[tuple[str, str]]) -> NDArray[np.float32]:
        texts = [text for text, _ in batch]
        if max(len(text.split()) for text in texts) * len(texts) > self.memory_words:
            raise BatchTooLargeError
        if len(set(texts) & set(QUERIES)) > self.memory_queries:
            raise BatchTooLargeError
        if len(self.seen) >= self.lives:
            raise KilledError
        self.seen.append(texts)
        return np.asarray([[len(text), len(text.split()), 1e-3 * len(texts)] for text in texts], dtype=np.float32)

    def compare(
        self, query_vectors: NDArray[np.float32], doc_vectors: NDArray[np.float32], pairs: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        return np.asarray((query_vectors[pairs[:, 0]] * doc_vectors[pairs[:, 1]]).sum(axis=1), dtype=np.float32)

    def docs_seen(self) -> list[list[str]]:
        return [texts for texts in self.seen if not set(texts) & set(QUERIES)]


@pytest.mark.parametrize(
    "memory",
    [{}, {"memory_words": 10}, {"memory_words": 10, "memory_queries": 2}],
    ids=["plenty", "too little for documents", "too little for queries too"],
)
@pytest.mark.parametrize("lives", [0, 1, 4, 9])
def test_a_text_encoders_resumed_run_encodes_no_document_twice(
    tmp_path: Path, lives: int, memory: dict[str, Any]
) -> None:
    plain = Vectors(**memory)
    expected = score_indexed(plain, QUERIES, DOCS, PAIRS)
    killed = Vectors(lives=lives, **memory)
    with pytest.raises(KilledError):
        score(tmp_path / "a.sqlite", killed)
    rest = Vectors(default_batch_tokens=7 if killed.docs_seen() else 20, **memory)
    resumed = score(tmp_path / "a.sqlite", rest)
    assert killed.docs_seen() + rest.docs_seen() == plain.docs_seen()
    assert resumed.scores.tobytes() == expected.scores.tobytes()
    assert counts(resumed) == counts(expected)
    assert resumed.stats.num_pairs_from_store == 3 * sum(len(texts) for texts in killed.docs_seen())
    with ScoreStore(tmp_path / "a.sqlite", "f", "tiny") as store:
        second = score_stored(not_loaded, store, QUERIES, DOCS, PAIRS)
    assert second.scores.tobytes() == expected.scores.tobytes()
    assert counts(second) == counts(expected)


def test_a_text_encoders_vectors_are_compared(tmp_path: Path) -> None:
    scorer = Vectors(default_batch_tokens=1)
    found = score(tmp_path / "a.sqlite", scorer).scores
    expected = [len(QUERIES[q]) * len(DOCS[d]) + len(QUERIES[q].split()) * len(DOCS[d].split()) for q, d in PAIRS]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert sorted(text for texts in scorer.seen for text in texts) == sorted([*QUERIES, *DOCS]), "each text once"


def test_the_vectors_of_documents_are_forgotten_batch_by_batch() -> None:
    alive: list[weakref.ref[Any]] = []
    most = 0

    class Watched(Vectors):
        def embed_batch(self, batch: list[tuple[str, str]]) -> NDArray[np.float32]:
            nonlocal most
            vectors = super().embed_batch(batch)
            alive.append(weakref.ref(vectors))
            most = max(most, sum(reference() is not None for reference in alive))
            return vectors

    score_indexed(Watched(), QUERIES, DOCS, PAIRS)
    assert len(alive) > 10
    assert most <= 3, "of the batch that is computed, and of those that are handed on"


def test_a_store_that_fails_on_the_way_costs_no_score(tmp_path: Path) -> None:
    watcher = Watcher()
    expected = score_indexed(Sensitive(), QUERIES, DOCS, PAIRS)
    (tmp_path / "file").write_text("in the way")
    with progress.use_reporter(watcher):
        result = score(tmp_path / "file" / "a.sqlite", Sensitive())
    assert result.scores.tobytes() == expected.scores.tobytes()
    assert counts(result) == counts(expected)
    assert [note for note in watcher.notes if "not stored" in note]
