"""One model over all data sets of a request: at every depth the content of ``result.json``, and the run folder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.data.suites import Selection
from rerank_bench.evaluation.evaluate import evaluate_reranker, evaluate_suite
from rerank_bench.evaluation.significance import DEFAULT_SEED, RESAMPLES
from rerank_bench.evaluation.summaries import measure_to_json, ties_to_json, view_to_json
from rerank_bench.pipeline.candidates import PreparedDataset, cut_dataset
from rerank_bench.pipeline.extras import NO_EXTRAS, Extras, measure_extras
from rerank_bench.pipeline.request import Request
from rerank_bench.pipeline.scores import ModelScores, PoolScores, ScoringPass, rank_ids, score_texts
from rerank_bench.provenance import describe_invocation
from rerank_bench.ranking import rank_docs
from rerank_bench.records import EMPTY_DOCS, POSITIVE_GRADE, PROTOCOL_VERSION, Evaluation, ScoredDocs
from rerank_bench.reporting.pair_tokens import PairTokens, ReadTokens
from rerank_bench.reporting.run_folder import SCHEMA_VERSION, DatasetArtifacts, write_run_folder
from rerank_bench.scoring.lazy_scorer import LazyScorer
from rerank_bench.scoring.specs import ModelSpec

MODEL_FIELDS = (
    "spec",
    "name",
    "family",
    "revision",
    "fingerprint",
    "weights_fingerprint",
    "max_length",
    "dtype",
    "attention",
    "device",
    "batch_tokens",
    "num_parameters",
)
"""What result.json says of every model; None where it does not apply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """One model's result and where it stands."""

    result: Mapping[str, Any]
    """The content of ``result.json``."""
    folder: Path


def run_model(
    model: ModelSpec, scorer: LazyScorer | None, prepared: Sequence[PreparedDataset], request: Request
) -> Iterator[RunOutcome]:
    """Score once, then evaluate and write a run folder for every depth of the request.

    Args:
        model: The model as it was asked for.
        scorer: The same, opened; ``None`` for what ranks ids.
        prepared: The data sets, at the greatest depth.
        request: The whole request.

    Yields:
        The outcomes, the smallest depth first.

    Raises:
        ScoringError: The model cannot be loaded, or its output is wrong.
        EnvironmentMissingError: A device, an extra, the network or disk space is missing.
    """
    scoring_pass, extras = None, NO_EXTRAS
    if scorer is not None:
        scoring_pass = score_texts(scorer, prepared)
        extras = measure_extras(model, scorer, prepared, request, scoring_pass)
    yield from write_outcomes(model, scoring_pass, prepared, request, extras)


def write_outcomes(
    model: ModelSpec,
    scoring_pass: ScoringPass | None,
    prepared: Sequence[PreparedDataset],
    request: Request,
    extras: Extras,
) -> Iterator[RunOutcome]:
    """Evaluate and write a run folder for every depth of the request; ``None``: the model ranks ids."""
    for depth in request.depths:
        at_depth = [cut_dataset(ready, depth) for ready in prepared]
        if scoring_pass is None:
            scored = rank_ids(model, at_depth, depth, allow_missing_queries=request.config.allow_missing_queries)
        else:
            scored = scoring_pass.at(at_depth)
        yield _write_outcome(model, scored, at_depth, depth, request, extras)


def _write_outcome(
    model: ModelSpec,
    scored: ModelScores,
    prepared: Sequence[PreparedDataset],
    depth: int,
    request: Request,
    extras: Extras,
) -> RunOutcome:
    """Evaluate one model's scores at one depth, and write its run folder."""
    datasets: dict[str, dict[str, Any]] = {}
    artifacts: dict[str, DatasetArtifacts] = {}
    extra_blocks = extras.at(prepared, scored, depth)
    for ready, pool_scores, extra in zip(prepared, scored.datasets, extra_blocks, strict=True):
        started = time.perf_counter()
        evaluation = evaluate_reranker(
            query_ids=list(ready.dataset.queries),
            qrels=ready.dataset.qrels,
            candidates=ready.candidates,
            scores=pool_scores.by_query,
            missing=pool_scores.missing,
            measures=request.measures,
        )
        timing = {"load_seconds": ready.load_seconds, "evaluate_seconds": time.perf_counter() - started}
        name = ready.dataset.name
        counts = {**evaluation.counts, **pool_scores.counts}
        datasets[name] = _dataset_block(ready, evaluation, counts, timing | dict(pool_scores.pairs)) | extra
        artifacts[name] = _artifacts(ready, pool_scores, evaluation)
    result = {
        "schema_version": SCHEMA_VERSION,
        "protocol_version": PROTOCOL_VERSION,
        "comparable": request.config.limit is None,
        "provenance": describe_invocation() | {"statistics": {"seed": DEFAULT_SEED, "resamples": RESAMPLES}},
        "model": dict.fromkeys(MODEL_FIELDS) | dict(scored.description),
        "request": _request_block(request, depth),
        "scoring": dict(scored.scoring),
        "datasets": datasets,
        "suites": {
            suite: _suite_block(members, artifacts) for suite, members in _suites(request.selection, prepared).items()
        },
    }
    folder = request.folder_of(model, depth)
    write_run_folder(folder, result, artifacts, run_name=scored.description["name"])
    return RunOutcome(result=result, folder=folder)


