"""Ray's workers beside the local engine: the same pairs in one thread, by one worker and by two, and what a chunk costs.

``python benchmarks/ray_scaling.py [--pairs 2000] [--model minilm-l6] [--repeats 3]`` prints one JSON object.  A cluster of
two nodes with a core each is started on this machine, so two workers can be twice as fast only where two cores are free.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
from scoring_inputs import SHAPES, Pairs, generate_pairs, generate_words, write_checkpoint

from rerank_bench.provenance import describe_machine
from rerank_bench.scoring.fleet_scorers import FleetScorer
from rerank_bench.scoring.loaded_scorer import LoadedScorer, load_scorer
from rerank_bench.scoring.ray_engine import RayFleet
from rerank_bench.scoring.ray_options import RayOptions
from rerank_bench.scoring.scorer import ScorerConfig

NODE = {"num_cpus": 1, "object_store_memory": 200 * 2**20}
OVERHEAD_CHUNKS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--model", choices=SHAPES, default="minilm-l6")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's workers give way to all others otherwise
    import ray
    from ray.cluster_utils import Cluster

    rng = np.random.default_rng(0)
    words = generate_words(rng)
    pairs = generate_pairs(words, arguments.pairs, rng)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        write_checkpoint(path, words, arguments.model)
        figures: dict[str, Any] = {"machine": describe_machine(), "model": arguments.model, "pairs": len(pairs)}
        local, expected = measure_local(path, pairs, arguments.repeats)
        figures["local_one_thread_pairs_per_second"] = round(len(pairs) / local, 1)
        cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        for num_workers in (1, 2):
            if num_workers == 2:
                cluster.add_node(**NODE)
                cluster.wait_for_nodes()
            figures |= measure_workers(path, cluster.address, num_workers, pairs, arguments.repeats, expected)
        ray.shutdown()
        cluster.shutdown()
    one, two = (figures[f"ray_{number}_workers_pairs_per_second"] for number in (1, 2))
    figures["efficiency_of_two_workers"] = round(two / (2 * one), 3)
    print(json.dumps(figures, indent=2))


def measure_local(path: Path, pairs: Pairs, repeats: int) -> tuple[float, np.ndarray]:
    """Return (median seconds, scores) of one thread in this process, after a warm-up."""
    import torch

    torch.set_num_threads(1)
    scorer = load_scorer(str(path), device="cpu")
    return time_scorer(scorer, pairs, repeats)


def time_scorer(scorer: LoadedScorer, pairs: Pairs, repeats: int) -> tuple[float, np.ndarray]:
    """Return (median seconds, scores)."""
    scorer.score(pairs[:100])
    seconds = []
    scores = np.empty(0, dtype=np.float32)
    for _ in range(repeats):
        started = time.perf_counter()
        scores = scorer.score(pairs)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), scores


def measure_workers(
    path: Path, address: str, num_workers: int, pairs: Pairs, repeats: int, expected: np.ndarray
) -> dict[str, Any]:
    """Return speed and overhead of a number of workers; a score that differs from the local ones is an error."""
    config = ScorerConfig(device="cpu", ray=RayOptions(address=address, cores=1))
    started = time.perf_counter()
    scorer = load_scorer(str(path), config=config)
    fleet = cast("RayFleet", cast("FleetScorer", scorer.scorer).fleet)
    fleet.pool.wait_for_all()
    start_seconds = time.perf_counter() - started
    seconds, scores = time_scorer(scorer, pairs, repeats)
    if scores.tobytes() != expected.tobytes():
        msg = "the cluster gave other scores than this process"
        raise RuntimeError(msg)
    figures = {
        f"ray_{num_workers}_workers_pairs_per_second": round(len(pairs) / seconds, 1),
        f"ray_{num_workers}_workers_start_seconds": round(start_seconds, 1),
    }
    if num_workers == 1:
        figures |= measure_chunks(fleet)
    fleet.close()
    return figures


def measure_chunks(fleet: RayFleet) -> dict[str, float]:
    """Return what chunks of one short item took beyond the model's time, and of this process's processors."""
    fleet.encode(["a"], ["b"], np.zeros((1, 2), dtype=np.int64))
    worker = fleet.pool.any_ready()
    fleet.pool.ask(worker, "run", [fleet.items], [np.zeros(1, dtype=np.int32)])  # fetches the items
    found = []
    processor_started = time.process_time()
    for _ in range(OVERHEAD_CHUNKS):
        started = time.perf_counter()
        chunk = fleet.pool.ask(worker, "run", [fleet.items], [np.zeros(1, dtype=np.int32)])
        found.append(time.perf_counter() - started - chunk.seconds)
    processor_seconds = time.process_time() - processor_started
    return {
        "overhead_per_chunk_milliseconds": round(1000 * statistics.median(found), 2),
        "processor_milliseconds_per_chunk_here": round(1000 * processor_seconds / OVERHEAD_CHUNKS, 2),
    }


if __name__ == "__main__":
    main()
