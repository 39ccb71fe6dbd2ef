"""PEFT adapters: small weights that change a base model, which ``adapter_config.json`` names.

The adapter is merged into the base when it is loaded, so scoring runs at the base's speed.  A weight of the adapter that
finds no place in the base, or a place without a weight, is an error: PEFT itself only warns.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rerank_bench.errors import EnvironmentMissingError, ScoringError
from rerank_bench.storage import read_json

ADAPTER_CONFIG = "adapter_config.json"
FAMILY_OF_TASK = {"SEQ_CLS": "sequence-classifier", "CAUSAL_LM": "causal-lm", "SEQ_2_SEQ_LM": "seq2seq"}
"""PEFT's name of a task -> family; another task leaves the family to the base's files."""

_PREFIX = "base_model.model."
_HEAD_WEIGHTS = ("classifier.weight", "classifier.out_proj.weight", "score.weight")
"""Last layer of a classification head, (labels, hidden), in the architectures of transformers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """An adapter's folder and what its settings say."""

    folder: Path
    base: str
    """Folder or hub id of the model that it changes."""
    base_revision: str | None
    task: str | None

    @property
    def files(self) -> list[Path]:
        """Settings and weights: what decides a score beside the base."""
        names = (ADAPTER_CONFIG, "adapter_model.safetensors", "adapter_model.bin")
        return [path for name in names if (path := self.folder / name).is_file()]


def find_adapter(folder: Path, model_name: str) -> Adapter | None:
    """Return the adapter in a folder; ``None`` where it holds none, or a whole model beside it.

    Raises:
        ScoringError: ``adapter_config.json`` names no base model, or the adapter has no weights.
        EnvironmentMissingError: The package ``peft`` is not installed.
    """
    path = folder / ADAPTER_CONFIG
    whole = [*folder.glob("model*.safetensors"), *folder.glob("pytorch_model*.bin")]
    if not path.is_file() or whole:
        return None
    settings = read_json(path)
    base = settings.get("base_model_name_or_path") if isinstance(settings, dict) else None
    if not base:
        msg = (
            f"model {model_name!r}: {path} names no base_model_name_or_path; add the folder or hub id of its base model"
        )
        raise ScoringError(msg)
    adapter = Adapter(
        folder=folder, base=str(base), base_revision=settings.get("revision"), task=settings.get("task_type")
    )
    if len(adapter.files) == 1:
        msg = f"model {model_name!r}: {folder} holds adapter_config.json, but no adapter_model.safetensors"
        raise ScoringError(msg)
    if find_spec("peft") is None:
        msg = (
            f"model {model_name!r} is a PEFT adapter of {adapter.base!r}, and the package peft is not installed; "
            'run: pip install "rerank-bench[peft]"'
        )
        raise EnvironmentMissingError(msg)
    return adapter


def adapter_weights(adapter: Adapter) -> dict[str, Any]:
    """Return name -> tensor, as the adapter's file has them."""
    from peft.utils import load_peft_weights

    weights: dict[str, Any] = load_peft_weights(str(adapter.folder), device="cpu")
    return weights


def num_labels_of(weights: Mapping[str, Any]) -> int | None:
    """Return the labels of the head that an adapter brings; ``None`` where it brings none.  Its settings do not say."""
    heads = [tensor for name, tensor in weights.items() if name.endswith(_HEAD_WEIGHTS)]
    return int(heads[0].shape[0]) if heads else None


def whole_weights(weights: Mapping[str, Any]) -> set[str]:
    """Return the base's names of weights that the adapter replaces, such as those of its head."""
    return {name.removeprefix(_PREFIX) for name in weights}


def merge_adapter(model: Any, adapter: Adapter, weights: Mapping[str, Any], model_name: str) -> Any:
    """Return the base model with the adapter merged into its weights.

    Raises:
        ScoringError: The adapter does not fit the base, or is of a kind that cannot be merged.
    """
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict

    settings = PeftConfig.from_pretrained(str(adapter.folder))
    if not getattr(settings, "modules_to_save", None) and not settings.is_prompt_learning:
        # Saved by transformers itself (as Sentence Transformers does): the head is the base's. Told the task, PEFT would
        # look for a head in the adapter.
        settings.task_type = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own use of transformers; what matters is checked below
            wrapped = PeftModel.from_pretrained(model, str(adapter.folder), config=settings, is_trainable=False)
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        msg = f"model {model_name!r}: the adapter does not fit its base {adapter.base!r}: {error}"
        raise ScoringError(msg) from error
    placed = set(get_peft_model_state_dict(wrapped, save_embedding_layers=False))
    unplaced, absent = sorted(set(weights) - placed), sorted(placed - set(weights))
    if unplaced or absent:
        what = "weights without a place in the base" if unplaced else "weights are missing from the adapter"
        names = unplaced or absent
        msg = (
            f"model {model_name!r}: the adapter does not fit its base {adapter.base!r}: {len(names)} {what} "
            f"(first: {', '.join(map(repr, names[:3]))})"
        )
        raise ScoringError(msg)
    if not hasattr(wrapped.base_model, "merge_and_unload"):
        kind = next(iter(wrapped.peft_config.values())).peft_type
        msg = f"model {model_name!r}: an adapter of the kind {kind} cannot be merged into its base"
        raise ScoringError(msg)
    return wrapped.merge_and_unload()
