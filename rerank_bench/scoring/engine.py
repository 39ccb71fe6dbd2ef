"""The one place where pairs are ordered, batched, counted and checked, whatever the model is.

Equal (query, document) texts are scored once and get the same score.  Pairs are sorted by token length and cut under a
token budget; when a device runs out of memory the budget is halved and the rest goes on.  No torch is imported here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench import progress
from rerank_bench.errors import DataError, EnvironmentMissingError, InvalidScoreError, ScoringError
from rerank_bench.provenance import peak_memory_bytes
from rerank_bench.scoring.batching import BatchTooLargeError, check_batch_tokens, iter_batches, order_by_length
from rerank_bench.scoring.scorer import AnyScorer, EncodedItems, ListScorer, TextEncoder

PairNamer = Callable[[int], str]
"""Row of ``pairs`` -> what an error calls that pair, such as ``"query '17', document 'd3'"``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """What scoring cost."""

    num_pairs: int
    num_distinct_pairs: int
    """Pairs of different texts: what the model saw."""
    num_items: int
    """What was batched: the distinct pairs, or the distinct texts of a bi-encoder."""
    num_tokens: int
    """Tokens of all items, without padding."""
    num_padded_tokens: int
    """Tokens of all batches, padding included."""
    padding_share: float
    """Share of the padded tokens that is padding."""
    truncated_share: float
    """Share of the items that were cut to ``max_length``."""
    num_batches: int
    batch_tokens: int
    """The budget at the end; lower than at the start if memory ran out."""
    tokenise_seconds: float
    score_seconds: float
    pairs_per_second: float
    """Pairs asked for, over tokenising and scoring together."""
    tokens_per_second: float
    """Tokens without padding, over tokenising and scoring together."""
    peak_host_bytes: int | None
    peak_device_bytes: int | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, JSON-able."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class EngineResult:
    """Scores in the order of the pairs."""

    scores: NDArray[np.float32]
    """(N,) float32, all finite."""
    stats: EngineStats


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    """The distinct texts and the distinct pairs of them."""

    queries: list[str]
    docs: list[str]
    pairs: NDArray[np.int64]
    """(M, 2): indices into ``queries`` and ``docs``, each pair once."""
    row_of_pair: NDArray[np.int64]
    """(N,): row of ``pairs`` for every pair that was asked for."""
    first_pair: NDArray[np.int64]
    """(M,): the first pair asked for that has these texts."""


def score_indexed(
    scorer: AnyScorer,
    queries: Sequence[str],
    docs: Sequence[str],
    pairs: NDArray[np.int64],
    *,
    batch_tokens: int | None = None,
    pair_name: PairNamer | None = None,
    description: str = "score",
) -> EngineResult:
    """Score pairs of texts.

    Args:
        scorer: The model.
        queries: Query texts; the same text may stand there twice.
        docs: Document texts, likewise.
        pairs: (N, 2) int64: indices into ``queries`` and ``docs``.
        batch_tokens: Padded tokens per batch; ``None`` for the scorer's own budget.
        pair_name: Names a pair in an error; ``None`` shows the texts.
        description: What the progress bar says.

    Raises:
        InvalidScoreError: A score is NaN or infinite; the pair is named.
        EnvironmentMissingError: A single item does not fit the device's memory.
    """
    budget = scorer.default_batch_tokens if batch_tokens is None else batch_tokens
    check_batch_tokens(budget)
    work = _distinct(queries, docs, pairs)
    name = pair_name or (lambda row: _show_pair(queries[pairs[row, 0]], docs[pairs[row, 1]]))
    if isinstance(scorer, ListScorer):
        return _score_lists(scorer, work, len(pairs), name, description)
    started = time.perf_counter()
    items: EncodedItems
    if isinstance(scorer, TextEncoder):
        items = scorer.encode_texts(work.queries, work.docs)
    else:
        items = scorer.encode(work.queries, work.docs, work.pairs)
    tokenised = time.perf_counter()
    if isinstance(scorer, TextEncoder):
        runner = _Runner(items, budget, description, "texts")
        vectors = runner.run(scorer.embed_batch)
        num_queries = len(work.queries)
        distinct_scores = np.empty(0, dtype=np.float32)
        if len(work.pairs):
            distinct_scores = scorer.compare(vectors[:num_queries], vectors[num_queries:], work.pairs)
        _check(distinct_scores, work.first_pair, name)
    else:
        runner = _Runner(items, budget, description, "pairs")
        distinct_scores = runner.run(
            scorer.score_batch, check=lambda indices, values: _check(values, work.first_pair[indices], name)
        )
    finished = time.perf_counter()
    scores = distinct_scores[work.row_of_pair].astype(np.float32)
    seconds = (tokenised - started, finished - tokenised)
    return EngineResult(scores, _stats(len(pairs), work, items, runner, seconds, scorer.peak_device_bytes()))


