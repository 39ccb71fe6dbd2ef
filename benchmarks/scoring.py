"""Speed of scoring against Sentence Transformers' CrossEncoder, same weights and pairs, in the same process.

    python benchmarks/scoring.py --model minilm-l6 --pairs 2000 --rounds 3
    python benchmarks/scoring.py --model modernbert-base --pairs 200 --threads 1 --peer-batch-size 32 8
    python benchmarks/scoring.py --dtype bfloat16 --peer-dtype float32 bfloat16
    python benchmarks/scoring.py --device cuda --dtype bfloat16 --pairs 20000 --peer-batch-size 32 128 512
    python benchmarks/scoring.py --host-path --pairs 5000 --setting nanobeir
    python benchmarks/scoring.py --linear 5000 50000 500000
    python benchmarks/scoring.py --devices cpu,cpu --pairs 2000

The models have the exact shapes of published ones and random weights, the tokenizer a WordPiece vocabulary of generated
words (also where the published tokenizer is another, slower one); scores have the scale of trained models.  Lengths
follow MS MARCO: queries of about 6 words, passages of about 56, twenty passages a query.  Contestants take turns, round
by round, and both include tokenising; medians over the rounds are compared.  Processor seconds stand
beside those of the wall clock, which mean little while other work runs on the machine (then ``--threads 1``, too: threads
that wait for one another burn processor time).  The peak is a large matrix product in the precision of the run, measured
beside it; the share of it counts the trunk's linear layers on real tokens, all layers in full.

``--host-path`` leaves out the forward pass of both: what tokenising and batching cost on one core.  ``--linear`` scores
growing numbers of pairs with a small model of two layers, on one core, after a warm-up with the smallest number; up to
50,000 pairs, several rounds.  ``--devices`` sets our own processes beside our one process.  Prints rows and replaces those
of the same setting in ``benchmarks/results/``.
"""

from __future__ import annotations

import argparse
import csv
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau
from scoring_inputs import SHAPES, Pairs, generate_pairs, generate_words, write_checkpoint

from rerank_bench.provenance import describe_machine, peak_memory_bytes
from rerank_bench.scoring.device_list import parse_devices
from rerank_bench.scoring.loaded_scorer import LoadedScorer, load_scorer
from rerank_bench.storage import atomic_writer

RESULTS = Path(__file__).parent / "results"
LARGEST_OF_SEVERAL_ROUNDS = 50_000


class Seconds(NamedTuple):
    """What one round took."""

    wall: float
    processor: float


def measure_peak(dtype: str, device: str) -> float:
    """Return operations per second of the best of ten large matrix products, by processor time on a CPU."""
    import torch

    size = 2_048 if device == "cpu" else 8_192
    matrix = torch.randn(size, size, dtype=getattr(torch, dtype), device=device)
    clock = time.process_time if device == "cpu" else time.perf_counter
    best = float("inf")
    for _ in range(10):
        started = clock()
        float((matrix @ matrix)[0, 0])  # waits for the device
        best = min(best, clock() - started)
    return 2 * size**3 / best


def run_ours(scorer: LoadedScorer) -> Callable[[Pairs], NDArray[np.float32]]:
    """Return our contestant."""
    return scorer.score


def load_peer(folder: Path, device: str, dtype: str) -> Any:
    """Return the peer in a precision."""
    import torch
    from sentence_transformers import CrossEncoder

    return CrossEncoder(str(folder), device=device, model_kwargs={"dtype": getattr(torch, dtype)})


def run_peer(model: Any, batch_size: int) -> Callable[[Pairs], NDArray[np.float32]]:
    """Return the peer at a batch size."""
    import torch

    def score(pairs: Pairs) -> NDArray[np.float32]:
        options: dict[str, Any] = {"activation_fn": torch.nn.Identity(), "show_progress_bar": False}
        return np.asarray(model.predict(pairs, batch_size=batch_size, **options), dtype=np.float32)

    return score


