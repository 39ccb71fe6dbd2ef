"""All losses with the same budget: the same base model, groups, steps, rates and seed.

    python benchmarks/losses.py --steps 300

The groups are those of the preset ``pydocs``.  Their labels are a teacher's logits, for differences; a loss that wants something
else gets it made of them.  Two things are measured: how far the model orders the documents of held-out groups as the teacher
does (Kendall's τ: of all, and of those that the query was not cut from), and nDCG@10 on the data set ``pydocs``, whose 144
queries tell less.  Rows go to benchmarks/results/losses.csv, one per loss.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rerank_bench.jobs.docstring_data import build_docstring_data
from rerank_bench.pipeline.request import RunConfig
from rerank_bench.pipeline.run import run_models
from rerank_bench.provenance import describe_machine
from rerank_bench.scoring.loaded_scorer import load_scorer
from rerank_bench.training.docstring_groups import GROUP_SIZE
from rerank_bench.training.examples import Examples
from rerank_bench.training.presets import preset
from rerank_bench.training.recipe import LossRecipe
from rerank_bench.training.trainer import train

RESULTS = Path(__file__).parent / "results" / "losses.csv"
DATASET, MEASURE, VIEW = "pydocs", "nDCG@10", "end_to_end"
Labels = NDArray[np.float32]
HIGHEST = 7.0
"""A label is 5 · cosine + 1.5 · share + 0.5 at most."""
SHARPENED = 4.0
NUM_HELD_OUT = 500
"""Groups that none trains on."""


def as_they_are(logits: Labels) -> Labels:
    return logits


def sharpened(logits: Labels) -> Labels:
    """Logits of a softmax: where one cosine is 0.05 higher, its document is e times as likely."""
    return SHARPENED * logits


def as_grades(logits: Labels) -> Labels:
    """0 to 4: of the teacher's logits a group's best is 4, its worst 0."""
    groups = logits.reshape(-1, GROUP_SIZE)
    return np.argsort(np.argsort(groups, axis=1), axis=1).astype(np.float32).ravel()


def as_shares(logits: Labels) -> Labels:
    shares: Labels = np.clip(logits / HIGHEST, 0.0, 1.0).astype(np.float32)
    return shares


def own_or_not(logits: Labels) -> Labels:
    """1 for the query's own docstring, which is the first of its group, 0 for the others."""
    return np.tile(np.eye(1, GROUP_SIZE, dtype=np.float32)[0], len(logits) // GROUP_SIZE)


@dataclass(frozen=True)
class Contestant:
    """One row of the table."""

    name: str
    loss: LossRecipe
    labels: Callable[[Labels], Labels]
    says: str


CONTESTANTS = (
    Contestant("margin-mse", LossRecipe(name="margin-mse"), as_they_are, "teacher's logits"),
    Contestant("pairwise-mse", LossRecipe(name="pairwise-mse"), as_they_are, "teacher's logits"),
    Contestant("listnet", LossRecipe(name="listnet"), sharpened, "teacher's logits × 4"),
    Contestant("mse", LossRecipe(name="mse"), as_they_are, "teacher's logits"),
    Contestant("bce", LossRecipe(name="bce"), as_shares, "teacher's logits / 7, 0 to 1"),
    Contestant("lambda ndcg2++", LossRecipe(name="lambda", weighting="ndcg2++"), as_grades, "their ranks, 0 to 4"),
    Contestant("lambda none (RankNet)", LossRecipe(name="lambda", weighting="none"), as_grades, "their ranks, 0 to 4"),
    Contestant("cross-entropy", LossRecipe(name="cross-entropy"), own_or_not, "own document or not"),
)
COLUMNS = (
    *("loss", "labels", "steps", "groups", "tau", "tau_error", "tau_others", "tau_others_error"),
    *("depth", "nDCG@10", "delta", "low", "high", "p", "seconds", "machine", "date"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--depth", type=int, default=100, help="of BM25's list on pydocs")
    parser.add_argument("--loss", action="append", choices=[contestant.name for contestant in CONTESTANTS])
    options = parser.parse_args()
    request = preset("pydocs")
    num_groups = options.steps * request.recipe.batch_size
    groups, _ = build_docstring_data(replace(request.data, limit=num_groups + NUM_HELD_OUT))
    numbers = np.arange(len(groups))
    examples, held_out = groups.take(numbers[:num_groups]), groups.take(numbers[num_groups:])
    for contestant in CONTESTANTS:
        if options.loss and contestant.name not in options.loss:
            continue
        row = measure(contestant, examples, held_out, steps=options.steps, depth=options.depth)
        keep(row)
        print(
            f"{row['loss']:22}{row['labels']:29}τ {row['tau']:.3f} ± {row['tau_error']:.3f}, others {row['tau_others']:.3f} "
            f"± {row['tau_others_error']:.3f}; nDCG@10 {row['nDCG@10']:.4f} ({row['delta']:+.4f}, {row['low']:+.4f} to "
            f"{row['high']:+.4f})  {row['seconds']:.0f} s",
            flush=True,
        )


def keep(row: dict[str, str | float | int]) -> None:
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def agreement(scores: Labels, labels: Labels) -> tuple[float, float]:
    """Return (mean, standard error) over the groups of Kendall's τ between two (N, G) arrays without ties in the second."""
    first, second = np.triu_indices(labels.shape[1], 1)
    signs = np.sign(scores[:, first] - scores[:, second]) * np.sign(labels[:, first] - labels[:, second])
    taus = signs.mean(axis=1)  # (N,)
    return float(taus.mean()), float(taus.std(ddof=1) / np.sqrt(len(taus)))


def measure(
    contestant: Contestant, examples: Examples, held_out: Examples, *, steps: int, depth: int
) -> dict[str, str | float | int]:
    """Train with one loss and measure the last weights."""
    recipe = replace(preset("pydocs").recipe, loss=contestant.loss, max_steps=steps, eval_steps=None)
    data = replace(examples, labels=contestant.labels(examples.labels))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"
        started = time.perf_counter()
        train(recipe, data, folder, job={"loss": contestant.name})
        seconds = time.perf_counter() - started
        config = RunConfig(
            models=(str(folder),),
            datasets=(DATASET,),
            depth=depth,
            out=Path(name) / "run",
            leaderboard=Path(name) / "board.csv",
        )
        result = run_models(config).outcomes[0].result
        pairs = [(group.query, doc) for group in map(held_out.__getitem__, range(len(held_out))) for doc in group.docs]
        scores = load_scorer(str(folder), device="cpu").score(pairs).reshape(-1, GROUP_SIZE)  # (N, G)
    logits = held_out.labels.reshape(-1, GROUP_SIZE)
    (tau, tau_error), (tau_others, tau_others_error) = (
        agreement(scores, logits),
        agreement(scores[:, 1:], logits[:, 1:]),
    )
    found = result["datasets"][DATASET]["views"][VIEW]["measures"][MEASURE]
    return {
        "loss": contestant.name,
        "labels": contestant.says,
        "steps": steps,
        "groups": len(examples),
        "tau": round(tau, 4),
        "tau_error": round(tau_error, 4),
        "tau_others": round(tau_others, 4),
        "tau_others_error": round(tau_others_error, 4),
        "depth": depth,
        "nDCG@10": round(found["reranked"], 4),
        "delta": round(found["delta"], 4),
        "low": round(found["ci"][0], 4),
        "high": round(found["ci"][1], 4),
        "p": round(found["p"], 4),
        "seconds": round(seconds),
        "machine": describe_machine(),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
    }


if __name__ == "__main__":
    main()
