"""What the files of a late-interaction checkpoint say: markers, lengths, expansion of queries, tokens that do not count.

Three layouts are in use, and all describe the same computation (Khattab and Zaharia, 2020,
https://arxiv.org/abs/2004.12832; Santhanam et al., 2022, https://arxiv.org/abs/2112.01488):

- PyLate: ``modules.json`` with Transformer and Dense, the rest in ``config_sentence_transformers.json``
  (https://lightonai.github.io/pylate/);
- Sentence Transformers from 6.0 on: ``model_type`` MultiVectorEncoder, the rest in the modules' own files;
- Stanford's ColBERT: architecture ``HF_ColBERT``, the projection among the weights as ``linear.weight``, the rest in
  ``artifact.metadata`` (https://github.com/stanford-futuredata/ColBERT).
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from rerank_bench import progress
from rerank_bench.errors import ConfigError, ScoringError
from rerank_bench.scoring.checkpoints import STANFORD_ARCHITECTURE, Checkpoint, Module
from rerank_bench.scoring.st_layout import check_transformer, text_prompts
from rerank_bench.storage import read_json

Layout = Literal["pylate", "sentence-transformers", "stanford"]

METADATA_FILE = "artifact.metadata"
PUNCTUATION = tuple(string.punctuation)

PYLATE_LENGTHS = (32, 180)
"""Tokens of a query and of a document where a PyLate checkpoint names none."""
STANFORD_LENGTHS = (32, 220)
"""Likewise without ``artifact.metadata``: the defaults of Stanford's code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """How the texts of one side, the queries or the documents, become tokens."""

    prompt: str = ""
    """Text before the text."""
    marker: str | None = None
    """Token that is put behind the first one ([CLS]), whatever the tokenizer makes of it in a text."""
    length: int | None = None
    """Tokens at most, the marker included; ``None``: what the model takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """Short queries are filled up with a token whose vectors are compared like any other's."""

    length: int
    """Tokens that a query has at least."""
    is_attended: bool = False
    """Whether the query's own tokens look at them."""
    token: str | None = None
    """``None``: the mask token, or the end-of-text token where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LateRecipe:
    """From texts to a score, as the checkpoint's files say."""

    layout: Layout
    query: Side
    document: Side
    expansion: Expansion | None
    skipped_words: tuple[str, ...]
    """Tokens of documents that are read, but not compared."""
    skips_in_queries: bool = False
    """Whether those of queries are not compared either."""
    is_mean: bool = False
    """Whether the sum over the query's tokens is divided by their number."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, JSON-able."""
        return asdict(self) | {"skipped_words": list(self.skipped_words)}


def read_recipe(checkpoint: Checkpoint) -> LateRecipe:
    """Return how the checkpoint's files turn texts into a score.

    Raises:
        ConfigError: They ask for something that is not supported; it is named.
        ScoringError: A file is not what it should be.
    """
    has_projection_module = any(module.kind == "Dense" for module in checkpoint.modules)
    if not checkpoint.modules or (checkpoint.architecture == STANFORD_ARCHITECTURE and not has_projection_module):
        return _read_stanford(checkpoint)
    if checkpoint.st_config.get("model_type") == "MultiVectorEncoder":
        return _read_sentence_transformers(checkpoint)
    return _read_pylate(checkpoint)


def _read_pylate(checkpoint: Checkpoint) -> LateRecipe:
    settings = checkpoint.st_config
    _check_similarity(checkpoint, settings.get("similarity_fn_name"), ("MaxSim", "maxsim"))
    _check_kinds(checkpoint, ("Dense",))
    query_prompt, doc_prompt = text_prompts(checkpoint)
    query_length, doc_length = (
        _length(checkpoint, settings, name, default)
        for name, default in zip(("query_length", "document_length"), PYLATE_LENGTHS, strict=True)
    )
    expansion = None
    if _setting(settings, "do_query_expansion", default=True):
        is_attended = bool(_setting(settings, "attend_to_expansion_tokens", default=False))
        expansion = Expansion(length=query_length, is_attended=is_attended)
    return LateRecipe(
        layout="pylate",
        query=Side(
            prompt=query_prompt, marker=_setting(settings, "query_prefix", default="[Q] ") or None, length=query_length
        ),
        document=Side(
            prompt=doc_prompt, marker=_setting(settings, "document_prefix", default="[D] ") or None, length=doc_length
        ),
        expansion=expansion,
        skipped_words=tuple(_setting(settings, "skiplist_words", default=PUNCTUATION)),
    )


def _read_sentence_transformers(checkpoint: Checkpoint) -> LateRecipe:
    similarity = checkpoint.st_config.get("similarity_fn_name")
    _check_similarity(checkpoint, similarity, ("maxsim", "meanmaxsim"))
    _check_kinds(checkpoint, ("Dense", "Normalize", "MultiVectorMask"))
    check_transformer(checkpoint, has_head=True)
    query_prompt, doc_prompt = text_prompts(checkpoint)
    settings = checkpoint.st_transformer
    mask = next((module.config for module in checkpoint.modules if module.kind == "MultiVectorMask"), None)
    expansion = _read_expansion(checkpoint, settings.get("query_expansion"))
    if expansion is not None and mask is None:
        msg = (
            f"model {checkpoint.name!r} expands queries, but modules.json has no MultiVectorMask that counts the tokens"
        )
        raise ConfigError(msg)
    if mask is not None and mask.get("keep_only_token_ids") is not None:
        msg = (
            f"model {checkpoint.name!r}: MultiVectorMask sets keep_only_token_ids (for images), which is not supported"
        )
        raise ConfigError(msg)
    mask = mask or {}
    skipped_in = mask.get("skiplist_tasks", ["document"])
    skips_in_documents = "document" in skipped_in
    if "query" in skipped_in and not skips_in_documents:
        msg = f"model {checkpoint.name!r}: MultiVectorMask skips words in queries only, which is not supported"
        raise ConfigError(msg)
    query_length = settings.get("query_length")
    is_fixed = expansion is not None and (settings.get("query_expansion") or {}).get("strategy") == "fixed"
    return LateRecipe(
        layout="sentence-transformers",
        query=Side(prompt=query_prompt, length=expansion.length if is_fixed and expansion else query_length),
        document=Side(prompt=doc_prompt, length=settings.get("document_length")),
        expansion=expansion,
        skipped_words=tuple(mask.get("skiplist_words") or ()) if skips_in_documents else (),
        skips_in_queries="query" in skipped_in,
        is_mean=similarity == "meanmaxsim",
    )


