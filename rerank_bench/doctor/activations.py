"""What would become of scores under a saved activation, or in fewer bits: how many would tie."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]

_FLOAT32_ONE = np.float32(1.0)


def sigmoid(scores: Scores) -> Scores:
    """Return the logistic function in float32: exactly 1.0 above about 16.7."""
    with np.errstate(over="ignore"):
        return np.asarray(_FLOAT32_ONE / (_FLOAT32_ONE + np.exp(-scores.astype(np.float32))), dtype=np.float32)


def activate(name: str | None, scores: Scores) -> Scores | None:
    """Return what an activation, given by its dotted name, makes of scores; ``None`` for one that never saturates."""
    kind = (name or "").rpartition(".")[2]
    if kind == "Sigmoid":
        return sigmoid(scores)
    return np.tanh(scores.astype(np.float32)) if kind == "Tanh" else None


def to_bfloat16(scores: Scores) -> Scores:
    """Return scores rounded to bfloat16 (eight bits of precision; to nearest, halves to even), as float32."""
    bits = np.ascontiguousarray(scores, dtype=np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return np.asarray((rounded & np.uint32(0xFFFF0000)).view(np.float32))


def num_new_ties(before: Scores, after: Scores) -> int:
    """Return how many scores share their value after a mapping with one that was another value before."""
    tied = 0
    for value in np.unique(after):
        group = before[after == value]
        tied += len(group) if len(np.unique(group)) > 1 else 0
    return tied