def _score_lists(scorer: ListScorer, work: _Work, num_pairs: int, name: PairNamer, description: str) -> EngineResult:
    """Score pairs whose tokens are counted elsewhere, if at all."""
    # As they were asked for: a service that looks at the whole list is to see the first stage's order.
    order = np.argsort(work.first_pair)  # (M,)
    asked = work.first_pair[order]
    started = time.perf_counter()
    with progress.track(description, total=len(order), unit="pairs") as advance:
        values = scorer.score_lists(
            work.queries, work.docs, work.pairs[order], pair_name=lambda row: name(int(asked[row])), advance=advance
        )
    seconds = time.perf_counter() - started
    _check_shape(values, len(order))
    _check(values, asked, name)
    distinct_scores = np.empty(len(order), dtype=np.float32)
    distinct_scores[order] = values
    stats = EngineStats(
        num_pairs=num_pairs,
        num_distinct_pairs=len(order),
        num_items=len(order),
        num_tokens=0,
        num_padded_tokens=0,
        padding_share=0.0,
        truncated_share=0.0,
        num_batches=0,
        batch_tokens=scorer.default_batch_tokens,
        tokenise_seconds=0.0,
        score_seconds=seconds,
        pairs_per_second=num_pairs / max(seconds, 1e-9),
        tokens_per_second=0.0,
        peak_host_bytes=peak_memory_bytes(),
        peak_device_bytes=scorer.peak_device_bytes(),
    )
    return EngineResult(distinct_scores[work.row_of_pair], stats)


def _distinct(queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]) -> _Work:
    """Return the work with every text and every pair of texts once, in order of first occurrence of the texts."""
    pairs = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    query_texts, query_codes = _codes("query", queries, pairs[:, 0])
    doc_texts, doc_codes = _codes("document", docs, pairs[:, 1])
    keys = query_codes * max(1, len(doc_texts)) + doc_codes  # (N,)
    _, first_pair, row_of_pair = np.unique(keys, return_index=True, return_inverse=True)
    distinct = np.stack([query_codes[first_pair], doc_codes[first_pair]], axis=1)  # (M, 2)
    return _Work(query_texts, doc_texts, distinct, row_of_pair.reshape(-1), first_pair)


def _codes(kind: str, texts: Sequence[str], indices: NDArray[np.int64]) -> tuple[list[str], NDArray[np.int64]]:
    """Return (distinct texts that are used, (N,) the code of each index's text)."""
    used, inverse = np.unique(indices, return_inverse=True)
    if used.size and (used[0] < 0 or used[-1] >= len(texts)):
        msg = f"{kind} indices run from {used[0]} to {used[-1]}, but there are {len(texts)} texts"
        raise IndexError(msg)
    for index in used.tolist():
        _check_text(kind, texts[index])
    code_by_text: dict[str, int] = {}
    codes = np.asarray([code_by_text.setdefault(texts[i], len(code_by_text)) for i in used.tolist()], dtype=np.int64)
    return list(code_by_text), codes[inverse.reshape(-1)]


def _check_text(kind: str, text: object) -> None:
    """Raise for what no tokenizer takes.

    Raises:
        DataError: Not a string, or one with half of a surrogate pair (JSON can hold that, UTF-8 cannot).
    """
    if not isinstance(text, str):
        msg = f"a {kind} text is of type {type(text).__name__} ({text!r}), expected str"
        raise DataError(msg)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        shown = text[max(0, error.start - 30) : error.start + 10]
        msg = f"{kind} text {shown!r} holds half of a surrogate pair at character {error.start}; repair the data's encoding"
        raise DataError(msg) from error


