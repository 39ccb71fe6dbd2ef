"""Encoders without padding: the tokens of a batch stand in one row, and attention keeps the items apart.

Attention is ``packed_attention.py``'s.  Hooks take the one vector per item that the head reads out of the row, so that
any head that reads the first token, or the mean, runs unchanged on items of one token.  After the last layer's attention
only the first tokens matter for such a head, so the rest of that layer is computed for these alone.

Nothing here is trusted for a checkpoint before ``acceleration.py`` has compared it with the padded forward.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rerank_bench.scoring.device_copy import to_device
from rerank_bench.scoring.packed_attention import (
    ATTENTION_NAME,
    Body,
    PackingError,
    Segments,
    bounds_of,
    packed_attention,
    runs_of,
)
from rerank_bench.scoring.tokenization import TokenBatch

if TYPE_CHECKING:
    import torch

CPU_ROW_TOKENS = 32
"""On a CPU a row is filled up to a multiple of so many tokens, and so are the first tokens behind the last attention.
For every number of rows that oneDNN's matrix product has not met yet it makes a kernel, which takes 1.2 ms and 0.65 MB that
it does not give back (torch 2.13, its default cache of 1,024 kernels); row lengths of a long job are nearly all different."""

Reduction = Literal["first", "mean", "last"]
"""Which vector of an item the head reads."""


@dataclass(frozen=True, slots=True, eq=False)
class PackedInputs:
    """A batch on its device, as one row of T tokens; the last ones may belong to no item."""

    by_name: dict[str, torch.Tensor]
    """What the model's forward takes, (1, T) each."""
    segments: Segments


@dataclass(slots=True, eq=False)
class PackedModel:
    """An encoder with our attention and our hooks, until ``remove`` is called."""

    model: Any
    trunk: Any
    """The part of the model before its head; the model itself if it has none."""
    reduction: Reduction
    position_offset: int
    """Position of an item's first token: RoBERTa's kin count from the padding index + 1."""
    body: Body = "runs"
    """Which attention runs."""
    segments: Segments | None = None
    """Of the batch that is being run."""
    before: str | None = None
    """Attention implementation that ``remove`` restores."""
    removers: list[Any] = field(default_factory=list)
    skips_tail: bool = False
    """Whether only first tokens go on behind the last attention."""

    @classmethod
    def install(cls, model: Any, reduction: Reduction, body: Body) -> PackedModel:
        """Return the model with our attention.

        Raises:
            PackingError: It takes no positions, or no attention function by name.
        """
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
        packed = cls(model, trunk, reduction, _position_offset(trunk), body)
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

    def prepare(self, batch: TokenBatch, device: torch.device) -> PackedInputs:
        """Return a batch on its device."""
        kept = batch.attention_mask.astype(bool)  # (B, L)
        lengths: list[int] = kept.sum(axis=1).tolist()
        arrays = {
            "input_ids": batch.input_ids[kept],  # (T,)
            "position_ids": np.nonzero(kept)[1] + self.position_offset,
        }
        if batch.token_type_ids is not None:
            arrays["token_type_ids"] = batch.token_type_ids[kept]
        if device.type == "cpu":
            fill = -sum(lengths) % CPU_ROW_TOKENS
            arrays = {name: np.pad(row, (0, fill), mode="edge") for name, row in arrays.items()}
        bounds, *rows = to_device([bounds_of(lengths), *arrays.values()], device)
        segments = Segments(bounds, max(lengths), runs_of(lengths), self.body)
        return PackedInputs({name: row.unsqueeze(0) for name, row in zip(arrays, rows, strict=True)}, segments)

    def run(self, inputs: PackedInputs) -> tuple[Any, torch.Tensor]:
        """Return (the model's outputs, as if each item had one token; the mask of such items, (B, 1))."""
        self.segments = segments = inputs.segments
        # For the head, which sees items of one token; our attention is asked for none.
        mask = segments.starts.new_ones((len(segments.starts), 1))
        outputs = self.model(**inputs.by_name, attention_mask=mask, packed_segments=segments)
        if segments.num_calls == 0:
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
            self.skips_tail = True

    def _first_tokens(self, _module: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Return (1, R, H) for every (1, T, H): a row for every item; on a CPU the last one again, to fill up."""
        import torch

        at = self._current().starts
        if at.device.type == "cpu":
            at = at[torch.arange(len(at) + -len(at) % CPU_ROW_TOKENS).clamp(max=len(at) - 1)]
        return tuple(states[:, at] for states in inputs)

    def _reduce_output(self, _module: Any, _inputs: Any, output: Any) -> Any:
        output["last_hidden_state"] = self._reduce(output["last_hidden_state"])
        return output

    def _reduce(self, states: torch.Tensor) -> torch.Tensor:
        """Return (B, 1, H) from (1, T, H), or from (1, R, H) after a cut last layer."""
        import torch

        segments = self._current()
        if self.skips_tail:  # one vector per item already, and what fills up
            return states[:, : len(segments.starts)].transpose(0, 1)
        if self.reduction == "mean":
            means = [
                states[0, first : first + count * length].view(count, length, -1).float().mean(dim=1)
                for first, count, length in segments.runs
            ]
            return torch.cat(means).unsqueeze(1).to(states.dtype)
        at = segments.starts if self.reduction == "first" else segments.bounds[1:] - 1
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
