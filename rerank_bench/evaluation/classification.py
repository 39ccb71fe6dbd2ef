"""Labelled pairs: how well one score, or one logit per label, tells the labels apart.

Binary measures are those of scikit-learn and of Sentence Transformers' ``CrossEncoderClassificationEvaluator`` (6.2): a
pair counts as positive from a threshold upwards, pairs of equal score pass a threshold together, and a threshold stands
midway between two scores.  A threshold chosen on the pairs that it is then measured on flatters the model, so every value
says where its threshold comes from.

Calibration takes the sigmoid of a score for the probability of label 1.  That is what a model trained with binary
cross-entropy is meant to give; the scores of a model that was trained to rank mean nothing of the kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

CALIBRATION_BINS = 15
"""Equal widths, as in Guo et al., 2017."""


class Threshold(NamedTuple):
    """Where a measure is best, and how good it is there."""

    value: float
    threshold: float


class Outcome(NamedTuple):
    """What becomes of pairs under a threshold."""

    accuracy: float
    f1: float
    precision: float
    recall: float


@dataclass(frozen=True, slots=True)
class Curve:
    """The pairs that pass each distinct score as a threshold, highest first; T distinct scores."""

    scores: Floats
    """(T,)"""
    positives: Labels
    """(T,) passing pairs with label 1."""
    passed: Labels
    """(T,) passing pairs."""
    num_positive: int
    num_pairs: int

    @property
    def precision(self) -> Floats:
        """(T,): share of label 1 among the pairs that pass."""
        return self.positives / self.passed

    @property
    def recall(self) -> Floats:
        """(T,): share of the pairs with label 1 that pass."""
        return self.positives / self.num_positive


def threshold_curve(scores: NDArray[np.floating[Any]], labels: Labels) -> Curve:
    """Return who passes which threshold.

    Args:
        scores: (N,) finite.
        labels: (N,) 0 or 1, with at least one 1.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    is_last = np.append(ordered[1:] != ordered[:-1], True)  # equal scores pass together
    positives = np.cumsum(labels[order])[is_last]
    passed = np.flatnonzero(is_last) + 1
    return Curve(ordered[is_last].astype(np.float64), positives, passed, int(labels.sum()), len(labels))


def average_precision(curve: Curve) -> float:
    """Return Σ (Rₙ − Rₙ₋₁) · Pₙ over the thresholds, highest first."""
    return float(np.sum(np.diff(curve.recall, prepend=0.0) * curve.precision))


def roc_auc(curve: Curve) -> float:
    """Return the share of (positive, negative) pairs that are ordered rightly, ties counting half."""
    num_negative = curve.num_pairs - curve.num_positive
    false_rate = np.concatenate(([0.0], (curve.passed - curve.positives) / num_negative))
    return float(np.trapezoid(np.concatenate(([0.0], curve.recall)), false_rate))


def best_accuracy(curve: Curve) -> Threshold:
    """Return the highest accuracy that a threshold reaches, and the highest such threshold."""
    num_negative = curve.num_pairs - curve.num_positive
    rejected_negatives = num_negative - (curve.passed - curve.positives)
    # Before the first: everything is taken for negative.
    accuracies = np.concatenate(([num_negative], curve.positives + rejected_negatives)) / curve.num_pairs
    best = int(np.argmax(accuracies))
    threshold = (
        float(np.nextafter(np.float32(curve.scores[0]), np.float32(np.inf))) if best == 0 else _cut(curve, best - 1)
    )
    return Threshold(float(accuracies[best]), threshold)


def best_f1(curve: Curve) -> Threshold:
    """Return the highest F1 that a threshold reaches, and the highest such threshold."""
    f1 = 2 * curve.positives / (curve.passed + curve.num_positive)  # = 2PR / (P + R), and 0 where nothing is found
    best = int(np.argmax(f1))
    return Threshold(float(f1[best]), _cut(curve, best))


def _cut(curve: Curve, index: int) -> float:
    """Return the threshold behind the ``index``-th score: midway to the next one, in the scores' float32."""
    score = np.float32(curve.scores[index])
    if index == len(curve.scores) - 1:
        return float(score)
    following = np.float32(curve.scores[index + 1])
    middle = (score + following) / np.float32(2)
    return float(score if middle == following else middle)  # rounded: it must not let the next one pass


