"""Run folders of invented rerankers on invented data sets: real files, real values, no model.

Data sets differ in ids and sizes, so that a swap is visible.  A reranker's scores are the grades times its skill plus
noise of its own, so that a higher skill is a better reranker of the same candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sample_results import make_result

from rerank_bench.data.fingerprints import fingerprint_qrels
from rerank_bench.evaluation.evaluate import evaluate_reranker, evaluate_suite
from rerank_bench.evaluation.summaries import measure_to_json, view_to_json
from rerank_bench.evaluation.views import build_pool
from rerank_bench.ranking import rank_docs
from rerank_bench.records import CandidateSet
from rerank_bench.reporting.run_folder import DatasetArtifacts, write_run_folder

DOCS_PER_QUERY = 12
MEASURES = ("nDCG@10", "RR@10", "AP")


def make_qrels(dataset: str, num_queries: int) -> dict[str, dict[str, int]]:
    """Return judgements: grades 0 to 2 for four documents a query, the first one positive, one of them missed."""
    rng = np.random.default_rng(sum(map(ord, dataset)))
    return {
        f"{dataset}-q{number}": {
            f"{dataset}-{number}-d{doc}": 1 if rank == 0 else int(rng.integers(0, 3))
            for rank, doc in enumerate(rng.permutation(DOCS_PER_QUERY + 1)[:4])
        }
        for number in range(num_queries)
    }


def make_candidates(dataset: str, num_queries: int) -> CandidateSet:
    by_query = {
        f"{dataset}-q{number}": rank_docs(
            f"q{number}", [f"{dataset}-{number}-d{doc}" for doc in range(DOCS_PER_QUERY)], -np.arange(DOCS_PER_QUERY)
        )
        for number in range(num_queries)
    }
    return CandidateSet(dataset_name=dataset, depth=100, by_query=by_query, first_stage={}, fingerprint="c")


def write_run_of(
    folder: Path,
    model: str,
    num_queries_by_dataset: Mapping[str, int],
    *,
    skill: float = 1.0,
    seed: int = 0,
    suite: str | None = None,
    **result_options: Any,
) -> Path:
    """Write the run folder of one invented reranker and return it.

    Args:
        folder: Where to.
        model: Its name.
        num_queries_by_dataset: Data sets and their sizes.
        skill: How much it knows of the grades; 0 is chance.
        seed: Of its noise.
        suite: Name of a suite over all data sets.
        result_options: As for ``sample_results.make_result``.
    """
    rng = np.random.default_rng([seed, 7])
    artifacts = {
        name: _artifacts(name, num_queries, skill, rng) for name, num_queries in num_queries_by_dataset.items()
    }
    result = make_result(model, dict.fromkeys(num_queries_by_dataset, 0.5), suite=suite, **result_options)
    for name, kept in artifacts.items():
        block = result["datasets"][name]
        block["views"] = {view: view_to_json(evaluated) for view, evaluated in kept.evaluation.views.items()}
        block["fingerprints"]["qrels"] = fingerprint_qrels(kept.qrels)
        block["counts"] |= {"queries": len(kept.qrels), "evaluated": len(kept.qrels)}
    if suite:
        summaries = evaluate_suite({name: kept.evaluation for name, kept in artifacts.items()})
        result["suites"][suite]["views"] = {
            view: {"measures": {measure: measure_to_json(summary) for measure, summary in measures.items()}}
            for view, measures in summaries.items()
        }
    write_run_folder(folder, result, artifacts, run_name=model)
    return folder


def _artifacts(dataset: str, num_queries: int, skill: float, rng: np.random.Generator) -> DatasetArtifacts:
    qrels, candidates = make_qrels(dataset, num_queries), make_candidates(dataset, num_queries)
    pool = build_pool(candidates, qrels)
    scores: dict[str, NDArray[np.float32]] = {}
    for query_id, doc_ids in pool.items():
        grades = np.array([qrels[query_id].get(doc_id, 0) for doc_id in doc_ids])
        scores[query_id] = (skill * grades + rng.normal(size=len(doc_ids))).astype(np.float32)
    evaluation = evaluate_reranker(
        query_ids=list(qrels), qrels=qrels, candidates=candidates, scores=scores, measures=MEASURES
    )
    return DatasetArtifacts(
        candidates=candidates,
        reranked={q: rank_docs(q, pool[q][:DOCS_PER_QUERY], scores[q][:DOCS_PER_QUERY]) for q in pool},
        missed={q: rank_docs(q, pool[q][DOCS_PER_QUERY:], scores[q][DOCS_PER_QUERY:]) for q in pool},
        qrels=qrels,
        evaluation=evaluation,
    )
