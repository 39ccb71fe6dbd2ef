"""One model over all data sets of a request: the content of ``result.json``, and the run folder."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.data.suites import Selection
from rerank_bench.evaluation.evaluate import evaluate_reranker, evaluate_suite
from rerank_bench.evaluation.summaries import measure_to_json, ties_to_json, view_to_json
from rerank_bench.pipeline.candidates import PreparedDataset
from rerank_bench.pipeline.request import Request
from rerank_bench.pipeline.scores import rank_ids, score_texts
from rerank_bench.provenance import describe_invocation
from rerank_bench.ranking import rank_docs
from rerank_bench.records import PROTOCOL_VERSION, Evaluation
from rerank_bench.reporting.run_folder import SCHEMA_VERSION, DatasetArtifacts, file_stem, write_run_folder
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
) -> RunOutcome:
    """Score, evaluate and write one model's run folder.

    Args:
        model: The model as it was asked for.
        scorer: The same, opened; ``None`` for what ranks ids.
        prepared: The data sets.
        request: The whole request.

    Raises:
        ScoringError: The model cannot be loaded, or its output is wrong.
        EnvironmentMissingError: A device, an extra, the network or disk space is missing.
    """
    description: dict[str, Any] = dict.fromkeys(MODEL_FIELDS)
    datasets: dict[str, dict[str, Any]] = {}
    artifacts: dict[str, DatasetArtifacts] = {}
    for ready in prepared:
        scored = rank_ids(model, ready) if scorer is None else score_texts(scorer, ready)
        description |= scored.description
        started = time.perf_counter()
        evaluation = evaluate_reranker(
            query_ids=list(ready.dataset.queries),
            qrels=ready.dataset.qrels,
            candidates=ready.candidates,
            scores=scored.by_query,
            measures=request.measures,
        )
        timing = {"load_seconds": ready.load_seconds, "evaluate_seconds": time.perf_counter() - started}
        name = ready.dataset.name
        counts = {**evaluation.counts, **scored.counts}
        datasets[name] = _dataset_block(ready, evaluation, counts, timing | dict(scored.timing))
        artifacts[name] = _artifacts(ready, scored.by_query, evaluation)
    result = {
        "schema_version": SCHEMA_VERSION,
        "protocol_version": PROTOCOL_VERSION,
        "comparable": request.config.limit is None,
        "provenance": describe_invocation(),
        "model": description,
        "request": {
            "depth": request.config.depth,
            "first_stage": request.config.first_stage,
            "view": request.config.view,
            "limit": request.config.limit,
            "cache": request.config.use_cache,
            "measures": list(request.measures),
        },
        "datasets": datasets,
        "suites": {
            suite: _suite_block(members, artifacts) for suite, members in _suites(request.selection, prepared).items()
        },
    }
    folder = request.out / file_stem(model.text)
    write_run_folder(folder, result, artifacts, run_name=description["name"])
    return RunOutcome(result=result, folder=folder)


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


def _artifacts(
    ready: PreparedDataset, scores: Mapping[str, NDArray[np.float32]], evaluation: Evaluation
) -> DatasetArtifacts:
    reranked: dict[str, Any] = {}
    missed: dict[str, Any] = {}
    for query_id, doc_ids in ready.pool.items():
        num_candidates = len(ready.candidates.by_query[query_id])
        reranked[query_id] = rank_docs(query_id, doc_ids[:num_candidates], scores[query_id][:num_candidates])
        missed[query_id] = rank_docs(query_id, doc_ids[num_candidates:], scores[query_id][num_candidates:])
    return DatasetArtifacts(
        candidates=ready.candidates,
        reranked=reranked,
        missed=missed,
        qrels=ready.dataset.qrels,
        evaluation=evaluation,
    )