def _read_expansion(checkpoint: Checkpoint, settings: Any) -> Expansion | None:
    if settings is None:
        return None
    where = f"model {checkpoint.name!r}: sentence_bert_config.json: query_expansion"
    if not isinstance(settings, Mapping) or settings.get("strategy") not in {"fixed", "min"}:
        msg = f"{where} is {settings!r}, expected null or an object with 'strategy' fixed or min, and 'length'"
        raise ConfigError(msg)
    length = _length(checkpoint, settings, "length", None)
    return Expansion(length=length, is_attended=bool(settings.get("attend", False)), token=settings.get("token"))


def _read_stanford(checkpoint: Checkpoint) -> LateRecipe:
    path = checkpoint.trunk / METADATA_FILE
    if path.is_file():
        metadata = read_json(path)
        if not isinstance(metadata, dict):
            msg = f"{path}: expected a JSON object, found {type(metadata).__name__}"
            raise ScoringError(msg)
    else:
        query_length, doc_length = STANFORD_LENGTHS
        progress.note(
            f"{checkpoint.name}: there is no {METADATA_FILE}; queries of {query_length} and documents of {doc_length} "
            "tokens, markers and punctuation are taken as by Stanford's code"
        )
        metadata = {}
    _check_similarity(checkpoint, metadata.get("similarity"), ("cosine",))
    interaction = metadata.get("interaction", "colbert")
    if interaction != "colbert":
        msg = f"model {checkpoint.name!r}: interaction {interaction!r} is not supported, only 'colbert'"
        raise ConfigError(msg)
    query_length = _length(checkpoint, metadata, "query_maxlen", STANFORD_LENGTHS[0])
    return LateRecipe(
        layout="stanford",
        query=Side(marker=metadata.get("query_token_id") or "[unused0]", length=query_length),
        document=Side(
            marker=metadata.get("doc_token_id") or "[unused1]",
            length=_length(checkpoint, metadata, "doc_maxlen", STANFORD_LENGTHS[1]),
        ),
        expansion=Expansion(length=query_length, is_attended=bool(metadata.get("attend_to_mask_tokens", False))),
        skipped_words=PUNCTUATION if metadata.get("mask_punctuation", True) else (),
    )


def _setting(settings: Mapping[str, Any], name: str, *, default: Any) -> Any:
    """Return a setting; the default where it is absent or null."""
    value = settings.get(name)
    return default if value is None else value


def _length(checkpoint: Checkpoint, settings: Mapping[str, Any], name: str, default: int | None) -> int:
    value = _setting(settings, name, default=default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        msg = f"model {checkpoint.name!r}: {name} is {value!r}, expected a number of tokens, at least 1"
        raise ConfigError(msg)
    return value


def _check_similarity(checkpoint: Checkpoint, found: Any, known: tuple[str, ...]) -> None:
    if found is not None and found not in known:
        msg = (
            f"model {checkpoint.name!r}: similarity {found!r} is not supported for token vectors, only "
            f"{', '.join(map(repr, known))}"
        )
        raise ConfigError(msg)


def _check_kinds(checkpoint: Checkpoint, known: tuple[str, ...]) -> None:
    first, *rest = checkpoint.modules
    unknown = [
        m.type for m in checkpoint.modules if not m.type.startswith(("sentence_transformers.", "pylate.models."))
    ]
    unknown += [module.type for module in rest if module.kind not in known and module.type not in unknown]
    if first.kind != "Transformer":
        unknown.insert(0, first.type)
    if unknown:
        msg = (
            f"model {checkpoint.name!r}: modules.json asks for {', '.join(dict.fromkeys(unknown))}; the family "
            f"late-interaction supports Transformer, then {', '.join(known)}"
        )
        raise ConfigError(msg)
    if not any(module.kind == "Dense" for module in rest):
        msg = (
            f"model {checkpoint.name!r}: modules.json has no Dense, so the projection of the token vectors is missing; "
            "it would be random numbers. Expected a trained late-interaction model"
        )
        raise ScoringError(msg)


def projection_modules(checkpoint: Checkpoint) -> list[Module]:
    """Return the modules that turn hidden states into token vectors, with the settings that their layout leaves out."""
    modules = [module for module in checkpoint.modules[1:] if module.kind in {"Dense", "Normalize"}]
    return [_completed(module) for module in modules]


def _completed(module: Module) -> Module:
    """Return a module that reads token vectors where it does not say what it reads, as those who write it load it."""
    defaults: dict[str, Any] = {"module_input_name": "token_embeddings"}
    if module.kind == "Dense" and module.type.startswith("pylate."):
        defaults["activation_function"] = "torch.nn.Identity"
    return replace(
        module, config=defaults | {name: value for name, value in module.config.items() if value is not None}
    )
