"""``--engine ray``: where the cluster is and how large a worker is; kept apart so that parsing a request loads no Ray."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rerank_bench.errors import ConfigError
from rerank_bench.scoring.specs import ModelSpec

ADDRESS_VARIABLE = "RAY_ADDRESS"
"""Ray's own environment variable; ``ray job submit`` sets it."""

_ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+):(?P<port>\d{1,5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class RayOptions:
    """Which cluster, and what one worker takes of it."""

    address: str | None = None
    """``host:port`` of the head node, or ``auto``: the cluster that this machine belongs to.  ``None``: what
    ``RAY_ADDRESS`` says, else ``auto``, else a Ray of this machine that lives as long as the run."""
    cores: int | None = None
    """Cores of a worker, and threads of torch in it; ``None``: on a CPU as many as torch would use here, so that scores are
    those of the local engine; on a GPU one."""

    def __post_init__(self) -> None:
        if self.address is not None and self.address != "auto":
            split_address(self.address)
        if self.cores is not None and self.cores < 1:
            msg = f"--ray-cores is {self.cores}, expected at least 1 core for each worker"
            raise ConfigError(msg)


def parse_engine(engine: str, *, address: str | None = None, cores: int | None = None) -> RayOptions | None:
    """Return the options of an engine; ``None``: the local one.

    Raises:
        ConfigError: Options of Ray, without Ray; or what ``RayOptions`` raises.
    """
    if engine == "ray":
        return RayOptions(address=address, cores=cores)
    given = [name for name, value in (("--ray-address", address), ("--ray-cores", cores)) if value is not None]
    if given:
        msg = f"{' and '.join(given)}: no effect with --engine {engine}; pass --engine ray"
        raise ConfigError(msg)
    return None


def split_address(address: str) -> tuple[str, int]:
    """Return (host, port) of the address of a cluster.

    Raises:
        ConfigError: It is not ``host:port``.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found["port"]) < 2**16:
        msg = f"--ray-address is {address!r}, expected host:port of the head node, such as 10.0.0.1:6379, or auto"
        if address.startswith("ray://"):
            msg += (
                "; a run cannot be driven through Ray Client: start it on a node of the cluster, or with ray job submit"
            )
        raise ConfigError(msg)
    return found["host"].strip("[]"), int(found["port"])


def check_device_for_ray(device: str, devices: tuple[str, ...]) -> None:
    """Raise unless Ray can place workers on what was asked for.

    Raises:
        ConfigError: Devices of this machine were named, or a kind that Ray does not count.
    """
    if devices:
        msg = f"--devices {','.join(devices)} names devices of this machine, --engine ray takes those of a cluster; drop one"
        raise ConfigError(msg)
    if device not in {"auto", "cpu", "cuda"}:
        msg = f"--device {device} names a device of this machine; with --engine ray name auto, cpu or cuda"
        raise ConfigError(msg)


def check_kind_on_ray(model: ModelSpec, options: RayOptions | None) -> None:
    """Raise where a model cannot be loaded by the workers of a cluster.

    Raises:
        ConfigError: It is a Python function or a service.
    """
    if options is not None and model.kind in {"callable", "external"}:
        what = "a Python function" if model.kind == "callable" else "a service"
        msg = f"model {model.text!r} is {what} and runs where it is; drop --engine ray, or run that model apart"
        raise ConfigError(msg)


def describe_engine(options: RayOptions | None) -> dict[str, Any]:
    """Return what a result records of the engine, JSON-able; nothing of the local one."""
    return {} if options is None else {"engine": "ray", "threads_per_worker": options.cores}