def at_threshold(scores: NDArray[np.floating[Any]], labels: Labels, threshold: float) -> Outcome:
    """Return accuracy, F1, precision and recall where pairs count as positive from a threshold upwards; 0 for 0 / 0."""
    found = scores >= threshold
    hits = int((found & (labels == 1)).sum())
    num_found, num_positive = int(found.sum()), int(labels.sum())
    return Outcome(
        accuracy=float((found == (labels == 1)).mean()),
        f1=_ratio(2 * hits, num_found + num_positive),
        precision=_ratio(hits, num_found),
        recall=_ratio(hits, num_positive),
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


# --- calibration ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far probabilities are from what happens; K bins that hold a pair."""

    brier: float
    """Mean squared difference of probability and label (Brier, 1950); 0 is perfect."""
    ece: float
    """Mean over the pairs of |share of label 1 − mean probability| of their bin (Guo et al., 2017)."""
    mean_probabilities: Floats
    """(K,)"""
    positive_shares: Floats
    """(K,) share of label 1."""
    counts: Labels
    """(K,) pairs."""


def calibrate(scores: NDArray[np.floating[Any]], labels: Labels) -> Calibration:
    """Return how well the sigmoid of the scores serves as the probability of label 1."""
    from scipy.special import expit

    probabilities = expit(scores.astype(np.float64))
    bins = np.minimum((probabilities * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    counts = np.bincount(bins, minlength=CALIBRATION_BINS)
    is_used = counts > 0
    sums = [np.bincount(bins, weights=w, minlength=CALIBRATION_BINS)[is_used] for w in (probabilities, labels)]
    mean_probabilities, positive_shares = (total / counts[is_used] for total in sums)
    gaps = np.abs(positive_shares - mean_probabilities)
    return Calibration(
        brier=float(np.mean((probabilities - labels) ** 2)),
        ece=float(np.sum(gaps * counts[is_used]) / len(labels)),
        mean_probabilities=mean_probabilities,
        positive_shares=positive_shares,
        counts=counts[is_used],
    )


# --- several labels ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """Of L labels that occur among the true or the predicted ones."""

    labels: Labels
    """(L,)"""
    hits: Labels
    """(L,) pairs with this label that were predicted so."""
    predicted: Labels
    """(L,)"""
    true: Labels
    """(L,)"""


def count_labels(true: Labels, predicted: Labels) -> LabelCounts:
    """Return how often each label is right, predicted, and true."""
    labels = np.union1d(true, predicted)
    counts = [np.array([int((values == label).sum()) for label in labels]) for values in (predicted, true)]
    hits = np.array([int(((true == label) & (predicted == label)).sum()) for label in labels])
    return LabelCounts(labels, hits, *counts)


def label_f1(hits: NDArray[Any], predicted: NDArray[Any], true: NDArray[Any]) -> Floats:
    """Return F1 of every label along the last axis: 2 · hits / (predicted + true), 0 for 0 / 0."""
    wholes = np.asarray(predicted + true, dtype=np.float64)
    return np.divide(2.0 * hits, wholes, out=np.zeros_like(wholes), where=wholes > 0)


def average_f1(counts: LabelCounts) -> dict[str, float]:
    """Return ``f1_macro`` (mean over labels), ``f1_micro`` (over all pairs) and ``f1_weighted`` (by true pairs)."""
    by_label = label_f1(counts.hits, counts.predicted, counts.true)
    return {
        "f1_macro": float(by_label.mean()),
        "f1_micro": _ratio(2 * float(counts.hits.sum()), float(counts.predicted.sum() + counts.true.sum())),
        "f1_weighted": float(np.average(by_label, weights=counts.true)),
    }


def label_table(counts: LabelCounts, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return label name -> precision, recall, F1 and number of pairs."""
    f1 = label_f1(counts.hits, counts.predicted, counts.true)
    return {
        names[label]: {
            "precision": _ratio(int(counts.hits[i]), int(counts.predicted[i])),
            "recall": _ratio(int(counts.hits[i]), int(counts.true[i])),
            "f1": float(f1[i]),
            "pairs": int(counts.true[i]),
        }
        for i, label in enumerate(counts.labels.tolist())
    }
