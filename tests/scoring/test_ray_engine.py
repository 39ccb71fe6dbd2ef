"""Workers of a Ray cluster of two nodes: the same scores, whatever happens to a worker or a node; loud and bounded failure."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fleet_models import FakeCheckpoint, OverlapWorker, overlap
from numpy.typing import NDArray
from ray_nodes import NODE, two_nodes
from watcher import Watcher

from rerank_bench import progress
from rerank_bench.errors import EnvironmentMissingError, InvalidScoreError, ScoringError
from rerank_bench.scoring import ray_engine, ray_pool
from rerank_bench.scoring.engine import score_indexed
from rerank_bench.scoring.engine_result import EngineResult
from rerank_bench.scoring.fleet_scorers import FleetScorer
from rerank_bench.scoring.ray_cluster import connect, place_on_ray
from rerank_bench.scoring.ray_engine import RayFleet
from rerank_bench.scoring.ray_options import RayOptions
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.specs import ModelSpec

pytest.importorskip("ray")

SPEC = ModelSpec(kind="demo", value="demo", text="demo")
Open = Callable[..., FleetScorer]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one core each, and a connection."""
    import ray

    with two_nodes() as found:
        connect(RayOptions(address=found.address))
        yield found
        ray.shutdown()


@pytest.fixture
def open_fleet(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Return a function (options of the fake model) -> the model on the cluster."""
    monkeypatch.setattr(ray_pool, "RayWorker", OverlapWorker)
    fleets: list[RayFleet] = []

    def open_one(**options: Any) -> FleetScorer:
        checkpoint: Any = FakeCheckpoint(**options)
        config = place_on_ray(ScorerConfig(ray=RayOptions(address=cluster.address, cores=1)))
        fleets.append(RayFleet(checkpoint, SPEC, config))
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


def with_doc(doc: str, place: int = 30) -> tuple[list[str], list[str], NDArray[np.int64]]:
    queries, docs, pairs = texts()
    return queries, [*docs[:place], doc, *docs[place + 1 :]], pairs


def fleet_of(scorer: FleetScorer) -> RayFleet:
    assert isinstance(scorer.fleet, RayFleet)
    return scorer.fleet


def wait_for_all(scorer: FleetScorer) -> list[int]:
    """Return the processes of the workers once all of them are ready."""
    fleet_of(scorer).pool.wait_for_all()
    return [peak for (peak,) in fleet_of(scorer).pool.ask_each("peak_memory")]


def run(scorer: FleetScorer, *work: Any, batch_tokens: int | None = None) -> tuple[EngineResult, list[str]]:
    watcher = Watcher()
    with progress.use_reporter(watcher):
        result = score_indexed(scorer, *(work or texts()), batch_tokens=batch_tokens)
    return result, watcher.notes


class Killing(Watcher):
    """Kills a process when the first batches have come back."""

    def __init__(self, process: int) -> None:
        super().__init__()
        self.process = process

    def task(self, description: str, total: int | None, unit: str) -> Any:
        if description == "score":
            os.kill(self.process, signal.SIGKILL)
        return super().task(description, total, unit)


def test_two_workers_share_the_batches_and_every_pair_gets_its_score(open_fleet: Open) -> None:
    scorer = open_fleet(seconds_per_batch=0.02)
    processes = wait_for_all(scorer)
    assert len(set(processes)) == 2
    assert scorer.peak_device_bytes() == max(processes), "every worker is asked"
    for work in (texts(), texts(11)):  # one after the other, with the same workers
        result, notes = run(scorer, *work)
        assert result.scores.tolist() == expected(*work)
        assert notes == []


def test_batches_travel_in_chunks_that_take_as_long_as_they_should(
    open_fleet: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_engine, "CHUNK_SECONDS", 0.08)
    scorer = open_fleet(seconds_per_batch=0.02)
    wait_for_all(scorer)
    result, _ = run(scorer, *texts(60), batch_tokens=1)
    assert result.scores.tolist() == expected(*texts(60))
    assert 2 <= fleet_of(scorer)._chunk_batches <= 4
    assert scorer.fleet.capacity == 4 * fleet_of(scorer)._chunk_batches, "two chunks for each of two workers"


def test_memory_that_runs_out_halves_the_batches(open_fleet: Open) -> None:
    result, notes = run(open_fleet(memory_words=40), batch_tokens=200)
    assert result.scores.tolist() == expected(*texts())
    assert result.stats.batch_tokens is not None
    assert result.stats.batch_tokens <= 100
    assert any("score: out of memory; going on with batches of" in note for note in notes)


def test_a_killed_worker_leaves_its_batches_to_the_other_and_is_replaced(open_fleet: Open) -> None:
    scorer = open_fleet(seconds_per_batch=0.02)
    killed = wait_for_all(scorer)[0]
    watcher = Killing(killed)
    with progress.use_reporter(watcher):
        result = score_indexed(scorer, *texts())
    assert result.scores.tolist() == expected(*texts())
    assert any(f"(process {killed}) was lost; its batches go to the others" in note for note in watcher.notes)
    processes = wait_for_all(scorer)
    assert len(processes) == 2
    assert killed not in processes


@pytest.mark.slow
def test_a_removed_node_leaves_its_batches_to_the_other(cluster: Any, open_fleet: Open) -> None:
    node = cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    scorer = open_fleet(seconds_per_batch=0.05)
    assert len(wait_for_all(scorer)) == 3

    class Removing(Watcher):
        def task(self, description: str, total: int | None, unit: str) -> Any:
            if description == "score":
                cluster.remove_node(node, allow_graceful=False)
            return super().task(description, total, unit)

    watcher = Removing()
    with progress.use_reporter(watcher):
        result = score_indexed(scorer, *texts(), batch_tokens=1)
    assert result.scores.tolist() == expected(*texts())
    cluster.wait_for_nodes()  # until its head knows that it is gone: the next model would count on it


def test_a_score_that_is_not_a_number_names_the_pair_and_the_next_job_goes_on(open_fleet: Open) -> None:
    scorer = open_fleet()
    with pytest.raises(InvalidScoreError, match="document 'a nan b': score is nan"):
        run(scorer, *with_doc("a nan b"))
    assert run(scorer)[0].scores.tolist() == expected(*texts()), "what was in flight then is told apart"


def test_a_pair_that_the_model_raises_an_exception_for_is_named_once(open_fleet: Open) -> None:
    scorer = open_fleet(bad_word="bad")
    processes = wait_for_all(scorer)
    with pytest.raises(
        ScoringError, match=r"^query '[a-g ]+', document 'a bad b': the model raised IndexError: index 9"
    ):
        run(scorer, *with_doc("a bad b"), batch_tokens=60)
    assert wait_for_all(scorer) == processes, "no worker was lost for it"


def test_a_pair_that_kills_workers_is_named_after_the_third(open_fleet: Open) -> None:
    scorer = open_fleet(deadly_word="deadly")
    wait_for_all(scorer)
    with pytest.raises(
        ScoringError, match=r"^query '[a-g ]+', document 'a deadly b': every worker that was given this"
    ):
        run(scorer, *with_doc("a deadly b"), batch_tokens=40)
    assert fleet_of(scorer).pool._num_replaced == 3, "two with its batch, one to find it"


@pytest.mark.slow
def test_a_cluster_that_eats_workers_is_given_up(open_fleet: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_pool, "LEAST_REPLACED", 0)
    scorer = open_fleet(breaks="process")  # all are killed: two, and two in their places
    with pytest.raises(
        EnvironmentMissingError, match=r"was lost \(.*\), and no other is left; what was scored is stored"
    ):
        run(scorer)


def test_an_error_of_loading_says_where(open_fleet: Open) -> None:
    with pytest.raises(ScoringError, match=r"model 'overlap', the worker on .* \(process \d+\): the head is missing$"):
        open_fleet(breaks="load")


def test_a_defect_comes_with_its_traceback(open_fleet: Open) -> None:
    with pytest.raises(ScoringError, match=r"the model raised ZeroDivisionError: a defect, on (.|\n)*Traceback"):
        run(open_fleet(breaks="batch"))


def test_workers_whose_scores_would_differ_are_refused(open_fleet: Open) -> None:
    with pytest.raises(ScoringError, match=r"it would be run with attention '\d+' instead of '\d+', so that scores"):
        wait_for_all(open_fleet(differs=True))


@pytest.mark.slow
def test_a_cluster_that_others_hold_is_waited_for_a_while(open_fleet: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = open_fleet()
    wait_for_all(holder)
    monkeypatch.setattr(ray_pool, "START_SECONDS", 2.0)
    with pytest.raises(
        EnvironmentMissingError, match=r"no worker started within 2 s; each takes 1 cores, and free are 0 "
    ):
        open_fleet()


def test_no_worker_outlives_its_use(open_fleet: Open) -> None:
    scorer = open_fleet(seconds_per_batch=30.0)
    scorer.fleet.submit(
        0, scorer.encode(["a"], ["b"], np.zeros((1, 2), dtype=np.int64)).batch(np.zeros(1, dtype=np.int64))
    )
    scorer.fleet.close()
    assert wait_for_all(open_fleet()), "others find room"


@pytest.mark.slow
def test_a_worker_with_other_versions_is_refused(cluster: Any, open_fleet: Open, tmp_path: Any) -> None:
    for name in ("torch", "numpy"):
        (tmp_path / f"{name}-9.9.dist-info").mkdir()
        (tmp_path / f"{name}-9.9.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n"
        )
    node = cluster.add_node(**NODE, env_vars={"PYTHONPATH": str(tmp_path)})
    cluster.wait_for_nodes()
    try:
        with pytest.raises(
            EnvironmentMissingError, match=r"runs other versions .*: torch 9.9 there, 2.* here; numpy 9.9 th"
        ):
            wait_for_all(open_fleet())
    finally:
        cluster.remove_node(node)
