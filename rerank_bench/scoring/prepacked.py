"""Linear layers of a CPU model with their weights laid out for the processor once, instead of in every call.

The operators are those that torch's own compiler puts in place; where torch was built without them nothing changes.
Measured on one core of an AMD EPYC (AVX-512), 2,000 tokens, 384 → 1,536: 21.5 ms instead of 24.3 ms in float32, 11.1
ms instead of 12.2 ms in bfloat16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Replaced = list[tuple[Any, str, Any]]
"""(parent module, attribute, the module that was there)."""


def prepack_linears(trunk: Any) -> Replaced:
    """Replace the linear layers of a CPU trunk and return what they were, for ``restore``; empty where torch cannot.

    The pooler stays as it is: it is small, and float32 whatever the trunk is.
    """
    import torch

    if not has_operators() or next(trunk.parameters()).device.type != "cpu":
        return []
    pooler = getattr(trunk, "pooler", None)
    kept = {id(module) for module in pooler.modules()} if pooler is not None else set()
    replaced: Replaced = []
    for parent in list(trunk.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is torch.nn.Linear and id(child) not in kept and child.weight.dtype in _dtypes():
                replaced.append((parent, name, child))
    with torch.inference_mode():
        for parent, name, child in replaced:
            setattr(parent, name, _prepacked(child))
    return replaced


def restore(replaced: Replaced) -> None:
    """Put the layers back."""
    for parent, name, child in replaced:
        setattr(parent, name, child)


def has_operators() -> bool:
    """Return whether torch has the operators that are needed."""
    import torch

    operators = torch.ops.mkldnn
    return torch._C._has_mkldnn and all(  # noqa: SLF001 - what torch.backends.mkldnn.is_available returns
        hasattr(operators, name) for name in ("_reorder_linear_weight", "_linear_pointwise")
    )


def _dtypes() -> tuple[torch.dtype, ...]:
    import torch

    has_bfloat16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001 - torch has no public name for it
    return (torch.float32, torch.bfloat16) if has_bfloat16 else (torch.float32,)


def _prepacked(linear: torch.nn.Linear) -> torch.nn.Module:
    import torch

    class PrepackedLinear(torch.nn.Module):
        """``x W' + b`` with W in the processor's layout."""

        def __init__(self) -> None:
            super().__init__()
            self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)  # noqa: SLF001
            self.bias = None if linear.bias is None else linear.bias.detach()

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001
                states, self.packed, self.bias, "none", [], ""
            )
            return result

    return PrepackedLinear()
