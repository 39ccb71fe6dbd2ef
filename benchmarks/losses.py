"""All losses with the same budget: the same base model, groups, steps, rates and seed, measured on ``pydocs``.

    python benchmarks/losses.py --steps 300

The groups are those of the preset ``pydocs``.  Their labels are a teacher's logits, for differences; a loss that wants something
else gets it made of them.  Rows go to benchmarks/results/losses.csv, one per loss.
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
COLUMNS = ("loss", "labels", "steps", "groups", "nDCG@10", "delta", "low", "high", "p", "seconds", "machine", "date")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--loss", action="append", choices=[contestant.name for contestant in CONTESTANTS])
    options = parser.parse_args()
    request = preset("pydocs")
    num_groups = options.steps * request.recipe.batch_size
    examples, _ = build_docstring_data(replace(request.data, limit=num_groups))
    for contestant in CONTESTANTS:
        if options.loss and contestant.name not in options.loss:
            continue
        row = measure(contestant, examples, steps=options.steps, depth=options.depth)
        keep(row)
        print(
            f"{row['loss']:24}{row['labels']:32}{row['nDCG@10']:.4f} ({row['delta']:+.4f}, {row['low']:+.4f} to "
            f"{row['high']:+.4f}) p {row['p']:.3f}  {row['seconds']:.0f} s",
            flush=True,
        )


def keep(row: dict[str, str | float | int]) -> None:
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def measure(contestant: Contestant, examples: Examples, *, steps: int, depth: int) -> dict[str, str | float | int]:
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
    found = result["datasets"][DATASET]["views"][VIEW]["measures"][MEASURE]
    return {
        "loss": contestant.name,
        "labels": contestant.says,
        "steps": steps,
        "groups": len(examples),
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
