"""``run --shard i/n``: one process's part of a run, as files that ``merge`` joins.

A shard scores every n-th query, counted over all data sets, so that the parts are of equal size whatever the sizes of the
data sets.  The score of a pair depends on nothing but the pair, up to the rounding of batches that are put together
otherwise; measures need whole data sets, so they are taken when the parts are merged.

A part is two files in ``<out>/<model>.shards``: ``i-of-n.npz`` with (N,) scores, tokens and origins of its pairs, query by
query, and ``i-of-n.json`` with what they are scores of, written last.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from rerank_bench.errors import ConfigError
from rerank_bench.pipeline.candidates import PreparedDataset, prepare_datasets
from rerank_bench.pipeline.request import Request, RunConfig, resolve_request
from rerank_bench.pipeline.run import open_scorers
from rerank_bench.pipeline.scores import ScoringPass, score_texts
from rerank_bench.progress import note
from rerank_bench.provenance import describe_invocation
from rerank_bench.records import PROTOCOL_VERSION
from rerank_bench.reporting.run_folder import file_stem
from rerank_bench.scoring.lazy_scorer import LazyScorer
from rerank_bench.scoring.ray_cluster import ray_session
from rerank_bench.scoring.specs import ModelSpec
from rerank_bench.storage import atomic_path, check_writable, file_sha256, write_json

SCHEMA_VERSION = 2
FOLDER_SUFFIX = ".shards"
AUTO = "auto"
RANKS = (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"))
"""Variables of torchrun and of SLURM: this process, how many there are, this process on its machine."""
ARRAYS = ("scores", "tokens", "is_stored")


@dataclass(frozen=True, slots=True)
class Shard:
    """The ``number``-th of ``count`` parts, counted from 1."""

    number: int
    count: int

    @property
    def stem(self) -> str:
        """What its files are called."""
        return f"{self.number}-of-{self.count}"

    def of(self, prepared: Sequence[PreparedDataset]) -> list[PreparedDataset]:
        """Return the data sets with the pools of this shard's queries only."""
        parts, seen = [], 0
        for ready in prepared:
            pool = {
                query_id: doc_ids
                for place, (query_id, doc_ids) in enumerate(ready.pool.items(), start=seen)
                if place % self.count == self.number - 1
            }
            parts.append(replace(ready, pool=pool))
            seen += len(ready.pool)
        return parts


def parse_shard(text: str) -> Shard:
    """Return the shard that ``i/n`` or ``auto`` means.

    Raises:
        ConfigError: Neither; or ``auto``, and neither torchrun nor SLURM says which process this is.
    """
    if text == AUTO:
        return _shard_of_rank()
    found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
    shard = None if found is None else Shard(int(found[1]), int(found[2]))
    if shard is None or not 1 <= shard.number <= shard.count:
        msg = f"--shard is {text!r}, expected i/n with i from 1 to n, such as 1/4, or {AUTO}"
        raise ConfigError(msg)
    return shard


def _shard_of_rank() -> Shard:
    for rank_name, size_name, _ in RANKS:
        rank, size = os.environ.get(rank_name), os.environ.get(size_name)
        if rank is None or size is None:
            continue
        if not rank.isdecimal() or not size.isdecimal() or int(rank) >= int(size):
            msg = f"--shard {AUTO}: {rank_name} is {rank!r} and {size_name} is {size!r}, expected a rank below the size"
            raise ConfigError(msg)
        return Shard(int(rank) + 1, int(size))
    names = " nor ".join(f"{rank}/{size}" for rank, size, _ in RANKS)
    msg = f"--shard {AUTO}: neither {names} is set; start it under torchrun or srun, or name the shard: --shard 1/4"
    raise ConfigError(msg)


def device_of_rank(device: str) -> str:
    """Return this process's own GPU where several share a machine and none was named; else ``device``."""
    local = next((os.environ[name] for _, _, name in RANKS if name in os.environ), None)
    if device != AUTO or local is None or not local.isdecimal():
        return device
    import torch

    num_devices = torch.cuda.device_count()
    return f"cuda:{int(local) % num_devices}" if num_devices > 1 else device


