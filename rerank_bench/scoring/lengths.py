"""How many tokens a pair or a text is cut to: what files, tokenizer and positions say, and what was asked for."""

from __future__ import annotations

from typing import Any

from rerank_bench import progress
from rerank_bench.errors import ConfigError
from rerank_bench.scoring.checkpoints import Checkpoint
from rerank_bench.scoring.scorer import ScorerConfig

UNSTATED_LENGTH = 10**9
"""Tokenizers that state no length say 1e30."""


def resolve_max_length(
    checkpoint: Checkpoint, config: ScorerConfig, tokenizer: Any, model: Any, *, stated: int | None = None
) -> int:
    """Return the number of tokens that a pair or text is cut to.

    The least of what the Sentence Transformers settings, the tokenizer and the model's positions say; an explicit
    ``max_length`` wins as long as the model has that many positions.

    Args:
        checkpoint: Where the settings are.
        config: Whether a length was asked for.
        tokenizer: The checkpoint's.
        model: Its trunk, or all of it.
        stated: A length that takes the place of what settings and tokenizer say.

    Raises:
        ConfigError: More than the position table holds, or nothing says a length.
    """
    positions = num_positions(model)
    processing = checkpoint.st_transformer.get("processing_kwargs") or {}
    by_files = [
        checkpoint.st_transformer.get("max_seq_length"),
        *((processing.get(part) or {}).get("max_length") for part in ("common", "text")),
        tokenizer.model_max_length,
    ]
    stated_lengths = [
        *(by_files if stated is None else [stated]),
        positions,
        getattr(model.config, "max_position_embeddings", None),
        getattr(model.config, "n_positions", None),  # T5: relative positions, trained on so many tokens
    ]
    lengths = [int(length) for length in stated_lengths if length is not None and 0 < length < UNSTATED_LENGTH]
    if config.max_length is None:
        if not lengths:
            msg = f"model {checkpoint.name!r}: neither tokenizer nor config.json says a length; pass --max-length"
            raise ConfigError(msg)
        return min(lengths)
    if positions is not None and config.max_length > positions:
        msg = (
            f"max_length is {config.max_length}, but model {checkpoint.name!r} has positions for {positions} tokens; "
            f"pass at most {positions}"
        )
        raise ConfigError(msg)
    if lengths and config.max_length > min(lengths):
        progress.note(
            f"{checkpoint.name}: max_length {config.max_length} is more than the {min(lengths)} tokens that its files "
            "state; what lies beyond was not part of its training"
        )
    return config.max_length


def num_positions(model: Any) -> int | None:
    """Return the tokens that a table of absolute positions has room for; ``None`` for relative or rotary positions.

    RoBERTa's kin count positions from the padding index + 1, so that many rows are not for tokens.
    """
    import torch

    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            offset = 0 if module.padding_idx is None else module.padding_idx + 1
            return int(module.num_embeddings) - offset
    return None
