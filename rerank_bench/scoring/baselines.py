"""Baselines that rank documents by id: the first stage itself, chance, the ideal order, a stored run.

They read no text and are not scorers; what they return stands beside a scorer's scores over the same pool.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench import progress
from rerank_bench.errors import ConfigError, DataError, describe_unknown
from rerank_bench.ranking import scores_from_ranks
from rerank_bench.records import Qrels, ScoredDocs
from rerank_bench.scoring.specs import BASELINES, ModelSpec
from rerank_bench.storage import file_sha256, fingerprint_json
from rerank_bench.trec_io import read_run

Pool = Mapping[str, Sequence[str]]
"""query_id -> doc_ids: the candidates in first-stage order, then the positives that the first stage missed."""

DEFAULT_SEED = 12
"""Seed of the ``random`` baseline unless another one is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineScores:
    """What a baseline makes of a pool."""

    by_query: Mapping[str, NDArray[np.float32]]
    """query_id -> (n,) float32, aligned with the pool."""
    description: Mapping[str, Any]
    """What a result records, JSON-able: name, family, fingerprint, and what decides the scores."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What of a stored run and of the pool did not meet; a result records it beside the data set's counts.

    ``unscored_docs`` (of the pool, absent from the run: they rank after all that it holds),
    ``queries_with_unscored_docs``, ``docs_outside_pool`` (of the run, not to be ranked).
    """
    missing: Collection[str] = frozenset()
    """Judged queries that a stored run lacks, and was allowed to."""


def rank_baseline(
    spec: ModelSpec,
    pool: Pool,
    *,
    qrels: Qrels,
    seed: int = DEFAULT_SEED,
    allow_missing_queries: bool = False,
) -> BaselineScores:
    """Return the scores of ``first-stage``, ``random``, ``oracle`` or ``run:FILE`` over a pool.

    Args:
        spec: A parsed spec of kind ``baseline`` or ``run``.
        pool: The documents to rank.
        qrels: Judgements; ``oracle`` ranks by them, and a stored run must hold the queries that are judged.
        seed: Of ``random``.
        allow_missing_queries: Whether a stored run may lack judged queries; ``missing`` names them.

    Raises:
        ConfigError: Another kind of spec.
        DataError: A stored run lacks queries, or has documents that contradict it.
    """
    if spec.kind == "run":
        required = {query_id for query_id in pool if qrels.get(query_id)}
        return rank_stored_run(Path(spec.value), pool, required=required, allow_missing_queries=allow_missing_queries)
    if spec.value == "first-stage":
        scores = {query_id: scores_from_ranks(len(doc_ids)) for query_id, doc_ids in pool.items()}
        return BaselineScores(by_query=scores, description=_describe("first-stage"))
    if spec.value == "random":
        scores = {query_id: random_scores(query_id, doc_ids, seed=seed) for query_id, doc_ids in pool.items()}
        return BaselineScores(by_query=scores, description=_describe("random", seed=seed))
    if spec.value == "oracle":
        scores = {query_id: oracle_scores(doc_ids, qrels.get(query_id, {})) for query_id, doc_ids in pool.items()}
        return BaselineScores(by_query=scores, description=_describe("oracle"))
    if spec.kind == "baseline":
        raise ConfigError(describe_unknown("baseline", [spec.value], BASELINES))
    msg = f"model {spec.text!r} reads texts; use load_scorer for it"
    raise ConfigError(msg)


def _describe(name: str, **settings: Any) -> dict[str, Any]:
    fingerprint = fingerprint_json({"baseline": name, **settings})
    return {"spec": name, "name": name, "family": "baseline", "fingerprint": fingerprint, **settings}


def random_scores(query_id: str, doc_ids: Sequence[str], *, seed: int) -> NDArray[np.float32]:
    """Return (n,) float32 in [0, 1): a hash of seed, query and document, so the order of the pool has no part in it.

    The first 24 bits of BLAKE2b over the three, separated by NUL: as many as a float32 holds exactly.
    """
    scores = np.empty(len(doc_ids), dtype=np.float32)
    for row, doc_id in enumerate(doc_ids):
        key = "\0".join((str(seed), query_id, doc_id)).encode("utf-8", errors="surrogatepass")
        scores[row] = int.from_bytes(hashlib.blake2b(key, digest_size=3).digest(), "big") / 2**24
    return scores