def run_shard(config: RunConfig, shard: Shard) -> list[Path]:
    """Score one shard of a run with every model, and return the files that ``merge`` reads.

    Args:
        config: The whole run.
        shard: Which part of it.

    Raises:
        RerankBenchError: What ``run_models`` raises.
    """
    request = resolve_request(config)
    _check_request(request)
    with ray_session(request.scorer.ray):
        return _score_shards(request, shard)


def _score_shards(request: Request, shard: Shard) -> list[Path]:
    for model in request.models:
        check_writable(_folder(request, model) / f"{shard.stem}.json")
    scorers = open_scorers(request)
    prepared = prepare_datasets(request)
    paths = []
    for model in request.models:
        scorer = cast("LazyScorer", scorers.pop(0))  # popped: one model's weights at a time; none ranks ids
        paths.append(_score_shard(model, scorer, prepared, request, shard))
    return paths


def _check_request(request: Request) -> None:
    idle = [model.text for model in request.models if not model.scores_texts]
    if idle:
        msg = f"--shard: {', '.join(idle)} ranks ids and takes no time; name models that score texts, and run it apart"
        raise ConfigError(msg)
    config = request.config
    if config.measure_latency or config.check_dtype is not None:
        msg = "--measure-latency and --check-dtype measure a whole run; drop them, or drop --shard"
        raise ConfigError(msg)


def _folder(request: Request, model: ModelSpec) -> Path:
    return request.out / f"{file_stem(model.text)}{FOLDER_SUFFIX}"


def _score_shard(
    model: ModelSpec, scorer: LazyScorer, prepared: Sequence[PreparedDataset], request: Request, shard: Shard
) -> Path:
    mine = [ready for ready in shard.of(prepared) if ready.pool]
    if not mine:
        msg = f"--shard {shard.number}/{shard.count}: the run has fewer queries than shards; use fewer"
        raise ConfigError(msg)
    scored = score_texts(scorer, mine)
    path = _folder(request, model) / f"{shard.stem}.npz"
    facts = scored.facts
    arrays = {
        "scores": np.concatenate(scored.scores),
        "tokens": np.concatenate([of_dataset.tokens for of_dataset in facts]),
        "is_stored": np.concatenate([of_dataset.is_stored for of_dataset in facts]),
    }
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stubs take the names for its own options
    written = path.with_suffix(".json")
    write_json(written, _describe(model, scored, prepared, request, shard) | {"sha256": file_sha256(path)})
    note(f"{shard.stem}: {len(arrays['scores']):,} pairs in {path}")
    return written


def _describe(
    model: ModelSpec, scored: ScoringPass, prepared: Sequence[PreparedDataset], request: Request, shard: Shard
) -> dict[str, Any]:
    invocation = describe_invocation()
    config = request.config
    return {
        "schema_version": SCHEMA_VERSION,
        "shard": shard.number,
        "same": {  # in all parts of a run
            "shards": shard.count,
            "protocol_version": PROTOCOL_VERSION,
            "code": {name: invocation[name] for name in ("rerank_bench", "commit", "versions")},
            "model": {"spec": model.text, "fingerprint": scored.description["fingerprint"]},
            "request": {
                "datasets": list(config.datasets),
                "suites": list(config.suites),
                "first_stage": config.first_stage,
                "depth": list(request.depths),
                "extra_measures": list(config.extra_measures),
                "view": config.view,
                "split": config.split,
                "limit": config.limit,
                "use_cache": config.use_cache,
                "first_stage_device": _first_stage_device([ready.candidates.first_stage for ready in prepared]),
            },
            "datasets": {ready.dataset.name: fingerprints_of(ready) for ready in prepared},
        },
        "description": dict(scored.description),
        "scoring": dict(scored.scoring),
        "counts_tokens": scored.counts_tokens,
        "command": invocation["command"],
    }


def _first_stage_device(stages: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the device of a dense first stage, also of one that is part of a fusion; ``None``: there is none."""
    for stage in stages:
        device = stage.get("model", {}).get("device") or _first_stage_device(stage.get("lists", ()))
        if device is not None:
            return str(device)
    return None


def fingerprints_of(ready: PreparedDataset) -> Mapping[str, str]:
    """Return the fingerprints of a data set and of its candidates."""
    return {**ready.dataset.fingerprints, "candidates": ready.candidates.fingerprint}
