"""The workers of one model on a Ray cluster: started, compared with each other, replaced within bounds when they are lost."""

from __future__ import annotations

import sys
import time
import weakref
from collections import deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rerank_bench import progress
from rerank_bench.errors import EnvironmentMissingError
from rerank_bench.scoring.device_worker import Failed, Ready
from rerank_bench.scoring.multi_device import check_same_model
from rerank_bench.scoring.ray_cluster import WorkerShape
from rerank_bench.scoring.ray_serving import DeviceLost, RayStart
from rerank_bench.scoring.ray_versions import check_versions
from rerank_bench.scoring.ray_worker import RayWorker

START_SECONDS = 120.0
"""How long to wait while no worker has started, its model not counted: longer, and others hold what it needs."""
LEAST_REPLACED = 3
"""Workers that are replaced at least; otherwise as many as there are, so that a cluster which eats them is given up."""
ADVICE = "what was scored is stored, so the same command goes on from here"


@dataclass(slots=True, eq=False)
class Worker:
    """A worker as it is seen from here."""

    handle: Any
    where: str = "a machine that is not known yet"
    """Machine and process."""
    has_started: bool = False
    ready: Ready | None = None
    """``None`` while it starts or loads."""
    chunks: list[Any] = field(default_factory=list)
    """What it was given and has not answered, oldest first."""


class Answered(NamedTuple):
    """A worker is done with a chunk."""

    worker: Worker
    chunk: Any
    answer: Any


class Lost(NamedTuple):
    """A worker is gone; the first of the chunks that it has not answered is the one that it worked on."""

    worker: Worker


Event = Answered | Lost


class _Call(NamedTuple):
    """A call that a worker has not answered yet."""

    worker: Worker
    name: str
    """Of the method."""
    chunk: Any = None
    """What it is to run: answers are not seen in the order of the calls."""
    is_asked: bool = False
    """Whether somebody waits for this very answer."""


