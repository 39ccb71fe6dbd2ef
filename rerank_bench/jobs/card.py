"""Model cards: of a finished run, of a training, or of a run of what a training made."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from rerank_bench.errors import ConfigError, DataError, ScoringError
from rerank_bench.progress import note
from rerank_bench.reporting.card_classification import held_out_result
from rerank_bench.reporting.card_training import TrainingRecord
from rerank_bench.reporting.model_card import CardFacts, render_card
from rerank_bench.reporting.run_folder import RESULT_FILE, read_result
from rerank_bench.scoring.file_fingerprints import fingerprint_files
from rerank_bench.scoring.model_files import find_checkpoint
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.specs import parse_model_spec
from rerank_bench.storage import read_json
from rerank_bench.training.job_folder import FINISHED, LOG, RECORD, read_job
from rerank_bench.training.recipe import Recipe

CARD_FILE = "README.md"
EVALUATIONS = "evaluations"
"""Folder inside a training's where the results of its evaluations stand, one file per weights and data set."""
_NO_MODELS = {"baseline": "a baseline", "run": "a stored ranking"}


def make_card(location: str | Path) -> str:
    """Return the card of what stands at a place.

    Args:
        location: A run folder or what ``classify --out`` made, its ``result.json``, or the folder of a finished training.

    Raises:
        DataError: Nothing of the kind stands there, or it is not finished.
        ConfigError: The run is of a baseline or of a stored ranking, which are no models.
    """
    path = Path(location)
    if path.is_dir() and not (path / RESULT_FILE).is_file() and (path / RECORD).is_file():
        return render_card(_training_facts(path))
    if not path.exists():
        msg = f"{path}: no such run folder or checkpoint; `rerank-bench run --model MODEL` makes a run folder"
        raise DataError(msg)
    file = path / RESULT_FILE if path.is_dir() else path
    result = read_json(file) if file.is_file() else None
    if isinstance(result, dict) and "num_pairs" in result:  # what `classify --out` wrote
        return render_card(_classification_facts(result))
    return render_card(_run_facts(read_result(path), path))


def _classification_facts(result: Mapping[str, Any]) -> CardFacts:
    model = result["model"]
    folder = Path(model["spec"]).expanduser()
    training = _training_of(folder, result) if (folder / RECORD).is_file() else None
    hub_id = hub_id_of([model["spec"]]) if model["revision"] else None
    return CardFacts(name=model["name"], classification=result, training=training, hub_id=hub_id)


def _run_facts(result: Mapping[str, Any], path: Path) -> CardFacts:
    model = result["model"]
    if model["family"] in _NO_MODELS:
        msg = f"{path}: is a run of {model['name']!r}, which is {_NO_MODELS[model['family']]} and no model; there is no card of it"
        raise ConfigError(msg)
    training = None
    folder = Path(model["spec"]).expanduser()
    if (folder / RECORD).is_file():
        training = _training_of(folder, result)
    # A folder that is gone by now may read like a hub's id; but only what came from a hub has a commit.
    hub_id = hub_id_of([model["spec"]]) if model["revision"] else None
    return CardFacts(name=model["name"], results=[result], training=training, hub_id=hub_id)


def _training_of(folder: Path, result: Mapping[str, Any]) -> TrainingRecord | None:
    """Return the training that made a run's model; ``None`` where the folder holds other weights by now."""
    if weights_of(folder) != result["model"]["weights_fingerprint"]:
        note(f"{folder}: holds other weights than the run scored with; its training is left out of the card")
        return None
    return read_training(folder)


def _training_facts(folder: Path) -> CardFacts:
    training = read_training(folder)
    weights = weights_of(folder)
    results = [
        result
        for path in sorted((folder / EVALUATIONS).glob("*.json"))
        if (result := read_result(path))["model"]["weights_fingerprint"] == weights
    ]
    return CardFacts(
        name=folder.resolve().name, results=results, training=training, classification=held_out_result(training)
    )


def weights_of(folder: Path) -> str:
    """Return the fingerprint of a checkpoint's weights, as a run's ``result.json`` has it.

    Raises:
        DataError: The folder holds no whole checkpoint.
    """
    config = ScorerConfig(family="sequence-classifier")
    try:
        return fingerprint_files(find_checkpoint(parse_model_spec(str(folder.resolve())), config)).weights
    except ScoringError as error:
        msg = f"{folder}: holds no whole checkpoint: {error}"
        raise DataError(msg) from error


def read_training(folder: Path) -> TrainingRecord:
    """Return the record of a finished training.

    Raises:
        DataError: It is not finished, or its log is missing.
    """
    record = read_job(folder)
    if record.get("state") != FINISHED:
        msg = f"{folder}: the training is not finished ({RECORD} says {record.get('state')!r}); run the same command again"
        raise DataError(msg)
    log = folder / LOG
    if not log.is_file():
        msg = f"{log}: no such file, though {RECORD} says that the training is finished; was it removed?"
        raise DataError(msg)
    with log.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    hub_ids = record.get("hub_ids") or {}
    return TrainingRecord(
        record=record,
        log=rows,
        defaults={field.name: field.default for field in fields(Recipe)},
        base_hub_id=hub_ids.get("base"),
        data_hub_id=hub_ids.get("data"),
    )


def hub_id_of(names: Sequence[str]) -> str | None:
    """Return the id where there is one name, and it is one of the hub's as long as no folder here has it."""
    if len(names) != 1:
        return None
    try:
        spec = parse_model_spec(names[0])
    except ConfigError:
        return None
    return spec.value if spec.kind == "hub" else None