def measure(
    contestants: dict[str, Callable[[Pairs], NDArray[np.float32]]], pairs: Pairs, rounds: int, *, warm_up: int = 64
) -> tuple[dict[str, list[Seconds]], dict[str, NDArray[np.float32]]]:
    """Return (seconds by contestant and round, scores by contestant); the first round after a short warm-up."""
    seconds: dict[str, list[Seconds]] = {name: [] for name in contestants}
    scores: dict[str, NDArray[np.float32]] = {}
    for score in contestants.values():
        score(pairs[:warm_up])
    for _ in range(rounds):
        for name, score in contestants.items():
            wall, processor = time.perf_counter(), time.process_time()
            scores[name] = score(pairs)
            seconds[name].append(Seconds(time.perf_counter() - wall, time.process_time() - processor))
    return seconds, scores


def write_rows(name: str, rows: list[dict[str, Any]], key: tuple[str, ...]) -> None:
    """Print rows, and replace those of the same key in a file of ``benchmarks/results``."""
    path = RESULTS / name
    known: dict[tuple[str, ...], dict[str, Any]] = {}
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            known = {tuple(row[name] for name in key): row for row in csv.DictReader(file)}
    known |= {tuple(str(row[name]) for name in key): row for row in rows}
    with atomic_writer(path) as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(known.values())
    for row in rows:
        print("  ".join(f"{column}={value}" for column, value in row.items() if column not in {"machine", "date"}))


