"""One model over the pools of all data sets of a run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.pipeline.candidates import PreparedDataset
from rerank_bench.ranking import scores_from_ranks
from rerank_bench.scoring.baselines import rank_baseline
from rerank_bench.scoring.engine_result import EngineResult
from rerank_bench.scoring.lazy_scorer import LazyScorer
from rerank_bench.scoring.pair_facts import PairFacts
from rerank_bench.scoring.specs import ModelSpec

JOB_PAIRS = 250_000
"""Pairs of several data sets that are sorted and scored together; a larger data set is a job of its own.

A bound of memory: texts, tokens and tables of a job take 1.8 kB per pair of 150-word documents (measured), so this is
0.45 GB.  The whole of NanoBEIR at depth 100 has 65,000; so many pairs fill their batches with equal lengths by themselves.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolScores:
    """What one model makes of one data set's pools."""

    by_query: Mapping[str, NDArray[np.float32]]
    """query_id -> one score per document of its pool."""
    pairs: Mapping[str, Any]
    """What belongs to the data set's pairs and not to the job that scored them; empty for what ranks ids."""
    counts: Mapping[str, int]
    """What of a stored run and of the pool did not meet; empty for other models."""
    missing: Collection[str] = ()
    """Judged queries that a stored run lacks; they count 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelScores:
    """What one model makes of all data sets at one depth."""

    datasets: Sequence[PoolScores]
    """In the order of the data sets."""
    description: Mapping[str, Any]
    scoring: Mapping[str, Any]
    """What the scoring cost: the depth of the pass, the seconds of loading the model, and its jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringPass:
    """One model's scores of every pair of the deepest pools."""

    prepared: Sequence[PreparedDataset]
    scores: Sequence[NDArray[np.float32]]
    """Per data set: (N,) float32, query by query in the pool's order."""
    facts: Sequence[PairFacts]
    """Of the same pairs."""
    description: Mapping[str, Any]
    scoring: Mapping[str, Any]
    counts_tokens: bool
    """Whether the model's own tokens are known."""

    def at(self, prepared: Sequence[PreparedDataset]) -> ModelScores:
        """Return the scores of the same data sets at one depth."""
        parts = zip(self.prepared, prepared, self.scores, self.facts, strict=True)
        return ModelScores(
            datasets=[self._cut(*part) for part in parts], description=self.description, scoring=self.scoring
        )

    def _cut(
        self, deep: PreparedDataset, ready: PreparedDataset, scores: NDArray[np.float32], facts: PairFacts
    ) -> PoolScores:
        rows = slice(None) if ready is deep else _rows_of_pool(deep, ready)
        pairs = facts.taken(rows).summarise()
        if not self.counts_tokens:
            pairs |= {"num_tokens": None, "truncated_share": None}
        ends = np.cumsum([len(doc_ids) for doc_ids in ready.pool.values()])
        by_query = dict(zip(ready.pool, np.split(scores[rows], ends[:-1]), strict=True))
        return PoolScores(by_query=by_query, pairs=pairs, counts={})


def rank_ids(
    model: ModelSpec, prepared: Sequence[PreparedDataset], depth: int, *, allow_missing_queries: bool
) -> ModelScores:
    """Let a baseline or a stored run rank the pools by id."""
    datasets = []
    description: Mapping[str, Any] = {}
    for ready in prepared:
        pool = ready.pool
        if model.kind == "run":
            # A query without candidates has no line in anyone's run file, so none is missing there.
            pool = {query_id: doc_ids for query_id, doc_ids in pool.items() if len(ready.candidates.by_query[query_id])}
        ranked = rank_baseline(model, pool, qrels=ready.dataset.qrels, allow_missing_queries=allow_missing_queries)
        rest = {query_id: scores_from_ranks(len(docs)) for query_id, docs in ready.pool.items() if query_id not in pool}
        datasets.append(
            PoolScores(by_query={**ranked.by_query, **rest}, pairs={}, counts=ranked.counts, missing=ranked.missing)
        )
        description = ranked.description
    return ModelScores(
        datasets=datasets, description=description, scoring={"depth": depth, "model_load_seconds": None, "jobs": []}
    )