class RayPool:
    """Workers of one shape with one model.

    Args:
        ray: The package, connected.
        shape: How many workers, and what each takes.
        name: What errors call the model.
        start: What each worker loads.
    """

    def __init__(self, ray: Any, shape: WorkerShape, name: str, start: RayStart) -> None:
        self.workers: list[Worker] = []
        self.first: Ready | None = None
        """What the first worker that loaded the model said of it."""
        self._ray = ray
        self._shape = shape
        self._name = name
        self._start = start
        self._calls: dict[Any, _Call] = {}
        """Reference of the answer -> call."""
        self._events: deque[Event] = deque()
        self._answer: Any = None
        self._num_replaced = 0
        # Else it travels as a name, which another version of this package may not have.
        ray.cloudpickle.register_pickle_by_value(sys.modules[RayWorker.__module__])
        # When nobody holds this object any more: no worker outlives its use.
        self._finalizer = weakref.finalize(self, _end, ray, self.workers)
        for _ in range(shape.num_workers):
            self._start_worker()

    def close(self) -> None:
        """End the workers."""
        self._finalizer()

    def ready_workers(self) -> list[Worker]:
        """Return the workers that have loaded the model."""
        return [worker for worker in self.workers if worker.ready is not None]

    def any_ready(self) -> Worker:
        """Return a worker that is ready, with the fewest chunks; waits for one."""
        while not (ready := self.ready_workers()):
            self._take_answer()
        return min(ready, key=lambda worker: len(worker.chunks))

    def wait_for_all(self) -> None:
        """Wait until all workers are ready, as measurements do; a run goes on with the first."""
        while len(self.ready_workers()) < len(self.workers):
            self._take_answer()

    def run(self, worker: Worker, chunk: Any, *arguments: Any) -> None:
        """Let a worker run a chunk; what comes of it is an event."""
        worker.chunks.append(chunk)
        self._call(worker, "run", *arguments, chunk=chunk)

    def ask(self, worker: Worker, name: str, *arguments: Any) -> Any:
        """Return the answer of a worker, after those to its chunks; ``None`` if it was lost before."""
        self._answer = None
        self._call(worker, name, *arguments, is_asked=True)
        while self._answer is None and worker in self.workers:
            self._take_answer()
        answer, self._answer = self._answer, None  # not kept: it may pin what it holds in the object store
        return answer

    def ask_any(self, name: str, *arguments: Any) -> Any:
        """Return the answer of any worker that is ready; another one is asked when it is lost."""
        while True:
            answer = self.ask(self.any_ready(), name, *arguments)
            if answer is not None:
                return answer

    def next_event(self) -> Event | None:
        """Wait for an answer, and return what it means for the chunks; ``None``: for those it means nothing.

        Raises:
            EnvironmentMissingError: No worker is left, or none starts.
            RerankBenchError: What a worker met.
        """
        if not self._events:
            self._take_answer()
        return self._events.popleft() if self._events else None

    def ask_each(self, name: str) -> list[Any]:
        """Return the answers of all workers that are ready, as far as they are not lost."""
        answers = [self.ask(worker, name) for worker in self.ready_workers()]
        return [answer for answer in answers if answer is not None]

    def _start_worker(self) -> None:
        actor = self._ray.remote(RayWorker).options(**self._shape.options(), scheduling_strategy="SPREAD")
        worker = Worker(actor.remote())
        self.workers.append(worker)
        self._call(worker, "introduce")

    def _call(self, worker: Worker, name: str, *arguments: Any, chunk: Any = None, is_asked: bool = False) -> None:
        self._calls[getattr(worker.handle, name).remote(*arguments)] = _Call(worker, name, chunk, is_asked)

    def _take_answer(self) -> None:
        """Wait for one answer of any worker, and act on it."""
        loss = self._read(self._wait())
        if loss is None:
            return
        worker, error = loss
        # What it had answered before it was lost is no matter of the loss.
        rest = [reference for reference, call in self._calls.items() if call.worker is worker]
        if rest:
            for reference in self._ray.wait(rest, num_returns=len(rest), timeout=0)[0]:
                self._read(reference)
        self._lose(worker, error)

    def _read(self, reference: Any) -> tuple[Worker, Exception] | None:
        """Act on an answer that is there; return the worker that was lost in its place, and how."""
        call = self._calls.pop(reference)
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            msg = f"the worker on {call.worker.where} failed:\n{error}"
            raise RuntimeError(msg) from error
        except self._ray.exceptions.RayError as error:
            return (call.worker, error) if call.worker in self.workers else None
        if call.worker in self.workers:
            self._act_on(call, answer)
        return None

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
            if any(worker.has_started for worker in self.workers):
                deadline = time.monotonic() + START_SECONDS
            elif time.monotonic() > deadline:
                free = self._ray.available_resources()
                msg = (
                    f"model {self._name!r}: no worker started within {START_SECONDS:g} s; each takes "
                    f"{self._shape.num_threads} cores{' and a GPU' if self._shape.device == 'cuda' else ''}, and free are "
                    f"{free.get('CPU', 0):g} cores and {free.get('GPU', 0):g} GPUs of the cluster. End what holds them, or "
                    f"pass a lower --ray-cores; {ADVICE}"
                )
                raise EnvironmentMissingError(msg)

    def _act_on(self, call: _Call, answer: Any) -> None:
        worker = call.worker
        if isinstance(answer, DeviceLost):  # a lost worker to all, though its process still answers
            self._lose(worker, RuntimeError(answer.text.strip().rpartition("\n")[2]))
            return
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
            worker.chunks.remove(call.chunk)
            self._events.append(Answered(worker, call.chunk, answer))

    def _welcome(self, worker: Worker, answer: Any) -> None:
        """Let a worker take part that has loaded the model."""
        if self.first is None:
            self.first = answer.ready
            say(answer.notes)
        check_same_model(self._name, worker.where, answer.ready, self.first)
        worker.ready = answer.ready

    def _lose(self, worker: Worker, error: Exception) -> None:
        """Go on without a worker; another one is asked for.

        Raises:
            EnvironmentMissingError: There is no other.
        """
        self.workers.remove(worker)
        _end(self._ray, [worker])  # of a machine that does not answer it is not known that the worker is gone
        reason = " ".join(str(error).split())
        if self._num_replaced < max(LEAST_REPLACED, self._shape.num_workers):
            self._num_replaced += 1
            self._start_worker()
        if not self.workers:
            msg = f"model {self._name!r}: the worker on {worker.where} was lost ({reason}), and no other is left; {ADVICE}"
            raise EnvironmentMissingError(msg)
        progress.note(f"{self._name}: the worker on {worker.where} was lost; its batches go to the others ({reason})")
        self._events.append(Lost(worker))

    def _fail(self, worker: Worker, answer: Failed) -> None:
        """Raise the error that a worker met, with where it was."""
        if answer.error is None:
            msg = f"the worker on {worker.where} failed:\n{answer.text}"
            raise RuntimeError(msg)
        msg = f"model {self._name!r}, the worker on {worker.where}: {answer.text}"
        raise type(answer.error)(msg)


def say(notes: list[str]) -> None:
    """Tell the user what a worker noted."""
    for note in notes:
        progress.note(note)


def _end(ray: Any, workers: list[Worker]) -> None:
    if ray.is_initialized():
        for worker in workers:
            ray.kill(worker.handle)
