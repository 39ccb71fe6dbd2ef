"""Whether it helps to score the pairs of several small data sets together.

    python benchmarks/pooling.py FOLDER … [--limit 20] [--depth 100] [--rounds 3] [--layers 6] [--threads N]

Data sets in BEIR's layout, the first queries of each; a model of MiniLM's shape with random weights and the tokenizer of
the embedded demo.  Both ways take turns, round by round (none with ``--rounds 0``), nothing comes from the store; processor
seconds stand beside those of the wall clock, which mean little while other work runs on the machine (then ``--threads 1``,
too).  The second table is arithmetic on the pairs' token counts: padding and batches under the budgets of CPUs and GPUs,
for models that cannot run packed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from rerank_bench.pipeline.candidates import PreparedDataset, prepare_datasets
from rerank_bench.pipeline.request import RunConfig, resolve_request
from rerank_bench.pipeline.scores import score_texts
from rerank_bench.scoring.batching import iter_batches, order_by_length
from rerank_bench.scoring.lazy_scorer import LazyScorer, open_scorer
from rerank_bench.scoring.model_files import find_checkpoint
from rerank_bench.scoring.pair_work import distinct_work
from rerank_bench.scoring.scorer import Scorer, ScorerConfig
from rerank_bench.scoring.specs import parse_model_spec

BUDGETS = (2_000, 4_000, 16_000, 65_536, 262_144)


class Plan(NamedTuple):
    """What a way to batch costs, before anything is computed."""

    padding_share: float
    num_batches: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="FOLDER")
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    config = RunConfig(datasets=tuple(options.folders), limit=options.limit, depth=options.depth)
    request = resolve_request(config)
    prepared = prepare_datasets(request)
    with tempfile.TemporaryDirectory() as folder:
        _write_checkpoint(Path(folder), options.layers)
        scorer = open_scorer(parse_model_spec(folder), config=ScorerConfig(device="cpu"), use_store=False)
        lengths = [token_counts(scorer, ready) for ready in prepared]
        if options.rounds:
            measure(scorer, prepared, options.rounds)
    print_plans(prepared, lengths)


def token_counts(scorer: LazyScorer, ready: PreparedDataset) -> NDArray[np.int32]:
    """Return (N,) int32: tokens of every distinct pair of a data set."""
    doc_ids = list(dict.fromkeys(doc_id for pool in ready.pool.values() for doc_id in pool))
    text_of = ready.dataset.collection.texts_of(doc_ids)
    queries = [ready.dataset.queries[query_id] for query_id in ready.pool]
    place = {doc_id: number for number, doc_id in enumerate(doc_ids)}
    pairs = np.asarray([(q, place[doc_id]) for q, pool in enumerate(ready.pool.values()) for doc_id in pool])
    work = distinct_work(queries, [text_of[doc_id] for doc_id in doc_ids], pairs)
    return cast("Scorer", scorer.loaded.scorer).encode(work.queries, work.docs, work.pairs).lengths


def measure(scorer: LazyScorer, prepared: Sequence[PreparedDataset], rounds: int) -> None:
    """Print the seconds of both ways."""
    score_texts(scorer, prepared)  # warm
    seconds: dict[str, list[tuple[float, float]]] = {"apart": [], "together": []}
    for number in range(rounds):
        ways = [("apart", 1), ("together", 10**9)]
        for way, job_pairs in ways if number % 2 else reversed(ways):
            started = (time.perf_counter(), time.process_time())
            score_texts(scorer, prepared, job_pairs=job_pairs)
            seconds[way].append((time.perf_counter() - started[0], time.process_time() - started[1]))
    for way, values in seconds.items():
        wall, processor = (statistics.median(column) for column in zip(*values, strict=True))
        print(f"{way:<9} {wall:7.2f} s, {processor:7.2f} processor seconds")


def _write_checkpoint(folder: Path, num_layers: int) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    demo = find_checkpoint(parse_model_spec("demo"), ScorerConfig())
    tokenizer = AutoTokenizer.from_pretrained(demo.tokenizer_folder, local_files_only=True)
    tokenizer.model_max_length = 512
    sizes = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536, "num_hidden_layers": num_layers}
    torch.manual_seed(0)
    config = AutoConfig.for_model("bert", vocab_size=len(tokenizer), num_labels=1, **sizes)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def print_plans(prepared: Sequence[PreparedDataset], lengths: Sequence[NDArray[np.int32]]) -> None:
    """Print padding and number of batches of both ways, by budget."""
    for ready, of_dataset in zip(prepared, lengths, strict=True):
        print(f"{ready.dataset.name}: {len(of_dataset):,} pairs of {of_dataset.mean():.0f} tokens on average")
    print("budget    padding apart, together   batches apart, together")
    for budget in BUDGETS:
        apart, together = plan(lengths, budget), plan([np.concatenate(lengths)], budget)
        print(
            f"{budget:>7,}   {apart.padding_share:9.2%} {together.padding_share:9.2%}"
            f"     {apart.num_batches:9,} {together.num_batches:9,}"
        )


def plan(groups: Sequence[NDArray[np.int32]], budget: int) -> Plan:
    """Return what scoring groups of pairs, one after the other, costs."""
    batches = [
        lengths[batch] for lengths in groups for batch in iter_batches(order_by_length(lengths), lengths, budget)
    ]
    padded = sum(len(batch) * int(batch.max()) for batch in batches)
    tokens = sum(int(batch.sum()) for batch in batches)
    return Plan(1 - tokens / padded, len(batches))


if __name__ == "__main__":
    main()
