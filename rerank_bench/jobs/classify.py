"""``classify``: a model on labelled pairs, with thresholds from the same pairs and, if there is one, from a dev file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rerank_bench.errors import ConfigError, DataError
from rerank_bench.evaluation.classification import Calibration, Curve, Labels, calibrate, threshold_curve
from rerank_bench.evaluation.classification_intervals import RESAMPLES
from rerank_bench.evaluation.significance import DEFAULT_SEED
from rerank_bench.jobs.classify_measures import (
    CHOSEN_ON_DEV,
    FIXED,
    choose_thresholds,
    describe_calibration,
    measure_binary,
    measure_labels,
    measure_threshold,
)
from rerank_bench.progress import note
from rerank_bench.provenance import describe_invocation
from rerank_bench.storage import check_writable, write_json
from rerank_bench.training.examples import Examples
from rerank_bench.training.loss_choice import check_texts
from rerank_bench.training.shapes import build_examples, parse_columns
from rerank_bench.training.tables import read_files

if TYPE_CHECKING:
    from rerank_bench.scoring.pair_logits import PairClassifier, PairLogits

MAX_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifyRequest:
    """Everything that one ``classify`` is asked to do."""

    model: str
    pairs: Path
    dev: Path | None = None
    """Other pairs, to choose thresholds on."""
    columns: tuple[str, ...] = ()
    """``ROLE=NAME`` texts; see ``shapes.parse_columns``."""
    out: Path | None = None
    """Folder for the result and the pictures."""
    scorer: dict[str, Any] = field(default_factory=dict)
    """Fields of ``ScorerConfig``."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Classified:
    """What was measured."""

    result: Mapping[str, Any]
    """JSON-able."""
    curve: Curve | None
    """Of the one score; ``None`` where there is none."""
    calibration: Calibration | None
    pictures: tuple[Path, ...] = ()


def classify(request: ClassifyRequest) -> Classified:
    """Measure a model on labelled pairs, and write the result and the pictures if there is a folder for them.

    Raises:
        ConfigError: A wrong model or column, or labels that the model does not have.
        DataError: The pairs cannot be read, or are not labelled pairs of at least two labels.
        ScoringError: The model cannot be scored with.
    """
    from rerank_bench.scoring.pair_logits import load_pair_classifier
    from rerank_bench.scoring.scorer import ScorerConfig
    from rerank_bench.scoring.unused_options import note_unused_options

    if request.out is not None:
        check_writable(request.out / "result.json")
    pairs, labels = _read(request.pairs, request.columns)
    dev = None if request.dev is None else _read(request.dev, request.columns)
    scorer = ScorerConfig(**request.scorer)
    model = load_pair_classifier(request.model, scorer)
    note_unused_options([model.loaded.spec], scorer)
    for examples, values in ((pairs, labels), *([] if dev is None else [dev])):
        _check_labels(model, request.model, examples, values)
    if dev is not None and labels.max() <= 1 < dev[1].max():
        msg = f"{dev[0].source}: has the label {dev[1].max()}, but {pairs.source} has 0 and 1; a threshold is for the same labels"
        raise ConfigError(msg)
    scored = _score(model, pairs, "score pairs")
    result: dict[str, Any] = {
        "model": model.loaded.describe(),
        "pairs": pairs.source,
        "num_pairs": len(labels),
        "labels": {str(label): int(count) for label, count in zip(*np.unique(labels, return_counts=True), strict=True)},
    }
    rng = np.random.default_rng(DEFAULT_SEED)
    curve = calibration = None
    if scored.scores is not None and labels.max() <= 1:
        curve, calibration = threshold_curve(scored.scores, labels), calibrate(scored.scores, labels)
        result["binary"] = measure_binary(scored.scores, labels, curve, rng)
        if dev is not None:
            dev_scores = _score(model, dev[0], "score dev pairs").scores
            assert dev_scores is not None  # noqa: S101 - for the type checker: the same model
            result["dev"] = {"pairs": dev[0].source, "num_pairs": len(dev[1])}
            chosen = choose_thresholds(threshold_curve(dev_scores, dev[1]), CHOSEN_ON_DEV)
            result["binary"]["thresholds"] += [measure_threshold(scored.scores, labels, rng, **each) for each in chosen]
        result["calibration"] = describe_calibration(calibration)
    elif dev is not None:
        msg = "--dev is for choosing a threshold of one score; with several labels there is none. Leave it out"
        raise ConfigError(msg)
    # With a score, label 1 of the pairs is the positive label, wherever that stands among the model's own.
    are_indices = "binary" not in result or (len(model.label_names) == 2 and model.positive == 1)
    if model.label_names and not are_indices:
        note(f"label 1 of the pairs is taken for {model.label_names[model.positive or 0]!r}, label 0 for the others")
    if scored.logits is not None and are_indices and scored.logits.shape[1] > labels.max():
        result["by_label"] = measure_labels(scored.logits, labels, model.label_names, rng)
    result |= {"bootstrap": {"resamples": RESAMPLES, "seed": DEFAULT_SEED}, "provenance": describe_invocation()}
    pictures: tuple[Path, ...] = ()
    if request.out is not None:
        pictures = _draw(request, result, curve, calibration)
        write_json(request.out / "result.json", result)
    return Classified(result=result, curve=curve, calibration=calibration, pictures=pictures)


