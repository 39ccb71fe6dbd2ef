"""The one place where pairs are made distinct, looked up, scored, counted and checked, whatever the model is.

Equal (query, document) texts are scored once and get the same score; what a score store knows is not scored at all.
The batches are ``batch_runner.py``'s.  No torch is imported here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import ScoringError
from rerank_bench.provenance import peak_memory_bytes
from rerank_bench.scoring.batch_runner import BatchRunner, Journal
from rerank_bench.scoring.batching import check_batch_tokens
from rerank_bench.scoring.budget_search import BudgetSearch
from rerank_bench.scoring.device_use import DeviceUse, OnDevice, measure_use
from rerank_bench.scoring.engine_result import EngineResult, EngineStats, facts_of
from rerank_bench.scoring.execution import ItemsFailedError
from rerank_bench.scoring.list_scoring import score_lists_of
from rerank_bench.scoring.pair_checks import check_scores, texts_namer
from rerank_bench.scoring.pair_facts import PairFacts
from rerank_bench.scoring.pair_work import PairWork, distinct_work
from rerank_bench.scoring.run_clock import RunClock
from rerank_bench.scoring.score_store import ScoreStore
from rerank_bench.scoring.scorer import AnyScorer, EncodedItems, ListScorer, PairNamer, Scorer, TextEncoder
from rerank_bench.scoring.stored_pairs import StoredPairs
from rerank_bench.scoring.text_batches import score_texts


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
    if batch_tokens is not None:
        check_batch_tokens(batch_tokens)
    work = distinct_work(queries, docs, pairs)
    name = pair_name or texts_namer(queries, docs, pairs)
    if isinstance(scorer, ListScorer):
        return score_lists_of(scorer, work, name, description)
    task = _Task(scorer, work, np.arange(len(work.pairs)), batch_tokens, name, description)
    scores = task.run(None)
    return _result(work, scores, task.tokens, task.counts, task)


def score_stored(  # noqa: PLR0913 - what is asked for, and what is known already
    load: Callable[[], Scorer | TextEncoder],
    store: ScoreStore,
    queries: Sequence[str],
    docs: Sequence[str],
    pairs: NDArray[np.int64],
    *,
    batch_tokens: int | None = None,
    known_batch_tokens: int | None = None,
    pair_name: PairNamer | None = None,
    description: str = "score",
) -> EngineResult:
    """Score the pairs that a store lacks, batch by batch into the store, and take the others from it.

    Args:
        load: Called only if a pair is to be scored.
        store: The store of that very scorer.
        queries: As in ``score_indexed``, like all that follows.
        docs: Document texts.
        pairs: (N, 2) int64.
        batch_tokens: Padded tokens per batch; an interrupted run's batches are replayed where it asked for the same.
        known_batch_tokens: What an earlier job found to be fastest; with ``None`` a large job may try
            (``budget_search.py``).  Only looked at where ``batch_tokens`` is ``None``.
        pair_name: Names a pair in an error.
        description: What the progress bar says.

    Raises:
        InvalidScoreError: A score is NaN or infinite; it is not stored.
        EnvironmentMissingError: A single item does not fit the device's memory.
    """
    if batch_tokens is not None:
        check_batch_tokens(batch_tokens)
    work = distinct_work(queries, docs, pairs)
    stored = StoredPairs(store, work, batch_tokens)
    if not len(stored.rows):
        return _result(work, stored.scores, stored.tokens, stored.counts, None)
    name = pair_name or texts_namer(queries, docs, pairs)
    task = _Task(load(), work, stored.rows, batch_tokens, name, description)
    task.run(stored, known_batch_tokens)
    return _result(work, stored.scores, stored.tokens, task.counts, task)


@dataclass(slots=True, eq=False)
class _Task:
    """The scoring of some rows of the work, with its clocks and counts."""

    scorer: Scorer | TextEncoder
    work: PairWork
    rows: NDArray[np.int64]
    """(R,): rows of the work's pairs."""
    batch_tokens: int | None
    name: PairNamer
    description: str
    counts: dict[str, Any] = field(default_factory=dict)
    tokens: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, dtype=np.int32))
    """(R,): tokens of each pair, negative where it was cut."""
    num_tokens: int = 0
    tokenise_seconds: float = 0.0
    score_seconds: float = 0.0
    use: DeviceUse = field(default_factory=DeviceUse)

    def run(self, stored: StoredPairs | None, known_batch_tokens: int | None = None) -> NDArray[np.float32]:
        """Return the (R,) float32 scores of the rows; ``stored`` gets every batch as it comes.

        Raises:
            ScoringError: Some pairs cannot be scored; they are named.
        """
        try:
            return self._run(stored, known_batch_tokens)
        except ItemsFailedError as error:
            names = [self._name_of_item(item) for item in error.items[:3].tolist()]
            more = f" and {len(error.items) - 3} more" if len(error.items) > 3 else ""
            msg = f"{'; '.join(names)}{more}: {error.reason}"
            raise ScoringError(msg) from error

    def _name_of_item(self, item: int) -> str:
        """Return what an error calls an item: a pair; or, of a text encoder, the first pair that the text stands in."""
        if not isinstance(self.scorer, TextEncoder):
            row = int(self.rows[item])
        else:
            num_queries, pairs = len(self.work.queries), self.work.pairs
            side, text = (0, item) if item < num_queries else (1, np.unique(pairs[self.rows, 1])[item - num_queries])
            row = int(np.flatnonzero(pairs[:, side] == text)[0])
        return self.name(int(self.work.first_pair[row]))

    def _run(self, stored: StoredPairs | None, known_batch_tokens: int | None) -> NDArray[np.float32]:
        queries, docs, pairs = self.work.restricted(self.rows)
        scorer = self.scorer
        started = time.perf_counter()
        items: EncodedItems
        if isinstance(scorer, TextEncoder):
            # All of the request's: those of a resumed run are then encoded in the same batches.
            queries = self.work.queries
            pairs = np.stack([self.work.pairs[self.rows, 0], pairs[:, 1]], axis=1)
            items = scorer.encode_texts(queries, docs)
        else:
            items = scorer.encode(queries, docs, pairs)
        tokenised = time.perf_counter()
        self.tokens = _pair_tokens(items, pairs, num_queries=len(queries) if isinstance(scorer, TextEncoder) else None)
        if stored is not None:
            stored.tokens[self.rows] = self.tokens
        budget = self.batch_tokens or known_batch_tokens or scorer.default_batch_tokens
        check_batch_tokens(budget)
        is_packed = scorer.describe().get("batches") == "packed"
        clock = RunClock()
        if isinstance(scorer, TextEncoder):
            values, counts = score_texts(
                scorer,
                items,
                pairs,
                batch_tokens=budget,
                description=self.description,
                is_packed=is_packed,
                clock=clock,
                check=self._check,
                stored=stored,
            )
        else:
            journal = None if stored is None else Journal(stored)
            runner = BatchRunner(items, budget, self.description, "pairs", journal, is_packed=is_packed, clock=clock)
            if stored is not None and self.batch_tokens is None and known_batch_tokens is None:
                runner.search = _search(scorer, budget, items)
            values, counts = runner.run(scorer.score_batch, check=self._check), runner.counts
        if stored is not None:
            stored.finish(counts)
        self.counts, self.num_tokens = counts, int(items.lengths.sum(dtype=np.int64))
        self.tokenise_seconds, self.score_seconds = tokenised - started, time.perf_counter() - tokenised
        self.use = measure_use(
            clock,
            scorer,
            items.lengths,
            tokenise_seconds=self.tokenise_seconds,
            score_seconds=self.score_seconds,
        )
        return values

    def _check(self, indices: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
        check_scores(scores, self.work.first_pair[self.rows[indices]], self.name)


def _search(scorer: Scorer, budget: int, items: EncodedItems) -> BudgetSearch | None:
    """Return the search for the budget of a job, if its device offers a choice."""
    budgets = scorer.runtime.trial_batch_tokens if isinstance(scorer, OnDevice) else ()
    return BudgetSearch.for_job(budget, budgets, int(items.lengths.sum(dtype=np.int64)))


def _pair_tokens(items: EncodedItems, pairs: NDArray[np.int64], *, num_queries: int | None) -> NDArray[np.int32]:
    """Return (R,) int32: tokens of each pair, negative where it was cut.

    Args:
        items: The pairs; or, where ``num_queries`` is given, so many queries and then the documents, each text alone.
        pairs: (R, 2) indices into queries and documents.
        num_queries: Number of the queries.
    """
    lengths, is_cut = items.lengths, items.is_truncated
    if num_queries is not None:
        docs = pairs[:, 1] + num_queries
        lengths, is_cut = lengths[pairs[:, 0]] + lengths[docs], is_cut[pairs[:, 0]] | is_cut[docs]
    return np.where(is_cut, -lengths, lengths).astype(np.int32)


def _result(
    work: PairWork,
    scores: NDArray[np.float32],
    tokens: NDArray[np.int32],
    counts: dict[str, Any] | None,
    task: _Task | None,
) -> EngineResult:
    """Return the result from (M,) values of the distinct pairs, and from what was scored now, if anything."""
    is_scored = np.zeros(len(work.pairs), dtype=np.bool_)
    if task is not None:
        is_scored[task.rows] = True
    facts = facts_of(work, tokens, is_scored)
    return EngineResult(scores[work.row_of_pair], facts, _stats(work, facts, counts, task))


def _stats(work: PairWork, facts: PairFacts, counts: dict[str, Any] | None, task: _Task | None) -> EngineStats:
    num_scored = int((~facts.is_stored).sum())
    seconds = (0.0, 0.0) if task is None else (task.tokenise_seconds, task.score_seconds)
    total = max(sum(seconds), 1e-9)
    known = counts or {"num_items": 0, "num_tokens": 0, "num_padded_tokens": 0, "num_batches": 0}
    padded = known["num_padded_tokens"]
    return EngineStats(
        num_pairs=len(work.row_of_pair),
        num_distinct_pairs=len(work.pairs),
        num_pairs_from_store=len(work.row_of_pair) - num_scored,
        num_items=known["num_items"],
        num_tokens=known["num_tokens"],
        num_padded_tokens=padded,
        padding_share=1.0 - known["num_tokens"] / padded if padded else 0.0,
        num_batches=known["num_batches"],
        batch_tokens=known.get("batch_tokens"),
        is_calibrated=known.get("is_calibrated", False),
        tokenise_seconds=seconds[0],
        score_seconds=seconds[1],
        pairs_per_second=num_scored / total if num_scored else None,
        tokens_per_second=task.num_tokens / total if task is not None and num_scored else None,
        peak_host_bytes=peak_memory_bytes(),
        peak_device_bytes=None if task is None else task.scorer.peak_device_bytes(),
        use=DeviceUse() if task is None else task.use,
    )
