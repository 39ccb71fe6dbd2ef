"""Values on held-out examples: the loss, and average precision where they are labelled pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from rerank_bench.evaluation.classification import average_precision, threshold_curve
from rerank_bench.training.collation import Collator, ExampleItems, score_batch
from rerank_bench.training.examples import Examples
from rerank_bench.training.loss_choice import LossFunction

LOSS = "loss"
AVERAGE_PRECISION = "average_precision"


def held_out_values(
    model: Any, examples: Examples, collator: Collator, loss: LossFunction, *, batch_size: int
) -> dict[str, float]:
    """Return ``loss``, and ``average_precision`` where every query has one document with the label 0 or 1.

    The loss is the mean over the examples, in the precision that the model computes in when it is called.

    Args:
        model: Left in the mode that it came in.
        examples: The held-out ones.
        collator: As in training.
        loss: As in training.
        batch_size: Examples per forward pass.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    total, scores = 0.0, []
    try:
        with torch.inference_mode():
            for batch in _batches(examples, collator, batch_size):
                placed = _to(batch, device)
                batch_scores = score_batch(model, placed)  # (B, G)
                total += float(loss(batch_scores, placed["targets"], placed["mask"])) * len(placed["mask"])
                scores.append(batch_scores[placed["mask"]].cpu().numpy())
    finally:
        model.train(was_training)
    values = {LOSS: total / len(examples)}
    if can_average_precision(examples):
        curve = threshold_curve(np.concatenate(scores), examples.labels.astype(np.int64))
        values[AVERAGE_PRECISION] = average_precision(curve)
    return values


def can_average_precision(examples: Examples) -> bool:
    """Return whether the examples are pairs labelled 0 or 1, both of which occur."""
    return examples.is_pairs and set(np.unique(examples.labels).tolist()) == {0.0, 1.0}


def _batches(examples: Examples, collator: Collator, batch_size: int) -> Iterator[dict[str, Any]]:
    items = ExampleItems(examples)
    for start in range(0, len(items), batch_size):
        yield collator([items[i] for i in range(start, min(start + batch_size, len(items)))])


def _to(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    parts = [{name: value.to(device) for name, value in part.items()} for part in batch["parts"]]
    return {"parts": parts, **{name: value.to(device) for name, value in batch.items() if name != "parts"}}
