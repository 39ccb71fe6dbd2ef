"""Attention over a row of items that stand one behind the other: each token sees its own item only.

transformers hands attention to a function that is registered by name; this is ours, with two bodies.  ``runs``: one call
of torch's attention per run of equally long items, anywhere and in any precision (batches are sorted, so runs are slices
and few).  ``varlen``: one kernel for the whole row, on CUDA in half precision, in versions of torch that have it.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

if TYPE_CHECKING:
    import torch

Body = Literal["runs", "varlen"]

ATTENTION_NAME = "rerank_bench_packed"
"""Name of our function among those of transformers."""


class PackingError(Exception):
    """The model cannot run packed; never seen by users, who get a note and the padded forward."""


@dataclass(slots=True, eq=False)
class Segments:
    """Where the B items of a packed row of T tokens start and stop; tokens behind the last belong to no item."""

    bounds: torch.Tensor
    """(B + 1,) int64 token positions, on the device."""
    longest: int
    runs: list[tuple[int, int, int]]
    """(first token, number of items, tokens of each) of every run of equally long items."""
    body: Body = "runs"
    num_calls: int = 0
    """How often attention was asked for with these segments."""
    short_bounds: torch.Tensor | None = None
    """The bounds as int32, once the kernel has asked for them."""
    masks: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)
    """Window masks of this batch by (length, window)."""

    @property
    def starts(self) -> torch.Tensor:
        """(B,): every item's first token."""
        return self.bounds[:-1]


def runs_of(lengths: list[int]) -> list[tuple[int, int, int]]:
    """Return (first token, number of items, tokens of each) of every run of equally long items, in this order."""
    runs: list[tuple[int, int, int]] = []
    start = 0
    for length in lengths:
        if runs and runs[-1][2] == length:
            first, count, _ = runs[-1]
            runs[-1] = (first, count + 1, length)
        else:
            runs.append((start, 1, length))
        start += length
    return runs


def bounds_of(lengths: list[int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return (B + 1,) int64: where items of these lengths start and stop."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def why_not_packed(device: torch.device) -> str | None:
    """Return why nothing runs packed on this device; ``None`` if it does."""
    return None if device.type in {"cpu", "cuda"} else f"no packed attention for {device.type}"


def choose_body(device: torch.device, dtype: torch.dtype) -> Body:
    """Return the fastest body there is for a device and a precision."""
    import torch

    if device.type != "cuda" or dtype == torch.float32:
        return "runs"
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return "runs"
    # torch 2.10 has the kernel without scale and window; later versions have all that we pass.
    parameters = inspect.signature(varlen_attn).parameters
    return "varlen" if {"scale", "window_size", "enable_gqa"} <= parameters.keys() else "runs"


def packed_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    packed_segments: Segments | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Return ((1, T, heads, width) attention within each item, no weights) from (1, heads, T, width).

    ``sliding_window`` counts as transformers hands it over: tokens closer than that see each other.

    Raises:
        PackingError: The model asks for what this function does not do.
    """
    asked = [
        name for name in ("is_causal", "position_bias", "softcap", "s_aux") if options.get(name) not in (None, False)
    ]
    if packed_segments is None or attention_mask is not None or asked or getattr(module, "is_causal", False):
        what = ", ".join(asked) or ("a mask" if attention_mask is not None else "attention of its own kind")
        msg = f"{type(module).__name__} asks for {what}"
        raise PackingError(msg)
    packed_segments.num_calls += 1
    body = _as_one_row if packed_segments.body == "varlen" else _by_runs
    return body(packed_segments, query, key, value, scaling, sliding_window), None


def _by_runs(
    segments: Segments,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    """One call of torch's attention per run of equally long items: no mask, no padding."""
    import torch

    parts = []
    for first, count, length in segments.runs:
        cut_query, cut_key, cut_value = (
            # (heads, count × length, width) → (count, heads, length, width)
            states[0, :, first : first + count * length].view(states.shape[1], count, length, -1).transpose(0, 1)
            for states in (query, key, value)
        )
        attended = torch.nn.functional.scaled_dot_product_attention(
            cut_query,
            cut_key,
            cut_value,
            attn_mask=_window_mask(segments, query, length, window),
            scale=scaling,
            enable_gqa=key.shape[1] != query.shape[1],
        )
        parts.append(attended.transpose(1, 2).flatten(0, 1))  # (count × length, heads, width)
    num_filled = query.shape[2] - sum(len(part) for part in parts)
    if num_filled:  # tokens of no item see nothing
        parts.append(parts[0].new_zeros((num_filled, *parts[0].shape[1:])))
    return torch.cat(parts).unsqueeze(0)


def _window_mask(segments: Segments, like: torch.Tensor, length: int, window: int | None) -> torch.Tensor | None:
    """Return what is added to the logits, (length, length): 0 within the window, −∞ beyond; ``None`` if all is within."""
    import torch

    if window is None or length <= window:
        return None
    mask = segments.masks.get((length, window))
    if mask is None:
        position = torch.arange(length, device=like.device)
        is_far = (position[:, None] - position[None, :]).abs() >= window
        mask = torch.zeros(length, length, dtype=like.dtype, device=like.device).masked_fill_(is_far, -torch.inf)
        segments.masks[length, window] = mask
    return mask


def _as_one_row(
    segments: Segments,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    """One kernel for the whole row."""
    from torch.nn.attention.varlen import varlen_attn

    if segments.short_bounds is None:
        segments.short_bounds = segments.bounds.int()
    reach = (-1, -1) if window is None else (window - 1, window - 1)
    flat_query, flat_key, flat_value = (states[0].transpose(0, 1) for states in (query, key, value))
    attended = varlen_attn(
        flat_query,  # (T, heads, width)
        flat_key,
        flat_value,
        segments.short_bounds,
        segments.short_bounds,
        segments.longest,
        segments.longest,
        scale=scaling,
        window_size=reach,
        enable_gqa=key.shape[1] != query.shape[1],
    )
    return cast("torch.Tensor", attended).unsqueeze(0)