def oracle_scores(doc_ids: Sequence[str], grades: Mapping[str, int]) -> NDArray[np.float32]:
    """Return (n,) float32 that rank by grade, the unjudged last, equal ones in the pool's order; no two are equal."""
    lowest = min(grades.values(), default=0) - 1
    order = sorted(range(len(doc_ids)), key=lambda row: -grades.get(doc_ids[row], lowest))  # stable
    scores = np.empty(len(doc_ids), dtype=np.float32)
    scores[order] = scores_from_ranks(len(doc_ids))
    return scores


def rank_stored_run(
    path: Path, pool: Pool, *, required: Collection[str], allow_missing_queries: bool = False
) -> BaselineScores:
    """Return a stored run's scores over a pool.

    Documents of the pool that the run does not hold follow all those that it does, in first-stage order; they are
    counted, and a note says so.  Documents of the run outside the pool are counted and left out: the pool is what is
    reranked.

    Args:
        path: A TREC run.
        pool: The documents to rank.
        required: The queries that the run must hold; another one keeps the first stage's order where it is missing.
        allow_missing_queries: Whether it may lack some of them all the same, though not all.

    Raises:
        DataError: The file is absent, or lacks required queries.
        ParseError: A line cannot be read.
    """
    run = read_run(path)
    missing = [query_id for query_id in pool if query_id in required and query_id not in run]
    if missing:
        shown = ", ".join(repr(query_id) for query_id in missing[:3])
        what = f"{len(missing)} of {len(required)} judged queries (first: {shown})"
        is_other = len(missing) == len(required)
        if is_other or not allow_missing_queries:
            hint = "was it made for another data set?" if is_other else "complete it, or pass --allow-missing-queries"
            msg = f"run {path} has no results for {what}; {hint}"
            raise DataError(msg)
        progress.note(f"run {path.name} has no results for {what}; they count 0")
    scores: dict[str, NDArray[np.float32]] = {}
    counts = {"unscored_docs": 0, "queries_with_unscored_docs": 0, "docs_outside_pool": 0}
    counts["queries_outside_pool"] = sum(query_id not in pool for query_id in run)
    for query_id, doc_ids in pool.items():
        if query_id not in run:
            scores[query_id] = scores_from_ranks(len(doc_ids))
            continue
        scores[query_id], num_unscored = _stored_scores(run[query_id], doc_ids)
        counts["unscored_docs"] += num_unscored
        counts["queries_with_unscored_docs"] += num_unscored > 0
        counts["docs_outside_pool"] += len(run[query_id]) - (len(doc_ids) - num_unscored)
    if counts["unscored_docs"]:
        progress.note(
            f"run {path.name}: {counts['unscored_docs']} documents of the pool, in "
            f"{counts['queries_with_unscored_docs']} queries, are not in the run; they rank last, in first-stage order"
        )
    description = {"spec": f"run:{path.name}", "name": path.name, "family": "run", "fingerprint": file_sha256(path)}
    return BaselineScores(by_query=scores, description=description, counts=counts, missing=frozenset(missing))


def _stored_scores(stored: ScoredDocs, doc_ids: Sequence[str]) -> tuple[NDArray[np.float32], int]:
    """Return ((n,) float32, number of documents that the run lacks)."""
    score_by_doc = dict(zip(stored.doc_ids, stored.scores.tolist(), strict=True))
    lowest = np.float32(stored.scores.min(initial=0.0))
    scores = np.empty(len(doc_ids), dtype=np.float32)
    num_unscored = 0
    for row, doc_id in enumerate(doc_ids):
        if doc_id in score_by_doc:
            scores[row] = score_by_doc[doc_id]
        else:
            # The next float32 below: smaller than everything before it, whatever the scale of the run.
            lowest = np.nextafter(lowest, np.float32(-np.inf))
            scores[row] = lowest
            num_unscored += 1
    return scores, num_unscored