def _request_block(request: Request, depth: int) -> dict[str, Any]:
    config = request.config
    return {
        "depth": depth,
        "depths": list(request.depths),
        "first_stage": config.first_stage,
        "view": config.view,
        "limit": config.limit,
        "cache": config.use_cache,
        "allow_missing_queries": config.allow_missing_queries,
        "measures": list(request.measures),
    }


def _suites(selection: Selection, prepared: Sequence[PreparedDataset]) -> dict[str, list[str]]:
    """Return suite -> names of its data sets as the results carry them.

    Several data sets named alone are a suite too, called ``a+b``: their mean deserves an interval.
    """
    name_of = {given: ready.dataset.name for given, ready in zip(selection.datasets, prepared, strict=True)}
    suites = {suite: [name_of[given] for given in members] for suite, members in selection.suites.items()}
    in_suites = {given for members in selection.suites.values() for given in members}
    alone = [name for given, name in name_of.items() if given not in in_suites]
    if len(alone) > 1:
        suites["+".join(alone)] = alone
    return suites


def _dataset_block(
    ready: PreparedDataset, evaluation: Evaluation, counts: Mapping[str, int], timing: Mapping[str, Any]
) -> dict[str, Any]:
    dataset = ready.dataset
    num_pairs = sum(len(doc_ids) for doc_ids in ready.pool.values())
    num_candidates = sum(len(docs) for docs in ready.candidates.by_query.values())
    return {
        "source": dict(dataset.source),
        "fingerprints": {**dataset.fingerprints, "candidates": ready.candidates.fingerprint},
        "first_stage": dict(ready.candidates.first_stage),
        "depth": ready.candidates.depth,
        "counts": {
            **counts,
            "documents": len(dataset.collection),
            "judgements": sum(len(judged) for judged in dataset.qrels.values()),
            "pairs": num_pairs,
            "missed_positives": num_pairs - num_candidates,
        },
        "views": {view: view_to_json(evaluated) for view, evaluated in evaluation.views.items()},
        "ties": ties_to_json(evaluation.ties),
        "timing": dict(timing),
    }


def _suite_block(members: Sequence[str], artifacts: Mapping[str, DatasetArtifacts]) -> dict[str, Any]:
    summaries = evaluate_suite({name: artifacts[name].evaluation for name in members})
    views = {
        view: {"measures": {name: measure_to_json(summary) for name, summary in measures.items()}}
        for view, measures in summaries.items()
    }
    return {"datasets": list(members), "views": views}


def _artifacts(ready: PreparedDataset, pool_scores: PoolScores, evaluation: Evaluation) -> DatasetArtifacts:
    reranked: dict[str, ScoredDocs] = {}
    missed: dict[str, ScoredDocs] = {}
    for query_id, doc_ids in ready.pool.items():
        if query_id in pool_scores.missing:
            reranked[query_id] = missed[query_id] = EMPTY_DOCS
            continue
        num_candidates = len(ready.candidates.by_query[query_id])
        scores = pool_scores.by_query[query_id]
        reranked[query_id] = rank_docs(query_id, doc_ids[:num_candidates], scores[:num_candidates])
        missed[query_id] = rank_docs(query_id, doc_ids[num_candidates:], scores[num_candidates:])
    return DatasetArtifacts(
        candidates=ready.candidates,
        reranked=reranked,
        missed=missed,
        qrels=ready.dataset.qrels,
        evaluation=evaluation,
        tokens=None if pool_scores.tokens is None else _tokens_of_relevant(ready, pool_scores.tokens),
    )


def _tokens_of_relevant(ready: PreparedDataset, tokens: Mapping[str, NDArray[np.int32]]) -> PairTokens:
    """Return what the model read of the positives of every pool."""
    found: dict[str, dict[str, ReadTokens]] = {}
    for query_id, doc_ids in ready.pool.items():
        grades = ready.dataset.qrels.get(query_id, {})
        for doc_id, number in zip(doc_ids, tokens[query_id].tolist(), strict=True):
            if grades.get(doc_id, 0) >= POSITIVE_GRADE:
                found.setdefault(query_id, {})[doc_id] = ReadTokens(abs(number), number < 0)
    return found