def score_texts(scorer: LazyScorer, prepared: Sequence[PreparedDataset], *, job_pairs: int = JOB_PAIRS) -> ScoringPass:
    """Score every (query, document) pair of the pools; what is stored already is not scored again.

    Args:
        scorer: The model.
        prepared: The data sets, all at one depth.
        job_pairs: Pairs per job at most, as far as whole data sets allow.
    """
    scores: list[NDArray[np.float32]] = []
    facts: list[PairFacts] = []
    jobs: list[dict[str, Any]] = []
    for group in group_datasets(prepared, job_pairs):
        outcome, ends = _score_group(scorer, group)
        starts = [0, *ends[:-1]]
        scores += [outcome.scores[start:end] for start, end in zip(starts, ends, strict=True)]
        facts += [outcome.facts.taken(slice(start, end)) for start, end in zip(starts, ends, strict=True)]
        jobs.append({"datasets": [ready.dataset.name for ready in group], **outcome.stats.as_dict()})
    return ScoringPass(
        prepared=prepared,
        scores=scores,
        facts=facts,
        description=scorer.describe() | {"batch_tokens": jobs[-1]["batch_tokens"]},
        scoring={
            "depth": prepared[0].candidates.depth,
            "model_load_seconds": scorer.load_seconds,
            "jobs": jobs,
        },
        counts_tokens=scorer.counts_tokens,
    )


def _rows_of_pool(deep: PreparedDataset, ready: PreparedDataset) -> NDArray[np.int64]:
    """Return where every pair of a smaller pool stands among the pairs of the deepest one, both query by query.

    All of them stand there: a positive that a smaller depth misses is a candidate of the deepest, or missed there too.
    """
    rows: list[int] = []
    start = 0
    for query_id, doc_ids in deep.pool.items():
        place = {doc_id: number for number, doc_id in enumerate(doc_ids, start=start)}
        rows += [place[doc_id] for doc_id in ready.pool[query_id]]
        start += len(doc_ids)
    return np.asarray(rows, dtype=np.int64)


def group_datasets(prepared: Sequence[PreparedDataset], job_pairs: int) -> Iterator[list[PreparedDataset]]:
    """Yield the data sets in their order, in groups of at most ``job_pairs`` pairs, or one that has more by itself."""
    group: list[PreparedDataset] = []
    total = 0
    for ready in prepared:
        num_pairs = sum(len(doc_ids) for doc_ids in ready.pool.values())
        if group and total + num_pairs > job_pairs:
            yield group
            group, total = [], 0
        group.append(ready)
        total += num_pairs
    if group:
        yield group


@dataclass(frozen=True, slots=True, eq=False)
class GroupPairs:
    """The pairs of some data sets' pools as they are scored: one data set after the other, query by query."""

    queries: list[str]
    docs: list[str]
    pairs: NDArray[np.int64]
    """(N, 2): indices into both."""
    ends: list[int]
    """Per data set: the pair behind its last."""
    query_names: list[tuple[str, str]]
    """Per query: data set and id."""
    doc_ids: list[str]

    def name(self, row: int) -> str:
        """Return what an error calls a pair."""
        query, doc = self.pairs[row]
        dataset, query_id = self.query_names[query]
        return f"{dataset}, query {query_id!r}, document {self.doc_ids[doc]!r}"


def collect_pairs(group: Sequence[PreparedDataset]) -> GroupPairs:
    """Return the pairs of the data sets' pools with their texts."""
    query_names: list[tuple[str, str]] = []
    doc_ids: list[str] = []
    queries: list[str] = []
    docs: list[str] = []
    parts = []
    for ready in group:
        own_docs = list(dict.fromkeys(doc_id for pool in ready.pool.values() for doc_id in pool))
        index_of = {doc_id: len(docs) + number for number, doc_id in enumerate(own_docs)}
        pairs = [
            (number, index_of[doc_id])
            for number, query_id in enumerate(ready.pool, start=len(queries))
            for doc_id in ready.pool[query_id]
        ]
        parts.append(np.asarray(pairs, dtype=np.int64).reshape(-1, 2))
        text_of = ready.dataset.collection.texts_of(own_docs)
        query_names += [(ready.dataset.name, query_id) for query_id in ready.pool]
        queries += [ready.dataset.queries[query_id] for query_id in ready.pool]
        doc_ids += own_docs
        docs += [text_of[doc_id] for doc_id in own_docs]
    ends = np.cumsum([len(part) for part in parts]).tolist()
    return GroupPairs(queries, docs, np.concatenate(parts), ends, query_names, doc_ids)


def _score_group(scorer: LazyScorer, group: Sequence[PreparedDataset]) -> tuple[EngineResult, list[int]]:
    """Return the scores of the data sets' pairs, one data set after the other, and where each ends."""
    collected = collect_pairs(group)
    what = group[0].dataset.name if len(group) == 1 else f"{len(group)} data sets"
    outcome = scorer.score_indexed(
        collected.queries, collected.docs, collected.pairs, pair_name=collected.name, description=f"score {what}"
    )
    return outcome, collected.ends
