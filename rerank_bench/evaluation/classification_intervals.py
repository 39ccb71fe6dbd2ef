"""Bootstrap intervals of measures on labelled pairs: pairs are drawn with replacement, thresholds stay as they are.

Percentile intervals: average precision and F1 are no means, so ``significance.bca_intervals`` does not fit them.  Pairs
are taken for independent; where many share a text the intervals are too narrow.  What choosing a threshold on the same
pairs adds to the uncertainty is not part of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.evaluation.classification import Floats, LabelCounts, Labels, label_f1
from rerank_bench.evaluation.significance import CHUNK_ELEMENTS, CONFIDENCE, bootstrap_means

Interval = tuple[float, float]

RESAMPLES = 2_000


def ranking_intervals(
    scores: NDArray[np.floating[Any]], labels: Labels, *, rng: np.random.Generator, resamples: int = RESAMPLES
) -> dict[str, Interval | None]:
    """Return the intervals of ``average_precision`` and ``roc_auc``.

    Args:
        scores: (N,)
        labels: (N,) 0 or 1.
        rng: The source of the resamples.
        resamples: Their number; those without a label of either kind have no value and are passed over.
    """
    order = np.argsort(-scores, kind="stable")
    ordered, truth = scores[order], labels[order]
    is_last = np.append(ordered[1:] != ordered[:-1], True)
    values: dict[str, list[Floats]] = {"average_precision": [], "roc_auc": []}
    num_pairs = len(labels)
    step = max(1, CHUNK_ELEMENTS // num_pairs)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(0, num_pairs, size=(rows, num_pairs)) + np.arange(rows)[:, None] * num_pairs
        weights = np.bincount(drawn.ravel(), minlength=rows * num_pairs).reshape(rows, num_pairs)
        positives = np.cumsum(weights * truth, axis=1, dtype=np.float64)[:, is_last]  # (rows, T)
        negatives = np.cumsum(weights * (1 - truth), axis=1, dtype=np.float64)[:, is_last]
        has_both = (positives[:, -1] > 0) & (negatives[:, -1] > 0)
        positives, negatives = positives[has_both], negatives[has_both]
        gained = np.diff(positives, axis=1, prepend=0.0)
        passed = positives + negatives
        precision = np.divide(positives, passed, out=np.zeros_like(passed), where=passed > 0)
        values["average_precision"].append((gained * precision).sum(axis=1) / positives[:, -1])
        before = positives - gained
        rightly = (np.diff(negatives, axis=1, prepend=0.0) * (before + gained / 2)).sum(axis=1)
        values["roc_auc"].append(rightly / (positives[:, -1] * negatives[:, -1]))
    return {name: percentile_interval(np.concatenate(parts)) for name, parts in values.items()}


def threshold_intervals(
    scores: NDArray[np.floating[Any]], labels: Labels, threshold: float, *, rng: np.random.Generator
) -> dict[str, Interval | None]:
    """Return the intervals of ``accuracy`` and ``f1`` at a threshold that is given."""
    found, is_positive = scores >= threshold, labels == 1
    columns = np.stack([found == is_positive, found & is_positive, found, is_positive], axis=1).astype(np.float64)
    right, hits, predicted, true = bootstrap_means([columns], resamples=RESAMPLES, rng=rng).T
    return {"accuracy": percentile_interval(right), "f1": percentile_interval(label_f1(hits, predicted, true))}


def label_intervals(
    true: Labels, predicted: Labels, counts: LabelCounts, *, rng: np.random.Generator
) -> dict[str, Interval | None]:
    """Return the intervals of ``f1_macro`` and ``accuracy`` (which is ``f1_micro``), over the labels that occur."""
    columns = [(true == label) & (predicted == label) for label in counts.labels]
    columns += [values == label for values in (predicted, true) for label in counts.labels]
    means = bootstrap_means([np.stack(columns, axis=1).astype(np.float64)], resamples=RESAMPLES, rng=rng)
    hits, shares_predicted, shares_true = np.split(means, 3, axis=1)  # each (B, L)
    macro = label_f1(hits, shares_predicted, shares_true).mean(axis=1)
    return {"f1_macro": percentile_interval(macro), "accuracy": percentile_interval(hits.sum(axis=1))}


def percentile_interval(estimates: Floats) -> Interval | None:
    """Return the ends between which the middle 95% of the resamples lie; ``None`` without any."""
    if not len(estimates):
        return None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(estimates, [tail, 1 - tail])
    return float(low), float(high)
