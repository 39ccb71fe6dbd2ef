"""What the files of a Sentence Transformers cross-encoder say beyond weights: head, prompt, activation.

Three generations are in use.  Before 4.0 a plain classifier, its activation under
``sbert_ce_default_activation_function`` in ``config.json``; from 4.0 under ``sentence_transformers`` there; from 5.4 on a
``modules.json`` whose modules may be the head, with activation and prompts in ``config_sentence_transformers.json``.
A setting that would change scores and is not understood is an error that names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rerank_bench.errors import ConfigError
from rerank_bench.scoring.checkpoints import Checkpoint, Module

HEAD_MODULES = ("Pooling", "Dense", "LayerNorm", "Normalize", "Dropout")
"""Modules after the transformer that a classifier's head may be made of."""

_LEGACY_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}

_HARMLESS_PROCESSING: dict[str, tuple[object, ...]] = {
    "truncation": (True, "longest_first"),
    "padding": (True, "longest"),
    "padding_side": ("left", "right"),
    "return_tensors": ("pt",),
    "logits_to_keep": (0, 1),
}
"""What the tokenizer is called with anyway, or what changes no score."""


def head_modules(checkpoint: Checkpoint) -> tuple[Module, ...]:
    """Return the modules after the transformer; none where the transformer has its own classification head.

    Raises:
        ConfigError: A module, or a setting of one, is not supported; it is named.
    """
    if not checkpoint.modules or not _is_cross_encoder(checkpoint):
        return ()
    first, *head = checkpoint.modules
    unknown = [m.type for m in checkpoint.modules if not m.type.startswith("sentence_transformers.")]
    unknown += [m.type for m in head if m.kind not in HEAD_MODULES and m.type not in unknown]
    if first.kind != "Transformer" and first.type not in unknown:
        unknown.insert(0, first.type)
    if unknown:
        msg = (
            f"model {checkpoint.name!r}: modules.json asks for {', '.join(unknown)}; the family sequence-classifier "
            f"supports Transformer, then {', '.join(HEAD_MODULES)} of Sentence Transformers"
        )
        raise ConfigError(msg)
    check_transformer(checkpoint, has_head=bool(head), takes_prompts=True)
    if query_prompt(checkpoint) and any(module.config.get("include_prompt") is False for module in head):
        msg = f"model {checkpoint.name!r}: pooling without the prompt's tokens (include_prompt false) is not supported"
        raise ConfigError(msg)
    return tuple(head)


def _is_cross_encoder(checkpoint: Checkpoint) -> bool:
    """Return whether the modules and prompts are a cross-encoder's; another kind's are not used, as by the peer."""
    return checkpoint.st_config.get("model_type") == "CrossEncoder"


def check_transformer(checkpoint: Checkpoint, *, has_head: bool, takes_prompts: bool = False) -> None:
    """Raise where the transformer's own settings ask for what is not supported.

    Args:
        checkpoint: Where they are.
        has_head: Whether modules follow it, so that its own head is not asked for.
        takes_prompts: Whether the family can put its texts into a chat template.

    Raises:
        ConfigError: They do; the setting is named.
    """
    settings = checkpoint.st_transformer
    expected = "feature-extraction" if has_head else "sequence-classification"
    task = settings.get("transformer_task", expected)
    if task != expected:
        msg = (
            f"model {checkpoint.name!r}: sentence_bert_config.json says transformer_task {task!r}, expected "
            f"{expected!r} for the modules {' → '.join(module.kind for module in checkpoint.modules)}"
        )
        raise ConfigError(msg)
    modalities = settings.get("modality_config")
    if modalities is not None and "text" not in modalities:
        msg = f"model {checkpoint.name!r} reads {', '.join(map(str, modalities))}, expected text"
        raise ConfigError(msg)
    if modalities is not None and "message" in modalities and not takes_prompts:
        msg = (
            f"model {checkpoint.name!r} puts its texts into a chat template (modality_config has 'message'), which the family "
            f"{checkpoint.family} does not support"
        )
        raise ConfigError(msg)
    check_processing(checkpoint)


def check_processing(checkpoint: Checkpoint, **harmless: object) -> None:
    """Raise where a text would be tokenised in another way than is done here.

    Args:
        checkpoint: Where the settings are.
        harmless: Settings that change nothing with these values.

    Raises:
        ConfigError: It would; the setting is named.
    """
    known = _HARMLESS_PROCESSING | {name: (value,) for name, value in harmless.items()}
    settings = checkpoint.st_transformer
    processing: Mapping[str, Any] = settings.get("processing_kwargs") or {}
    refused = [
        f"{part}.{key}={value!r}"
        for part in ("common", "text")
        for key, value in (processing.get(part) or {}).items()
        if key != "max_length" and value not in known.get(key, ())  # the length is obeyed
    ]
    if refused:
        msg = f"model {checkpoint.name!r}: sentence_bert_config.json sets {', '.join(refused)}, which is not supported"
        raise ConfigError(msg)


def pooling_modes(config: Mapping[str, Any]) -> list[str]:
    """Return the modes of a ``Pooling`` module's settings, of any generation; several are put side by side."""
    modes = config.get("pooling_mode")
    if modes is None:
        return [mode for key, mode in _LEGACY_POOLINGS.items() if config.get(key)] or ["mean"]
    return [modes] if isinstance(modes, str) else list(modes)


def text_prompts(checkpoint: Checkpoint) -> tuple[str, str]:
    """Return (query prompt, document prompt) of texts that are read alone; empty where the files name none.

    A default prompt is for texts of no stated role and is not used.  A checkpoint that names its document prompt
    ``passage`` or ``corpus`` gets it (Sentence Transformers 6.2 passes over it: its own empty ``document`` comes first).
    """
    prompts = checkpoint.st_config.get("prompts") or {}
    doc_prompt = next((prompts[name] for name in ("document", "passage", "corpus") if name in prompts), "")
    return prompts.get("query") or "", doc_prompt or ""


def query_prompt(checkpoint: Checkpoint) -> str:
    """Return what goes before every query; empty where the files name no default prompt.

    Raises:
        ConfigError: The default prompt's name is not among the prompts.
    """
    settings = checkpoint.st_config
    name = settings.get("default_prompt_name")
    if name is None or not _is_cross_encoder(checkpoint):
        return ""
    prompts = settings.get("prompts") or {}
    if name not in prompts:
        msg = (
            f"model {checkpoint.name!r}: config_sentence_transformers.json names the default prompt {name!r}, but has "
            f"prompts only for {', '.join(map(repr, prompts)) or 'nothing'}"
        )
        raise ConfigError(msg)
    return prompts[name] or ""


def saved_activation(checkpoint: Checkpoint) -> str | None:
    """Return the dotted name of the activation that the files ask for, ``None`` where they name none.

    It is reported only: documents are ranked by the raw logit.
    """
    older = checkpoint.config.get("sentence_transformers")
    stated = (
        checkpoint.st_config.get("activation_fn"),
        older.get("activation_fn") if isinstance(older, dict) else None,
        checkpoint.config.get("sbert_ce_default_activation_function"),
    )
    return next((str(name) for name in stated if name), None)
