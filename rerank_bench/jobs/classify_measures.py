"""What ``classify`` measures of scores and logits, as a result records it: JSON-able."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.evaluation.classification import (
    Calibration,
    Curve,
    Labels,
    at_threshold,
    average_f1,
    average_precision,
    best_accuracy,
    best_f1,
    count_labels,
    label_table,
    roc_auc,
)
from rerank_bench.evaluation.classification_intervals import label_intervals, ranking_intervals, threshold_intervals

CHOSEN_HERE, CHOSEN_ON_DEV, FIXED = "these pairs", "dev", "fixed"
EVEN_ODDS = 0.0
"""The logit of probability 0.5."""


def measure_binary(
    scores: NDArray[np.float32], labels: Labels, curve: Curve, rng: np.random.Generator
) -> dict[str, Any]:
    """Return the measures of one score per pair against (N,) labels 0 and 1, thresholds of these pairs included."""
    ranking = {"average_precision": average_precision(curve), "roc_auc": roc_auc(curve)}
    intervals = ranking_intervals(scores, labels, rng=rng)
    choices = [
        {"measure": measure, "chosen_on": FIXED, "threshold": EVEN_ODDS} for measure in ("accuracy", "f1")
    ] + choose_thresholds(curve, CHOSEN_HERE)
    return {
        **{name: {"value": value, "ci": _listed(intervals[name])} for name, value in ranking.items()},
        "positive_share": float(labels.mean()),
        "thresholds": [measure_threshold(scores, labels, rng, **choice) for choice in choices],
    }


def choose_thresholds(curve: Curve, chosen_on: str) -> list[dict[str, Any]]:
    """Return the thresholds of the best accuracy and the best F1, and what they were chosen on."""
    best = {"accuracy": best_accuracy(curve), "f1": best_f1(curve)}
    return [
        {"measure": measure, "chosen_on": chosen_on, "threshold": found.threshold} for measure, found in best.items()
    ]


def measure_threshold(
    scores: NDArray[np.float32],
    labels: Labels,
    rng: np.random.Generator,
    *,
    measure: str,
    chosen_on: str,
    threshold: float,
) -> dict[str, Any]:
    """Return what a threshold gives on these pairs, with the interval of its measure, ``accuracy`` or ``f1``."""
    outcome = at_threshold(scores, labels, threshold)
    interval = threshold_intervals(scores, labels, threshold, rng=rng)[measure]
    return {
        "measure": measure,
        "chosen_on": chosen_on,
        "threshold": threshold,
        "value": getattr(outcome, measure),
        "ci": _listed(interval),
        "precision": outcome.precision,
        "recall": outcome.recall,
    }


def measure_labels(
    logits: NDArray[np.float32], labels: Labels, names: tuple[str, ...], rng: np.random.Generator
) -> dict[str, Any]:
    """Return the measures of the likeliest labels from (N, L) logits, by label and over all."""
    predicted = logits.argmax(axis=1).astype(np.int64)
    counts = count_labels(labels, predicted)
    intervals = label_intervals(labels, predicted, counts, rng=rng)
    return {
        **average_f1(counts),
        "f1_macro_ci": _listed(intervals["f1_macro"]),
        "accuracy": float((predicted == labels).mean()),
        "accuracy_ci": _listed(intervals["accuracy"]),
        "labels": label_table(counts, names),
    }


def describe_calibration(calibration: Calibration) -> dict[str, Any]:
    """Return how far the probabilities that the scores stand for are from the shares of positives."""
    return {
        "assumes": "the sigmoid of the score is the probability of label 1",
        "brier": calibration.brier,
        "ece": calibration.ece,
        "bins": [
            {"mean_probability": p, "positive_share": share, "pairs": count}
            for p, share, count in zip(
                calibration.mean_probabilities.tolist(),
                calibration.positive_shares.tolist(),
                calibration.counts.tolist(),
                strict=True,
            )
        ],
    }


def _listed(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)
