"""What is measured of a model beside its scores, on request: the latency of a query, the agreement of two precisions.

Both look at a sample of the queries of each data set, the same whatever the model is, and at their candidates alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rerank_bench.evaluation.agreement import rank_agreement
from rerank_bench.pipeline.candidates import PreparedDataset, cut_dataset
from rerank_bench.pipeline.request import Request
from rerank_bench.pipeline.scores import ModelScores, ScoringPass, score_texts
from rerank_bench.progress import note
from rerank_bench.ranking import rank_docs
from rerank_bench.records import Run
from rerank_bench.scoring.latency import measure_latency, sample_queries
from rerank_bench.scoring.lazy_scorer import LazyScorer, open_scorer
from rerank_bench.scoring.loaded_scorer import LoadedScorer
from rerank_bench.scoring.specs import ModelSpec

Block = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What was measured beside the scores."""

    latencies: Mapping[int, Sequence[Block | None]]
    """Depth -> latency per data set; empty where it was not asked for."""
    reference: ScoringPass | None
    """The sample scored in another precision."""

    def at(self, prepared: Sequence[PreparedDataset], scored: ModelScores, depth: int) -> list[Block]:
        """Return per data set what its block of the result gains at one depth."""
        blocks: list[Block] = [{} for _ in prepared]
        for block, latency in zip(blocks, self.latencies.get(depth, ()), strict=False):
            block["latency"] = latency
        if self.reference is not None:
            for block, agreement in zip(blocks, self._agreements(self.reference, prepared, scored), strict=True):
                block["rank_agreement"] = agreement
        return blocks

    @staticmethod
    def _agreements(
        reference: ScoringPass, prepared: Sequence[PreparedDataset], scored: ModelScores
    ) -> list[Block | None]:
        sampled = [_sampled(ready) for ready in prepared]
        others = iter(reference.at([ready for ready in sampled if ready.pool]).datasets)
        dtypes = {"dtype": scored.description.get("dtype"), "reference_dtype": reference.description.get("dtype")}
        blocks: list[Block | None] = []
        for ready, own in zip(sampled, scored.datasets, strict=True):
            if not ready.pool:
                blocks.append(None)
                continue
            run, other = (_ranked(ready, scores.by_query) for scores in (own, next(others)))
            blocks.append(dtypes | rank_agreement(run, other, ready.dataset.qrels).as_dict())
        return blocks


NO_EXTRAS = Extras(latencies={}, reference=None)


def measure_extras(
    model: ModelSpec,
    scorer: LazyScorer,
    prepared: Sequence[PreparedDataset],
    request: Request,
    scoring_pass: ScoringPass,
) -> Extras:
    """Measure what the request asks for beside the scores.

    Args:
        model: The model as it was asked for.
        scorer: The same; its weights may be gone afterwards.
        prepared: The data sets, at the greatest depth.
        request: The whole request.
        scoring_pass: The scores of the run.

    Raises:
        RerankBenchError: What loading the model and scoring with it raise.
    """
    latencies: dict[int, list[Block | None]] = {}
    if request.config.measure_latency:
        loaded = scorer.in_this_process()
        for depth in request.depths:
            latencies[depth] = [_latency(loaded, cut_dataset(ready, depth), depth) for ready in prepared]
    return Extras(latencies=latencies, reference=_score_in(model, scorer, prepared, request, scoring_pass))


def _score_in(
    model: ModelSpec,
    scorer: LazyScorer,
    prepared: Sequence[PreparedDataset],
    request: Request,
    scoring_pass: ScoringPass,
) -> ScoringPass | None:
    """Return the sample's scores in the precision to check against; ``None`` where there is nothing to check."""
    check_dtype = request.config.check_dtype
    sampled = [sample for sample in map(_sampled, prepared) if sample.pool]
    if check_dtype is None or not sampled:
        return None
    dtype = scoring_pass.description.get("dtype")
    if not scorer.counts_tokens or dtype == check_dtype:
        reason = f"the run is in {dtype} itself" if scorer.counts_tokens else "it chooses its precision itself"
        note(f"--check-dtype leaves out {model.text}: {reason}")
        return None
    scorer.unload()  # two precisions of a large model need not fit the memory at once
    config = replace(request.scorer, dtype=check_dtype)
    return score_texts(open_scorer(model, config=config, use_store=request.config.use_cache), sampled)


def _sampled(ready: PreparedDataset) -> PreparedDataset:
    """Return the data set with the candidates of some queries as its pools; queries without candidates are left out."""
    lists = ready.candidates.by_query
    query_ids = sample_queries([query_id for query_id in ready.pool if len(lists[query_id])])
    return replace(ready, pool={query_id: lists[query_id].doc_ids for query_id in query_ids})


def _latency(loaded: LoadedScorer, ready: PreparedDataset, depth: int) -> Block | None:
    sampled = _sampled(ready)
    dataset = sampled.dataset
    text_of = dataset.collection.texts_of(
        list(dict.fromkeys(doc_id for docs in sampled.pool.values() for doc_id in docs))
    )
    lists = [
        (dataset.queries[query_id], [text_of[doc_id] for doc_id in docs]) for query_id, docs in sampled.pool.items()
    ]

    def score(query: str, docs: Sequence[str]) -> None:
        rows = np.stack([np.zeros(len(docs), dtype=np.int64), np.arange(len(docs))], axis=1)
        loaded.score_indexed([query], docs, rows)

    latency = measure_latency(score, lists, description=f"latency of {dataset.name}, depth {depth}")
    return None if latency is None else latency.as_dict()


def _ranked(ready: PreparedDataset, scores: Mapping[str, Any]) -> Run:
    """Return the pools of a sample ranked by the first scores of each query: those of its candidates."""
    return {
        query_id: rank_docs(query_id, doc_ids, scores[query_id][: len(doc_ids)])
        for query_id, doc_ids in ready.pool.items()
    }
