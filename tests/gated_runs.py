"""Run folders that are quick to make: real artifacts of made-up scores, written by the code that writes every run."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rerank_bench.evaluation.evaluate import evaluate_reranker, evaluate_suite
from rerank_bench.evaluation.summaries import measure_to_json, ties_to_json, view_to_json
from rerank_bench.first_stage.candidates import candidates_fingerprint
from rerank_bench.ranking import rank_docs, scores_from_ranks
from rerank_bench.records import CandidateSet, Evaluation
from rerank_bench.reporting.run_folder import DatasetArtifacts, write_run_folder
from rerank_bench.storage import fingerprint_json

SIZES = {"alpha": 24, "beta": 16}
"""Data set -> number of queries; they differ, so that a swap is visible."""
DEPTH = 20

Spoil = Callable[[str, int, np.ndarray], np.ndarray]
"""(data set, number of the query, (DEPTH,) scores) -> the scores that the model gives instead."""


def seeded(*parts: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(parts).encode()))


def relevant_rows(dataset: str, number: int) -> list[int]:
    """Places of the relevant documents among the candidates."""
    return sorted(seeded(dataset, number).choice(DEPTH, size=2, replace=False).tolist())


def model_scores(dataset: str, number: int, *, seed: int) -> np.ndarray:
    """What a fair model gives: the relevant documents are 1.5 standard deviations above the others."""
    scores = seeded(dataset, number, seed, "scores").normal(size=DEPTH)
    scores[relevant_rows(dataset, number)] += 1.5
    return scores


def bury_relevant(dataset: str, number: int, scores: np.ndarray) -> np.ndarray:
    """Rank the relevant documents last."""
    spoiled = scores.copy()
    spoiled[relevant_rows(dataset, number)] = scores.min() - 1
    return spoiled


def make_artifacts(dataset: str, num_queries: int, *, seed: int, spoil: Spoil, corpus: str) -> DatasetArtifacts:
    candidates, scores, qrels = {}, {}, {}
    for number in range(num_queries):
        query_id = f"{dataset}-{number}"
        doc_ids = [f"{corpus}{number}.{row}" for row in range(DEPTH)]
        candidates[query_id] = rank_docs(query_id, doc_ids, scores_from_ranks(DEPTH))
        scores[query_id] = spoil(dataset, number, model_scores(dataset, number, seed=seed)).astype(np.float32)
        qrels[query_id] = {doc_ids[row]: 1 for row in relevant_rows(dataset, number)}
    candidate_set = CandidateSet(
        dataset_name=dataset,
        depth=DEPTH,
        by_query=candidates,
        first_stage={"name": "bm25"},
        fingerprint=candidates_fingerprint(candidates),
    )
    evaluation = evaluate_reranker(
        query_ids=list(qrels), qrels=qrels, candidates=candidate_set, scores=scores, resamples=100
    )
    return DatasetArtifacts(
        candidates=candidate_set,
        reranked={q: rank_docs(q, candidates[q].doc_ids, scores[q]) for q in candidates},
        missed={},
        qrels=qrels,
        evaluation=evaluation,
    )


def dataset_block(dataset: str, kept: DatasetArtifacts, corpus: str, truncated_share: float | None) -> dict[str, Any]:
    prints = {kind: fingerprint_json([kind, dataset, corpus]) for kind in ("corpus", "queries", "qrels")}
    return {
        "source": {"kind": "beir"},
        "fingerprints": {**prints, "candidates": kept.candidates.fingerprint},
        "first_stage": dict(kept.candidates.first_stage),
        "depth": kept.candidates.depth,
        "counts": dict(kept.evaluation.counts)
        | {"documents": 1000, "judgements": 9, "pairs": 1, "missed_positives": 0},
        "views": {view: view_to_json(evaluated) for view, evaluated in kept.evaluation.views.items()},
        "ties": ties_to_json(kept.evaluation.ties),
        "timing": {"truncated_share": truncated_share},
    }


def suite_block(evaluations: Mapping[str, Evaluation]) -> dict[str, Any]:
    views = {
        view: {"measures": {name: measure_to_json(summary) for name, summary in measures.items()}}
        for view, measures in evaluate_suite(evaluations, resamples=100).items()
    }
    return {"datasets": list(evaluations), "views": views}


def write_run(
    folder: Path,
    *,
    datasets: Sequence[str] = tuple(SIZES),
    sizes: Mapping[str, int] = SIZES,
    seed: int = 0,
    spoil: Spoil = lambda _dataset, _number, scores: scores,
    cache: bool = False,
    corpus: str = "d",
    truncated_share: float | None = None,
    comparable: bool = True,
    protocol_version: int = 1,
    weights: str = "w",
) -> Path:
    """Write a run folder, called like its model, and return it.

    Args:
        folder: Its last part is the model's name.
        datasets: Names of its data sets.
        sizes: Data set -> number of queries.
        seed: Another one is another model, as good as the first.
        spoil: What becomes of each query's scores.
        cache: Whether it was scored with the store.
        corpus: Another one gives other documents, hence other fingerprints.
        truncated_share: Of the model's inputs.
        comparable: False for a run over part of the queries.
        protocol_version: As in the result.
        weights: Fingerprint of the model's weights.
    """
    name = folder.name
    kept = {d: make_artifacts(d, sizes[d], seed=seed, spoil=spoil, corpus=corpus) for d in datasets}
    result = {
        "schema_version": 1,
        "protocol_version": protocol_version,
        "comparable": comparable,
        "provenance": {"rerank_bench": "0", "commit": "c0ffee", "command": "run", "utc_time": "2026-11-21T00:00:00Z"},
        "model": {"name": name, "family": "callable", "fingerprint": f"f-{name}", "weights_fingerprint": weights},
        "request": {"depth": DEPTH, "view": "end_to_end", "limit": None if comparable else 3, "cache": cache},
        "datasets": {d: dataset_block(d, artifacts, corpus, truncated_share) for d, artifacts in kept.items()},
        "suites": {"both": suite_block({d: a.evaluation for d, a in kept.items()})} if len(kept) > 1 else {},
    }
    write_run_folder(folder, result, kept, run_name=name)
    return folder
