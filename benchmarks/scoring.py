"""Speed of scoring against Sentence Transformers' CrossEncoder, same weights and pairs, in the same process.

    python benchmarks/scoring.py --pairs 2000 --rounds 3
    python benchmarks/scoring.py --device cuda --pairs 20000 --peer-batch-size 256

The model has the shape of MiniLM-L6 or MiniLM-L12 and random weights, the tokenizer a WordPiece vocabulary of generated
words; lengths follow MS MARCO: queries of about 6 words, passages of about 56, twenty passages a query.  Contestants
take turns, round by round, and both include tokenising; medians over the rounds are compared.  Processor seconds stand
beside those of the wall clock, which mean little while other work runs on the machine (then ``--threads 1``, too: threads
that wait for one another burn processor time).  The largest difference of the scores is printed.  Prints a table and replaces the rows of the same setting in
``benchmarks/results/scoring.csv``.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rerank_bench.provenance import describe_machine
from rerank_bench.scoring.scorer import LoadedScorer, load_scorer
from rerank_bench.storage import atomic_writer

RESULTS = Path(__file__).parent / "results" / "scoring.csv"
LAYERS = {"minilm-l6": 6, "minilm-l12": 12}
DOCS_PER_QUERY = 20
NUM_WORDS = 20_000

Pairs = list[tuple[str, str]]


class Seconds(NamedTuple):
    """What one round took."""

    wall: float
    processor: float


def generate_words(rng: np.random.Generator) -> list[str]:
    """Return distinct words of 2 to 10 letters, shorter ones first."""
    letters = np.asarray(list("etaoinshrdlucmfwypvbgkqjxz"))
    weights = np.linspace(12, 0.2, len(letters))
    lengths = np.sort(np.clip(rng.normal(6, 2, 2 * NUM_WORDS).round().astype(int), 2, 10))
    drawn = ("".join(rng.choice(letters, size=length, p=weights / weights.sum())) for length in lengths)
    return list(dict.fromkeys(drawn))[:NUM_WORDS]


def generate_pairs(words: list[str], num_pairs: int, rng: np.random.Generator) -> Pairs:
    """Return pairs in the order of their queries, with word frequencies after Zipf."""
    weights = 1.0 / (np.arange(len(words)) + 2.7)
    bounds = np.cumsum(weights / weights.sum())

    def text(length: float) -> str:
        ranks = np.searchsorted(bounds, rng.random(max(1, round(length))))
        return " ".join(words[min(rank, len(words) - 1)] for rank in ranks)

    pairs: Pairs = []
    while len(pairs) < num_pairs:
        query = text(rng.gamma(6, 1.0))
        pairs += [(query, text(rng.gamma(5, 11.2))) for _ in range(DOCS_PER_QUERY)]
    return pairs[:num_pairs]


def write_checkpoint(folder: Path, words: list[str], layers: int) -> None:
    """Write a checkpoint of MiniLM's shape (384 wide, 12 heads) with random weights."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz"
    # A tenth of the words is spelled from pieces, as rare words are.
    pieces = [*words[: NUM_WORDS * 9 // 10], *letters, *(f"##{letter}" for letter in letters)]
    tokens = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces])
    tokenizer = BertTokenizer(vocab={token: i for i, token in enumerate(tokens)}, model_max_length=512)
    config = BertConfig(
        vocab_size=30_522,
        hidden_size=384,
        num_hidden_layers=layers,
        num_attention_heads=12,
        intermediate_size=1536,
        num_labels=1,
    )
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def run_ours(scorer: LoadedScorer) -> Callable[[Pairs], NDArray[np.float32]]:
    """Return our contestant."""
    return scorer.score


def run_peer(folder: Path, device: str, dtype: str, batch_size: int) -> Callable[[Pairs], NDArray[np.float32]]:
    """Return the peer, at the precision of ours."""
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device=device, model_kwargs={"dtype": getattr(torch, dtype)})

    def score(pairs: Pairs) -> NDArray[np.float32]:
        options: dict[str, Any] = {"activation_fn": torch.nn.Identity(), "show_progress_bar": False}
        return np.asarray(model.predict(pairs, batch_size=batch_size, **options), dtype=np.float32)

    return score


