"""Encoders without padding: the tokens of a batch stand in one row, and attention keeps the items apart.

transformers hands attention to a function that is registered by name; ours looks at one item at a time (on a CPU, at
one run of equally long items).  Hooks take the one vector per item that the head reads out of the row, so that any
head that reads the first token, or the mean, runs unchanged on items of one token.  After the last layer's attention
only the first tokens matter for such a head, so the rest of that layer is computed for these alone.

Nothing here is trusted for a checkpoint before ``acceleration.py`` has compared it with the padded forward.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from rerank_bench.scoring.tokenization import TokenBatch

if TYPE_CHECKING:
    import torch

Reduction = Literal["first", "mean", "last"]
"""Which vector of an item the head reads."""

ATTENTION_NAME = "rerank_bench_packed"
"""Name of our function among those of transformers."""


class PackingError(Exception):
    """The model cannot run packed; never seen by users, who get a note and the padded forward."""


@dataclass(slots=True, eq=False)
class Segments:
    """Where the B items of a packed row of T tokens start and stop."""

    bounds: list[int]
    """B + 1 token positions."""
    starts: torch.Tensor
    """(B,) int64, on the device."""
    bounds_on_device: torch.Tensor
    """(B + 1,) int32, on the device."""
    longest: int
    runs: list[tuple[int, int, int]]
    """(first token, number of items, tokens of each) of every run of equally long items."""
    num_calls: int = 0
    """How often attention was asked for with these segments."""
    masks: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)
    """Window masks of this batch by (length, window)."""


def segments_of(lengths: list[int], device: torch.device) -> Segments:
    """Return the segments of items of these lengths, in this order."""
    import torch

    bounds = [0, *np.cumsum(lengths).tolist()]
    runs: list[tuple[int, int, int]] = []
    for start, length in zip(bounds, lengths, strict=False):
        if runs and runs[-1][2] == length:
            first, count, _ = runs[-1]
            runs[-1] = (first, count + 1, length)
        else:
            runs.append((start, 1, length))
    on_device = torch.tensor(bounds, dtype=torch.int32).to(device, non_blocking=True)
    return Segments(bounds, on_device[:-1].long(), on_device, max(lengths), runs)


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
    if query.device.type == "cuda":
        return _on_cuda(packed_segments, query, key, value, scaling, sliding_window), None
    return _by_runs(packed_segments, query, key, value, scaling, sliding_window), None


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


def _on_cuda(
    segments: Segments,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    """One kernel for the whole row."""
    from torch.nn.attention.varlen import varlen_attn

    bounds = segments.bounds_on_device
    reach = (-1, -1) if window is None else (window - 1, window - 1)
    flat_query, flat_key, flat_value = (states[0].transpose(0, 1).contiguous() for states in (query, key, value))
    attended = varlen_attn(
        flat_query,  # (T, heads, width)
        flat_key,
        flat_value,
        bounds,
        bounds,
        segments.longest,
        segments.longest,
        scale=scaling,
        window_size=reach,
        enable_gqa=key.shape[1] != query.shape[1],
    )
    return cast("torch.Tensor", attended).unsqueeze(0)


def why_not_packed(device: torch.device, dtype: torch.dtype) -> str | None:
    """Return why nothing runs packed on this device in this precision; ``None`` if it does."""
    import torch

    if device.type == "cpu":
        return None
    if device.type != "cuda":
        return f"no packed attention for {device.type}"
    if dtype == torch.float32:
        return "no packed attention for float32 on CUDA"
    try:
        from torch.nn.attention import varlen
    except ImportError:
        return f"torch {torch.__version__} has no torch.nn.attention.varlen"
    return None if hasattr(varlen, "varlen_attn") else "torch.nn.attention.varlen has no varlen_attn"


@dataclass(slots=True, eq=False)
class PackedModel:
    """An encoder with our attention and our hooks, until ``remove`` is called."""

    model: Any
    trunk: Any
    """The part of the model before its head; the model itself if it has none."""
    reduction: Reduction
    position_offset: int
    """Position of an item's first token: RoBERTa's kin count from the padding index + 1."""
    segments: Segments | None = None
    """Of the batch that is being run."""
    before: str | None = None
    """Attention implementation that ``remove`` restores."""
    removers: list[Any] = field(default_factory=list)

    @classmethod
    def install(cls, model: Any, reduction: Reduction) -> PackedModel:
        """Return the model with our attention.

        Raises:
            PackingError: It takes no positions, or no attention function by name.
        """
        import inspect

        from transformers import AttentionInterface

        trunk = getattr(model, model.base_model_prefix or " ", model)
        if "position_ids" not in inspect.signature(trunk.forward).parameters:
            msg = f"{type(trunk).__name__} takes no position_ids"
            raise PackingError(msg)
        if not getattr(trunk, "_supports_attention_backend", False) and not getattr(trunk, "_supports_sdpa", False):
            msg = f"{type(trunk).__name__} has attention of its own kind"
            raise PackingError(msg)
        if ATTENTION_NAME not in AttentionInterface():
            AttentionInterface.register(ATTENTION_NAME, packed_attention)
        packed = cls(model, trunk, reduction, _position_offset(trunk))
        packed.before = trunk.config._attn_implementation  # noqa: SLF001 - transformers' only name for it
        trunk.set_attn_implementation(ATTENTION_NAME)
        packed._hook()
        return packed

    def remove(self) -> None:
        """Give the model back its own attention."""
        for remover in self.removers:
            remover.remove()
        self.removers.clear()
        self.trunk.set_attn_implementation(self.before)

    def run(self, batch: TokenBatch, device: torch.device) -> tuple[Any, torch.Tensor]:
        """Return (the model's outputs, as if each item had one token; the mask of such items, (B, 1))."""
        import torch

        kept = batch.attention_mask.astype(bool)  # (B, L)
        lengths = kept.sum(axis=1)
        positions = np.nonzero(kept)[1] + self.position_offset  # (T,)

        def on_device(values: Any) -> torch.Tensor:
            row = torch.from_numpy(values).unsqueeze(0)  # (1, T)
            return row.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else row

        inputs = {"input_ids": on_device(batch.input_ids[kept]), "position_ids": on_device(positions)}
        if batch.token_type_ids is not None:
            inputs["token_type_ids"] = on_device(batch.token_type_ids[kept])
        self.segments = segments_of(lengths.tolist(), device)
        # For the head, which sees items of one token; our attention is asked for none.
        mask = torch.ones((len(lengths), 1), dtype=torch.long, device=device)
        outputs = self.model(**inputs, attention_mask=mask, packed_segments=self.segments)
        if self.segments.num_calls == 0:
            msg = f"{type(self.model).__name__} does not call the attention function that it was given"
            raise PackingError(msg)
        return outputs, mask

    def _hook(self) -> None:
        pooler = getattr(self.trunk, "pooler", None)
        if pooler is not None:
            self.removers.append(pooler.register_forward_pre_hook(lambda _module, inputs: (self._reduce(inputs[0]),)))
        self.removers.append(self.trunk.register_forward_hook(self._reduce_output))
        if self.reduction == "first":
            self._skip_rest_of_last_layer()

    def _skip_rest_of_last_layer(self) -> None:
        """BERT's kin: after attention, only first tokens go on through the last layer."""
        layers = getattr(getattr(self.trunk, "encoder", None), "layer", None)
        if not layers or not hasattr(layers[-1], "feed_forward_chunk"):
            return
        output = getattr(getattr(layers[-1], "attention", None), "output", None)
        if output is not None:
            self.removers.append(output.register_forward_pre_hook(self._first_tokens))

    def _first_tokens(self, _module: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Return (1, B, H) for every (1, T, H)."""
        segments = self._current()
        return tuple(states[:, segments.starts] for states in inputs)

    def _reduce_output(self, _module: Any, _inputs: Any, output: Any) -> Any:
        output["last_hidden_state"] = self._reduce(output["last_hidden_state"])
        return output

    def _reduce(self, states: torch.Tensor) -> torch.Tensor:
        """Return (B, 1, H) from (1, T, H), or from (1, B, H) after a cut last layer."""
        import torch

        segments = self._current()
        if states.shape[1] == len(segments.starts):  # one vector per item already
            return states.transpose(0, 1)
        if self.reduction == "mean":
            rows = [states[0, start:stop].float().mean(dim=0) for start, stop in pairwise(segments.bounds)]
            return torch.stack(rows).unsqueeze(1).to(states.dtype)
        at = segments.starts if self.reduction == "first" else segments.bounds_on_device[1:].long() - 1
        return states[0, at].unsqueeze(1)

    def _current(self) -> Segments:
        if self.segments is None:
            msg = "the model was run without segments"
            raise PackingError(msg)
        return self.segments


def _position_offset(model: Any) -> int:
    for name, module in model.named_modules():
        padding_index = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and hasattr(module, "weight"):
            return 0 if padding_index is None else int(padding_index) + 1
    return 0


_REDUCTION_BY_POOLING: dict[str, Reduction] = {"cls": "first", "mean": "mean", "lasttoken": "last"}


def reduction_of(pooling: str) -> Reduction | None:
    """Return the vector that a pooling of Sentence Transformers' name reads; ``None`` if it is more than one."""
    return _REDUCTION_BY_POOLING.get(pooling)


def head_reduction(model: Any) -> Reduction | None:
    """Return what a classifier's head reads; ``None`` if it is more than one vector per item."""
    modules = getattr(model, "head", None)
    if hasattr(model, "trunk") and modules:  # a head made of modules, which starts with a pooling
        modes: tuple[str, ...] = getattr(modules[0], "modes", ())
        return reduction_of(modes[0]) if len(modes) == 1 else None
    return reduction_of(getattr(model.config, "classifier_pooling", None) or "cls")
