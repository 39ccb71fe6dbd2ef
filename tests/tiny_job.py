"""A tiny training with evaluations, as the command line would ask for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny_training import list_rows, write_jsonl

from rerank_bench.training.request import TrainingRequest, override, parse_choices

TINY = Path(__file__).parent / "data" / "tiny"


def tiny_request(base: Path, folder: Path, **values: Any) -> TrainingRequest:
    """Return the request; its data are written to the folder."""
    defaults = {
        "model": str(base),
        "sources": [str(write_jsonl(folder / "train.jsonl", list_rows(12)))],
        "device": "cpu",
        "precision": "float32",
        "loss": "lambda",
        "batch_size": 4,
        "epochs": 2,
        "learning_rate": 1e-2,
        "log_steps": 1,
        "evaluate": [f"{TINY},depth=5"],
        "eval_steps": 2,
        "best_by": "nDCG@10",
        "keep_checkpoints": 10,
    }
    return override(None, parse_choices(defaults | values))
