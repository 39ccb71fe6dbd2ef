"""What is known of a model before it is loaded: a note that an earlier run left, found by the model's files.

A scorer's fingerprint covers what only loading tells (the length that tokenizer and positions allow, the attention that
was chosen).  The note is found by everything that decides it: all files of the checkpoint, the request, the device, the
versions.  It is an aid, never a truth: a run that loads the model after all compares, and overwrites it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from rerank_bench import progress
from rerank_bench.errors import DataError, EnvironmentMissingError
from rerank_bench.provenance import describe_machine, library_versions
from rerank_bench.scoring.checkpoints import Checkpoint
from rerank_bench.scoring.score_tables import SCHEMA_VERSION
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.storage import cache_folder, file_sha256, fingerprint_items, fingerprint_json, read_json, write_json

LIBRARIES = ("onnxruntime", "peft", "tokenizers", "torch", "transformers")
"""What computes a score beside our own code: another version may give other last bits."""

IRRELEVANT_OPTIONS = {"batch_tokens", "device", "devices", "external", "ray", "revision"}
"""Not of the model, or replaced by what they resolve to; every other option is part of the key, new ones too."""

PASSED_SUFFIXES = {".md", ".png", ".jpg", ".pdf", ".lock"}
PASSED_FOLDERS = ("checkpoint-", "runs", ".", "__pycache__")
"""Where a training run's leftovers are: no family reads weights from there."""

ACCELERATOR_FILES = ("/dev/nvidia*", "/dev/nvhost*", "/dev/nvmap", "/dev/dxg", "/dev/kfd", "/proc/driver/nvidia")
"""Linux without any of these has no device that torch could name, so torch need not be asked (it loads for seconds)."""

FileStates = tuple[tuple[str, int, int], ...]
"""(path, bytes, time of change) of files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMemo:
    """What an earlier run learned by loading the model."""

    fingerprint: str
    description: dict[str, Any]
    batch_tokens: int | None = None
    """The budget that a job found to be fastest; ``None`` while none has tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """A checkpoint and how it is to be run."""

    key: str
    """SHA-256, hex, of everything that decides the memo."""
    checkpoint: Checkpoint
    file_states: FileStates
    """Of every file that the key covers."""

    @property
    def path(self) -> Path:
        """Where the memo is."""
        return scores_folder() / "models" / f"{self.key[:32]}.json"

    def read(self) -> ModelMemo | None:
        """Return the memo; ``None`` where there is none that can be read."""
        try:
            found = read_json(self.path)
        except (DataError, OSError):
            return None
        if not isinstance(found, dict) or found != _sealed(found.get("memo"), self.key):
            return None
        return ModelMemo(**found["memo"])

    def write(self, memo: ModelMemo) -> None:
        """Leave the memo, unless the files have changed since they were read."""
        if _states(self.checkpoint) != self.file_states:
            return
        try:
            write_json(self.path, _sealed(asdict(memo), self.key))
        except (EnvironmentMissingError, OSError) as error:
            progress.note(f"{self.checkpoint.name} will be loaded again the next time: {error}")


def _sealed(memo: Any, key: str) -> dict[str, Any]:
    """Return a memo as it stands in its file; one that was damaged does not agree with its checksum."""
    return {"memo": memo, "key": key, "checksum": fingerprint_json([memo, key])}


def scores_folder() -> Path:
    """Return the folder of the stored scores."""
    return cache_folder() / "scores"


def store_key(fingerprint: str) -> str:
    """Return what a store of scores belongs to: the scorer, run by these versions of the libraries."""
    return fingerprint_json(
        {"fingerprint": fingerprint, "schema": SCHEMA_VERSION, "versions": library_versions(LIBRARIES)}
    )


