"""A model on its device: running a batch, and what is recorded of it; shared by all families that use torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.scoring.checkpoints import Checkpoint
from rerank_bench.scoring.device_copy import padded_inputs
from rerank_bench.scoring.device_launch import out_of_memory_as_too_large, start_clock
from rerank_bench.scoring.devices import (
    default_batch_tokens,
    peak_device_bytes,
    resolve_device,
    resolve_dtype,
    trial_batch_tokens,
)
from rerank_bench.scoring.file_fingerprints import FileFingerprints, fingerprint_files
from rerank_bench.scoring.flops import ForwardCost, forward_cost, is_peak_cheap, matmul_peak
from rerank_bench.scoring.launching import Launched
from rerank_bench.scoring.scorer import SCORING_CODE_VERSION, ScorerConfig
from rerank_bench.scoring.tokenization import TokenBatch
from rerank_bench.storage import fingerprint_json

if TYPE_CHECKING:
    import torch

    from rerank_bench.scoring.packing import PackedModel


@dataclass(frozen=True, slots=True, eq=False)
class ModelRuntime:
    """A model on its device."""

    checkpoint: Checkpoint
    files: FileFingerprints
    model: Any
    device: torch.device
    dtype: torch.dtype
    """Of the trunk."""
    num_parameters: int
    linear: str = "plain"
    """``prepacked`` where the processor's own layout of the weights is used."""
    packed: PackedModel | None = None
    """How batches run without padding; ``None``: they are padded."""
    cost: ForwardCost | None = None
    """What a forward pass costs; ``None`` where it is not known."""

    @classmethod
    def place(
        cls,
        checkpoint: Checkpoint,
        config: ScorerConfig,
        model: Any,
        place: Callable[[Any, torch.device, torch.dtype], Any],
    ) -> ModelRuntime:
        """Return the runtime of a model that ``place`` puts on the device that the configuration asks for."""
        device = resolve_device(config.device)
        dtype = resolve_dtype(config.dtype, device)
        num_parameters = sum(parameter.numel() for parameter in model.parameters())
        cost = forward_cost(model)
        placed = place(model, device, dtype)
        return cls(checkpoint, fingerprint_files(checkpoint), placed, device, dtype, num_parameters, cost=cost)

    @property
    def name(self) -> str:
        """What results call the model."""
        return self.checkpoint.name

    @property
    def is_float32(self) -> bool:
        """Whether the trunk runs in float32."""
        return str(self.dtype) == "torch.float32"

    @property
    def num_embeddings(self) -> int:
        """Rows of the token embedding table."""
        return int(self.model.get_input_embeddings().num_embeddings)

    @property
    def default_batch_tokens(self) -> int:
        """Budget when the user names none."""
        return default_batch_tokens(self.device, self.dtype)

    @property
    def trial_batch_tokens(self) -> tuple[int, ...]:
        """Budgets that are worth a trial."""
        return trial_batch_tokens(self.device, self.dtype)

    def flops(self, lengths: NDArray[np.int32]) -> float | None:
        """Return the operations that items of (N,) tokens cost, see ``flops.py``; ``None`` where they are not known."""
        if self.cost is None:
            return None
        return self.cost.flops(lengths, skips_tail=self.packed is not None and self.packed.skips_tail)

    def peak_flops_per_second(self, flops: float) -> float | None:
        """Return the speed of the device's matrix products, unless measuring it costs much beside so many operations."""
        return matmul_peak(self.device, self.dtype) if is_peak_cheap(self.device, flops) else None

    def peak_device_bytes(self) -> int | None:
        """Return the highest device memory so far, in bytes; ``None`` without an accelerator."""
        return peak_device_bytes(self.device)

    def launch(
        self,
        batch: TokenBatch,
        head: Callable[[Any, torch.Tensor], torch.Tensor],
        *,
        forward: Callable[..., Any] | None = None,
    ) -> Launched:
        """Give a batch to the device, which makes ``head(outputs, attention_mask)`` of it, (B, …) float32.

        Args:
            batch: The tokens.
            head: What is made of the model's outputs.
            forward: Called with the inputs by name in the place of the model, which it calls itself.

        Raises:
            BatchTooLargeError: The device's memory did not suffice.
        """
        import torch

        with out_of_memory_as_too_large(), torch.inference_mode():
            clock = start_clock(self.device)
            if self.packed is not None:
                packed = self.packed.prepare(batch, self.device)
                clock.copied()
                return clock.launched(head(*self.packed.run(packed)))
            inputs = padded_inputs(batch, self.device)
            clock.copied()
            return clock.launched(head((forward or self.model)(**inputs), inputs["attention_mask"]))

    def describe(self) -> dict[str, Any]:
        """Return what a result records of any model, JSON-able."""
        return {
            "name": self.name,
            "family": self.checkpoint.family,
            "revision": self.checkpoint.revision,
            "adapter_base": None if self.checkpoint.adapter is None else self.checkpoint.adapter.base,
            "adapter_base_revision": self.checkpoint.base_revision,
            "architecture": type(self.model).__name__,
            "weights_fingerprint": self.files.weights,
            "tokenizer_fingerprint": self.files.tokenizer,
            "dtype": str(self.dtype).removeprefix("torch."),
            "head_dtype": "float32",
            "attention": self.attention,
            "device": self.device.type,
            "batches": "padded" if self.packed is None else "packed",
            "linear": self.linear,
            "num_parameters": self.num_parameters,
        }

    @property
    def attention(self) -> str:
        """``packed`` for ours (``packed varlen`` with CUDA's one kernel), else the one that transformers chose."""
        if self.packed is not None:
            return "packed" if self.packed.body == "runs" else f"packed {self.packed.body}"
        return str(getattr(self.model.config, "_attn_implementation", None) or "eager")

    def fingerprint(self, template: dict[str, Any], max_length: int) -> str:
        """Return the SHA-256, hex, of all that decides a score."""
        body = type(getattr(self.model, "trunk", self.model))  # of a head made of modules, what carries it
        return fingerprint_json(
            {
                "code": SCORING_CODE_VERSION,
                "family": self.checkpoint.family,
                "architecture": body.__name__,
                "has_own_code": not body.__module__.startswith("transformers."),
                "weights": self.files.weights,
                "tokenizer": self.files.tokenizer,
                "settings": self.files.settings,
                "template": template,
                "max_length": max_length,
                "dtype": str(self.dtype),
                "device": self.device.type,
                "attention": self.attention,
                "linear": self.linear,
            }
        )


def takes_type_ids(model: Any) -> bool:
    """Return whether the model's forward takes segment ids; a checkpoint's own code may hand on what it does not name."""
    parameters = inspect.signature(model.forward).parameters
    hands_on = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return "token_type_ids" in parameters or (hands_on and type(model).__module__.startswith("transformers_modules."))
