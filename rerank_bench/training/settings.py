"""A recipe as the settings of transformers' Trainer."""

from __future__ import annotations

import os
from pathlib import Path

import torch
import transformers

from rerank_bench.errors import ConfigError
from rerank_bench.training.held_out import LOSS
from rerank_bench.training.recipe import Recipe

SAVE_STEPS = 500
"""Steps between checkpoints where there is no evaluation on the way."""


def training_settings(
    recipe: Recipe, folder: Path, *, best_by: str | None, measures: bool, device: str
) -> transformers.TrainingArguments:
    """Return transformers' settings for a recipe.

    Args:
        recipe: What is trained.
        folder: The job's folder.
        best_by: Name of the value that chooses the checkpoint, without ``eval_``.
        measures: Whether there is anything to measure on the way.
        device: ``auto`` or ``cpu``.

    Raises:
        ConfigError: The batch cannot be shared out between the processes, or the device lacks the precision.
    """
    on_cpu = device == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())
    precision = _resolve_precision(recipe.precision, on_cpu=on_cpu)
    num_processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else _world_size()
    share, rest = divmod(recipe.batch_size, num_processes * recipe.accumulation)
    if rest:
        msg = (
            f"batch_size {recipe.batch_size} is not divisible by {num_processes} processes times accumulation "
            f"{recipe.accumulation}; choose numbers that divide it, so that the recipe stays what it is"
        )
        raise ConfigError(msg)
    steps = recipe.eval_steps
    settings = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=share,
        gradient_accumulation_steps=recipe.accumulation,
        num_train_epochs=recipe.epochs,
        max_steps=recipe.max_steps or -1,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warmup,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        bf16=precision == "bfloat16",
        fp16=precision == "float16",
        seed=recipe.seed,
        use_cpu=on_cpu,
        logging_steps=recipe.log_steps,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if measures and steps else "no",
        eval_steps=steps,
        save_strategy="steps",
        save_steps=steps or SAVE_STEPS,
        save_total_limit=recipe.keep_checkpoints + (best_by is not None),
        metric_for_best_model=f"eval_{best_by}" if best_by else None,
        greater_is_better=best_by != LOSS if best_by else None,
        restore_callback_states_from_checkpoint=recipe.patience is not None,  # how often it was no better so far
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",  # the loggers are ours to make
        run_name=folder.resolve().name,
        project="rerank-bench",
        trackio_static_space_id=False,  # nothing goes to the hub
        log_level="error",
        dataloader_pin_memory=not on_cpu,
    )
    # Several GPUs without torchrun would multiply the batch (DataParallel); one process uses one.
    settings._n_gpu = min(settings.n_gpu, 1)  # noqa: SLF001  no public way
    return settings


def _world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _resolve_precision(request: str, *, on_cpu: bool) -> str:
    """Return the precision of the forward pass; ``auto`` takes bfloat16 where the device computes in it.

    Raises:
        ConfigError: float16 on a CPU.
    """
    if request == "float16" and on_cpu:
        msg = "precision float16 needs a GPU; use bfloat16 or float32 on a CPU"
        raise ConfigError(msg)
    if request != "auto":
        return request
    has_units = _cpu_has_bfloat16() if on_cpu else torch.cuda.is_available() and torch.cuda.is_bf16_supported(False)
    return "bfloat16" if has_units else "float32"


def _cpu_has_bfloat16() -> bool:
    """Return whether the CPU multiplies bfloat16 in hardware: emulated, it is slower than float32."""
    cpu = torch.backends.cpu.get_cpu_capability()
    is_supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return cpu.startswith("AVX512") and bool(is_supported())
