"""``--devices``: several devices of one machine, a process on each.

Only names are looked at here, so no torch is needed; ``check_present`` asks torch whether the devices exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rerank_bench.errors import ConfigError, EnvironmentMissingError
from rerank_bench.provenance import num_usable_cores
from rerank_bench.scoring.specs import ModelSpec

_EXPECTED = "expected numbers of CUDA devices such as '0,1' ('cuda:0,cuda:1' is the same), or 'cpu,cpu'"


def parse_devices(text: str) -> tuple[str, ...]:
    """Return the devices of a list such as ``0,1`` (``cuda:0`` and ``cuda:1``) or ``cpu,cpu``.

    Raises:
        ConfigError: A part is neither a number nor a device, or the devices do not go together.
    """
    devices = tuple(f"cuda:{int(part)}" if part.isdecimal() else part for part in map(str.strip, text.split(",")))
    check_devices(devices)
    return devices


def check_devices(devices: Sequence[str]) -> None:
    """Raise unless every name is ``cpu`` or ``cuda:N``, all of one kind, and no CUDA device stands twice.

    Raises:
        ConfigError: One of these.
    """
    if not devices:
        msg = f"--devices names no device; {_EXPECTED}"
        raise ConfigError(msg)
    for device in devices:
        kind, _, index = device.partition(":")
        if device != "cpu" and not (kind == "cuda" and index.isdecimal()):
            msg = f"--devices: {device!r} is no device that can stand in a list; {_EXPECTED}"
            raise ConfigError(msg)
    if len({device.partition(":")[0] for device in devices}) > 1:
        msg = f"--devices {','.join(devices)}: CPU and CUDA give scores of different last digits; name one kind"
        raise ConfigError(msg)
    repeated = sorted({device for device in devices if device != "cpu" and devices.count(device) > 1})
    if repeated:
        msg = f"--devices names {', '.join(repeated)} twice; two processes on one GPU only share it. Name each once"
        raise ConfigError(msg)
    num_cores = num_usable_cores()
    if "cpu" in devices and len(devices) > num_cores:
        msg = f"--devices names {len(devices)} times cpu, but there are {num_cores} cores; name at most one per core"
        raise ConfigError(msg)


def check_present(devices: Sequence[str]) -> None:
    """Raise unless this machine can run a process on every device.

    Raises:
        EnvironmentMissingError: A CUDA device is absent, or the system cannot hand a connection to a process.
    """
    if not devices:
        return
    import multiprocessing.connection

    if not hasattr(multiprocessing.connection, "Connection"):
        msg = "--devices needs Linux or macOS; on this system use --device"
        raise EnvironmentMissingError(msg)
    for device in devices:
        if device != "cpu":
            from rerank_bench.scoring.devices import resolve_device

            resolve_device(device)


def threads_per_process(devices: Sequence[str]) -> int:
    """Return how many threads of torch each process gets: the cores, shared out evenly, at least 1."""
    return max(1, num_usable_cores() // len(devices))


def describe_devices(devices: Sequence[str]) -> dict[str, Any]:
    """Return what a result records of several devices, JSON-able; nothing where there is one."""
    return {"devices": list(devices), "threads_per_process": threads_per_process(devices)} if devices else {}


def check_kind_on_devices(model: ModelSpec, devices: Sequence[str]) -> None:
    """Raise where a model cannot be loaded by several processes.

    Raises:
        ConfigError: It is a Python function or a service: they place themselves.
    """
    if devices and model.kind in {"callable", "external"}:
        what = "a Python function" if model.kind == "callable" else "a service"
        msg = f"model {model.text!r} is {what} and chooses its devices itself; drop --devices, or run that model apart"
        raise ConfigError(msg)