def measure(
    contestants: dict[str, Callable[[Pairs], NDArray[np.float32]]], pairs: Pairs, rounds: int
) -> tuple[dict[str, list[Seconds]], dict[str, NDArray[np.float32]]]:
    """Return (seconds by contestant and round, scores by contestant); the first round after a short warm-up."""
    seconds: dict[str, list[Seconds]] = {name: [] for name in contestants}
    scores: dict[str, NDArray[np.float32]] = {}
    for score in contestants.values():
        score(pairs[:64])
    for _ in range(rounds):
        for name, score in contestants.items():
            wall, processor = time.perf_counter(), time.process_time()
            scores[name] = score(pairs)
            seconds[name].append(Seconds(time.perf_counter() - wall, time.process_time() - processor))
    return seconds, scores


def write_rows(rows: list[dict[str, Any]]) -> None:
    """Replace the rows of the same setting."""
    key = ("model", "device", "dtype", "contestant", "pairs", "threads", "machine")
    known: dict[tuple[str, ...], dict[str, Any]] = {}
    if RESULTS.is_file():
        with RESULTS.open(newline="", encoding="utf-8") as file:
            known = {tuple(row[name] for name in key): row for row in csv.DictReader(file)}
    known |= {tuple(str(row[name]) for name in key): row for row in rows}
    with atomic_writer(RESULTS) as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(known.values())


COLUMNS = (
    "contestant",
    "pairs_per_second",
    "times_first",
    "pairs_per_processor_second",
    "times_first_by_processor",
    "largest_score_difference",
)


def _medians(taken: list[Seconds]) -> Seconds:
    return Seconds(*(statistics.median(values) for values in zip(*taken, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(LAYERS), default="minilm-l6")
    parser.add_argument("--pairs", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of torch, for both; all cores when left out")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch-tokens", type=int, nargs="*", help="budgets of ours; automatic when left out")
    parser.add_argument("--peer-batch-size", type=int, nargs="*", default=[32])
    options = parser.parse_args()
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    rng = np.random.default_rng(12)
    words = generate_words(rng)
    pairs = generate_pairs(words, options.pairs, rng)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_checkpoint(folder, words, LAYERS[options.model])
        contestants: dict[str, Callable[[Pairs], NDArray[np.float32]]] = {}
        for size in options.peer_batch_size:
            contestants[f"CrossEncoder batch {size}"] = run_peer(folder, options.device, options.dtype, size)
        for budget in options.batch_tokens or [None]:
            scorer = load_scorer(str(folder), device=options.device, dtype=options.dtype, batch_tokens=budget)
            contestants[f"rerank-bench {budget or 'automatic'}"] = run_ours(scorer)
        seconds, scores = measure(contestants, pairs, options.rounds)
    first = next(iter(contestants))
    rows = []
    for contestant, taken in seconds.items():
        wall, processor = _medians(taken)
        difference = float(np.abs(scores[contestant] - scores[first]).max())
        rows.append(
            {
                "model": options.model,
                "device": options.device,
                "dtype": options.dtype,
                "contestant": contestant,
                "pairs": options.pairs,
                "rounds": options.rounds,
                "threads": options.threads or "all",
                "pairs_per_second": round(options.pairs / wall, 1),
                "times_first": round(_medians(seconds[first]).wall / wall, 2),
                "pairs_per_processor_second": round(options.pairs / processor, 1),
                "times_first_by_processor": round(_medians(seconds[first]).processor / processor, 2),
                "largest_score_difference": f"{difference:.2g}",
                "machine": describe_machine(),
                "date": datetime.now(UTC).date().isoformat(),
            }
        )
    for row in ({name: name for name in COLUMNS}, *rows):
        print("  ".join(f"{row[name]!s:>26}" for name in COLUMNS))
    write_rows(rows)


if __name__ == "__main__":
    main()
