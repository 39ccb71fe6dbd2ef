"""The energy that a training takes, from the machine's own counters: NVML on NVIDIA GPUs, RAPL on the CPU.

Counters count for a whole CPU or GPU, other programs included.  Where none can be read (RAPL is root's on most systems),
there is no figure; nothing is estimated from a nominal power.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")
SAMPLE_SECONDS = 30.0
"""RAPL's counters go round after 2^18 J or so: at 1 kW after more than four minutes."""
COUNTERS = "counters"
_NVML_LIBRARY = "libnvidia-ml.so.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """One energy counter."""

    read: Callable[[], float]
    """Joules since some moment in the past; an ``OSError`` or ``ValueError`` where they cannot be read any more."""
    span: float | None = None
    """Joules after which it starts at 0 again; ``None``: it does not."""


@dataclass(slots=True)
class EnergyUse:
    """Joules since the measurement began, by part of the machine; empty where there is no counter."""

    joules: dict[str, float] = field(default_factory=dict)
    source: str = COUNTERS
    """What gave the figures; CodeCarbon's are estimates where the machine lets nobody read a counter."""

    def as_dict(self) -> dict[str, Any] | None:
        """Return what a training's record says, ``None`` where nothing could be read."""
        return {"joules": dict(self.joules), "source": self.source} if self.joules else None


@contextlib.contextmanager
def measure_energy(counters: Mapping[str, Counter] | None = None) -> Iterator[EnergyUse]:
    """Count energy while the block runs; the figures are whole when it has ended.

    Args:
        counters: Name -> counter; ``None``: those of this machine.
    """
    counters = find_counters() if counters is None else counters
    use, last = EnergyUse(), {name: counter.read() for name, counter in counters.items()}
    use.joules = dict.fromkeys(counters, 0.0)

    def sample() -> None:
        for name in list(use.joules):
            counter = counters[name]
            try:
                now = counter.read()
            except (OSError, ValueError):
                del use.joules[name]  # a part of the energy would pass for all of it
                continue
            step = now - last[name]
            use.joules[name] += step + counter.span if step < 0 and counter.span is not None else step
            last[name] = now

    ended = threading.Event()

    def keep_sampling() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            sample()

    thread = threading.Thread(target=keep_sampling, name="energy", daemon=True)
    if counters:
        thread.start()
    try:
        yield use
    finally:
        ended.set()
        if counters:
            thread.join()
            sample()


def find_counters(powercap: Path = POWERCAP) -> dict[str, Counter]:
    """Return the counters that can be read on this machine: of its CPUs, and of the GPUs that this job trains on."""
    return {**rapl_counters(powercap), **nvml_counters(_load_nvml(), _gpu_uuids())}


def rapl_counters(powercap: Path) -> dict[str, Counter]:
    """Return one counter per CPU package (``intel-rapl:N``, AMD's too) whose file may be read."""
    counters = {}
    for zone in sorted(powercap.glob("intel-rapl:[0-9]*")):
        file = zone / "energy_uj"
        try:
            name = (zone / "name").read_text(encoding="ascii").strip()
            span = _micro(zone / "max_energy_range_uj")
            _micro(file)
        except (OSError, ValueError):
            continue
        if name.startswith("package"):  # cores and memory are parts of it, or counted in part
            counters[f"CPU {name}"] = Counter(read=lambda file=file: _micro(file), span=span)  # type: ignore[misc]
    return counters


def _micro(path: Path) -> float:
    return int(path.read_text(encoding="ascii")) / 1e6


def _load_nvml() -> Any:
    """Return NVIDIA's management library, ``None`` without a driver."""
    try:
        library = ctypes.CDLL(_NVML_LIBRARY)
    except OSError:
        return None
    return library if library.nvmlInit_v2() == 0 else None


def _gpu_uuids() -> list[str]:
    """Return the ids of the GPUs that the job's processes on this machine train on, one each."""
    import os

    import torch

    if not torch.cuda.is_available():
        return []
    count = min(int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count())
    return [f"GPU-{torch.cuda.get_device_properties(index).uuid}" for index in range(count)]


def nvml_counters(library: Any, uuids: Sequence[str]) -> dict[str, Counter]:
    """Return one counter per GPU that counts its energy (Volta and later).

    Args:
        library: NVML's C functions, initialised; ``None`` for none.
        uuids: ``GPU-…``, one per GPU.
    """
    counters = {}
    for number, uuid in enumerate(uuids if library is not None else ()):
        handle = ctypes.c_void_p()
        if library.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle)) != 0:
            continue
        if _millijoules(library, handle) is not None:
            counters[f"GPU {number}"] = Counter(
                read=lambda handle=handle: _read_joules(library, handle)  # type: ignore[misc]
            )
    return counters


def _read_joules(library: Any, handle: ctypes.c_void_p) -> float:
    value = _millijoules(library, handle)
    if value is None:
        msg = "the GPU's energy counter cannot be read any more"
        raise OSError(msg)
    return value / 1e3


def _millijoules(library: Any, handle: ctypes.c_void_p) -> int | None:
    value = ctypes.c_ulonglong()
    failed = library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(value))
    return None if failed else value.value
