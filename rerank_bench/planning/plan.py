"""``plan``: pairs, tokens, operations, time and memory of a run, from the run's own data and a few timed batches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import ConfigError
from rerank_bench.pipeline.request import Request, RunConfig, resolve_request
from rerank_bench.pipeline.run import open_scorers
from rerank_bench.pipeline.scoring_jobs import JOB_PAIRS, collect_pairs, num_pairs_of, plan_jobs
from rerank_bench.planning.calibration import calibrate
from rerank_bench.planning.datasets import PlannedData, plan_datasets
from rerank_bench.planning.records import ModelPlan, Plan
from rerank_bench.progress import note, track
from rerank_bench.provenance import peak_memory_bytes
from rerank_bench.scoring.device_use import OnDevice
from rerank_bench.scoring.lazy_scorer import LazyScorer
from rerank_bench.scoring.pair_work import distinct_work
from rerank_bench.scoring.scorer import EncodedItems, TextEncoder
from rerank_bench.scoring.specs import ModelSpec

COUNTED_PAIRS = 100_000
"""Whose tokens are counted at most, some seconds' work; of more, every n-th query's."""
LEAST_COUNTED_PAIRS = 1_000
"""Counted where fewer of those queries' pairs are missing."""
BYTES_PER_PAIR = 1_800
"""Texts, tokens and tables of a job (docs/experiments.md, "several data sets in one job")."""

EXAMPLE_QUERY = "how do I stop a program that takes too long"
EXAMPLE_DOC = (
    "A call that waits for something outside the program may never come back, so it is given a time after which it is "
    "broken off. The operating system can send a signal when that time is over; a thread can be asked whether it has "
    "ended and be left alone if not; another process can be killed. Which of them is right depends on what the program "
    "holds at that moment, as files, locks and connections stay as they were when it was stopped, and somebody has to "
    "put them in order before the next attempt is made."
)
"""A pair of usual length, in the place of those of data sets that are not on this machine."""
EXAMPLE_PAIRS = 512


class _Work(NamedTuple):
    """What there is to score for a model, and the pairs whose tokens are counted."""

    queries: list[str]
    docs: list[str]
    counted: NDArray[np.int64]
    """(N, 2): indices into both."""
    num_pairs: int
    """Distinct pairs that are not stored."""
    num_texts: int
    """Distinct texts in them, those of every job anew: as often as a bi-encoder encodes one."""
    num_stored: int
    """Pairs whose scores are stored."""
    factor: float = 1.0
    """All pairs of the run over those that are here."""


def plan_run(config: RunConfig) -> Plan:
    """Return what a run would cost; no pair is scored but those that are timed, and nothing is fetched but models.

    Args:
        config: The run.

    Raises:
        RerankBenchError: What the run itself would raise before it scores.
    """
    request = resolve_request(config)
    if request.scorer.ray is not None:
        msg = "a plan times batches on this machine, and knows nothing of a cluster's; drop --engine ray"
        raise ConfigError(msg)
    scorers = open_scorers(request)
    data = plan_datasets(request)
    # Popped: one model's weights at a time.
    models = [_plan_model(model, scorers.pop(0), data, request) for model in request.models]
    return Plan(
        first_stage=config.first_stage,
        depth=request.depths[-1],
        datasets=[planned.plan for planned in data],
        models=models,
    )


def _plan_model(
    model: ModelSpec, scorer: LazyScorer | None, data: Sequence[PlannedData], request: Request
) -> ModelPlan:
    num_pairs = sum(planned.plan.pairs for planned in data)
    if scorer is None:
        return ModelPlan(
            spec=model.text, pairs=num_pairs, stored_pairs=0, load_seconds=0.0, tokenise_seconds=0.0, score_seconds=0.0
        )
    if not scorer.counts_tokens:
        reason = "neither its tokens nor its speed are known before it runs"
        return ModelPlan(spec=model.text, pairs=num_pairs, stored_pairs=0, note=reason)
    work = _survey(scorer, data, num_pairs)
    facts = ModelPlan(spec=model.text, pairs=num_pairs, stored_pairs=work.num_stored)
    if work.num_pairs:
        return replace(facts, **_measure(scorer, work, min(num_pairs, JOB_PAIRS), request))
    nothing: dict[str, Any] = dict.fromkeys(("load_seconds", "tokenise_seconds", "score_seconds", "flops"), 0.0)
    device = scorer.describe().get("device")
    return replace(facts, **nothing, tokens=0, host_bytes=peak_memory_bytes(), device=device)


