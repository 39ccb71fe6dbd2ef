"""Speed of late interaction against Sentence Transformers' MultiVectorEncoder and PyLate's formula, same weights and pairs.

    python benchmarks/late_interaction.py --pairs 1200 --threads 1
    python benchmarks/late_interaction.py --pairs 20000 --device cuda

The model has MiniLM-L6's shape, a projection to 128 numbers and PyLate's settings (queries filled up to 32 tokens,
documents of 180 at most), with random weights; the pairs are those of ``scoring.py``: passages of about 56 words, twenty to a
query.  Both peers encode with ``MultiVectorEncoder`` in its batches of 32, each text once.  One compares with its
``similarity_pairwise``, the other as PyLate's ``rank.rerank`` does: one product per query over its padded documents.
Contestants take turns, and all include tokenising; medians over the rounds, processor seconds beside those of the wall
clock.  Prints rows and replaces those of the same setting in ``benchmarks/results/late_interaction.csv``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scoring import measure, write_rows
from scoring_inputs import Pairs, generate_pairs, generate_words, write_checkpoint

from rerank_bench.provenance import describe_machine
from rerank_bench.scoring.loaded_scorer import load_scorer

DIMENSION = 128
MARKERS = ["[Q] ", "[D] "]
SETTINGS = {
    "model_type": "ColBERT",
    "prompts": {},
    "similarity_fn_name": "MaxSim",
    "query_prefix": MARKERS[0],
    "document_prefix": MARKERS[1],
    "query_length": 32,
    "document_length": 180,
    "attend_to_expansion_tokens": False,
    "do_query_expansion": True,
    "skiplist_words": [],
}

Score = Callable[[Pairs], NDArray[np.float32]]


def write_late_interaction(folder: Path, words: list[str]) -> None:
    """Write what PyLate saves: a trunk without a head, a projection, and its settings."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    write_checkpoint(folder, words, "minilm-l6")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(MARKERS)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(folder)
    AutoModel.from_config(config).eval().save_pretrained(folder)
    dense = folder / "1_Dense"
    dense.mkdir()
    save_file(
        {"linear.weight": torch.randn(DIMENSION, config.hidden_size) / config.hidden_size**0.5},
        dense / "model.safetensors",
    )
    sizes = {"in_features": config.hidden_size, "out_features": DIMENSION, "bias": False}
    files = {
        dense / "config.json": sizes | {"activation_function": "torch.nn.modules.linear.Identity"},
        folder / "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"},
        ],
        folder / "config_sentence_transformers.json": SETTINGS,
    }
    for path, content in files.items():
        path.write_text(json.dumps(content))


def load_peers(folder: Path, device: str) -> dict[str, Score]:
    """Return both peers."""
    import torch
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(folder), device=device)

    def encode(pairs: Pairs) -> tuple[dict[str, Any], dict[str, Any]]:
        queries, docs = (list(dict.fromkeys(texts)) for texts in zip(*pairs, strict=True))
        query_vectors = model.encode_query(queries, show_progress_bar=False)
        doc_vectors = model.encode_document(docs, show_progress_bar=False)
        return dict(zip(queries, query_vectors, strict=True)), dict(zip(docs, doc_vectors, strict=True))

    def pairwise(pairs: Pairs) -> NDArray[np.float32]:
        queries, docs = encode(pairs)
        scores = model.similarity_pairwise([queries[q] for q, _ in pairs], [docs[d] for _, d in pairs])
        return np.asarray(scores.cpu().numpy(), dtype=np.float32)

    def reranked(pairs: Pairs) -> NDArray[np.float32]:
        queries, docs = encode(pairs)
        rows_by_query: dict[str, list[int]] = {}
        for row, (query, _) in enumerate(pairs):
            rows_by_query.setdefault(query, []).append(row)
        scores = np.empty(len(pairs), dtype=np.float32)
        for query, rows in rows_by_query.items():
            padded = torch.nn.utils.rnn.pad_sequence([docs[pairs[row][1]] for row in rows], batch_first=True)
            similarities = torch.einsum("sh,bth->bst", queries[query], padded)  # (B, S, T)
            scores[rows] = similarities.amax(dim=2).sum(dim=1).cpu().numpy()
        return scores

    return {"MultiVectorEncoder": pairwise, "MultiVectorEncoder, PyLate's rerank": reranked}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="of torch; default: all cores")
    options = parser.parse_args()
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    rng = np.random.default_rng(0)
    words = generate_words(rng)
    pairs = generate_pairs(words, options.pairs, rng)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "late-interaction"
        write_late_interaction(folder, words)
        contestants = load_peers(folder, options.device)
        contestants["rerank-bench"] = load_scorer(str(folder), device=options.device).score
        seconds, scores = measure(contestants, pairs, options.rounds)
    medians = {
        name: [statistics.median(column) for column in zip(*taken, strict=True)] for name, taken in seconds.items()
    }
    first = next(iter(contestants))
    write_rows(
        "late_interaction.csv",
        [
            {
                "device": options.device,
                "contestant": name,
                "pairs": len(pairs),
                "rounds": options.rounds,
                "pairs_per_second": round(len(pairs) / wall, 1),
                "pairs_per_processor_second": round(len(pairs) / processor, 1),
                "times_first_by_processor": round(medians[first][1] / processor, 2),
                "largest_score_difference": f"{np.abs(scores[name] - scores[first]).max():.2g}",
                "threads": options.threads or "all",
                "machine": describe_machine(),
                "date": datetime.now(UTC).date().isoformat(),
            }
            for name, (wall, processor) in medians.items()
        ],
        ("device", "contestant", "pairs", "threads", "machine"),
    )


if __name__ == "__main__":
    main()
