"""What a forward pass costs in floating-point operations, and how fast a device multiplies matrices.

Counted are the linear layers of the trunk and the two products of attention, on tokens of the items alone: padding, the
head, norms and activations are not.  A multiplication with an addition counts as two.  Where attention has a window, only
pairs of tokens within it count, and only earlier tokens in a decoder, whatever a kernel computes beside them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

ENCODERS = {"bert", "camembert", "distilbert", "electra", "modernbert", "roberta", "xlm-roberta"}
DECODERS = {"gemma", "llama", "mistral", "qwen2", "qwen3"}
"""Model types that run every linear layer of their trunk once per token, and attention of the usual kind."""

PEAK_SIZES = {"cpu": 1_024, "cuda": 8_192}
"""Rows of the square matrices whose product is timed: large enough for the device's full speed."""
PEAK_ROUNDS = 5
PEAK_SHARE = 0.01
"""Of the operations of the forward passes, that measuring the peak may take at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardCost:
    """What one item costs, by its length."""

    linear_weights: int
    """Of all linear layers that every token passes."""
    tail_weights: int
    """Of those behind the last attention, which a packed run may give the first tokens only; 0 where not known."""
    attention_width: int
    """Width of the queries, all heads together."""
    windows: tuple[int | None, ...]
    """Of every layer: tokens nearer than that see each other; ``None``: all do."""
    is_causal: bool

    def flops(self, lengths: NDArray[np.int32], *, skips_tail: bool = False) -> float:
        """Return the operations for items of (N,) tokens.

        Args:
            lengths: Tokens of every item.
            skips_tail: Whether only one token per item passes the tail.
        """
        tokens = lengths.astype(np.float64)
        total = 2.0 * self.linear_weights * tokens.sum()
        if skips_tail:
            total -= 2.0 * self.tail_weights * (tokens - 1).sum()
        for window in self.windows:
            total += 4.0 * self.attention_width * _visible(tokens, window, is_causal=self.is_causal).sum()
        return float(total)


def _visible(tokens: NDArray[np.float64], window: int | None, *, is_causal: bool) -> NDArray[np.float64]:
    """Return how many (token, token it sees) there are in items of (N,) tokens."""
    reach = tokens if window is None else np.minimum(tokens, window)
    # Of the tokens behind: 1, 2, … up to the reach, itself included.
    behind = tokens * reach - reach * (reach - 1) / 2
    return behind if is_causal else 2 * behind - tokens


def forward_cost(model: Any) -> ForwardCost | None:
    """Return the cost of a model's trunk, its linear layers still being torch's own; ``None`` where it is not known."""
    import torch

    config = model.config
    if config.model_type not in ENCODERS | DECODERS:
        return None
    trunk = getattr(model, model.base_model_prefix or " ", model)
    pooler = getattr(trunk, "pooler", None)

    def weights_of(part: Any) -> int:
        return sum(module.weight.numel() for module in part.modules() if isinstance(module, torch.nn.Linear))

    tail = _tail(trunk)
    heads = config.num_attention_heads
    return ForwardCost(
        linear_weights=weights_of(trunk) - (0 if pooler is None else weights_of(pooler)),
        tail_weights=sum(weights_of(module) for module in tail),
        attention_width=heads * (getattr(config, "head_dim", None) or config.hidden_size // heads),
        windows=_windows(config),
        is_causal=config.model_type in DECODERS,
    )


def _tail(trunk: Any) -> list[Any]:
    """Return the modules behind the last attention of BERT's kin."""
    layers = getattr(getattr(trunk, "encoder", None), "layer", None)
    if not layers or not hasattr(layers[-1], "feed_forward_chunk"):
        return []
    return [layers[-1].attention.output, layers[-1].intermediate, layers[-1].output]


def _windows(config: Any) -> tuple[int | None, ...]:
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    window = getattr(config, "sliding_window", None)
    if config.model_type == "modernbert":
        window = config.local_attention // 2 + 1  # so many tokens on either side, itself included
    elif window is not None and getattr(config, "layer_types", None) is None:
        kinds = ["sliding_attention"] * config.num_hidden_layers
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)


def is_peak_cheap(device: torch.device, flops: float) -> bool:
    """Return whether measuring the peak takes at most ``PEAK_SHARE`` of so many operations."""
    size = PEAK_SIZES.get(device.type)
    return size is not None and (PEAK_ROUNDS + 1) * 2 * size**3 <= PEAK_SHARE * flops


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Return the operations per second of the fastest of a few large matrix products, on torch's threads of now.

    Measured once per process, device and precision.  On a CPU that others use, too, it is what was left to us.
    """
    import torch

    return _matmul_peak(device, dtype, torch.get_num_threads())


@lru_cache
def _matmul_peak(device: torch.device, dtype: torch.dtype, _num_threads: int) -> float:
    import torch

    size = PEAK_SIZES[device.type]
    matrix = torch.ones((size, size), dtype=dtype, device=device)
    out = torch.empty_like(matrix)
    seconds = []
    with torch.inference_mode():
        for _ in range(PEAK_ROUNDS + 1):  # the first one warms up
            started = time.perf_counter()
            torch.mm(matrix, matrix, out=out)
            float(out[0, 0])  # waits for the device
            seconds.append(time.perf_counter() - started)
    return 2 * size**3 / min(seconds[1:])
