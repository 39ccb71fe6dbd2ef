"""Data sets with their candidates, ready to be scored."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rerank_bench.data.datasets import load_dataset
from rerank_bench.data.fingerprints import with_fingerprints
from rerank_bench.data.suites import resolve_datasets
from rerank_bench.errors import ConfigError
from rerank_bench.evaluation.measures import STANDARD_MEASURES
from rerank_bench.evaluation.stored_run import evaluate_stored_run
from rerank_bench.evaluation.views import build_pool
from rerank_bench.first_stage.bm25 import BM25Config
from rerank_bench.first_stage.candidate_store import cached_candidates
from rerank_bench.first_stage.candidates import candidates_fingerprint, candidates_from_lists, candidates_from_run
from rerank_bench.first_stage.fusion import FUSED_DEPTH, fuse_candidates
from rerank_bench.first_stage.stages import PUBLISHED, DenseStage, FusionStage, parse_first_stage
from rerank_bench.pipeline.request import DEFAULT_DEPTH, Request
from rerank_bench.progress import note
from rerank_bench.records import CandidateSet, Dataset, ScoredDocs
from rerank_bench.reporting.run_folder import file_stem
from rerank_bench.trec_io import write_run


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedDataset:
    """A data set with its candidates, ready for every model."""

    dataset: Dataset
    candidates: CandidateSet
    pool: Mapping[str, tuple[str, ...]]
    """query_id -> candidates in first-stage order, then the positives that it missed."""
    load_seconds: float


def prepare_datasets(request: Request) -> list[PreparedDataset]:
    """Load the data sets of a request, build their candidates at the greatest depth, and say in notes what came of it.

    Raises:
        ConfigError: Two of them have one name, or names that make one file name: a run folder cannot hold both.
        RerankBenchError: What ``load_dataset`` and ``build_candidates`` raise.
    """
    prepared = []
    place_by_stem: dict[str, str] = {}
    for given in request.selection.datasets:
        started = time.perf_counter()
        dataset = load_dataset(given, split=request.config.split)
        stem = file_stem(dataset.name).casefold()  # upper and lower case are one on some disks
        if stem in place_by_stem:
            msg = (
                f"the files of {place_by_stem[stem]} and {given} would both be called {stem!r}; rename a folder (or change "
                "the name in its dataset.toml), or run them apart"
            )
            raise ConfigError(msg)
        place_by_stem[stem] = given
        prepared.append(prepare_loaded(dataset, request, started=started))
    return prepared


def prepare_loaded(dataset: Dataset, request: Request, *, started: float) -> PreparedDataset:
    """Build the candidates of a data set that was loaded; ``started`` is when that began, by ``time.perf_counter``."""
    config = request.config
    device = request.scorer.devices[0] if request.scorer.devices else request.scorer.device
    candidates = build_candidates(dataset, first_stage=config.first_stage, depth=request.depths[-1], device=device)
    if config.limit is not None:
        dataset, candidates = first_queries(dataset, candidates, config.limit)
    pool = build_pool(candidates, dataset.qrels)
    seconds = time.perf_counter() - started
    num_candidates = sum(len(docs) for docs in candidates.by_query.values())
    note(
        f"{dataset.name}: {len(dataset.queries):,} queries, {len(dataset.collection):,} documents; "
        f"{candidates.first_stage['name']} kept {num_candidates:,} candidates ({seconds:.1f} s)"
    )
    return PreparedDataset(dataset=dataset, candidates=candidates, pool=pool, load_seconds=seconds)


def first_queries(dataset: Dataset, candidates: CandidateSet, limit: int) -> tuple[Dataset, CandidateSet]:
    """Return both with the first queries only, and with the fingerprints of those."""
    queries = dict(list(dataset.queries.items())[:limit])
    qrels = {query_id: judged for query_id, judged in dataset.qrels.items() if query_id in queries}
    by_query = {query_id: candidates.by_query[query_id] for query_id in queries}
    return (
        with_fingerprints(replace(dataset, queries=queries, qrels=qrels)),
        replace(candidates, by_query=by_query, fingerprint=candidates_fingerprint(by_query)),
    )


def cut_dataset(ready: PreparedDataset, depth: int) -> PreparedDataset:
    """Return a prepared data set as it would be at a smaller depth: each list is the beginning of the deeper one."""
    candidates = ready.candidates
    if depth == candidates.depth:
        return ready
    by_query = {
        query_id: ScoredDocs(docs.doc_ids[:depth], docs.scores[:depth])
        for query_id, docs in candidates.by_query.items()
    }
    cut = replace(candidates, depth=depth, by_query=by_query, fingerprint=candidates_fingerprint(by_query))
    return replace(ready, candidates=cut, pool=build_pool(cut, ready.dataset.qrels))


def build_candidates(
    dataset: Dataset, *, first_stage: str = "bm25", depth: int = DEFAULT_DEPTH, device: str = "auto"
) -> CandidateSet:
    """Return the first stage's candidates of a data set, from the cache when nothing changed.

    Args:
        dataset: As ``load_dataset`` returns it.
        first_stage: ``bm25``, ``rank-bm25``, ``published``, ``dense:MODEL``, ``fusion:A+B``, or the path of a TREC run file.
        depth: Documents to keep per query.
        device: Where the texts of ``dense`` are encoded.

    Raises:
        ConfigError: The first stage is unknown, or the data set has no published list.
        DataError: A list names unknown queries or documents.
        ScoringError: The model of ``dense`` cannot be loaded.
        EnvironmentMissingError: What it needs is missing on this machine.
    """
    chosen = parse_first_stage(first_stage)
    if isinstance(chosen, BM25Config):
        return cached_candidates(dataset, chosen, depth=depth)
    if isinstance(chosen, Path):
        return candidates_from_run(dataset, chosen, depth=depth)
    if isinstance(chosen, DenseStage):
        from rerank_bench.pipeline.dense import dense_candidates

        return dense_candidates(dataset, chosen.model, depth=depth, device=device)
    if isinstance(chosen, FusionStage):
        lists = [build_candidates(dataset, first_stage=part, depth=FUSED_DEPTH, device=device) for part in chosen.parts]
        return fuse_candidates(dataset, lists, depth=depth)
    from rerank_bench.data.hub import load_published_lists
    from rerank_bench.data.manifests import load_manifest

    if dataset.source.get("kind") != "hub":  # a folder may be called like a shipped data set
        msg = f"no first-stage lists are published for {dataset.name!r}; use --first-stage bm25, or a run file"
        raise ConfigError(msg)
    published = load_published_lists(load_manifest(dataset.name))
    stage = {"name": PUBLISHED, **published.source}
    return candidates_from_lists(dataset, published.by_query, depth=depth, first_stage=stage)


def summarise_candidates(
    name: str, *, first_stage: str = "bm25", depth: int = DEFAULT_DEPTH, split: str = "test", out: Path | None = None
) -> dict[str, Any]:
    """Build a data set's candidates and say how good they are; the content of ``rerank-bench candidates --json``."""
    parse_first_stage(first_stage)
    dataset = load_dataset(resolve_datasets([name], []).datasets[0], split=split)
    candidates = build_candidates(dataset, first_stage=first_stage, depth=depth)
    if out is not None:
        write_run(out, candidates.by_query, run_name=str(candidates.first_stage["name"]))
    evaluation = evaluate_stored_run(candidates.by_query, dataset.qrels, STANDARD_MEASURES, allow_missing_queries=True)
    lengths = [len(docs) for docs in candidates.by_query.values()]
    return {
        "dataset": dataset.name,
        "first_stage": dict(candidates.first_stage),
        "depth": depth,
        "queries": len(dataset.queries),
        "documents": len(dataset.collection),
        "candidates": sum(lengths),
        "shortest_list": min(lengths, default=0),
        "empty_lists": sum(length == 0 for length in lengths),
        "fingerprint": candidates.fingerprint,
        "measures": {measure: summary.mean for measure, summary in evaluation.measures.items()},
        "out": str(out) if out is not None else None,
    }
