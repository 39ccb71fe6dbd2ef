"""The pairs that a run would score: real ones where the data are here and the lists are quickly made."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rerank_bench.data.datasets import load_dataset
from rerank_bench.data.hub_client import local_only
from rerank_bench.data.manifests import load_manifest, manifest_names
from rerank_bench.errors import EnvironmentMissingError
from rerank_bench.evaluation.views import build_pool
from rerank_bench.first_stage.candidates import candidate_set
from rerank_bench.first_stage.stages import DenseStage, FusionStage, parse_first_stage
from rerank_bench.pipeline.candidates import PreparedDataset, first_queries, prepare_loaded
from rerank_bench.pipeline.request import Request
from rerank_bench.planning.records import DatasetPlan
from rerank_bench.progress import note
from rerank_bench.ranking import scores_from_ranks
from rerank_bench.records import Dataset, ScoredDocs

LARGEST_INDEXED = 300_000
"""Documents up to which the first stage is built for a plan: some 10 seconds; of larger collections documents are drawn."""
SEED = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedData:
    """One data set of a plan."""

    plan: DatasetPlan
    prepared: PreparedDataset | None
    """``None`` where the data are not on this machine."""


def plan_datasets(request: Request) -> list[PlannedData]:
    """Return the data sets of a request; nothing is fetched.

    Raises:
        RerankBenchError: What loading a data set that is here raises, and building its candidates.
    """
    return [_plan_dataset(name, request) for name in request.selection.datasets]


def _plan_dataset(name: str, request: Request) -> PlannedData:
    started = time.perf_counter()
    try:
        with local_only():
            dataset = load_dataset(name, split=request.config.split)
            is_listed = len(dataset.collection) <= LARGEST_INDEXED and not _needs_vectors(request.config.first_stage)
            ready = (
                prepare_loaded(dataset, request, started=started) if is_listed else _draw_candidates(dataset, request)
            )
    except EnvironmentMissingError as error:
        if name not in manifest_names():
            raise
        return _from_manifest(name, request, error)
    plan = DatasetPlan(
        name=ready.dataset.name,
        basis="lists" if is_listed else "sample",
        queries=len(ready.dataset.queries),
        documents=len(ready.dataset.collection),
        pairs=sum(len(doc_ids) for doc_ids in ready.pool.values()),
    )
    return PlannedData(plan=plan, prepared=ready)


def _needs_vectors(first_stage: str) -> bool:
    stage = parse_first_stage(first_stage)
    parts: Sequence[str] = stage.parts if isinstance(stage, FusionStage) else (first_stage,)
    return any(isinstance(parse_first_stage(part), DenseStage) for part in parts)


def _draw_candidates(dataset: Dataset, request: Request) -> PreparedDataset:
    """Return the data set with documents drawn in the place of candidates."""
    num_docs, depth = len(dataset.collection), request.depths[-1]
    rng = np.random.default_rng(SEED)
    width = min(depth, num_docs)
    by_query = {}
    for query_id in dataset.queries:
        places = rng.choice(num_docs, size=width, replace=False, shuffle=False)
        doc_ids = tuple(dataset.collection.doc_ids.take(places).to_pylist())
        by_query[query_id] = ScoredDocs(doc_ids, scores_from_ranks(width))
    candidates = candidate_set(dataset, by_query, depth=depth, first_stage={"name": "drawn"})
    if request.config.limit is not None:
        dataset, candidates = first_queries(dataset, candidates, request.config.limit)
    note(
        f"{dataset.name}: the first stage is not built for a plan; documents were drawn in the place of its candidates"
    )
    pool = build_pool(candidates, dataset.qrels)
    return PreparedDataset(dataset=dataset, candidates=candidates, pool=pool, load_seconds=0.0)


def _from_manifest(name: str, request: Request, error: EnvironmentMissingError) -> PlannedData:
    counts = load_manifest(name).counts
    queries = counts.get("queries")
    if queries is None:
        raise error
    if request.config.limit is not None:
        queries = min(queries, request.config.limit)
    documents = counts.get("documents")
    depth = request.depths[-1] if documents is None else min(request.depths[-1], documents)
    note(
        f"{name}: its data are not on this machine, so the plan counts on its manifest: at most {depth} candidates a query"
    )
    plan = DatasetPlan(name=name, basis="counts", queries=queries, documents=documents, pairs=queries * depth)
    return PlannedData(plan=plan, prepared=None)
