"""Short names: what fits into a table's column or beside a point, and still tells any two apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from rerank_bench.reporting.columns import Row
from rerank_bench.reporting.comparability import ModelKey, model_key

_FINGERPRINT_DIGITS = 8
_INSTRUCTION_WIDTH = 32
_TAIL_SHARES = (0.5, 0.35, 0.65, 0.8, 0.2)
"""Shares of a shortened name that its end gets, tried until no two names look alike."""


def shorten_datasets(names: Sequence[str]) -> dict[str, str]:
    """Return name -> the name without NanoBEIR's leading "Nano", unless two would then read the same."""
    short = {name: re.sub(r"^Nano(?=[A-Z])", "", name) for name in names}
    counts = Counter(text.casefold() for text in short.values())
    return {name: text if counts[text.casefold()] == 1 else name for name, text in short.items()}


def shorten_names(names: Sequence[str], width: int) -> dict[str, str]:
    """Return name -> at most ``width`` characters of it, cut in the middle; different names stay different.

    Args:
        names: Full names of models or of data sets.
        width: At least 8.
    """
    distinct = list(dict.fromkeys(names))
    for tail_share in _TAIL_SHARES:
        short = {name: _cut_middle(name, width, tail_share) for name in distinct}
        if len(set(short.values())) == len(distinct):
            return short
    return {
        name: name if len(name) <= width else f"{_cut_middle(name, width - len(f'~{number}'), 0.5)}~{number}"
        for number, name in enumerate(distinct, start=1)
    }


def _cut_middle(name: str, width: int, tail_share: float) -> str:
    if len(name) <= width:
        return name
    kept = width - 1
    tail = max(1, round(kept * tail_share))
    return f"{name[: kept - tail]}…{name[len(name) - tail :]}"


def label_models(rows: Sequence[Row]) -> dict[ModelKey, str]:
    """Return model key -> its name, with the settings in brackets that tell it from others of the same name.

    ``demo`` scored in two number types becomes ``demo [float32]`` and ``demo [bfloat16]``.
    """
    by_name: dict[str, dict[ModelKey, Row]] = {}
    for row in rows:
        by_name.setdefault(row["model"], {})[model_key(row)] = row
    labels = {}
    for name, row_by_key in by_name.items():
        instructions = [re.sub(r"\s", " ", row["instruction"]) for row in row_by_key.values()]
        short = shorten_names(instructions, _INSTRUCTION_WIDTH)
        settings = {
            key: _settings(row, short[instruction])
            for (key, row), instruction in zip(row_by_key.items(), instructions, strict=True)
        }
        varying = [told for told in zip(*settings.values(), strict=True) if len(set(told)) > 1]
        for key, *told in zip(settings, *varying, strict=True):
            labels[key] = f"{name} [{' '.join(told)}]" if told else name
    return labels


def _settings(row: Row, instruction: str) -> tuple[str, ...]:
    return (
        row["family"],
        row["weights_fingerprint"][:_FINGERPRINT_DIGITS] or "no weights",
        f"{row['max_length']} tokens",
        row["dtype"] or "no dtype",
        row["device"] or "no device",
        f"label {row['positive_label']}" if row["positive_label"] else "no label",
        f"“{instruction}”" if instruction else "no instruction",
        f"prompt {row['prompt_fingerprint'][:_FINGERPRINT_DIGITS]}" if row["prompt_fingerprint"] else "no prompt",
    )