def _about(options: argparse.Namespace) -> dict[str, Any]:
    """Return the columns that say under what a row was measured."""
    return {
        "threads": options.threads or "all",
        "machine": describe_machine(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _medians(taken: list[Seconds]) -> Seconds:
    return Seconds(*(statistics.median(values) for values in zip(*taken, strict=True)))


def compare(options: argparse.Namespace, folder: Path, pairs: Pairs) -> None:
    """Measure the whole way from texts to scores."""
    contestants: dict[str, Callable[[Pairs], NDArray[np.float32]]] = {}
    dtypes: dict[str, str] = {}
    for dtype in options.peer_dtype or peer_dtypes(options):
        peer = load_peer(folder, options.device, dtype)
        for size in options.peer_batch_size:
            name = f"CrossEncoder {dtype} batch {size}"
            contestants[name], dtypes[name] = run_peer(peer, size), dtype
    peers = list(contestants)
    batches: dict[str, str] = {}
    for budget in options.batch_tokens or [None]:
        name = f"rerank-bench {options.dtype} {budget or 'automatic'}"
        scorer = load_scorer(str(folder), device=options.device, dtype=options.dtype, batch_tokens=budget)
        contestants[name], dtypes[name] = run_ours(scorer), options.dtype
        batches[name] = scorer.describe()["batches"]
    peaks = {dtype: measure_peak(dtype, options.device) for dtype in set(dtypes.values())}
    num_tokens = count_tokens(scorer, pairs)
    # On a GPU the first batches of every length load kernels and grow the memory pool.
    warm_up = 64 if options.device == "cpu" else len(pairs)
    seconds, scores = measure(contestants, pairs, options.rounds, warm_up=warm_up)
    first = peers[0]
    base = _medians(seconds[first])
    best = min((_medians(seconds[peer]) for peer in peers), key=lambda taken: _used(options, taken))
    rows = []
    for contestant, taken in seconds.items():
        wall, processor = _medians(taken)
        peak, used = peaks[dtypes[contestant]], _used(options, Seconds(wall, processor))
        rows.append(
            {
                "model": options.model,
                "device": options.device,
                "contestant": contestant,
                "batches": batches.get(contestant, "padded"),
                "pairs": len(pairs),
                "tokens": num_tokens,
                "rounds": options.rounds,
                "pairs_per_second": round(len(pairs) / wall, 1),
                "times_first": round(base.wall / wall, 2),
                "pairs_per_processor_second": round(len(pairs) / processor, 1),
                "times_first_by_processor": round(base.processor / processor, 2),
                "tokens_per_processor_second": round(num_tokens / processor),
                "peak_gflops": round(peak / 1e9),
                "times_best_peer": round(_used(options, best) / used, 2),
                "share_of_peak": round(2 * SHAPES[options.model].linear_weights * num_tokens / used / peak, 2),
                "largest_score_difference": f"{np.abs(scores[contestant] - scores[first]).max():.2g}",
                "largest_score": f"{np.abs(scores[first]).max():.2g}",
                "ties": len(pairs) - np.unique(scores[contestant]).size,
                "kendall_tau_with_first": round(float(kendalltau(scores[first], scores[contestant]).statistic), 4),
            }
            | _about(options)
        )
    write_rows("scoring.csv", rows, ("model", "device", "contestant", "pairs", "threads", "machine"))


def peer_dtypes(options: argparse.Namespace) -> list[str]:
    """Return the precisions of the peer: that of ours, and on a GPU the other one that it may be faster in."""
    return [options.dtype] if options.device == "cpu" else list(dict.fromkeys([options.dtype, "float16", "bfloat16"]))


def _used(options: argparse.Namespace, seconds: Seconds) -> float:
    """Return the seconds that count: the processor's on a CPU, which other work disturbs less."""
    return seconds.processor if options.device == "cpu" else seconds.wall


def count_tokens(scorer: LoadedScorer, pairs: Pairs) -> int:
    """Return the tokens of all pairs, without padding."""
    rows = np.stack([np.arange(len(pairs))] * 2, axis=1)
    items = scorer.scorer.encode([query for query, _ in pairs], [doc for _, doc in pairs], rows)  # type: ignore[union-attr]
    return int(items.lengths.sum(dtype=np.int64))


class WithoutForward:
    """A scorer whose model does nothing but take the batch's tokens out of the padding."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def score_batch(self, batch: Any) -> NDArray[np.float32]:
        """Return (B,) float32: a token instead of a logit."""
        tokens = batch.input_ids[batch.attention_mask.astype(bool)]
        return np.full(len(batch.input_ids), tokens[0], dtype=np.float32)


def compare_host_path(options: argparse.Namespace, folder: Path, pairs: Pairs) -> None:
    """Measure everything but the forward pass, on one core."""
    loaded = load_scorer(str(folder), device="cpu")
    stubbed = replace(loaded, scorer=WithoutForward(loaded.scorer))
    tokenizer = loaded.scorer.inputs.tokenizer.tokenizer  # type: ignore[union-attr]

    def peer(some: Pairs) -> NDArray[np.float32]:
        # What CrossEncoder.predict does before its forward pass.
        order = sorted(range(len(some)), key=lambda i: -len(some[i][0]) - len(some[i][1]))
        for start in range(0, len(some), 32):
            chunk = [some[i] for i in order[start : start + 32]]
            tokenizer(chunk, padding=True, truncation=True, max_length=512, return_tensors="pt")
        return np.zeros(len(some), dtype=np.float32)

    seconds, _ = measure({"calls of CrossEncoder": peer, "rerank-bench": stubbed.score}, pairs, options.rounds)
    base = _medians(seconds["calls of CrossEncoder"]).processor
    rows = [
        {
            "setting": options.setting,
            "contestant": name,
            "pairs": len(pairs),
            "pairs_per_processor_second": round(len(pairs) / _medians(taken).processor),
            "times_first_by_processor": round(base / _medians(taken).processor, 2),
        }
        | _about(options)
        for name, taken in seconds.items()
    ]
    write_rows("host_path.csv", rows, ("setting", "contestant", "pairs", "machine"))


def measure_linearity(options: argparse.Namespace, folder: Path, words: list[str], rng: np.random.Generator) -> None:
    """Score growing numbers of pairs.

    A vocabulary is tokenised once, whatever the number of pairs, and Python looks through all objects of its libraries
    (0.2 s) when enough new ones were made: hence the warm-up and the collection before each round.
    """
    scorer = load_scorer(str(folder), device=options.device, dtype=options.dtype)
    scorer.score(generate_pairs(words, min(options.linear), rng))
    rows: list[dict[str, Any]] = []
    for num_pairs in sorted(options.linear):
        pairs = generate_pairs(words, num_pairs, rng)
        rounds = options.rounds if num_pairs <= LARGEST_OF_SEVERAL_ROUNDS else 1
        before = peak_memory_bytes() or 0
        seconds: list[float] = []
        for _ in range(rounds):
            gc.collect()
            started = time.process_time()
            scorer.score(pairs)
            seconds.append(time.process_time() - started)
        speed = num_pairs / statistics.median(seconds)
        rows.append(
            {
                "device": options.device,
                "pairs": num_pairs,
                "rounds": rounds,
                "pairs_per_processor_second": round(speed, 1),
                "times_first": round(speed / rows[0]["pairs_per_processor_second"], 3) if rows else 1.0,
                # Beyond the peak before, which holds the pairs themselves and everything smaller.
                "more_peak_bytes_per_pair": round(((peak_memory_bytes() or 0) - before) / num_pairs),
            }
            | _about(options)
        )
    write_rows("linearity.csv", rows, ("device", "pairs", "threads", "machine"))


def compare_devices(options: argparse.Namespace, folder: Path, pairs: Pairs) -> None:
    """Measure our processes against our one process, which has as many threads as all of them together."""
    devices = parse_devices(options.devices)
    budget = options.batch_tokens[0] if options.batch_tokens else None
    kind = devices[0]
    one = load_scorer(str(folder), device=kind, dtype=options.dtype, batch_tokens=budget)
    many = load_scorer(str(folder), devices=devices, dtype=options.dtype, batch_tokens=budget)
    name = f"{len(devices)} processes ({options.devices})"
    seconds, scores = measure({"one process": one.score, name: many.score}, pairs, options.rounds, warm_up=len(pairs))
    base = _medians(seconds["one process"]).wall
    difference = float(np.abs(scores[name] - scores["one process"]).max())
    rows = [
        {
            "model": options.model,
            "devices": options.devices,
            "contestant": contestant,
            "pairs": len(pairs),
            "rounds": options.rounds,
            "pairs_per_second": round(len(pairs) / _medians(taken).wall, 1),
            "times_one_process": round(base / _medians(taken).wall, 2),
            "processor_seconds_of_this_process": round(_medians(taken).processor, 2),
            "largest_score_difference": f"{difference:.2g}",
        }
        | _about(options)
        for contestant, taken in seconds.items()
    ]
    write_rows("devices.csv", rows, ("model", "devices", "contestant", "pairs", "machine"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(SHAPES), default="minilm-l6")
    parser.add_argument("--pairs", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of torch, for both; all cores when left out")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", help="of ours")
    parser.add_argument("--batch-tokens", type=int, nargs="*", help="budgets of ours; automatic when left out")
    parser.add_argument("--peer-batch-size", type=int, nargs="*", default=[32])
    parser.add_argument("--peer-dtype", nargs="*", help="precisions of the peer; that of ours when left out")
    parser.add_argument("--host-path", action="store_true", help="without the forward pass, on one core")
    parser.add_argument("--setting", choices=["ms-marco", "nanobeir"], default="ms-marco", help="of --host-path")
    parser.add_argument("--linear", type=int, nargs="*", help="numbers of pairs, scored one after the other")
    parser.add_argument("--devices", help="our processes beside our one process: 0,1 or cpu,cpu")
    options = parser.parse_args()
    if options.host_path or options.linear:
        options.model, options.threads = "tiny", 1
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core, for both
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    rng = np.random.default_rng(12)
    words = generate_words(rng)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_checkpoint(folder, words, options.model)
        if options.linear:
            measure_linearity(options, folder, words, rng)
        else:
            pairs = generate_pairs(words, options.pairs, rng, is_nanobeir=options.setting == "nanobeir")
            contest = compare_host_path if options.host_path else compare_devices if options.devices else compare
            contest(options, folder, pairs)


if __name__ == "__main__":
    main()
