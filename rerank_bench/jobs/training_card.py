"""What a finished training leaves beside its weights: the rest of its record, and its card."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rerank_bench.errors import ConfigError
from rerank_bench.jobs.card import CARD_FILE, hub_id_of, make_card
from rerank_bench.jobs.training_data import TrainingData
from rerank_bench.progress import note
from rerank_bench.provenance import describe_machine
from rerank_bench.reporting.model_card import write_card
from rerank_bench.training.checks import report_data
from rerank_bench.training.energy import EnergyUse
from rerank_bench.training.request import TrainingRequest


def is_first_process() -> bool:
    """Return whether this is the one process of a training, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def describe_training(folder: Path, request: TrainingRequest, data: TrainingData, energy: EnergyUse) -> dict[str, Any]:
    """Return what the record of a finished training says of its data, what it ran on and the energy that it took.

    Also what of it is on the hub: later, a name alone would not tell a hub's id from a folder that is gone.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=request.recipe.trust_remote_code)
    report = report_data(
        data.training,
        tokenizer,
        tokenizer.model_max_length,
        dropped=data.dropped,
        contamination=data.contamination,
        seed=request.recipe.seed,
    )
    return {
        "statistics": report.as_dict(),
        "hardware": _describe_hardware(request),
        "energy": energy.as_dict(),
        "hub_ids": {
            "base": hub_id_of([request.recipe.model]),
            "data": hub_id_of(request.data.sources if data.built is None else [data.built["repository"]]),
        },
    }


def _describe_hardware(request: TrainingRequest) -> dict[str, Any]:
    import torch

    on_gpu = request.device != "cpu" and torch.cuda.is_available()
    return {
        "machine": describe_machine(),
        "accelerator": torch.cuda.get_device_name() if on_gpu else None,
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
    }


def write_training_card(folder: Path) -> None:
    """Write the card of a finished training; one that somebody wrote or changed is left alone, with a note."""
    try:
        write_card(folder / CARD_FILE, make_card(folder))
    except ConfigError as error:
        note(str(error).replace("(--overwrite replaces it)", f"(rerank-bench card {folder} prints the new one)"))