def request_model(checkpoint: Checkpoint, config: ScorerConfig) -> ModelRequest:
    """Return the request for a checkpoint; its files are read, its model is not loaded.

    Raises:
        EnvironmentMissingError: A device was asked for by name and is absent.
    """
    states = _states(checkpoint)
    options = {name: value for name, value in asdict(config).items() if name not in IRRELEVANT_OPTIONS}
    key = fingerprint_json(
        {
            "code": _code_fingerprint(),
            "family": checkpoint.family,
            "files": _contents(checkpoint, states),
            "options": {name: repr(value) for name, value in options.items()},
            "placement": _ray_placement(config) if config.ray else _placement((*config.devices, config.device)[0]),
            "machine": describe_machine(),
            "versions": library_versions(LIBRARIES),
        }
    )
    return ModelRequest(key=key, checkpoint=checkpoint, file_states=states)


def fingerprint_contents(checkpoint: Checkpoint) -> str:
    """Return the SHA-256, hex, of the names and bytes of every file that a family might read."""
    return fingerprint_json(_contents(checkpoint, _states(checkpoint)))


def _contents(checkpoint: Checkpoint, states: FileStates) -> list[tuple[str, str]]:
    """Return (path inside the checkpoint, SHA-256) of every file, sorted."""
    files = []
    with progress.track(
        f"fingerprint {checkpoint.name}", total=sum(size for _, size, _ in states), unit="bytes"
    ) as done:
        for path, size, _ in states:
            files.append((_relative(checkpoint, Path(path)), file_sha256(path)))
            done(size)
    return sorted(files)


def _states(checkpoint: Checkpoint) -> FileStates:
    return tuple((str(path), (state := path.stat()).st_size, state.st_mtime_ns) for path in _files(checkpoint))


def _files(checkpoint: Checkpoint) -> list[Path]:
    """Return every file that a family might read, sorted: those of all folders that the checkpoint names."""
    holders = [checkpoint, *checkpoint.modules, *(value for value in _values(checkpoint) if is_dataclass(value))]
    folders = dict.fromkeys(value for holder in holders for value in _values(holder) if isinstance(value, Path))
    return sorted({path for folder in folders for path in _walk(folder)})


def _values(record: Any) -> list[Any]:
    return [getattr(record, field.name) for field in fields(record)]


def _walk(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.is_dir():
            if not path.name.startswith(PASSED_FOLDERS):
                yield from _walk(path)
        elif path.suffix not in PASSED_SUFFIXES and not path.name.startswith("."):
            yield path


def _relative(checkpoint: Checkpoint, path: Path) -> str:
    """Return the path inside the checkpoint; a copy elsewhere has the same key."""
    return path.relative_to(checkpoint.folder).as_posix() if path.is_relative_to(checkpoint.folder) else path.name


@lru_cache(maxsize=1)
def _code_fingerprint() -> str:
    """Return the SHA-256, hex, of this package's scoring code: after a change the model is loaded and compared."""
    paths = sorted(Path(__file__).parent.glob("*.py"))
    return fingerprint_items([path.read_text(encoding="utf-8") for path in paths])


def _placement(device: str) -> dict[str, Any]:
    """Return the kind of device that the request leads to; torch is asked only where there may be an accelerator."""
    if device == "cpu" or (device == "auto" and not _may_have_accelerator()):
        return {"device": "cpu"}
    import torch

    from rerank_bench.scoring.devices import resolve_device

    resolved = resolve_device(device)
    name = torch.cuda.get_device_name(resolved) if resolved.type == "cuda" else None
    return {"device": resolved.type, "name": name}


def _ray_placement(config: ScorerConfig) -> dict[str, Any]:
    """Return the kind of device of a cluster's workers; on a CPU what the local engine would leave its memo under."""
    if config.device == "cpu":
        return {"device": "cpu"}
    from rerank_bench.scoring.ray_cluster import accelerators, import_ray

    return {"device": config.device, "engine": "ray", "names": accelerators(import_ray())}


def _may_have_accelerator() -> bool:
    return sys.platform != "linux" or any(
        next(Path("/").glob(pattern.removeprefix("/")), None) is not None for pattern in ACCELERATOR_FILES
    )
