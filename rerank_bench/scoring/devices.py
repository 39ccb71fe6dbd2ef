"""Where a model runs and in which precision: the choice, and what it cost in memory.

Nothing here changes a setting of the process: no thread count, no environment variable, no default dtype.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerank_bench.errors import ConfigError, EnvironmentMissingError, describe_unknown

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "float32", "bfloat16", "float16")

CPU_BATCH_TOKENS = 2_000
"""A batch that stays in the cache.  MiniLM-L6, float32, packed, one core of an AMD EPYC, pairs per processor second at
1,000, 2,000, 4,000, 8,000 and 16,000 tokens: 69, 71, 71, 58, 64.
"""
CPU_HALF_BATCH_TOKENS = 4_000
"""Likewise in bfloat16, at 500, 1,000, 2,000, 3,000, 4,000 and 8,000 tokens: 109, 117, 123, 126, 126, 122."""
MPS_BATCH_TOKENS = 8_000
CUDA_BATCH_TOKENS = 65_536
"""Enough to keep a large GPU busy with a small model; halved on the way when memory does not suffice."""
CUDA_TOKENS_PER_GIB = 4_096
"""The budget of a device with little memory: 16 GiB and more have the whole one."""


def is_device_name(text: str) -> bool:
    """Return whether ``text`` has the form of a device: one of ``DEVICES``, or ``cuda:N``."""
    kind, colon, index = text.partition(":")
    return text in DEVICES or (kind == "cuda" and bool(colon) and index.isdecimal())


def check_device_name(text: str) -> None:
    """Raise unless ``text`` has the form of a device.

    Raises:
        ConfigError: It has not; the nearest names are offered.
    """
    if not is_device_name(text):
        raise ConfigError(describe_unknown("device", [text], [*DEVICES, "cuda:0"]))


def resolve_device(request: str) -> torch.device:
    """Return the device to run on.

    Args:
        request: ``auto`` (CUDA, else MPS, else CPU), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        ConfigError: The name is none of these.
        EnvironmentMissingError: The device was asked for by name and is absent.
    """
    import torch

    check_device_name(request)
    has_mps = torch.backends.mps.is_available()
    if request == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu")
    device = torch.device(request)
    if device.type == "cuda":
        _check_cuda(request, device.index or 0)
    if device.type == "mps" and not has_mps:
        msg = f"device 'mps' was asked for, but torch {torch.__version__} finds no Apple GPU here; use --device cpu"
        raise EnvironmentMissingError(msg)
    return device


def _check_cuda(request: str, index: int) -> None:
    import torch

    if not torch.cuda.is_available():
        build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        msg = (
            f"device {request!r} was asked for, but torch {torch.__version__} ({build}) finds no CUDA device; "
            "install a driver and a CUDA build of torch, or use --device cpu"
        )
        raise EnvironmentMissingError(msg)
    count = torch.cuda.device_count()
    if index >= count:
        msg = f"device {request!r} was asked for, but there are {count} CUDA devices (cuda:0 to cuda:{count - 1})"
        raise EnvironmentMissingError(msg)


def resolve_dtype(request: str, device: torch.device) -> torch.dtype:
    """Return the precision of the trunk; head and logit are float32 whatever this says.

    Args:
        request: ``auto`` (bfloat16 on a CUDA device with units for it, else float32), or a name of ``DTYPES``.
        device: Where the model runs.

    Raises:
        ConfigError: Unknown name.
    """
    import torch

    if request not in DTYPES:
        raise ConfigError(describe_unknown("dtype", [request], DTYPES))
    if request == "auto":
        has_units = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if has_units else torch.float32
    dtype: torch.dtype = getattr(torch, request)
    return dtype


def default_batch_tokens(device: torch.device, dtype: torch.dtype) -> int:
    """Return the number of padded tokens per batch when the user names none."""
    import torch

    if device.type == "cuda":
        gibibytes = torch.cuda.get_device_properties(device).total_memory / 2**30
        return min(CUDA_BATCH_TOKENS, max(1, round(gibibytes)) * CUDA_TOKENS_PER_GIB)
    if device.type == "mps":
        return MPS_BATCH_TOKENS
    return CPU_BATCH_TOKENS if dtype == torch.float32 else CPU_HALF_BATCH_TOKENS


def trial_batch_tokens(device: torch.device, dtype: torch.dtype) -> tuple[int, ...]:
    """Return the budgets that are worth a trial on a device (``budget_search.py``); none where they hardly differ."""
    if device.type != "cuda":
        return ()
    default = default_batch_tokens(device, dtype)
    return (default // 2, default, 2 * default, 4 * default)


def peak_device_bytes(device: torch.device) -> int | None:
    """Return the highest memory that tensors took on a CUDA device so far, in bytes; ``None`` elsewhere."""
    if device.type != "cuda":
        return None
    import torch

    return int(torch.cuda.max_memory_allocated(device))
