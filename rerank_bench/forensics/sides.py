"""The two rankings that an explanation sets side by side, read from run folders: no model, no texts, no torch.

``inspect`` compares a run with its own first stage, ``diff`` two runs over one candidate list.  Both become a
``DatasetCase``: per data set a side before and a side after, each with its ranking, its judgements (which differ
between the sides in the view ``retrieved``) and its value per query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rerank_bench.errors import DataError
from rerank_bench.evaluation.measures import evaluate_run, has_positive
from rerank_bench.evaluation.views import BUILDERS, ScoredPool, ViewInputs, build_pool
from rerank_bench.records import EMPTY_DOCS, CandidateSet, Qrels, Run, View
from rerank_bench.reporting.stored_result import StoredResult

Scores = Mapping[str, Mapping[str, float]]
"""query_id -> doc_id -> score, the missed positives included."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """One ranking of a data set's queries."""

    run: Run
    qrels: Qrels
    """What the view judges this side with."""
    values: Mapping[str, float]
    """query_id -> value of the measure, over the queries that the mean runs over."""
    scores: Scores


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DatasetCase:
    """One data set: two sides over one candidate list."""

    name: str
    measure: str
    block: Mapping[str, Any]
    """What ``result.json`` says of the data set (of the side after)."""
    limit: int | None
    """The run is over the first so many queries; ``None``: over all."""
    candidates: Run
    qrels: Qrels
    """The complete judgements."""
    ideal_qrels: Qrels
    """The judgements that the ideal ranking is made of: all positives, whatever the view leaves out."""
    before: Side
    after: Side

    @property
    def query_ids(self) -> Sequence[str]:
        """The queries that the means run over."""
        return list(self.after.values)


def case_of_run(stored: StoredResult, dataset: str, *, view: View, measure: str) -> DatasetCase:
    """Return a run's side against its own first stage.

    Args:
        stored: The run.
        dataset: One of its data sets.
        view: The view of docs/protocol.md, section 4.
        measure: A canonical ir-measures name; it need not be among those that the run was measured with.

    Raises:
        ComparisonError: The run has no such data set.
        DataError: A file is missing, or the files do not belong together.
    """
    pool = read_pool(stored, dataset)
    inputs = BUILDERS[view](pool)
    first_stage = Side(
        run=inputs.first_stage,
        qrels=inputs.first_stage_qrels,
        values=evaluate_run(inputs.first_stage_qrels, inputs.first_stage, [measure])[measure],
        scores=_scores_of(pool.candidates.by_query),
    )
    return _case(pool, stored, inputs, measure, before=first_stage)


def case_of_pair(before: StoredResult, after: StoredResult, dataset: str, *, view: View, measure: str) -> DatasetCase:
    """Return two runs over one candidate list as two sides; that they compare is checked before.

    Args:
        before: The run that is compared with.
        after: The run that is explained.
        dataset: A data set of both.
        view: As in ``case_of_run``.
        measure: As in ``case_of_run``.

    Raises:
        ComparisonError: A run has no such data set.
        DataError: A file is missing, or the files do not belong together.
    """
    pool = read_pool(before, dataset)
    side = _reranked_side(pool, BUILDERS[view](pool), measure)
    pool_after = read_pool(after, dataset)
    return _case(pool_after, after, BUILDERS[view](pool_after), measure, before=side)


def _case(pool: ScoredPool, stored: StoredResult, inputs: ViewInputs, measure: str, *, before: Side) -> DatasetCase:
    return DatasetCase(
        name=pool.candidates.dataset_name,
        measure=measure,
        block=stored.result["datasets"][pool.candidates.dataset_name],
        limit=stored.result["request"]["limit"],
        candidates=pool.candidates.by_query,
        qrels=pool.qrels,
        ideal_qrels=inputs.first_stage_qrels,
        before=before,
        after=_reranked_side(pool, inputs, measure),
    )


def _reranked_side(pool: ScoredPool, inputs: ViewInputs, measure: str) -> Side:
    return Side(
        run=inputs.reranked,
        qrels=inputs.reranked_qrels,
        values=evaluate_run(inputs.reranked_qrels, inputs.reranked, [measure])[measure],
        scores={
            query_id: dict(zip(pool.pool[query_id], np.asarray(pool.scores[query_id]).tolist(), strict=True))
            for query_id in pool.query_ids
        },
    )


def _scores_of(run: Run) -> Scores:
    return {query_id: dict(zip(docs.doc_ids, docs.scores.tolist(), strict=True)) for query_id, docs in run.items()}


def read_pool(stored: StoredResult, dataset: str) -> ScoredPool:
    """Return what the model scored, put together from the folder's files.

    Raises:
        ComparisonError: The run has no such data set.
        DataError: A file is missing, or the files do not belong together.
    """
    query_ids = list(next(iter(stored.query_values(dataset, "end_to_end").values()), {}))
    found, reranked, missed = stored.candidates(dataset), stored.reranked(dataset), stored.missed(dataset)
    qrels = stored.qrels(dataset)
    unjudged = [query_id for query_id in query_ids if not has_positive(qrels.get(query_id, {}))]
    if unjudged or not query_ids:
        what = f"values of query {unjudged[0]!r}, which has no positive judgement" if unjudged else "no query's value"
        msg = f"{stored.folder}: {dataset} has {what}; the files are not of one run: run the same command again"
        raise DataError(msg)
    block = stored.result["datasets"][dataset]
    candidates = CandidateSet(
        dataset_name=dataset,
        depth=block["depth"],
        by_query={query_id: found.get(query_id, EMPTY_DOCS) for query_id in query_ids},
        first_stage=block["first_stage"],
        fingerprint=block["fingerprints"]["candidates"],
    )
    pool = build_pool(candidates, qrels)
    scores = {}
    for query_id, doc_ids in pool.items():
        known = {
            doc_id: score
            for docs in (reranked.get(query_id, EMPTY_DOCS), missed.get(query_id, EMPTY_DOCS))
            for doc_id, score in zip(docs.doc_ids, docs.scores.tolist(), strict=True)
        }
        if known.keys() != set(doc_ids):
            stray = min(known.keys() ^ set(doc_ids))
            where = "has a score but is no candidate" if stray in known else "is a candidate without a score"
            msg = (
                f"{stored.folder}: {dataset}, query {query_id!r}: document {stray!r} {where}; the files are not of one "
                "run: run the same command again"
            )
            raise DataError(msg)
        scores[query_id] = np.array([known[doc_id] for doc_id in doc_ids], dtype=np.float32)
    return ScoredPool(query_ids=query_ids, candidates=candidates, pool=pool, scores=scores, qrels=qrels)
