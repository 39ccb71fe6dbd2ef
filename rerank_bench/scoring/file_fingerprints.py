"""Fingerprints of a checkpoint's files: names and bytes, of weights, tokenizer and settings apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rerank_bench import progress
from rerank_bench.errors import ScoringError
from rerank_bench.scoring.checkpoints import TOKENIZER_FILES, TRANSFORMER_SETTINGS, Checkpoint, torch_weights
from rerank_bench.storage import file_sha256, fingerprint_items

TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt")

SENTENCE_TRANSFORMERS_SETTINGS = ("config_sentence_transformers.json", *TRANSFORMER_SETTINGS)


@dataclass(frozen=True, slots=True)
class FileFingerprints:
    """SHA-256, hex, over names and bytes."""

    weights: str
    tokenizer: str
    settings: str
    """``config.json``, ``modules.json``, the modules' own, and Python code that comes with the checkpoint."""


def fingerprint_files(checkpoint: Checkpoint, *, weights: list[Path] | None = None) -> FileFingerprints:
    """Return the fingerprints of a checkpoint's files.

    Args:
        checkpoint: Where they are.
        weights: The files of weights, where they are not those of torch.

    Raises:
        ScoringError: The folder holds no weights.
    """
    weights = weights or torch_weights(checkpoint.trunk)
    if not weights:
        msg = f"model {checkpoint.name!r}: {checkpoint.trunk} holds no weights (*.safetensors or pytorch_model*.bin)"
        raise ScoringError(msg)
    tokenizer = [
        path
        for name in (*TOKENIZER_FILES, *TOKENIZER_SETTINGS)
        if (path := checkpoint.tokenizer_folder / name).is_file()
    ]
    adapted = checkpoint.adapter.files if checkpoint.adapter is not None else []
    return FileFingerprints(
        weights=_fingerprint(checkpoint, weights + _head_weights(checkpoint) + adapted),
        tokenizer=_fingerprint(checkpoint, tokenizer),
        settings=_fingerprint(checkpoint, list(_settings_files(checkpoint))),
    )


def _head_weights(checkpoint: Checkpoint) -> list[Path]:
    """Return the weights of the modules after the transformer."""
    names = ("model.safetensors", "pytorch_model.bin")
    return [path for module in checkpoint.modules[1:] for name in names if (path := module.folder / name).is_file()]


def _settings_files(checkpoint: Checkpoint) -> Iterator[Path]:
    names = (
        "config.json",
        "generation_config.json",
        "modules.json",
        *SENTENCE_TRANSFORMERS_SETTINGS,
        "artifact.metadata",
    )
    folders = dict.fromkeys([checkpoint.folder, checkpoint.trunk, *(module.folder for module in checkpoint.modules)])
    for folder in folders:
        yield from (path for name in names if (path := folder / name).is_file())
    yield from sorted(checkpoint.trunk.glob("*.py"))
    if checkpoint.code_folder is not None:
        yield from sorted(checkpoint.code_folder.rglob("*.py"))


def _fingerprint(checkpoint: Checkpoint, paths: list[Path]) -> str:
    total = sum(path.stat().st_size for path in paths)
    parts = []
    with progress.track(f"fingerprint {checkpoint.name}", total=total, unit="bytes") as advance:
        for path in paths:
            root = checkpoint.folder if path.is_relative_to(checkpoint.folder) else checkpoint.trunk
            # A base outside of the adapter's folder, or a module outside of a base's trunk, goes by its own name.
            name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
            parts += [name, file_sha256(path)]
            advance(path.stat().st_size)
    return fingerprint_items(parts)
