"""The trainer: transformers' own loop around our batches, losses and evaluation.

``train`` leaves a folder that is a checkpoint like any other (``config.json``, ``model.safetensors``, tokenizer), with
``log.csv``, a plot of it and ``training.json`` beside; see ``job_folder``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rerank_bench.progress import note
from rerank_bench.scoring.loading import quiet_transformers
from rerank_bench.training.base_model import attend_eagerly, load_base
from rerank_bench.training.collation import Collator
from rerank_bench.training.curves import draw_curves
from rerank_bench.training.examples import Examples
from rerank_bench.training.group_trainer import GroupTrainer
from rerank_bench.training.job_folder import CHECKPOINT_PREFIX, open_job
from rerank_bench.training.loggers import check_loggers, logging_to, make_loggers
from rerank_bench.training.loss_choice import check_usable
from rerank_bench.training.outcome import TrainingOutcome
from rerank_bench.training.recipe import Recipe
from rerank_bench.training.settings import training_settings
from rerank_bench.training.watch import Watch, check_watch


def train(
    recipe: Recipe,
    examples: Examples,
    folder: Path,
    *,
    job: Mapping[str, Any],
    about: Mapping[str, Any] | None = None,
    watch: Watch | None = None,
    device: str = "auto",
    log_to: Sequence[str] = (),
) -> TrainingOutcome:
    """Train, or go on training, and write the checkpoint; that the job is finished is for the caller to record.

    Args:
        recipe: Everything that decides the weights.
        examples: The training data.
        folder: The job's folder.
        job: What decides the weights: another job in the same folder is refused by it.
        about: What else ``training.json`` shall say.
        watch: What is measured on the way; ``None`` for nothing.
        device: ``auto`` or ``cpu``.
        log_to: Where the log goes beside ``log.csv``; see ``loggers``.

    Raises:
        DataError: The data do not suit the loss.
        ConfigError: The folder holds something else, or the recipe contradicts itself or the machine.
        ScoringError: The base model is incomplete, or the loss is NaN or infinite.
        EnvironmentMissingError: The package of a logger is missing, or it cannot begin.
    """
    watch = watch or Watch()
    check_loggers(log_to)
    check_usable(examples, watch.held_out, recipe.loss)
    check_watch(watch, recipe)
    model, tokenizer, max_length = load_base(recipe)
    if recipe.gradient_checkpointing:
        # Renamed in transformers 5.x; the older name goes in 6.
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    collator = Collator(tokenizer, max_length, recipe.mini_batch)
    settings = training_settings(recipe, folder, best_by=watch.best_by, measures=watch.measures, device=device)
    with settings.main_process_first(local=False, desc="open the job"):
        checkpoint = open_job(folder, job, about or {})
    if settings.use_cpu:
        attend_eagerly(model, max_length)
    settings.eval_on_start = watch.measures and checkpoint is None
    trainer = GroupTrainer(
        recipe=recipe,
        watch=watch,
        examples=examples,
        model=model,
        args=settings,
        collator=collator,
        tokenizer=tokenizer,
        loggers=make_loggers(log_to, folder),
    )
    resumed_from = 0
    if checkpoint is not None:
        resumed_from = int(checkpoint.name.removeprefix(CHECKPOINT_PREFIX))
        note(f"{folder}: going on from step {resumed_from}")
    started = time.perf_counter()
    if checkpoint is None or not trainer.take_finished(checkpoint):
        with quiet_transformers(), logging_to(log_to):
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    outcome = trainer.keep_best(folder, seconds=time.perf_counter() - started, resumed_from=resumed_from)
    if trainer.is_world_process_zero():
        draw_curves(folder, trainer.state.log_history)
    return outcome
