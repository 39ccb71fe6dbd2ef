"""A connection to a Ray cluster: found and reached within seconds or refused, silent on stdout, shared by all models.

Ray is imported here alone, and only where ``--engine ray`` was asked for.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from rerank_bench import progress
from rerank_bench.errors import EnvironmentMissingError
from rerank_bench.scoring.ray_options import ADDRESS_VARIABLE, RayOptions, check_device_for_ray, split_address
from rerank_bench.scoring.scorer import ScorerConfig

ANSWER_SECONDS = 10.0
"""How long a head node may take to answer; Ray itself would go on trying for minutes."""
_HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""What every client of HTTP/2, and so of gRPC, opens with (RFC 9113, section 3.4): preface and empty settings."""
_SETTINGS_TYPE = 4
"""Type of the frame that a server of HTTP/2 answers with; the fourth byte of its head."""


@dataclass(frozen=True, slots=True)
class WorkerShape:
    """How many workers a cluster holds, and what each of them takes."""

    device: str
    """``cpu`` or ``cuda``."""
    num_workers: int
    num_threads: int

    def options(self) -> dict[str, Any]:
        """Return the resources of one worker as Ray calls them."""
        return {"num_cpus": self.num_threads, "num_gpus": 1 if self.device == "cuda" else 0}


def import_ray() -> Any:
    """Return the package.

    Raises:
        EnvironmentMissingError: It is not installed.
    """
    try:
        import ray
    except ImportError as error:
        msg = '--engine ray needs the package ray, which is not installed; run: pip install "rerank-bench[ray]"'
        raise EnvironmentMissingError(msg) from error
    return ray


@contextlib.contextmanager
def ray_session(options: RayOptions | None) -> Iterator[None]:
    """Hold the connection for the time of a run, whatever number of models it has; ``None``: no Ray, nothing to do.

    Ray prints what befalls its nodes on stdout, whatever its own options say; stdout is for results, so all of it goes to
    stderr inside the block.

    Raises:
        EnvironmentMissingError: What ``connect`` raises.
    """
    if options is None:
        yield
        return
    with contextlib.redirect_stdout(sys.stderr):
        ray = import_ray()
        is_ours = not ray.is_initialized()
        connect(options)
        try:
            yield
        finally:
            if is_ours:
                ray.shutdown()


def connect(options: RayOptions) -> Any:
    """Return the package, connected to the cluster; a connection that the caller's program made is used.

    Raises:
        EnvironmentMissingError: Ray is not installed, the cluster does not answer, or runs other versions of Ray or Python.
    """
    ray = import_ray()
    if ray.is_initialized():
        return ray
    address = options.address or os.environ.get(ADDRESS_VARIABLE) or None
    if address is not None and address != "auto":
        _check_answers(*split_address(address))
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        _init(ray, address=address or "auto", **quiet)
    except ConnectionError as error:
        if address is not None:
            raise EnvironmentMissingError(_not_reached(address, str(error))) from error
        progress.note(
            "no Ray cluster runs on this machine, so one is started for this run; --ray-address names another"
        )
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a Ray of ours reports to nobody unless it is asked to
        _start_ray(ray, quiet)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        if "ersion mismatch" in reason:
            msg = f"{reason}; install the same versions on every machine of the cluster"
        else:  # the head answers, but this machine is none of its nodes
            msg = (
                f"the Ray cluster at {address or 'auto'} does not take this process in ({reason}); start the run on a machine "
                "of the cluster ('ray start --address HOST:PORT' makes this one a node), or with 'ray job submit'"
            )
        raise EnvironmentMissingError(msg) from error
    return ray


