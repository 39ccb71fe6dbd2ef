"""``train``: a request becomes a checkpoint; ``check_data``: the same up to the first step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_bench.errors import ConfigError
from rerank_bench.jobs.card import EVALUATIONS
from rerank_bench.jobs.evaluation import make_evaluate
from rerank_bench.jobs.training_card import describe_training, is_first_process, write_training_card
from rerank_bench.jobs.training_data import TrainingData, load_training_data
from rerank_bench.provenance import describe_invocation
from rerank_bench.training.energy import measure_energy
from rerank_bench.training.energy_estimate import can_estimate, estimate_energy
from rerank_bench.training.job_folder import check_folder, finish_job
from rerank_bench.training.loss_choice import check_usable
from rerank_bench.training.request import TrainingRequest

if TYPE_CHECKING:
    from rerank_bench.training.checks import DataReport
    from rerank_bench.training.outcome import TrainingOutcome


def run_training(request: TrainingRequest, folder: Path) -> TrainingOutcome:
    """Train as the request says, or go on with what stands in the folder.

    Args:
        request: Recipe, data, evaluation.
        folder: Becomes the checkpoint.

    Raises:
        RerankBenchError: What is wrong with the request, the data, the base model or the folder.
    """
    from rerank_bench.training.loggers import check_loggers
    from rerank_bench.training.trainer import train
    from rerank_bench.training.watch import Watch

    check_folder(folder)
    check_loggers(request.log_to)  # not after minutes of reading data
    data = load_training_data(request)
    evaluate = None
    if data.evaluations:
        scorer: dict[str, Any] = {"dtype": request.eval_dtype, "device": request.device}
        if request.recipe.trust_remote_code:
            scorer["trust_remote_code"] = True  # a checkpoint brings the base model's code along
        evaluate = make_evaluate(data.evaluations, scorer=scorer, keep=folder / EVALUATIONS)
    with estimate_energy() if can_estimate() and is_first_process() else measure_energy() as energy:
        outcome = train(
            request.recipe,
            data.training,
            folder,
            job=_job(request, data),
            about=_about(request, data),
            watch=Watch(held_out=data.held_out, evaluate=evaluate, best_by=request.best_by),
            device=request.device,
            log_to=request.log_to,
        )
    if is_first_process():
        finish_job(folder, outcome.as_dict(), **describe_training(folder, request, data, energy))
        write_training_card(folder)
    return outcome


def check_data(request: TrainingRequest) -> DataReport:
    """Return what the data look like; raise where they could not be trained on.

    Raises:
        RerankBenchError: What is wrong with the request, the data or the base model.
    """
    from rerank_bench.training.base_model import load_base
    from rerank_bench.training.checks import report_data

    data = load_training_data(request)
    check_usable(data.training, data.held_out, request.recipe.loss)
    _, tokenizer, max_length = load_base(request.recipe)
    return report_data(
        data.training,
        tokenizer,
        max_length,
        dropped=data.dropped,
        contamination=data.contamination,
        seed=request.recipe.seed,
    )


def _job(request: TrainingRequest, data: TrainingData) -> dict[str, Any]:
    """Return what decides the weights."""
    names = [{**evaluation.describe(), "name": Path(evaluation.name).name} for evaluation in data.evaluations]
    return {
        "recipe": request.recipe.describe(),
        "data": data.identity(),
        "evaluations": names,
        "best_by": request.best_by,
    }


def _about(request: TrainingRequest, data: TrainingData) -> dict[str, Any]:
    """Return what the record says beside that."""
    return {
        "preset": request.preset,
        "data": request.data.describe(),
        "source": data.training.source,
        "shape": data.training.shape,
        "columns": data.training.columns,
        "dropped": data.dropped,
        "built": data.built,
        "held_out_examples": None if data.held_out is None else len(data.held_out),
        "contamination": {found.name: found.describe() for found in data.contamination},
        "eval_dtype": request.eval_dtype,
        "provenance": describe_invocation(),
    }


def default_folder(request: TrainingRequest) -> Path:
    """Return the job's folder when none is named: ``models/PRESET``, or after base model and loss.

    Raises:
        ConfigError: The base model's name says nothing.
    """
    if request.preset is not None:
        return Path("models") / request.preset
    name = Path(request.recipe.model).name
    if not name:
        msg = f"model {request.recipe.model!r} gives no name for the output folder; choose one with --out"
        raise ConfigError(msg)
    return Path("models") / f"{name}-{request.recipe.loss.name}"