def _survey(scorer: LazyScorer, data: Sequence[PlannedData], num_pairs: int) -> _Work:
    """Return what is not stored, job by job as the run goes, so that no more is in memory than in the run."""
    here = [planned.prepared for planned in data if planned.prepared is not None]
    num_here = sum(map(num_pairs_of, here))
    if not num_here:
        note("no data of the plan are on this machine: tokens are those of an example of some 100 words")
        queries = [f"{EXAMPLE_QUERY} {number}" for number in range(EXAMPLE_PAIRS)]
        pairs = np.stack([np.arange(EXAMPLE_PAIRS), np.zeros(EXAMPLE_PAIRS, dtype=np.int64)], axis=1)
        return _Work(queries, [EXAMPLE_DOC], pairs, EXAMPLE_PAIRS, EXAMPLE_PAIRS + 1, 0, num_pairs / EXAMPLE_PAIRS)
    step = -(-num_here // COUNTED_PAIRS)
    first_missing: tuple[list[str], list[str], NDArray[np.int64]] | None = None
    queries, docs = [], list[str]()
    counted: list[NDArray[np.int64]] = []
    num_missing = num_texts = num_stored = 0
    for job in plan_jobs(here, JOB_PAIRS):
        collected = collect_pairs([part.ready for part in job])
        work = distinct_work(collected.queries, collected.docs, collected.pairs)
        is_known = scorer.look_up(work).is_known
        rows = np.flatnonzero(~is_known)
        num_stored += int(is_known[work.row_of_pair].sum())
        num_missing += len(rows)
        num_texts += sum(len(np.unique(work.pairs[rows, side])) for side in (0, 1))
        chosen = rows[work.pairs[rows, 0] % step == 0]  # those of evenly spaced queries
        if first_missing is None and len(rows):
            first_missing = work.restricted(rows[:LEAST_COUNTED_PAIRS])
        own_queries, own_docs, pairs = work.restricted(chosen)
        counted.append(pairs + np.asarray([len(queries), len(docs)]))
        queries += own_queries
        docs += own_docs
    pairs = np.concatenate(counted)
    if first_missing is not None and len(pairs) < len(first_missing[2]):  # nearly all is stored
        queries, docs, pairs = first_missing
    return _Work(queries, docs, pairs, num_missing, num_texts, num_stored, num_pairs / num_here)


def _measure(scorer: LazyScorer, work: _Work, largest_job: int, request: Request) -> dict[str, Any]:
    """Return the fields of a model's plan that must be measured: its tokens, and its speed on a few batches."""
    loaded = scorer.in_this_process()
    model: Any = loaded.scorer
    is_encoder = isinstance(model, TextEncoder)
    started = time.perf_counter()
    items: EncodedItems = (
        model.encode_texts(work.queries, work.docs)
        if is_encoder
        else model.encode(work.queries, work.docs, work.counted)
    )
    tokenise_seconds = time.perf_counter() - started
    factor = work.factor * (work.num_texts if is_encoder else work.num_pairs) / len(items.lengths)
    budget = request.scorer.batch_tokens or model.default_batch_tokens
    is_packed = model.describe().get("batches") == "packed"
    compute = model.embed_batch if is_encoder else model.score_batch
    with track(f"time {model.describe()['name']}"):
        speed = calibrate(items, compute, budget, is_packed=is_packed)
    # Several processes on a CPU share the cores that this one had to itself.
    num_devices = sum(name.startswith("cuda") for name in request.scorer.devices) or 1
    flops = model.runtime.flops(items.lengths) if isinstance(model, OnDevice) else None
    peak = peak_memory_bytes()
    return {
        "tokens": round(factor * int(items.lengths.sum(dtype=np.int64))),
        "measured_pairs": len(work.counted),
        "truncated_share": float(items.is_truncated.mean()),
        "flops": None if flops is None else factor * flops,
        "load_seconds": scorer.load_seconds or 0.0,
        "tokenise_seconds": factor * tokenise_seconds,
        "score_seconds": factor * speed.job_seconds / num_devices,
        "calibration_seconds": speed.seconds,
        "processor_seconds": None if loaded.cpu_threads is None else factor * speed.job_seconds * speed.processor_share,
        "busy_share": _busy_share(speed.processor_share, loaded.cpu_threads),
        "host_bytes": None if peak is None else peak + max(0, largest_job - len(work.counted)) * BYTES_PER_PAIR,
        "device_bytes": model.peak_device_bytes(),
        "device": model.describe().get("device"),
    }


def _busy_share(processor_share: float, cpu_threads: int | None) -> float | None:
    """Return which share of its threads' time went to others."""
    return None if cpu_threads is None else max(0.0, 1.0 - processor_share / cpu_threads)
