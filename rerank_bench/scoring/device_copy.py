"""From arrays of the host to tensors of a device: one copy for a whole batch, without waiting for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rerank_bench.scoring.tokenization import TokenBatch

if TYPE_CHECKING:
    import torch


def to_device(arrays: Sequence[NDArray[np.int64]], device: torch.device) -> list[torch.Tensor]:
    """Return int64 arrays of any shapes as tensors on a device.

    On CUDA they travel as one block of pinned memory, and the call returns before they have arrived: what is launched
    after it waits for them on the device.  On a CPU they share the arrays' memory.
    """
    import torch

    if device.type == "cpu":
        return [torch.from_numpy(array) for array in arrays]
    block = torch.empty(sum(array.size for array in arrays), dtype=torch.int64, pin_memory=device.type == "cuda")
    np.concatenate([array.reshape(-1) for array in arrays], out=block.numpy())
    # Elsewhere than on CUDA the call has to wait: this memory is freed when it returns.
    parts = torch.split(block.to(device, non_blocking=device.type == "cuda"), [array.size for array in arrays])
    return [part.view(array.shape) for part, array in zip(parts, arrays, strict=True)]


def padded_inputs(batch: TokenBatch, device: torch.device) -> dict[str, torch.Tensor]:
    """Return a padded batch as what a model's forward takes by name, (B, L) each."""
    arrays = {name: array for name, array in batch._asdict().items() if array is not None}
    return dict(zip(arrays, to_device(list(arrays.values()), device), strict=True))
