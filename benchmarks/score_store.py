"""What the score store costs: storing batches of 16, looking a million pairs up, the size on disk.

``python benchmarks/score_store.py [--pairs 1000000]`` prints one JSON object; the store is written to a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from rerank_bench.provenance import describe_machine, peak_memory_bytes
from rerank_bench.scoring.score_rows import hash_texts
from rerank_bench.scoring.score_store import ScoreStore

DEPTH = 100
BATCH_PAIRS = 16
"""What a budget of 2,000 tokens holds of MS MARCO-like pairs."""
BATCHED_PAIRS = 100_000
"""Stored batch by batch; the rest in one go."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    num_pairs = parser.parse_args().pairs
    num_queries = num_pairs // DEPTH
    rng = np.random.default_rng(0)
    started = time.perf_counter()
    queries = hash_texts([f"query {number}" for number in range(num_queries)])
    docs = hash_texts([f"document {number} " + "word " * 60 for number in range(num_queries * 10)])
    hash_seconds = time.perf_counter() - started
    rows = np.repeat(np.arange(num_queries), DEPTH)
    columns = rng.integers(0, len(docs), size=len(rows))
    pairs = np.unique(np.stack([rows, columns], axis=1), axis=0)
    scores = rng.normal(size=len(pairs)).astype(np.float32)
    tokens = rng.integers(20, 512, size=len(pairs)).astype(np.int32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores.sqlite"
        with ScoreStore(path, "benchmark", "benchmark") as store:
            order = rng.permutation(len(pairs))  # as sorted by length: in no order that the store knows
            started = time.perf_counter()
            for start in range(0, BATCHED_PAIRS, BATCH_PAIRS):
                batch = order[start : start + BATCH_PAIRS]
                store.insert(queries, docs, pairs[batch], scores[batch], tokens[batch])
            batched_seconds = time.perf_counter() - started
            started = time.perf_counter()
            rest = np.sort(order[BATCHED_PAIRS:])
            store.insert(queries, docs, pairs[rest], scores[rest], tokens[rest])
            bulk_seconds = time.perf_counter() - started
        started = time.perf_counter()
        with ScoreStore(path, "benchmark", "benchmark") as store:
            found, _, is_known = store.look_up(queries, docs, pairs)
        look_up_seconds = time.perf_counter() - started
        num_bytes = path.stat().st_size
    if not is_known.all() or found.tobytes() != scores.tobytes():
        msg = "the store gave back something else"
        raise RuntimeError(msg)
    figures = {
        "machine": describe_machine(),
        "pairs": len(pairs),
        "store_seconds_per_1000_pairs_in_batches_of_16": round(1000 * batched_seconds / BATCHED_PAIRS, 4),
        "store_seconds_per_1000_pairs_at_once": round(1000 * bulk_seconds / len(rest), 4),
        "look_up_seconds": round(look_up_seconds, 2),
        "look_ups_per_second": round(len(pairs) / look_up_seconds),
        "hash_seconds_per_million_texts": round(1e6 * hash_seconds / (len(queries) + len(docs)), 2),
        "bytes_per_pair": round(num_bytes / len(pairs), 1),
        "peak_host_bytes": peak_memory_bytes(),
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
