"""The energy that a training takes, as CodeCarbon has it (the extra ``energy``).

CPU, GPU and memory, estimated where the machine lets nobody read a counter.  Its emissions are not taken over: without a network it cannot know where the machine stands.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator

from rerank_bench.progress import note
from rerank_bench.training.energy import EnergyUse

CODECARBON = "CodeCarbon"
_JOULES_PER_KWH = 3.6e6
_ANY_COUNTRY = "USA"
"""CodeCarbon wants one, for emissions alone."""


def can_estimate() -> bool:
    """Return whether CodeCarbon is installed."""
    return importlib.util.find_spec("codecarbon") is not None


@contextlib.contextmanager
def estimate_energy() -> Iterator[EnergyUse]:
    """Count energy while the block runs; the figures are whole when it has ended, and empty if CodeCarbon fails."""
    from codecarbon import OfflineEmissionsTracker

    tracker = OfflineEmissionsTracker(
        country_iso_code=_ANY_COUNTRY, save_to_file=False, log_level="critical", allow_multiple_runs=True
    )
    use = EnergyUse(source=CODECARBON)
    tracker.start()
    try:
        yield use
    finally:
        tracker.stop()
        found = getattr(tracker, "final_emissions_data", None)  # it logs its own failures and goes on without
        if found is None:
            note("CodeCarbon could not measure: the energy of this training is unknown")
        else:
            parts = {"CPU": found.cpu_energy, "GPU": found.gpu_energy, "memory": found.ram_energy}
            use.joules = {name: kwh * _JOULES_PER_KWH for name, kwh in parts.items() if kwh > 0}
