"""Processes of one model: the same scores, whatever happens to a process; and none is left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleet_models import CODE, FakeCheckpoint, overlap, use_fake_models
from numpy.typing import NDArray
from tiny_late_interaction import write_stanford
from tiny_models import write_encoder, write_sequence_classifier
from tiny_static import write_static_embedding
from watcher import Watcher

from rerank_bench import progress
from rerank_bench.errors import EnvironmentMissingError, InvalidScoreError, ScoringError
from rerank_bench.scoring.engine import score_indexed
from rerank_bench.scoring.engine_result import EngineResult
from rerank_bench.scoring.fleet_scorers import FleetScorer, FleetTextEncoder
from rerank_bench.scoring.loaded_scorer import load_scorer
from rerank_bench.scoring.multi_device import DeviceFleet
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.specs import ModelSpec

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="--devices needs Linux or macOS")

SPEC = ModelSpec(kind="demo", value="demo", text="demo")
Open = Callable[..., FleetScorer]


@pytest.fixture
def open_fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Return a function (options of the fake model) -> the model on two processes."""
    use_fake_models(monkeypatch)
    monkeypatch.setattr("rerank_bench.scoring.device_list.num_usable_cores", lambda: 2)
    fleets: list[DeviceFleet] = []

    def open_one(**options: Any) -> FleetScorer:
        checkpoint: Any = FakeCheckpoint(**options)
        fleets.append(DeviceFleet(checkpoint, SPEC, ScorerConfig(devices=("cpu", "cpu"))))
        return FleetScorer(fleets[-1])

    yield open_one
    for fleet in fleets:
        fleet.close()


def texts(num_docs: int = 40) -> tuple[list[str], list[str], NDArray[np.int64]]:
    draw = random.Random(3)
    queries = [" ".join(draw.choices("abcdefg", k=3)) for _ in range(4)]
    docs = [" ".join(draw.choices("abcdefg", k=draw.randint(1, 9))) + f" d{n}" for n in range(num_docs)]
    return queries, docs, np.stack([np.arange(num_docs) % 4, np.arange(num_docs)], axis=1)


def expected(queries: list[str], docs: list[str], pairs: NDArray[np.int64]) -> list[np.float32]:
    return [np.float32(overlap(queries[q], docs[d])) for q, d in pairs]


def fleet_of(scorer: FleetScorer) -> DeviceFleet:
    assert isinstance(scorer.fleet, DeviceFleet)
    return scorer.fleet


def pids(scorer: FleetScorer) -> list[int]:
    return [worker.process.pid for worker in fleet_of(scorer)._workers]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def run(scorer: FleetScorer, *work: Any) -> tuple[EngineResult, list[str]]:
    watcher = Watcher()
    with progress.use_reporter(watcher):
        result = score_indexed(scorer, *(work or texts()))
    return result, watcher.notes


def test_two_processes_share_the_batches_and_every_pair_gets_its_score(open_fleet: Open) -> None:
    scorer = open_fleet(seconds_per_batch=0.01)
    for work in (texts(), texts(11)):  # one after the other, with the same processes
        result, notes = run(scorer, *work)
        assert result.scores.tolist() == expected(*work)
        assert notes == []
    assert all(worker.ready is not None for worker in fleet_of(scorer)._workers)
    assert scorer.peak_device_bytes() == max(pids(scorer)), "every process is asked"


def test_memory_that_runs_out_halves_the_batches(open_fleet: Open) -> None:
    scorer = open_fleet(memory_words=40)
    queries, docs, pairs = texts()
    watcher = Watcher()
    with progress.use_reporter(watcher):
        result = score_indexed(scorer, queries, docs, pairs, batch_tokens=200)
    assert result.scores.tolist() == expected(queries, docs, pairs)
    assert result.stats.batch_tokens is not None
    assert result.stats.batch_tokens <= 100
    assert "score: out of memory; going on with batches of" in watcher.notes[0]


def test_a_pair_too_large_alone_is_an_error(open_fleet: Open) -> None:
    with pytest.raises(EnvironmentMissingError, match="one item of 13 tokens does not fit the device's memory"):
        run(open_fleet(memory_words=11))


def test_a_score_that_is_not_a_number_names_the_pair(open_fleet: Open) -> None:
    queries, docs, pairs = texts()
    scorer = open_fleet()
    with pytest.raises(InvalidScoreError, match="document 'a nan b': score is nan"):
        run(scorer, queries, [*docs[:7], "a nan b", *docs[8:]], pairs)
    assert run(scorer)[0].scores.tolist() == expected(*texts()), "what was in flight then is told apart"


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_leaves_its_batches_to_the_other(open_fleet: Open, victim: int) -> None:
    scorer = open_fleet(seconds_per_batch=0.02)
    run(scorer, *texts(10))
    wait_for(lambda: run(scorer, *texts(10)) is not None and fleet_of(scorer)._workers[1].ready is not None)
    killed = pids(scorer)[victim]

    class Killing(Watcher):
        """Kills the process as soon as it is told of progress."""

        def task(self, description: str, total: int | None, unit: str) -> Any:
            os.kill(killed, signal.SIGKILL)
            return super().task(description, total, unit)

    watcher = Killing()
    with progress.use_reporter(watcher):
        result = score_indexed(scorer, *texts())
    assert result.scores.tolist() == expected(*texts())
    assert "overlap: the process on cpu was ended by SIGKILL (the system does that when memory" in watcher.notes[0]
    assert watcher.notes[0].endswith("its batches go to the other devices")
    assert len(pids(scorer)) == 1
    assert run(scorer)[0].scores.tolist() == expected(*texts()), "the one that is left goes on"


