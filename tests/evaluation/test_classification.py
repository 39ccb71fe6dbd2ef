"""Measures on labelled pairs against scikit-learn and against Sentence Transformers' own threshold search."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rerank_bench.evaluation.classification import (
    at_threshold,
    average_f1,
    average_precision,
    best_accuracy,
    best_f1,
    calibrate,
    count_labels,
    label_table,
    roc_auc,
    threshold_curve,
)
from rerank_bench.evaluation.classification_intervals import (
    label_intervals,
    percentile_interval,
    ranking_intervals,
    threshold_intervals,
)

sklearn_metrics = pytest.importorskip("sklearn.metrics")

Sample = tuple[NDArray[np.float32], NDArray[np.int64]]


@st.composite
def labelled_scores(draw: st.DrawFn) -> Sample:
    """Scores, many of them tied, and labels of both kinds."""
    scores = draw(st.lists(st.sampled_from([-9.5, -1.0, -0.3, 0.0, 0.25, 0.3, 1.7, 40.0]), min_size=2, max_size=40))
    labels = draw(st.lists(st.integers(0, 1), min_size=len(scores), max_size=len(scores)))
    labels[0], labels[-1] = 0, 1
    return np.array(scores, dtype=np.float32), np.array(labels)


def sample(seed: int, num_pairs: int = 400) -> Sample:
    rng = np.random.default_rng(seed)
    labels = (rng.random(num_pairs) < 0.3).astype(np.int64)
    scores = rng.normal(labels * 1.2 - 0.5, 1.0).astype(np.float32)
    return np.round(scores, 1) if seed % 2 else scores, labels


@settings(deadline=None)
@given(labelled_scores())
def test_ranking_measures_are_those_of_scikit_learn(case: Sample) -> None:
    scores, labels = case
    curve = threshold_curve(scores, labels)
    assert average_precision(curve) == pytest.approx(sklearn_metrics.average_precision_score(labels, scores), abs=1e-12)
    assert roc_auc(curve) == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores), abs=1e-12)


@settings(deadline=None)
@given(labelled_scores())
def test_best_thresholds_are_those_of_the_peer(case: Sample) -> None:
    from sentence_transformers.sentence_transformer.evaluation import BinaryClassificationEvaluator as Peer

    scores, labels = case
    curve = threshold_curve(scores, labels)
    accuracy, threshold = Peer.find_best_acc_and_threshold(scores, labels, high_score_more_similar=True)
    found = best_accuracy(curve)
    assert found == pytest.approx((accuracy, threshold), abs=1e-6)
    assert at_threshold(scores, labels, found.threshold).accuracy == pytest.approx(accuracy)
    f1, precision, recall, threshold = Peer.find_best_f1_and_threshold(scores, labels, high_score_more_similar=True)
    best = best_f1(curve)
    assert best == pytest.approx((f1, threshold), abs=1e-6)
    outcome = at_threshold(scores, labels, best.threshold)
    assert (outcome.f1, outcome.precision, outcome.recall) == pytest.approx((f1, precision, recall))


@settings(deadline=None)
@given(labelled_scores(), st.floats(-10, 41))
def test_what_a_threshold_gives_is_what_scikit_learn_says(case: Sample, threshold: float) -> None:
    scores, labels = case
    predicted = (scores >= threshold).astype(int)
    precision, recall, f1, _ = sklearn_metrics.precision_recall_fscore_support(
        labels, predicted, average="binary", zero_division=0
    )
    outcome = at_threshold(scores, labels, threshold)
    expected = (sklearn_metrics.accuracy_score(labels, predicted), f1, precision, recall)
    assert outcome == pytest.approx(expected, abs=1e-12)
    assert outcome.accuracy <= best_accuracy(threshold_curve(scores, labels)).value + 1e-12
    assert outcome.f1 <= best_f1(threshold_curve(scores, labels)).value + 1e-12


def test_scores_next_to_each_other_are_told_apart() -> None:
    low = np.float32(1.0)
    scores = np.array([np.nextafter(low, np.float32(2)), low], dtype=np.float32)
    found = best_accuracy(threshold_curve(scores, np.array([1, 0])))
    assert found.value == 1.0
    assert (scores >= found.threshold).tolist() == [True, False]


@pytest.mark.parametrize("seed", range(4))
def test_calibration_is_that_of_a_plain_loop(seed: int) -> None:
    scores, labels = sample(seed)
    found = calibrate(scores, labels)
    probabilities = 1 / (1 + np.exp(-scores.astype(np.float64)))
    assert found.brier == pytest.approx(sklearn_metrics.brier_score_loss(labels, probabilities), abs=1e-12)
    ece = 0.0
    edges = np.linspace(0, 1, 16)
    for low, high in itertools.pairwise(edges):
        inside = (probabilities >= low) & (probabilities < high)
        if inside.any():
            ece += inside.mean() * abs(labels[inside].mean() - probabilities[inside].mean())
    assert found.ece == pytest.approx(ece, abs=1e-9)
    assert found.counts.sum() == len(labels)
    assert np.average(found.positive_shares, weights=found.counts) == pytest.approx(labels.mean())


def test_probabilities_that_are_right_have_no_calibration_error() -> None:
    rng = np.random.default_rng(5)
    scores = rng.normal(size=200_000).astype(np.float32)
    labels = (rng.random(200_000) < 1 / (1 + np.exp(-scores))).astype(np.int64)
    assert calibrate(scores, labels).ece < 0.005
    assert calibrate(scores * 5, labels).ece > 0.1
    assert calibrate(np.array([-200.0, 200.0], dtype=np.float32), np.array([0, 1])).ece < 1e-80


@pytest.mark.parametrize("num_labels", [2, 3, 7])
def test_f1_by_label_is_scikit_learns(num_labels: int) -> None:
    rng = np.random.default_rng(num_labels)
    true = rng.integers(0, num_labels, 300)
    predicted = np.where(rng.random(300) < 0.6, true, rng.integers(0, num_labels, 300))
    true[true == 1] = 0  # a label that is only predicted
    counts = count_labels(true, predicted)
    averages = average_f1(counts)
    for name in ("macro", "micro", "weighted"):
        expected = sklearn_metrics.f1_score(true, predicted, average=name)
        assert averages[f"f1_{name}"] == pytest.approx(expected, abs=1e-12)
    report = sklearn_metrics.classification_report(true, predicted, output_dict=True, zero_division=0)
    for name, values in label_table(counts, [str(i) for i in range(num_labels)]).items():
        wanted: Any = report[name]
        assert values == pytest.approx(
            {
                "precision": wanted["precision"],
                "recall": wanted["recall"],
                "f1": wanted["f1-score"],
                "pairs": wanted["support"],
            }
        )


# --- intervals --------------------------------------------------------------------------------------------------


def resampled(scores: Any, labels: Any, measure: Any, seed: int = 0, count: int = 1_000) -> tuple[float, float]:
    """The ends of the interval by one call of somebody else's measure per resample."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, len(labels), len(labels)) for _ in range(count)]
    return percentile_interval(np.array([measure(labels[row], scores[row]) for row in rows])) or (0.0, 0.0)