# --- pairs ------------------------------------------------------------------------------------------------------


def _read(path: Path, columns: tuple[str, ...]) -> tuple[Examples, Labels]:
    """Return the pairs of a file and their (N,) labels.

    Raises:
        DataError: Not pairs, labels that are no whole numbers from 0, or only one label.
    """
    examples = build_examples(read_files([path]), parse_columns(columns))
    if examples.shape != "pairs":
        msg = f"{path}: holds {examples.shape} ({examples.columns}), expected pairs: query, document, label"
        raise DataError(msg)
    check_texts(examples)
    labels = examples.labels
    bad = np.flatnonzero((labels != np.rint(labels)) | (labels < 0))
    if bad.size:
        shown = "; ".join(f"{examples.place(i)}: {labels[i]:g}" for i in bad[:MAX_NAMED].tolist())
        msg = f"{bad.size:,} labels are no whole numbers from 0 ({shown}); scores and grades are not classes"
        raise DataError(msg)
    values = labels.astype(np.int64)
    if len(np.unique(values)) < 2:
        msg = f"{path}: all {len(values):,} pairs have the label {values[0]}; a classifier is measured on at least two"
        raise DataError(msg)
    return examples, values


def _check_labels(model: PairClassifier, name: str, examples: Examples, labels: Labels) -> None:
    """Raise unless the model has the labels of the pairs."""
    num_labels = max(2, len(model.label_names))  # one score tells two apart
    if labels.max() >= num_labels:
        has = f"the labels {', '.join(model.label_names)}" if model.label_names else "one score, which tells 0 from 1"
        msg = f"{examples.source}: has the label {labels.max()}, but model {name!r} has {has}; is it the right model?"
        raise ConfigError(msg)
    if not model.has_score and labels.max() <= 1 and num_labels > 2:
        msg = (
            f"{examples.source}: the labels are 0 and 1, and model {name!r} has {', '.join(model.label_names)}; say which "
            "of them label 1 means: --positive-label NAME"
        )
        raise ConfigError(msg)


def _score(model: PairClassifier, pairs: Examples, description: str) -> PairLogits:
    return model.score(pairs.queries.to_pylist(), pairs.docs.to_pylist(), description=description)


# --- pictures ---------------------------------------------------------------------------------------------------


def _draw(
    request: ClassifyRequest, result: Mapping[str, Any], curve: Curve | None, calibration: Calibration | None
) -> tuple[Path, ...]:
    """Write the pictures of the one score, if there is one, and return their paths."""
    if curve is None or calibration is None or request.out is None:
        return ()
    from rerank_bench.reporting.classification_plots import draw_calibration, draw_precision_recall
    from rerank_bench.reporting.drawing import plot_style
    from rerank_bench.reporting.plots import save_figure

    subject = f"{result['model']['name']} on {result['pairs']}, {result['num_pairs']:,} pairs"
    binary = result["binary"]
    marks = [
        (
            f"best {'F1' if each['measure'] == 'f1' else 'accuracy'}, chosen on {each['chosen_on']}",
            each["recall"],
            each["precision"],
        )
        for each in binary["thresholds"]
        if each["chosen_on"] != FIXED
    ]
    average = (binary["average_precision"]["value"], binary["average_precision"]["ci"])
    pictures = (request.out / "precision-recall.png", request.out / "calibration.png")
    with plot_style():
        figure = draw_precision_recall(
            curve.recall,
            curve.precision,
            marks=marks,
            average=average,
            base_rate=binary["positive_share"],
            subject=subject,
        )
        save_figure(figure, pictures[0])
        figure = draw_calibration(
            calibration.mean_probabilities,
            calibration.positive_shares,
            calibration.counts,
            ece=calibration.ece,
            brier=calibration.brier,
            subject=subject,
        )
        save_figure(figure, pictures[1])
    return pictures
