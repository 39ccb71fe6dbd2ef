"""One model over the pools of all data sets of a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.pipeline.candidates import PreparedDataset
from rerank_bench.pipeline.scoring_jobs import JOB_PAIRS, JobPart, collect_pairs, num_pairs_of, plan_jobs
from rerank_bench.ranking import scores_from_ranks
from rerank_bench.scoring.baselines import rank_baseline
from rerank_bench.scoring.engine_result import EngineResult
from rerank_bench.scoring.lazy_scorer import LazyScorer
from rerank_bench.scoring.pair_facts import PairFacts
from rerank_bench.scoring.specs import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolScores:
    """What one model makes of one data set's pools."""

    by_query: Mapping[str, NDArray[np.float32]]
    """query_id -> one score per document of its pool."""
    tokens: Mapping[str, NDArray[np.int32]] | None = None
    """Likewise the tokens of every pair, negative where it was cut; ``None`` where they are not known."""
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
        tokens = dict(zip(ready.pool, np.split(facts.tokens[rows], ends[:-1]), strict=True))
        return PoolScores(by_query=by_query, tokens=tokens if self.counts_tokens else None, pairs=pairs, counts={})


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
        job_pairs: Pairs per job at most, as far as queries of equal text and what the scorer wants whole allow.
    """
    tables = [_empty_table(num_pairs_of(ready)) for ready in prepared]
    jobs: list[dict[str, Any]] = []
    num_pairs = sum(map(num_pairs_of, prepared))
    num_done = num_distinct = 0
    for job in plan_jobs(prepared, job_pairs if scorer.takes_parts else None):
        done = f", {num_done:,} of {num_pairs:,} done" if num_done else ""
        outcome, ends = _score_job(scorer, job, done)
        num_done += ends[-1]
        for part, start, end in zip(job, [0, *ends[:-1]], ends, strict=True):
            scores, facts = tables[part.number]
            scores[part.rows] = outcome.scores[start:end]
            facts.distinct[part.rows] = outcome.facts.distinct[start:end] + num_distinct
            facts.tokens[part.rows] = outcome.facts.tokens[start:end]
            facts.is_stored[part.rows] = outcome.facts.is_stored[start:end]
        num_distinct += outcome.stats.num_distinct_pairs
        jobs.append({"datasets": [part.ready.dataset.name for part in job], **outcome.stats.as_dict()})
    return ScoringPass(
        prepared=prepared,
        scores=[scores for scores, _ in tables],
        facts=[facts for _, facts in tables],
        description=scorer.describe() | {"batch_tokens": jobs[-1]["batch_tokens"]},
        scoring={
            "depth": prepared[0].candidates.depth,
            "model_load_seconds": scorer.load_seconds,
            "jobs": jobs,
        },
        counts_tokens=scorer.counts_tokens,
    )


def _empty_table(num_pairs: int) -> tuple[NDArray[np.float32], PairFacts]:
    """Return what is kept of a data set's pairs until they are evaluated: 17 bytes each."""
    facts = PairFacts(
        distinct=np.empty(num_pairs, dtype=np.int64),
        tokens=np.empty(num_pairs, dtype=np.int32),
        is_stored=np.empty(num_pairs, dtype=np.bool_),
    )
    return np.empty(num_pairs, dtype=np.float32), facts


def _rows_of_pool(deep: PreparedDataset, ready: PreparedDataset) -> NDArray[np.int64]:
    """Return where every pair of a smaller pool stands among the pairs of the deepest one, both query by query.

    All of them stand there: a positive that a smaller depth misses is a candidate of the deepest, or missed there too.
    """
    rows = np.empty(num_pairs_of(ready), dtype=np.int64)
    start = filled = 0
    for query_id, doc_ids in deep.pool.items():
        place = {doc_id: number for number, doc_id in enumerate(doc_ids, start=start)}
        wanted = ready.pool[query_id]
        rows[filled : filled + len(wanted)] = [place[doc_id] for doc_id in wanted]
        filled += len(wanted)
        start += len(doc_ids)
    return rows


def _score_job(scorer: LazyScorer, job: Sequence[JobPart], done: str) -> tuple[EngineResult, list[int]]:
    """Return the scores of a job's pairs, one part after the other, and where each ends; ``done`` is for the bar."""
    collected = collect_pairs([part.ready for part in job])
    what = job[0].ready.dataset.name if len(job) == 1 else f"{len(job)} data sets"
    outcome = scorer.score_indexed(
        collected.queries, collected.docs, collected.pairs, pair_name=collected.name, description=f"score {what}{done}"
    )
    return outcome, collected.ends