def test_a_process_killed_while_it_tokenises_is_replaced(open_fleet: Open, tmp_path: Path) -> None:
    scorer = open_fleet(lock=str(tmp_path / "lock"))
    result, notes = run(scorer)
    assert result.scores.tolist() == expected(*texts())
    assert len(notes) == 1
    assert len(pids(scorer)) == 1


def test_a_batch_that_kills_two_processes_kills_no_third(open_fleet: Open) -> None:
    queries, docs, pairs = texts()
    with pytest.raises(
        EnvironmentMissingError, match=r"ended by SIGKILL.*, and no other is left; what was scored is st"
    ):
        run(open_fleet(deadly_word="kill"), queries, [*docs[:30], "a kill b", *docs[31:]], pairs)


def test_a_model_without_processes_says_so(open_fleet: Open) -> None:
    scorer = open_fleet()
    for pid in pids(scorer):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(EnvironmentMissingError, match="no other is left"):
        run(scorer)
    with pytest.raises(EnvironmentMissingError, match="model 'overlap': the processes that ran it are gone; load it"):
        run(scorer)


def test_the_second_process_that_a_batch_kills_is_the_last(open_fleet: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    open_fleet()  # the fakes stay in use
    monkeypatch.setattr("rerank_bench.scoring.device_list.num_usable_cores", lambda: 4)
    checkpoint: Any = FakeCheckpoint(deadly_word="kill")
    fleet = DeviceFleet(checkpoint, SPEC, ScorerConfig(devices=("cpu",) * 4))
    queries, docs, pairs = texts(200)
    wait_for(lambda: run(FleetScorer(fleet)) is not None and all(worker.ready for worker in fleet._workers))
    with pytest.raises(EnvironmentMissingError, match=r"SIGKILL.* the second one with the same batch of 1 items"):
        score_indexed(FleetScorer(fleet), queries, [*docs[:30], "a kill b", *docs[31:]], pairs, batch_tokens=1)
    assert len(fleet._workers) == 2
    fleet.close()


def test_processes_whose_scores_would_differ_are_refused(open_fleet: Open) -> None:
    scorer = open_fleet(differs=True, seconds_per_batch=0.05)
    with pytest.raises(
        ScoringError, match=r"on cpu it would be run with attention '\d+' instead of '\d+', so that scores"
    ):
        run(scorer)


def test_an_error_of_loading_is_that_of_one_process(open_fleet: Open) -> None:
    with pytest.raises(ScoringError, match=r"^the head is missing$"):
        open_fleet(breaks="load")


def test_a_defect_comes_with_its_traceback(open_fleet: Open) -> None:
    with pytest.raises(RuntimeError, match=r"the process on cpu failed:\nTraceback(.|\n)*ZeroDivisionError: a defect"):
        run(open_fleet(breaks="batch"))


def test_a_process_that_ends_while_it_loads_names_its_device(open_fleet: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rerank_bench.scoring.worker_process._CODE", "raise SystemExit(7)")
    with pytest.raises(EnvironmentMissingError, match="the process on cpu ended with code 7"):
        open_fleet()


def test_no_process_outlives_its_use(open_fleet: Open) -> None:
    scorer = open_fleet(seconds_per_batch=30.0)
    started = pids(scorer)
    scorer.fleet.submit(
        0, scorer.encode(["a"], ["b"], np.zeros((1, 2), dtype=np.int64)).batch(np.zeros(1, dtype=np.int64))
    )
    folder = fleet_of(scorer)._folder
    scorer.fleet.close()
    assert not any(map(is_alive, started))
    assert not folder.exists()


SCRIPT = f"""
import signal, sys, numpy as np
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and so would this one
from rerank_bench.scoring import worker_process
worker_process._CODE = {CODE!r}
from fleet_models import FakeCheckpoint
from rerank_bench.scoring.engine import score_indexed
from rerank_bench.scoring.fleet_scorers import FleetScorer
from rerank_bench.scoring.multi_device import DeviceFleet
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.specs import ModelSpec
spec = ModelSpec(kind="demo", value="demo", text="demo")
fleet = DeviceFleet(FakeCheckpoint(seconds_per_batch=60.0), spec, ScorerConfig(devices=("cpu",)))
print(fleet._workers[0].process.pid, flush=True)
score_indexed(FleetScorer(fleet), ["a"], ["b"], np.zeros((1, 2), dtype=np.int64))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_process_ends_with_the_one_that_started_it(number: signal.Signals) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    parent = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_alive(child)
    parent.send_signal(number)
    try:
        parent.communicate(timeout=30)
    finally:
        parent.kill()
    wait_for(lambda: not is_alive(child))


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "write",
    [
        write_sequence_classifier,
        pytest.param(write_encoder, marks=SLOW),
        pytest.param(write_stanford, marks=SLOW),
        pytest.param(write_static_embedding, marks=SLOW),
    ],
)
def test_scores_of_a_real_model_are_those_of_one_process_bit_for_bit(
    write: Callable[[Path], Path], tmp_path: Path, text_pairs: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rerank_bench.scoring.device_list.num_usable_cores", lambda: 2)  # one thread each, as here
    folder = write(tmp_path / "model")
    one = load_scorer(str(folder), device="cpu")
    two = load_scorer(str(folder), devices=("cpu", "cpu"))
    assert isinstance(two.scorer, FleetScorer if write is write_sequence_classifier else FleetTextEncoder)
    assert two.fingerprint == one.fingerprint
    description = two.describe()
    assert (description["devices"], description["threads_per_process"]) == (["cpu", "cpu"], 1)
    alone = one.score(text_pairs)
    for _ in range(2):
        assert np.array_equal(two.score(text_pairs).view(np.uint32), alone.view(np.uint32))
    two.scorer.fleet.close()
