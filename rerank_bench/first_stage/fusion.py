"""Several lists in one: reciprocal rank fusion.

Cormack, Clarke, Büttcher: Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods. SIGIR 2009.
"""

from __future__ import annotations

from collections.abc import Sequence

from rerank_bench.first_stage.candidates import candidate_set, check_depth
from rerank_bench.ranking import rank_docs
from rerank_bench.records import CandidateSet, Dataset

K = 60
"""The paper's constant: how little the first ranks count more than the next."""

FUSED_DEPTH = 1_000
"""Documents of every list that are fused, whatever depth is wanted: a shorter list is then the beginning of a longer one."""


def fuse_candidates(dataset: Dataset, lists: Sequence[CandidateSet], *, depth: int) -> CandidateSet:
    """Return the documents of several lists by Σ 1 / (K + rank), over the lists that hold the document.

    Args:
        dataset: The data set of all lists; ``drops_self_match`` is obeyed, whatever a given list holds.
        lists: Two or more, as deep as they are to be fused.
        depth: Documents to keep per query, at least 1.

    Raises:
        ConfigError: ``depth`` is less than 1.
    """
    check_depth(depth)
    by_query = {}
    for query_id in dataset.queries:
        scores: dict[str, float] = {}
        for candidates in lists:
            for rank, doc_id in enumerate(candidates.by_query[query_id].doc_ids, start=1):
                scores[doc_id] = scores.get(doc_id, 0.0) + 1.0 / (K + rank)
        if dataset.drops_self_match:
            scores.pop(query_id, None)
        by_query[query_id] = rank_docs(query_id, list(scores), list(scores.values()), depth=depth)
    stages = [dict(candidates.first_stage) for candidates in lists]
    described = {
        "name": f"fusion:{'+'.join(str(stage['name']) for stage in stages)}",
        "k": K,
        "fused_depth": FUSED_DEPTH,
        "lists": [
            {**stage, "fingerprint": candidates.fingerprint} for stage, candidates in zip(stages, lists, strict=True)
        ],
    }
    return candidate_set(dataset, by_query, depth=depth, first_stage=described)
