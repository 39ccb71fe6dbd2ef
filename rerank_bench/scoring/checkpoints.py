"""A model's files: the folder they are in, and what they say of themselves.

The family is read from ``config.json`` and, in a Sentence Transformers layout, from ``modules.json``.  A name says
nothing, and what the files leave open is an error that shows what they say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rerank_bench.errors import ScoringError
from rerank_bench.scoring.adapters import FAMILY_OF_TASK, Adapter, find_adapter
from rerank_bench.scoring.hub import hub_folder
from rerank_bench.scoring.onnx_graph import GRAPH_PLACES
from rerank_bench.scoring.remote_code import check_pinned
from rerank_bench.storage import read_json

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


LATE_INTERACTION_SETTINGS = (
    "query_prefix",
    "document_prefix",
    "query_length",
    "document_length",
    "do_query_expansion",
    "attend_to_expansion_tokens",
    "skiplist_words",
)
"""What PyLate adds to ``config_sentence_transformers.json``; no other kind of model has any of them."""

STANFORD_ARCHITECTURE = "HF_ColBERT"
"""The class that Stanford's ColBERT saves, for any trunk."""


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


TRANSFORMER_SETTINGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""Names under which Sentence Transformers keeps the settings of a ``Transformer`` module; the first one counts."""


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
    """The first of ``TRANSFORMER_SETTINGS``: length, lower-casing, modalities; empty where there is none, or no ``modules.json``."""
    adapter: Adapter | None = None
    """What is merged into the weights at ``trunk``."""
    base_revision: str | None = None
    """Commit of an adapter's base model on the hub."""
    code_folder: Path | None = None
    """Python code from another repository, at the commit that was pinned."""

    @property
    def tokenizer_folder(self) -> Path:
        """Where the tokenizer's files are: beside an adapter if they were saved there, else beside the weights."""
        own = self.adapter.folder if self.adapter is not None else self.trunk
        return own if any((own / name).is_file() for name in TOKENIZER_FILES) else self.trunk

    @property
    def architecture(self) -> str:
        """The first class name in ``config.json``, or what stands in its place."""
        names = self.config.get("architectures") or ["(none)"]
        return str(names[0])


def read_checkpoint(
    folder: Path, *, name: str, revision: str | None, family: str | None = None, allow_code: bool = False
) -> Checkpoint:
    """Return what the files in a folder say.

    Args:
        folder: The checkpoint.
        name: What results call it.
        revision: What identifies the files beyond their name.
        family: Overrides what the files say.
        allow_code: Whether Python code of an adapter's base model may be fetched.

    Raises:
        ScoringError: No ``config.json``, or neither a classifier nor an encoder.
        EnvironmentMissingError: An adapter, without the package for it or without its base.
    """
    modules = _read_modules(folder)
    static = next((module for module in modules if module.kind == "StaticEmbedding"), None)
    if static is not None:
        return Checkpoint(
            folder=folder,
            trunk=static.folder,
            name=name,
            revision=revision,
            family=family or "static-embedding",
            config=static.config,
            modules=modules,
            st_config=read_settings(folder / "config_sentence_transformers.json"),
        )
    trunk = next((module.folder for module in modules if module.kind == "Transformer"), folder)
    adapter = find_adapter(trunk, name)
    if adapter is not None:
        own = Checkpoint(
            folder=folder,
            trunk=trunk,
            name=name,
            revision=revision,
            family=family or FAMILY_OF_TASK.get(adapter.task or "", ""),
            config={},
            modules=modules,
            st_config=read_settings(folder / "config_sentence_transformers.json"),
            st_transformer=_read_transformer_settings(trunk, modules),
            adapter=adapter,
        )
        return _with_base(own, adapter, allow_code=allow_code)
    if not (trunk / "config.json").is_file():
        raise ScoringError(_no_config(name, trunk))
    config = read_settings(trunk / "config.json")
    st_config = read_settings(folder / "config_sentence_transformers.json")
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
        st_transformer=_read_transformer_settings(trunk, modules),
    )


def _read_transformer_settings(trunk: Path, modules: tuple[Module, ...]) -> dict[str, Any]:
    """Return the settings of the ``Transformer`` module; without a ``modules.json`` they count for nobody."""
    found = (trunk / name for name in TRANSFORMER_SETTINGS if (trunk / name).is_file())
    return next(map(read_settings, found), {}) if modules else {}