@dataclass(slots=True, eq=False)
class _Runner:
    """Runs items through a model, batch after batch, and keeps count."""

    items: EncodedItems
    batch_tokens: int
    description: str
    unit: str
    num_batches: int = 0
    num_padded_tokens: int = 0
    lengths: NDArray[np.int32] = field(init=False)

    def __post_init__(self) -> None:
        self.lengths = self.items.lengths

    def run(
        self,
        compute: Callable[[Any], NDArray[np.float32]],
        *,
        check: Callable[[NDArray[np.int64], NDArray[np.float32]], None] | None = None,
    ) -> NDArray[np.float32]:
        """Return (N, …) float32: what ``compute`` gives for every item, in the items' order.

        Args:
            compute: The model, on one batch.
            check: Called with the indices and values of every batch; raises if it does not like them.
        """
        remaining = order_by_length(self.lengths)
        outputs: NDArray[np.float32] | None = None
        with progress.track(self.description, total=len(remaining), unit=self.unit) as advance:
            while len(remaining):
                num_done = 0
                try:
                    for indices in iter_batches(remaining, self.lengths, self.batch_tokens):
                        values = compute(self.items.batch(indices))
                        _check_shape(values, len(indices))
                        if check is not None:
                            check(indices, values)
                        if outputs is None:
                            outputs = np.empty((len(self.lengths), *values.shape[1:]), dtype=np.float32)
                        outputs[indices] = values
                        self._count(indices)
                        num_done += len(indices)
                        advance(len(indices))
                except BatchTooLargeError as error:
                    self._halve(remaining[num_done:], error)
                remaining = remaining[num_done:]
        return np.empty(0, dtype=np.float32) if outputs is None else outputs

    def _count(self, indices: NDArray[np.int64]) -> None:
        self.num_batches += 1
        self.num_padded_tokens += len(indices) * int(self.lengths[indices].max())

    def _halve(self, remaining: NDArray[np.int64], error: BatchTooLargeError) -> None:
        """Halve the budget, from what the failed batch really held, or give up on a single item."""
        failed = next(iter_batches(remaining, self.lengths, self.batch_tokens))
        longest = int(self.lengths[failed[0]])
        if len(failed) == 1:
            msg = (
                f"{self.description}: one item of {longest} tokens does not fit the device's memory ({error}); "
                "pass a lower --max-length, --dtype bfloat16, or --device cpu"
            )
            raise EnvironmentMissingError(msg) from error
        self.batch_tokens = max(1, len(failed) * longest // 2)
        progress.note(f"{self.description}: out of memory; going on with batches of {self.batch_tokens} tokens")


def _check_shape(values: NDArray[np.float32], num_items: int) -> None:
    if len(values) != num_items:
        msg = f"the model returned {len(values)} values for a batch of {num_items}; expected one each"
        raise ScoringError(msg)


def _check(scores: NDArray[np.float32], pair_rows: NDArray[np.int64], name: PairNamer) -> None:
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        first = int(bad[0])
        more = f" ({bad.size} of {len(scores)} scores of this batch are not finite)" if bad.size > 1 else ""
        msg = (
            f"{name(int(pair_rows[first]))}: score is {scores[first]}, expected a finite float32 number{more}; "
            "try --dtype float32"
        )
        raise InvalidScoreError(msg)


def _show_pair(query_text: str, doc_text: str, max_chars: int = 60) -> str:
    query, doc = (text if len(text) <= max_chars else text[:max_chars] + "…" for text in (query_text, doc_text))
    return f"query {query!r}, document {doc!r}"


def _stats(
    num_pairs: int,
    work: _Work,
    items: EncodedItems,
    runner: _Runner,
    seconds: tuple[float, float],
    device_bytes: int | None,
) -> EngineStats:
    num_tokens = int(runner.lengths.sum(dtype=np.int64))
    total = max(sum(seconds), 1e-9)
    return EngineStats(
        num_pairs=num_pairs,
        num_distinct_pairs=len(work.pairs),
        num_items=len(runner.lengths),
        num_tokens=num_tokens,
        num_padded_tokens=runner.num_padded_tokens,
        padding_share=1.0 - num_tokens / runner.num_padded_tokens if runner.num_padded_tokens else 0.0,
        truncated_share=items.num_truncated / len(runner.lengths) if len(runner.lengths) else 0.0,
        num_batches=runner.num_batches,
        batch_tokens=runner.batch_tokens,
        tokenise_seconds=seconds[0],
        score_seconds=seconds[1],
        pairs_per_second=num_pairs / total,
        tokens_per_second=num_tokens / total,
        peak_host_bytes=peak_memory_bytes(),
        peak_device_bytes=device_bytes,
    )
