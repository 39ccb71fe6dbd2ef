"""What a long run may use ever more of: samples of this process, and whether their trend is flat.

A series is cut into blocks, and the trend is the slope of a line through the means of the blocks: what comes and goes
within a block, such as a cache that is cleared now and then, or memory that is given back late, is no trend.
"""

from __future__ import annotations

import ctypes
import gc
import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROUNDS_PER_BLOCK = 10
"""What is done every now and then is done once in every block."""
WARM_UP_SHARE = 0.3
"""Of the blocks, left out: compiling, first imports, buffers that grow to their size."""
PER_ROUNDS = 1_000
"""Slopes are given per so many rounds."""


class Quantity(NamedTuple):
    """Something that is sampled."""

    unit: str
    scale: float
    """What a sample is divided by for the table."""
    allowed: float
    """Growth per ``PER_ROUNDS`` rounds that counts as none, in the unit."""
    sample: Callable[[Path, Path], float]
    """Called with the cache folder and the folder for temporary files."""


def resident_bytes() -> int:
    """Return the memory of this process that is in use now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class _HeapInfo(ctypes.Structure):
    """``struct mallinfo2`` of glibc."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    )


_LIBC = ctypes.CDLL("libc.so.6")
_LIBC.mallinfo2.restype = _HeapInfo


def heap_bytes() -> int:
    """Return what the main heap holds of blocks that nobody has freed, whatever lies free between them."""
    info = _LIBC.mallinfo2()
    return int(info.uordblks + info.hblkhd)


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def private_bytes() -> int:
    """Return the resident memory that belongs to no file: without the pages of libraries that were called by now."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))


def num_children() -> int:
    """Return how many child processes of any thread are there, zombies included."""
    tasks = Path("/proc/self/task").iterdir()
    return sum(len((task / "children").read_text(encoding="ascii").split()) for task in tasks)


def num_open_figures() -> int:
    """Return how many matplotlib figures are open."""
    import matplotlib.pyplot as plt

    return len(plt.get_fignums())


QUANTITIES: dict[str, Quantity] = {
    "resident memory": Quantity("MB", 1e6, 10.0, lambda _cache, _temp: resident_bytes()),
    "private memory": Quantity("MB", 1e6, 10.0, lambda _cache, _temp: private_bytes()),
    "heap in use": Quantity("MB", 1e6, 10.0, lambda _cache, _temp: heap_bytes()),
    "Python objects": Quantity("thousand", 1e3, 5.0, lambda _cache, _temp: len(gc.get_objects())),
    "open files": Quantity("", 1.0, 0.5, lambda _cache, _temp: len(list(Path("/proc/self/fd").iterdir())) - 1),
    "memory maps": Quantity("", 1.0, 20.0, lambda _cache, _temp: Path("/proc/self/maps").read_bytes().count(b"\n")),
    "threads": Quantity("", 1.0, 0.5, lambda _cache, _temp: len(list(Path("/proc/self/task").iterdir()))),
    "Python threads": Quantity("", 1.0, 0.5, lambda _cache, _temp: threading.active_count()),
    "child processes": Quantity("", 1.0, 0.5, lambda _cache, _temp: num_children()),
    "open figures": Quantity("", 1.0, 0.5, lambda _cache, _temp: num_open_figures()),
    "temporary files": Quantity("", 1.0, 0.5, lambda _cache, temp: sum(1 for _ in temp.rglob("*"))),
    "cache folder": Quantity("kB", 1e3, 20.0, lambda cache, _temp: folder_bytes(cache)),
}


def take_sample(cache: Path, temporary: Path) -> dict[str, float]:
    """Return the value of every quantity now.

    Garbage is collected before, and pages without any block in use are given back, so that what is left is held by somebody.
    """
    gc.collect()
    _LIBC.malloc_trim(0)
    return {name: quantity.sample(cache, temporary) for name, quantity in QUANTITIES.items()}


class Trend(NamedTuple):
    """The line through a series after the warm-up, in the quantity's unit."""

    first: float
    """Mean of the first block after the warm-up."""
    last: float
    highest: float
    slope: float
    """Per ``PER_ROUNDS`` rounds."""
    margin: float
    """Half the 95% interval of the slope; infinite where there are too few blocks."""
    verdict: str
    """``flat``, ``grows``, or ``unclear`` where the interval holds both."""


def find_trend(values: Sequence[float], quantity: Quantity) -> Trend:
    """Return the trend of one value per round.

    Args:
        values: In the order of the rounds; whole blocks count.
        quantity: What they are of.
    """
    from scipy import stats

    blocks = np.asarray(values[: len(values) // ROUNDS_PER_BLOCK * ROUNDS_PER_BLOCK], dtype=np.float64)
    means = blocks.reshape(-1, ROUNDS_PER_BLOCK).mean(axis=1)  # (blocks,)
    num_left_out = math.ceil(WARM_UP_SHARE * len(means))
    kept = means[num_left_out:] / quantity.scale
    if len(kept) < 4:
        highest = max(values, default=0.0) / quantity.scale
        ends = (float(kept[0]), float(kept[-1])) if len(kept) else (math.nan, math.nan)
        return Trend(*ends, highest, math.nan, math.inf, "unclear")
    line = stats.linregress(np.arange(len(kept)), kept)
    per_block = PER_ROUNDS / ROUNDS_PER_BLOCK
    slope = float(line.slope) * per_block
    error = 0.0 if np.ptp(kept) == 0 else float(line.stderr)  # scipy says NaN of a series that never changes
    margin = float(stats.t.ppf(0.975, len(kept) - 2)) * error * per_block
    verdict = "unclear"
    if slope + margin <= quantity.allowed:
        verdict = "flat"
    elif slope - margin > quantity.allowed:
        verdict = "grows"
    highest = float(max(values[num_left_out * ROUNDS_PER_BLOCK :]) / quantity.scale)
    return Trend(float(kept[0]), float(kept[-1]), highest, slope, margin, verdict)


def render_trends(trends: Mapping[str, Trend]) -> str:
    """Return the table."""
    lines = [f"{'after the warm-up':22}{'first':>10}{'last':>10}{'highest':>10}  {f'per {PER_ROUNDS:,} rounds':>20}"]
    for name, trend in trends.items():
        unit = QUANTITIES[name].unit
        label = f"{name} ({unit})" if unit else name
        ends = f"{trend.first:>10,.1f}{trend.last:>10,.1f}{trend.highest:>10,.1f}"
        lines.append(f"{label:22}{ends}  {trend.slope:>+9,.2f} ± {trend.margin:<8,.2f} {trend.verdict}")
    return "\n".join(lines)
