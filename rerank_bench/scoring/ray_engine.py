"""One model on the machines of a Ray cluster: ``--engine ray``.

The process that was started plans, checks and stores, as with the local engine; it loads no weights.  One worker tokenises
into Ray's object store, from which each machine takes a copy; batches of the plan go in chunks, as item numbers, to
workers that have fewer than two, and come back as values, in any order.  What a lost worker had goes to the others, and a
new one takes its place, both within bounds (docs/decisions/0012-ray.md).
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from rerank_bench import progress
from rerank_bench.errors import EnvironmentMissingError
from rerank_bench.scoring.batching import BatchTooLargeError
from rerank_bench.scoring.checkpoints import Checkpoint
from rerank_bench.scoring.device_worker import Failed, Ready, Start
from rerank_bench.scoring.execution import ItemsFailedError, Outcome
from rerank_bench.scoring.model_memo import fingerprint_contents
from rerank_bench.scoring.multi_device import RemoteItems, check_same_model
from rerank_bench.scoring.ray_cluster import connect, worker_shape
from rerank_bench.scoring.ray_serving import ItemFailure, RayStart
from rerank_bench.scoring.ray_versions import check_versions
from rerank_bench.scoring.ray_worker import RayWorker
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.specs import ModelSpec

CHUNK_SECONDS = 0.5
"""Work of a chunk: a hundred times what handing it over costs (docs/experiments.md), and what is lost with a worker."""
MAX_CHUNK_BATCHES = 64
START_SECONDS = 120.0
"""How long to wait for a first worker, before it loads the model: longer, and others hold what it needs."""
ADVICE = "what was scored is stored, so the same command goes on from here"


@dataclass(slots=True, eq=False)
class _Worker:
    """A worker as it is seen from here."""

    handle: Any
    where: str = "a worker that has not started yet"
    """Machine and process."""
    has_started: bool = False
    ready: Ready | None = None
    """``None`` while it starts or loads."""
    chunks: list[_Chunk] = field(default_factory=list)
    """What it was given and has not answered, oldest first."""


@dataclass(slots=True, eq=False)
class _Chunk:
    """Batches that travel together."""

    tickets: list[int]
    batches: list[NDArray[np.int32]]
    num_losses: int = 0
    """Workers that were lost while they worked on it."""

    def alone(self) -> list[_Chunk]:
        """Return a chunk for every batch: whichever of them costs workers then shows."""
        return [
            _Chunk([ticket], [batch], self.num_losses) for ticket, batch in zip(self.tickets, self.batches, strict=True)
        ]


class _Call(NamedTuple):
    """A call that a worker has not answered yet."""

    worker: _Worker
    name: str
    """Of the method."""
    is_asked: bool
    """Whether somebody waits for this very answer."""


class RayFleet:
    """The workers: an executor of batches.

    Args:
        checkpoint: What each worker loads.
        model: What the user wrote.
        config: What ``place_on_ray`` returned.

    Raises:
        RerankBenchError: What loading the checkpoint raises; or no worker could be started.
    """

    def __init__(self, checkpoint: Checkpoint, model: ModelSpec, config: ScorerConfig) -> None:
        assert config.ray is not None  # noqa: S101 - for the type checker: who is called for Ray has options for it
        self._ray = connect(config.ray)
        self._shape = worker_shape(self._ray, config)
        self._name = checkpoint.name
        self._start = _start_of(checkpoint, model, config, self._shape.num_threads)
        self._workers: list[_Worker] = []
        # When nobody holds this object any more: no worker outlives its use.
        self._finalizer = weakref.finalize(self, _end, self._ray, self._workers)
        self._calls: dict[Any, _Call] = {}
        """Reference of the answer -> call."""
        self._tickets = count()
        self._number_of: dict[int, int] = {}
        """Ticket -> number of a batch in flight; a ticket is never used twice, so late answers are told apart."""
        self._buffer: list[tuple[int, NDArray[np.int32]]] = []
        self._waiting: deque[_Chunk] = deque()
        self._outcomes: deque[tuple[int, Outcome]] = deque()
        self._chunk_batches = 1
        self._items: Any = None
        """Reference of the job's items."""
        self._answer: Any = None
        """To the last call that was no chunk."""
        self._num_replaced = 0
        self._ready: Ready | None = None
        self._start_all()

    @property
    def ready(self) -> Ready:
        """What the first worker that loaded the model said of it."""
        assert self._ready is not None  # noqa: S101 - for the type checker: nobody has the object before
        return self._ready

    def close(self) -> None:
        """End the workers."""
        self._finalizer()

    @property
    def capacity(self) -> int:
        """Batches that keep the workers busy: two chunks each, one to work on and one to go on with."""
        num_ready = sum(worker.ready is not None for worker in self._workers)
        return 2 * max(1, num_ready) * self._chunk_batches

    def submit(self, number: int, batch: NDArray[np.int32]) -> None:
        """Put a batch into the next chunk."""
        ticket = next(self._tickets)
        self._number_of[ticket] = number
        self._buffer.append((ticket, batch))
        if len(self._buffer) >= self._chunk_batches:
            self._hand_out()

    def collect(self) -> tuple[int, Outcome]:
        """Wait for any batch in flight and return its number and what came of it.

        Raises:
            EnvironmentMissingError: No worker is left.
            ItemsFailedError: A batch costs every worker that is given it, or the model raises an exception for it.
        """
        while not self._outcomes:
            self._hand_out()
            self._take_answer()
        ticket, outcome = self._outcomes.popleft()
        return self._number_of.pop(ticket), outcome

    def __call__(self, batch: NDArray[np.int32]) -> NDArray[np.float32]:
        """Run one batch, and wait for it.

        Raises:
            BatchTooLargeError: It did not fit the device's memory.
        """
        self.submit(0, batch)
        _, outcome = self.collect()
        if isinstance(outcome, BatchTooLargeError):
            raise outcome
        return outcome

    def encode(
        self, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64] | None = None
    ) -> RemoteItems:
        """Let one worker tokenise pairs of texts, or texts where there are no pairs; the others take copies."""
        self._forget()
        with progress.track("tokenise on the cluster"):
            encoded = self._ask_any("encode", list(queries), list(docs), pairs)
        _say(encoded.notes)
        # Put again from here: what a worker put is lost with it.
        self._items = self._ray.put(encoded.items)
        # Copies: a view would hold the worker's object in the store.
        return RemoteItems(np.array(encoded.items.lengths), np.array(encoded.items.is_truncated))

    def peak_device_bytes(self) -> int | None:
        """Return the highest memory that any of the devices was seen to use, in bytes; ``None`` on a CPU."""
        self._forget()
        calls = [worker.handle.peak_memory.remote() for worker in self._workers if worker.ready is not None]
        peaks: list[int | None] = []
        for call in calls:
            try:
                peaks.append(self._ray.get(call))
            except self._ray.exceptions.RayError:  # all is done; who asks for more will see that it is gone
                continue
        return max((peak for peak in peaks if peak is not None), default=None)

    def _start_all(self) -> None:
        """Start the workers, and wait for the first that has loaded the model; others may still be loading."""
        shape = self._shape
        progress.note(
            f"{self._name}: a Ray cluster with room for {shape.num_workers} workers ({shape.device}, threads of each: "
            f"{shape.num_threads})"
        )
        for _ in range(shape.num_workers):
            self._start_worker()
        with progress.track("start workers on the cluster"):
            self._any_ready()

    def _start_worker(self) -> None:
        actor = self._ray.remote(RayWorker).options(**self._shape.options(), scheduling_strategy="SPREAD")
        worker = _Worker(actor.remote())
        self._workers.append(worker)
        self._call(worker, "introduce")

    def _call(self, worker: _Worker, name: str, *arguments: Any, is_asked: bool = False) -> None:
        self._calls[getattr(worker.handle, name).remote(*arguments)] = _Call(worker, name, is_asked)

    def _any_ready(self) -> _Worker:
        """Return a worker that is ready, with the fewest chunks; waits for one."""
        while not (ready := [worker for worker in self._workers if worker.ready is not None]):
            self._take_answer()
        return min(ready, key=lambda worker: len(worker.chunks))

    def _ask_any(self, name: str, *arguments: Any) -> Any:
        """Return the answer of any worker that is ready; another one is asked when it is lost."""
        while True:
            answer = self._ask(self._any_ready(), name, *arguments)
            if answer is not None:
                return answer

    def _ask(self, worker: _Worker, name: str, *arguments: Any) -> Any:
        """Return the answer of a worker, ``None`` if it was lost before."""
        self._answer = None
        self._call(worker, name, *arguments, is_asked=True)
        while self._answer is None and worker in self._workers:
            self._take_answer()
        return self._answer

    def _hand_out(self) -> None:
        """Make a chunk of the batches that were submitted, and give chunks to workers that have fewer than two."""
        if self._buffer:
            tickets, batches = zip(*self._buffer, strict=True)
            self._waiting.append(_Chunk(list(tickets), list(batches)))
            self._buffer = []
        ready = [worker for worker in self._workers if worker.ready is not None]
        while self._waiting and ready:
            worker = min(ready, key=lambda candidate: len(candidate.chunks))
            if len(worker.chunks) == 2:
                return
            chunk = self._waiting.popleft()
            worker.chunks.append(chunk)
            self._call(worker, "run", [self._items], chunk.batches)

    def _take_answer(self) -> None:
        """Wait for one answer of any worker, and act on it."""
        answered = self._wait()
        call = self._calls.pop(answered)
        try:
            answer = self._ray.get(answered)
        except self._ray.exceptions.RayTaskError as error:
            msg = f"the worker on {call.worker.where} failed:\n{error}"
            raise RuntimeError(msg) from error
        except self._ray.exceptions.RayError as error:
            if call.worker in self._workers:
                self._lose(call.worker, error)
            return
        if call.worker in self._workers:
            self._act_on(call, answer)

    def _wait(self) -> Any:
        """Return the reference of an answer that is there.

        Raises:
            EnvironmentMissingError: No worker starts.
        """
        deadline = time.monotonic() + START_SECONDS
        while True:
            found, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=1.0)
            if found:
                return found[0]
            if any(worker.has_started for worker in self._workers):
                deadline = time.monotonic() + START_SECONDS
            elif time.monotonic() > deadline:
                free = self._ray.available_resources()
                msg = (
                    f"model {self._name!r}: no worker started within {START_SECONDS:.0f} s; each takes "
                    f"{self._shape.num_threads} cores{' and a GPU' if self._shape.device == 'cuda' else ''}, and free are "
                    f"{free.get('CPU', 0):g} cores and {free.get('GPU', 0):g} GPUs of the cluster. End what holds them, or "
                    f"pass a lower --ray-cores; {ADVICE}"
                )
                raise EnvironmentMissingError(msg)

    def _act_on(self, call: _Call, answer: Any) -> None:
        worker = call.worker
        if isinstance(answer, Failed):
            self._fail(worker, answer)
        if call.is_asked:
            self._answer = answer
        elif call.name == "introduce":
            worker.has_started, worker.where = True, f"{answer['host']} (process {answer['pid']})"
            check_versions(answer, worker.where)
            self._call(worker, "load", self._start)
        elif call.name == "load":
            self._welcome(worker, answer)
        else:
            self._take_chunk(worker, worker.chunks.pop(0), answer)

    def _take_chunk(self, worker: _Worker, chunk: _Chunk, answer: Any) -> None:
        if isinstance(answer, ItemFailure):
            reason = answer.text.strip().rpartition("\n")[2]
            msg = f"the model raised {reason}, on {worker.where}; the traceback there:\n{answer.text}"
            raise ItemsFailedError(answer.items, msg)
        known = [pair for pair in zip(chunk.tickets, answer.outcomes, strict=True) if pair[0] in self._number_of]
        self._outcomes.extend(known)
        seconds = max(answer.seconds / len(chunk.batches), 1e-6)
        self._chunk_batches = min(MAX_CHUNK_BATCHES, max(1, round(CHUNK_SECONDS / seconds)))

    def _welcome(self, worker: _Worker, answer: Any) -> None:
        """Let a worker take part that has loaded the model."""
        if self._ready is None:
            self._ready = answer.ready
            _say(answer.notes)
        check_same_model(self._name, worker.where, answer.ready, self._ready)
        worker.ready = answer.ready

    def _lose(self, worker: _Worker, error: Exception) -> None:
        """Go on without a worker; its batches go to the others, and another one is asked for.

        Raises:
            EnvironmentMissingError: There is no other.
        """
        self._workers.remove(worker)
        _end(self._ray, [worker])  # of a node that does not answer it is not known that the worker is gone
        reason = " ".join(str(error).split())
        if self._num_replaced < max(3, self._shape.num_workers):
            self._num_replaced += 1
            self._start_worker()
        if not self._workers:
            msg = f"model {self._name!r}: the worker on {worker.where} was lost ({reason}), and no other is left; {ADVICE}"
            raise EnvironmentMissingError(msg)
        progress.note(f"{self._name}: the worker on {worker.where} was lost; its batches go to the others ({reason})")
        if worker.chunks:
            first, *others = worker.chunks
            self._waiting.extendleft(reversed(others))
            first.num_losses += 1
            if first.num_losses < 2 or len(first.batches) > 1:
                self._waiting.extendleft(reversed(first.alone()))
            else:
                self._blame(first.batches[0])

    def _blame(self, batch: NDArray[np.int32]) -> NoReturn:
        """Find out, at the price of a third worker, which item of a batch cost two.

        Raises:
            ItemsFailedError: Always: with that item, or with all where each of them alone costs none.
        """
        items = batch.astype(np.int64)
        for item in batch if len(batch) > 1 else ():
            worker = self._any_ready()
            while worker.chunks and worker in self._workers:  # whatever it is lost with then is this item
                self._take_answer()
            if self._ask(worker, "run", [self._items], [item[None]]) is None:
                items = item[None].astype(np.int64)
                break
        alone = "" if len(items) == 1 else "; each of them alone costs none, so pass a lower --batch-tokens"
        msg = (
            f"every worker that was given this was lost{alone}. It is not tried again; {ADVICE} once the cause is gone"
        )
        raise ItemsFailedError(items, msg)

    def _fail(self, worker: _Worker, answer: Failed) -> None:
        """Raise the error that a worker met, with where it was."""
        if answer.error is None:
            msg = f"the worker on {worker.where} failed:\n{answer.text}"
            raise RuntimeError(msg)
        msg = f"model {self._name!r}, the worker on {worker.where}: {answer.text}"
        raise type(answer.error)(msg)

    def _forget(self) -> None:
        """Drop what a job left that ended in an error."""
        self._number_of.clear()
        self._buffer.clear()
        self._waiting.clear()
        self._outcomes.clear()


def _start_of(checkpoint: Checkpoint, model: ModelSpec, config: ScorerConfig, num_threads: int) -> RayStart:
    """Return what a worker is to load; the folder of a local model under its whole path."""
    contents = None
    if model.kind == "local":
        model = replace(model, value=str(Path(model.value).resolve()))
        contents = fingerprint_contents(checkpoint)
    return RayStart(Start(checkpoint, model, replace(config, ray=None), num_threads), contents)


def _say(notes: list[str]) -> None:
    for note in notes:
        progress.note(note)


def _end(ray: Any, workers: list[_Worker]) -> None:
    if ray.is_initialized():
        for worker in workers:
            ray.kill(worker.handle)