def _init(ray: Any, **options: Any) -> None:
    """Connect, and keep our own ways to end: Ray puts a handler of SIGTERM in their place that tells nobody anything."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options)
    finally:
        if callable(handler) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _start_ray(ray: Any, quiet: dict[str, Any]) -> None:
    """Start a Ray of this machine, for as long as this process is connected to it.

    Raises:
        EnvironmentMissingError: It does not start.
    """
    try:
        _init(ray, include_dashboard=False, **quiet)
    except Exception as error:  # Ray raises bare ones: a head that takes too long, a folder that it cannot write
        msg = (
            f"no Ray could be started on this machine ({' '.join(str(error).split())}); start one with 'ray start --head', "
            "see what it says, and pass --ray-address auto"
        )
        raise EnvironmentMissingError(msg) from error


def place_on_ray(config: ScorerConfig) -> ScorerConfig:
    """Return the config with the kind of device and the cores of a worker filled in; without Ray as it is.

    Raises:
        ConfigError: Devices of this machine were named.
        EnvironmentMissingError: What ``connect`` raises; or no node has room for a worker.
    """
    if config.ray is None:
        return config
    check_device_for_ray(config.device, config.devices)
    ray = connect(config.ray)
    device = config.device
    if device == "auto":
        device = "cuda" if any(node.get("GPU", 0) >= 1 for node in _resources(ray)) else "cpu"
    cores = config.ray.cores or (1 if device == "cuda" else _local_threads())
    placed = replace(config, device=device, ray=replace(config.ray, cores=cores))
    worker_shape(ray, placed)
    return placed


def worker_shape(ray: Any, config: ScorerConfig) -> WorkerShape:
    """Return as many workers as fit the nodes that are alive.

    Args:
        ray: The package, connected.
        config: What ``place_on_ray`` returned.

    Raises:
        EnvironmentMissingError: No node has room for one.
    """
    assert config.ray is not None  # noqa: S101 - for the type checker, as the next: placed configs have both
    assert config.ray.cores is not None  # noqa: S101
    cores, nodes = config.ray.cores, _resources(ray)
    per_node = [
        int(min(node.get("CPU", 0) // cores, node.get("GPU", 0) if config.device == "cuda" else 1e9)) for node in nodes
    ]
    if not sum(per_node):
        have = ", ".join(f"{node.get('CPU', 0):g} cores and {node.get('GPU', 0):g} GPUs" for node in nodes[:3])
        more = f", and {len(nodes) - 3} more nodes" if len(nodes) > 3 else ""
        what = f"{cores} cores" + (" and a GPU" if config.device == "cuda" else "")
        msg = (
            f"no node of the Ray cluster has {what} for a worker (found: {have}{more}); pass a lower --ray-cores, another "
            "--device, or start nodes with more (ray start --num-cpus, --num-gpus)"
        )
        raise EnvironmentMissingError(msg)
    return WorkerShape(config.device, sum(per_node), cores)


def accelerators(ray: Any) -> list[str]:
    """Return the types of the cluster's GPUs as Ray calls them, sorted."""
    prefix = "accelerator_type:"
    return sorted({name.removeprefix(prefix) for node in _resources(ray) for name in node if name.startswith(prefix)})


def _resources(ray: Any) -> list[dict[str, float]]:
    """Return the resources of every node that is alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _local_threads() -> int:
    """Return how many threads the local engine would use here."""
    import torch

    return torch.get_num_threads()


def _check_answers(host: str, port: int) -> None:
    """Raise unless a server of gRPC, as a head node is, answers within ``ANSWER_SECONDS``.

    Raises:
        EnvironmentMissingError: None does.
    """
    address = f"{host}:{port}"
    try:
        with socket.create_connection((host, port), timeout=ANSWER_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") in {"1", "true", "True"}:
                return  # it would speak after a handshake only
            connection.sendall(_HTTP2_HELLO)
            answer = connection.recv(9)
    except OSError as error:
        raise EnvironmentMissingError(_not_reached(address, str(error))) from error
    if len(answer) < 4 or answer[3] != _SETTINGS_TYPE:
        raise EnvironmentMissingError(_not_reached(address, "what answers there is no Ray head node"))


def _not_reached(address: str, reason: str) -> str:
    return (
        f"no Ray cluster was reached at {address} ({' '.join(reason.split())}); start one there with 'ray start --head', give "
        f"the address that it printed with --ray-address or {ADDRESS_VARIABLE}, and see that its port is open to this machine"
    )
