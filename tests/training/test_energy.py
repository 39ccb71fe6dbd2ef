"""Energy counters: sums over wrapping counters, and only what can be read."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rerank_bench.training import energy
from rerank_bench.training.energy import Counter, measure_energy, nvml_counters, rapl_counters
from rerank_bench.training.energy_estimate import can_estimate, estimate_energy


def counter_of(readings: list[float], span: float | None = None) -> Counter:
    values: Iterator[float] = iter(readings)
    return Counter(read=lambda: next(values), span=span)


def test_energy_is_the_difference_of_readings() -> None:
    with measure_energy({"CPU": counter_of([100.0, 130.5]), "GPU 0": counter_of([5.0, 5.0])}) as use:
        pass
    assert use.as_dict() == {"joules": {"CPU": 30.5, "GPU 0": 0.0}, "source": "counters"}


def test_a_counter_that_goes_round_loses_nothing() -> None:
    with measure_energy({"CPU": counter_of([250.0, 10.0], span=262.0)}) as use:
        pass
    assert use.joules == {"CPU": 22.0}


def test_it_samples_while_the_block_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr(energy, "SAMPLE_SECONDS", 0.001)
    sampled = threading.Event()
    readings = [200.0, 10.0, 200.0]  # round twice: two readings alone would see no energy at all

    def read() -> float:
        if len(readings) == 1:
            sampled.set()
            return readings[0]
        return readings.pop(0)

    with measure_energy({"CPU": Counter(read=read, span=262.0)}) as use:
        assert sampled.wait(10)
    assert use.joules == {"CPU": 262.0}


def test_a_counter_that_fails_on_the_way_is_unknown_not_small() -> None:
    readings = iter([5.0])

    def read() -> float:
        for value in readings:
            return value
        raise OSError

    with measure_energy({"CPU": Counter(read=read), "GPU 0": counter_of([1.0, 3.0])}) as use:
        pass
    assert use.joules == {"GPU 0": 2.0}


def test_without_counters_nothing_is_known() -> None:
    with measure_energy({}) as use:
        pass
    assert use.as_dict() is None


def test_rapl_counts_packages_that_may_be_read(tmp_path: Path) -> None:
    for zone, name, energy_uj in (
        ("intel-rapl:0", "package-0", "5000000"),
        ("intel-rapl:0:0", "core", "4000000"),
        ("intel-rapl:1", "package-1", "not a number"),
        ("intel-rapl:2", "psys", "9000000"),
    ):
        folder = tmp_path / zone
        folder.mkdir()
        (folder / "name").write_text(f"{name}\n")
        (folder / "energy_uj").write_text(energy_uj)
        (folder / "max_energy_range_uj").write_text("262143000000")
    counters = rapl_counters(tmp_path)
    assert list(counters) == ["CPU package-0"]
    assert counters["CPU package-0"].read() == 5.0
    assert counters["CPU package-0"].span == 262143.0
    assert rapl_counters(tmp_path / "absent") == {}


class FakeNvml:
    """NVML's three calls as C would do them: results through pointers, 0 for success."""

    def __init__(self, millijoules: dict[bytes, int | None]) -> None:
        self.millijoules = millijoules
        self.uuids = list(millijoules)

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle: Any) -> int:  # noqa: N802  NVML's name
        if uuid not in self.millijoules:
            return 6
        handle._obj.value = 1 + self.uuids.index(uuid)
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: ctypes.c_void_p, value: Any) -> int:  # noqa: N802  NVML's name
        millijoules = self.millijoules[self.uuids[(handle.value or 0) - 1]]
        if millijoules is None:
            return 3  # not supported: before Volta
        value._obj.value = millijoules
        return 0


def test_nvml_counts_the_gpus_of_the_training() -> None:
    library = FakeNvml({b"GPU-other": 1, b"GPU-a": 7_500, b"GPU-old": None})
    counters = nvml_counters(library, ["GPU-a", "GPU-old", "GPU-gone"])
    assert {name: counter.read() for name, counter in counters.items()} == {"GPU 0": 7.5}
    assert nvml_counters(None, ["GPU-a"]) == {}


@pytest.mark.filterwarnings("default")  # CodeCarbon gives up when one of its own warnings is an error
def test_codecarbon_estimates_what_no_counter_tells() -> None:
    pytest.importorskip("codecarbon")
    assert can_estimate()
    with estimate_energy() as use:
        assert not use.joules  # whole when it has ended
        time.sleep(1.0)
    found = use.as_dict()
    assert found is not None
    assert found["source"] == "CodeCarbon"
    assert 0.1 < sum(found["joules"].values()) < 10_000  # a second of some machine
