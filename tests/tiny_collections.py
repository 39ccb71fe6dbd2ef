"""Small judged collections with candidates and scores, for tests of the evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rerank_bench.evaluation.views import build_pool
from rerank_bench.ranking import scores_from_ranks
from rerank_bench.records import CandidateSet, Qrels, ScoredDocs


def candidate_set(lists: Mapping[str, Sequence[str]], *, depth: int = 100, name: str = "tiny") -> CandidateSet:
    """Candidates in the order given, with the score −rank."""
    return CandidateSet(
        dataset_name=name,
        depth=depth,
        by_query={q: ScoredDocs(tuple(docs), scores_from_ranks(len(docs))) for q, docs in lists.items()},
        first_stage={"name": "trec-run"},
        fingerprint="",
    )


def scores_in_order(candidates: CandidateSet, qrels: Qrels) -> dict[str, NDArray[np.float32]]:
    """What the identity reranker gives: the pool's order."""
    return {q: scores_from_ranks(len(docs)) for q, docs in build_pool(candidates, qrels).items()}


def distinct_scores(
    candidates: CandidateSet, qrels: Qrels, rng: np.random.Generator, *, skill: float = 0.0
) -> dict[str, NDArray[np.float32]]:
    """Random scores without ties; with ``skill`` the positives tend to be higher."""
    scores = {}
    for query_id, docs in build_pool(candidates, qrels).items():
        noise = rng.normal(size=len(docs)) + skill * np.array([qrels.get(query_id, {}).get(d, 0) > 0 for d in docs])
        scores[query_id] = np.argsort(np.argsort(noise)).astype(np.float32)  # ranks: nothing can tie
    return scores


def random_collection(
    rng: np.random.Generator, *, num_queries: int, num_docs: int, depth: int, max_grade: int = 3
) -> tuple[CandidateSet, dict[str, dict[str, int]]]:
    """Queries with 1 to 8 positives, of which the first stage finds some, all or none."""
    lists, qrels = {}, {}
    for number in range(num_queries):
        doc_ids = [f"d{i}" for i in rng.permutation(num_docs)]
        judged = rng.choice(num_docs, size=int(rng.integers(2, 15)), replace=False)
        grades = {f"d{i}": int(rng.integers(0, max_grade + 1)) for i in judged}
        grades[f"d{judged[0]}"] = max_grade
        lists[f"q{number}"] = doc_ids[: int(rng.integers(2, depth + 1))]
        qrels[f"q{number}"] = grades
    return candidate_set(lists, depth=depth), qrels
