"""Run folders made from given candidates, judgements and scores, by the code that ``rerank-bench run`` writes them with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rerank_bench.data.datasets import load_dataset
from rerank_bench.evaluation.evaluate import evaluate_reranker
from rerank_bench.evaluation.summaries import view_to_json
from rerank_bench.evaluation.views import build_pool
from rerank_bench.ranking import rank_docs, scores_from_ranks
from rerank_bench.records import PROTOCOL_VERSION, CandidateSet, Dataset, ScoredDocs
from rerank_bench.reporting.run_folder import SCHEMA_VERSION, DatasetArtifacts, write_run_folder
from rerank_bench.storage import fingerprint_json

ScoresByQuery = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class World:
    """A data set on disk with a candidate list: what runs are made over."""

    folder: Path
    candidates: Mapping[str, tuple[str, ...]]
    depth: int = 100
    timing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dataset(self) -> Dataset:
        return load_dataset(self.folder)


def write_world(
    folder: Path,
    *,
    docs: Mapping[str, str],
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    candidates: Mapping[str, tuple[str, ...]],
) -> World:
    """Write a BEIR folder."""
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", docs), ("queries", queries)):
        lines = (json.dumps({"_id": text_id, "text": text}) for text_id, text in texts.items())
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = [f"{query}\t{doc}\t{grade}" for query, judged in qrels.items() for doc, grade in judged.items()]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]) + "\n")
    return World(folder=folder, candidates=candidates)


def write_run(
    folder: Path, worlds: Mapping[str, World], scores: Mapping[str, ScoresByQuery], *, name: str = "model", **model: Any
) -> Path:
    """Write the run folder of one model; a document without a score gets that of a low rank.

    Args:
        folder: Where.
        worlds: Data set -> its world.
        scores: Data set -> query_id -> doc_id -> score.
        name: The model's name.
        model: Fields of the result's ``model``.
    """
    blocks, artifacts = {}, {}
    for dataset_name, world in worlds.items():
        blocks[dataset_name], artifacts[dataset_name] = _one_dataset(dataset_name, world, scores[dataset_name])
    described = {"name": name, "spec": name, "family": "sequence-classifier", "max_length": None, **model}
    result = {
        "schema_version": SCHEMA_VERSION,
        "protocol_version": PROTOCOL_VERSION,
        "comparable": True,
        "model": described,
        "provenance": {"versions": {"torch": "2.13.0"}},
        "request": {"limit": None},
        "datasets": blocks,
        "suites": {},
    }
    write_run_folder(folder, result, artifacts, run_name=name)
    return folder


def _one_dataset(name: str, world: World, scores: ScoresByQuery) -> tuple[dict[str, Any], DatasetArtifacts]:
    dataset = world.dataset
    by_query = {q: ScoredDocs(docs, scores_from_ranks(len(docs))) for q, docs in world.candidates.items()}
    candidates = CandidateSet(
        dataset_name=name,
        depth=world.depth,
        by_query=by_query,
        first_stage={"name": "bm25"},
        fingerprint=fingerprint_json(world.candidates),
    )
    pool = build_pool(candidates, dataset.qrels)
    arrays = {
        q: np.array([scores.get(q, {}).get(d, -100.0 - i) for i, d in enumerate(docs)], dtype=np.float32)
        for q, docs in pool.items()
    }
    evaluation = evaluate_reranker(
        query_ids=list(dataset.queries), qrels=dataset.qrels, candidates=candidates, scores=arrays
    )
    num = {q: len(docs) for q, docs in world.candidates.items()}
    block = {
        "source": dict(dataset.source),
        "fingerprints": {**dataset.fingerprints, "candidates": candidates.fingerprint},
        "first_stage": {"name": "bm25"},
        "depth": world.depth,
        "counts": dict(evaluation.counts),
        "views": {view: view_to_json(evaluated) for view, evaluated in evaluation.views.items()},
        "timing": dict(world.timing),
    }
    artifacts = DatasetArtifacts(
        candidates=candidates,
        reranked={q: rank_docs(q, docs[: num[q]], arrays[q][: num[q]]) for q, docs in pool.items()},
        missed={q: rank_docs(q, docs[num[q] :], arrays[q][num[q] :]) for q, docs in pool.items()},
        qrels=dataset.qrels,
        evaluation=evaluation,
    )
    return block, artifacts