@pytest.mark.parametrize("seed", [0, 1])
def test_intervals_are_those_of_resampling_one_by_one(seed: int) -> None:
    scores, labels = sample(seed, 150)
    found = ranking_intervals(scores, labels, rng=np.random.default_rng(3))
    found |= threshold_intervals(scores, labels, 0.1, rng=np.random.default_rng(3))
    measures = {
        "average_precision": sklearn_metrics.average_precision_score,
        "roc_auc": sklearn_metrics.roc_auc_score,
        "accuracy": lambda y, s: sklearn_metrics.accuracy_score(y, s >= 0.1),
        "f1": lambda y, s: sklearn_metrics.f1_score(y, s >= 0.1),
    }
    for name, measure in measures.items():
        low, high = resampled(scores, labels, measure)
        assert found[name] == pytest.approx((low, high), abs=0.2 * (high - low)), name


def test_chunks_change_no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels = sample(1, 120)
    whole = ranking_intervals(scores, labels, rng=np.random.default_rng(3), resamples=500)
    monkeypatch.setattr("rerank_bench.evaluation.classification_intervals.CHUNK_ELEMENTS", 120 * 7)
    assert ranking_intervals(scores, labels, rng=np.random.default_rng(3), resamples=500) == whole


def test_resamples_of_one_label_are_passed_over() -> None:
    scores, labels = np.array([0.1, 0.9], dtype=np.float32), np.array([0, 1])
    found = ranking_intervals(scores, labels, rng=np.random.default_rng(0), resamples=50)
    assert found == {"average_precision": (1.0, 1.0), "roc_auc": (1.0, 1.0)}
    assert percentile_interval(np.empty(0)) is None


def test_label_intervals_are_those_of_resampling_one_by_one() -> None:
    rng = np.random.default_rng(2)
    true = rng.integers(0, 3, 200)
    predicted = np.where(rng.random(200) < 0.6, true, rng.integers(0, 3, 200))
    found = label_intervals(true, predicted, count_labels(true, predicted), rng=np.random.default_rng(1))
    low, high = resampled(predicted, true, lambda y, p: sklearn_metrics.f1_score(y, p, average="macro"))
    assert found["f1_macro"] == pytest.approx((low, high), abs=0.2 * (high - low))
    low, high = resampled(predicted, true, sklearn_metrics.accuracy_score)
    assert found["accuracy"] == pytest.approx((low, high), abs=0.2 * (high - low))