def _with_base(own: Checkpoint, adapter: Adapter, *, allow_code: bool) -> Checkpoint:
    """Return an adapter's checkpoint with its base's weights, and the base's settings where it has none of its own."""
    near = [path for path in (Path(adapter.base), own.folder / adapter.base) if path.is_dir()]
    revision = None
    if near:
        folder = near[0]
    elif adapter.base.count("/") == 1 and not adapter.base.startswith((".", "/", "~")):
        if allow_code:
            check_pinned(adapter.base, adapter.base_revision, f"'revision' in {adapter.folder}/adapter_config.json")
        folder, revision = hub_folder(adapter.base, adapter.base_revision, allow_code=allow_code)
    else:
        msg = (
            f"model {own.name!r} is an adapter of {adapter.base!r}, and there is no such folder; set "
            "base_model_name_or_path in adapter_config.json to where the base model is"
        )
        raise ScoringError(msg)
    modules = _read_modules(folder) if not own.modules else own.modules
    trunk = next((m.folder for m in _read_modules(folder) if m.kind == "Transformer"), folder)
    if not (trunk / "config.json").is_file():
        raise ScoringError(_no_config(f"{own.name}: base {adapter.base}", trunk))
    config = read_settings(trunk / "config.json")
    st_config = own.st_config or read_settings(folder / "config_sentence_transformers.json")
    return replace(
        own,
        trunk=trunk,
        family=own.family or _family(own.name, config, modules, st_config),
        config=config,
        modules=modules,
        st_config=st_config,
        st_transformer=own.st_transformer or _read_transformer_settings(trunk, _read_modules(folder)),
        base_revision=revision,
    )


def _no_config(name: str, folder: Path) -> str:
    found = sorted(path.name for path in folder.iterdir())[:8] if folder.is_dir() else []
    return (
        f"model {name!r}: {folder} holds no config.json (found: {', '.join(found) or 'nothing'}); expected a folder "
        f"written by save_pretrained, with config.json, weights and tokenizer files, or a PEFT adapter"
    )


def read_settings(path: Path) -> dict[str, Any]:
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
    return Module(kind=name.rpartition(".")[2], type=name, folder=own, config=read_settings(own / "config.json"))


def _family(name: str, config: Mapping[str, Any], modules: tuple[Module, ...], st_config: Mapping[str, Any]) -> str:
    kinds = [module.kind for module in modules]
    is_cross_encoder = st_config.get("model_type") == "CrossEncoder"
    if not is_cross_encoder and _compares_tokens(config, st_config):
        return "late-interaction"
    architectures = [str(a) for a in config.get("architectures") or []]
    is_classifier = any(a.endswith("ForSequenceClassification") for a in architectures)
    if is_classifier and kinds in ([], ["Transformer"]):
        return "sequence-classifier"
    if is_cross_encoder and len(kinds) > 1 and "LogitScore" not in kinds:
        return "sequence-classifier"  # its head is made of modules
    if "Pooling" in kinds and not is_cross_encoder:
        return "bi-encoder"
    if kinds in ([], ["Transformer"], ["Transformer", "LogitScore"]):
        if any(a.endswith(("ForCausalLM", "LMHeadModel")) for a in architectures):
            return "causal-lm"
        if config.get("is_encoder_decoder") and any(a.endswith("ForConditionalGeneration") for a in architectures):
            return "seq2seq"
    modules_found = f", modules.json says {' → '.join(kinds)}" if kinds else ""
    msg = (
        f"model {name!r}: config.json says model_type {config.get('model_type')!r}, architectures {architectures}"
        f"{modules_found}; expected a ...ForSequenceClassification (sequence-classifier), ...ForCausalLM (causal-lm), "
        "an encoder-decoder ...ForConditionalGeneration (seq2seq), a modules.json with Pooling (bi-encoder), or the "
        "settings of PyLate or ColBERT (late-interaction). If the weights hold what a family needs, name it with --family"
    )
    raise ScoringError(msg)


def _compares_tokens(config: Mapping[str, Any], st_config: Mapping[str, Any]) -> bool:
    """Return whether the files are those of a late-interaction model."""
    if STANFORD_ARCHITECTURE in (config.get("architectures") or []):
        return True
    is_named = st_config.get("model_type") in {"ColBERT", "MultiVectorEncoder"}
    is_compared_so = str(st_config.get("similarity_fn_name")).lower() in {"maxsim", "meanmaxsim"}
    return is_named or is_compared_so or any(name in st_config for name in LATE_INTERACTION_SETTINGS)


def torch_weights(folder: Path) -> list[Path]:
    """Return the files of torch's weights in a folder: safetensors, else the older form."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def _holds_graph_only(folder: Path) -> bool:
    return not torch_weights(folder) and any((folder / place).is_file() for place in GRAPH_PLACES)
