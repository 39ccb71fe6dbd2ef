"""Values on held-out examples: the loss, and pair classification where they are labelled pairs.

Accuracy and F1 are the best that any threshold gives on these very pairs, as peers report them; ``rerank-bench classify``
chooses thresholds elsewhere, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rerank_bench.evaluation.classification import (
    at_threshold,
    average_precision,
    best_accuracy,
    best_f1,
    threshold_curve,
)
from rerank_bench.training.collation import Collator, ExampleItems, score_batch
from rerank_bench.training.examples import Examples
from rerank_bench.training.loss_choice import LossFunction

LOSS = "loss"
CHOOSING = ("average_precision", "accuracy", "f1")
"""Values of labelled pairs by which weights may be chosen; higher is better."""
DETAILS = ("accuracy_threshold", "f1_threshold", "f1_precision", "f1_recall")
"""What belongs to them; thresholds are logits."""


def held_out_values(
    model: Any, examples: Examples, collator: Collator, loss: LossFunction, *, batch_size: int
) -> dict[str, float]:
    """Return ``loss``, and ``CHOOSING`` and ``DETAILS`` where every query has one document with the label 0 or 1.

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
    if can_classify(examples):
        labels = examples.labels.astype(np.int64)
        values |= _classify(np.concatenate(scores), labels)
    return values


def _classify(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
    """Return the measures of (N,) scores against labels 0 and 1."""
    curve = threshold_curve(scores, labels)
    accuracy, f1 = best_accuracy(curve), best_f1(curve)
    at_f1 = at_threshold(scores, labels, f1.threshold)
    return {
        "average_precision": average_precision(curve),
        "accuracy": accuracy.value,
        "accuracy_threshold": accuracy.threshold,
        "f1": f1.value,
        "f1_threshold": f1.threshold,
        "f1_precision": at_f1.precision,
        "f1_recall": at_f1.recall,
    }


def can_classify(examples: Examples) -> bool:
    """Return whether the examples are pairs labelled 0 or 1, both of which occur."""
    return examples.is_pairs and set(np.unique(examples.labels).tolist()) == {0.0, 1.0}


def _batches(examples: Examples, collator: Collator, batch_size: int) -> Iterator[dict[str, Any]]:
    items = ExampleItems(examples)
    for start in range(0, len(items), batch_size):
        yield collator([items[i] for i in range(start, min(start + batch_size, len(items)))])


def _to(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    parts = [{name: value.to(device) for name, value in part.items()} for part in batch["parts"]]
    return {"parts": parts, **{name: value.to(device) for name, value in batch.items() if name != "parts"}}
