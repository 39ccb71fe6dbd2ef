"""One model on several devices of this machine, a process on each: ``--devices``.

This process plans, checks and stores, as with one device; it loads no weights.  The process that is ready first
tokenises, into a file that all of them map; each batch goes as item numbers to a process that has the fewest, and comes
back as values, in any order.  A process that is lost leaves its batches to the others.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench import progress
from rerank_bench.errors import EnvironmentMissingError, ScoringError
from rerank_bench.scoring.checkpoints import Checkpoint
from rerank_bench.scoring.device_list import threads_per_process
from rerank_bench.scoring.device_worker import (
    Batch,
    Computed,
    Encode,
    Encoded,
    PeakMemory,
    Ready,
    Start,
)
from rerank_bench.scoring.execution import Outcome, compute_one
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.shared_items import SharedItems
from rerank_bench.scoring.specs import ModelSpec
from rerank_bench.scoring.worker_process import WorkerGoneError, WorkerProcess


@dataclass(frozen=True, slots=True, eq=False)
class RemoteItems:
    """Items that lie with the processes; what is known of them here."""

    lengths: NDArray[np.int32]
    is_truncated: NDArray[np.bool_]

    def batch(self, indices: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the numbers of the items, which is all that a process needs."""
        return indices.astype(np.int32)


class DeviceFleet:
    """The processes: an executor of batches.

    Args:
        checkpoint: What each process loads.
        model: What the user wrote.
        config: Its ``devices`` are where the processes run.

    Raises:
        RerankBenchError: What loading the checkpoint raises; or all processes ended while they loaded.
    """

    def __init__(self, checkpoint: Checkpoint, model: ModelSpec, config: ScorerConfig) -> None:
        self._name = checkpoint.name
        self._workers: list[WorkerProcess] = []
        self._folder = Path(tempfile.mkdtemp(prefix="rerank-bench-"))
        # When nobody holds this object any more, and when Python ends: no process outlives its use.
        self._finalizer = weakref.finalize(self, _end, self._workers, self._folder)
        self._tickets = count()
        self._number_of: dict[int, int] = {}
        """Ticket -> number of a batch in flight; a ticket is never used twice, so late answers are told apart."""
        self._homeless: list[tuple[int, Any]] = []
        """(ticket, batch) of lost processes while no other was ready."""
        self._suspects: set[int] = set()
        """Tickets of the batches that a process was lost with."""
        self._shared: SharedItems | None = None
        try:
            for device in config.devices:
                start = Start(
                    checkpoint, model, replace(config, device=device, devices=()), threads_per_process(config.devices)
                )
                self._workers.append(WorkerProcess.start(device, start))
            self.ready = self._first_ready()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the processes."""
        self._finalizer()

    @property
    def capacity(self) -> int:
        """What the processes that are ready take together."""
        return max(1, sum(worker.capacity for worker in self._workers if worker.ready is not None))

    def submit(self, number: int, batch: NDArray[np.int32]) -> None:
        """Give a batch to the process that has the fewest."""
        ticket = next(self._tickets)
        self._number_of[ticket] = number
        self._give(ticket, batch)

    def collect(self) -> tuple[int, Outcome]:
        """Wait for any batch in flight and return its number and what came of it.

        Raises:
            EnvironmentMissingError: No process is left, or two were lost with the same batch.
        """
        while True:
            worker = self._next_to_speak()
            try:
                message = worker.receive()
            except WorkerGoneError:
                self._lose(worker)
                continue
            if isinstance(message, Ready):
                self._welcome(worker, message)
            elif isinstance(message, Computed):
                worker.capacity = message.capacity
                if worker.in_flight.pop(message.number, None) is not None:
                    return self._number_of.pop(message.number), message.outcome

    def __call__(self, batch: NDArray[np.int32]) -> NDArray[np.float32]:
        """Run one batch, and wait for it."""
        return compute_one(self, batch)

    def encode(
        self, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64] | None = None
    ) -> RemoteItems:
        """Let one process tokenise pairs of texts, or texts where there are no pairs; all others map the result."""
        self._forget()
        while True:
            host = self._host()
            path = self._folder / f"items-{next(self._tickets)}"
            try:
                encoded: Encoded = host.call(Encode(path, list(queries), list(docs), pairs))
                break
            except WorkerGoneError:
                self._lose(host)
        if self._shared is not None:
            self._shared.path.unlink()
        self._shared = encoded.shared
        for worker in self._workers:
            if worker.ready is not None and worker is not host:
                worker.send(encoded.shared)
        return RemoteItems(encoded.lengths, encoded.is_truncated)

    def peak_device_bytes(self) -> int | None:
        """Return the highest memory that any of the devices was seen to use, in bytes; ``None`` on a CPU."""
        self._forget()
        peaks: list[int | None] = []
        for worker in self._workers:
            if worker.ready is not None:
                with suppress(WorkerGoneError):  # all is done; who asks for more will see that it is gone
                    peaks.append(worker.call(PeakMemory()))
        return max((peak for peak in peaks if peak is not None), default=None)

    def _first_ready(self) -> Ready:
        """Return what the first process that loads the model says of it; others may still be loading."""
        while self._workers:
            worker = self._workers[0]
            try:
                ready: Ready = worker.answer()
            except WorkerGoneError:
                self._lose(worker)
            else:
                return ready
        msg = f"model {self._name!r}: the processes that ran it are gone; load it again"
        raise EnvironmentMissingError(msg)

    def _host(self) -> WorkerProcess:
        """Return a process that is ready; waits for one that is still loading if there is no other."""
        for worker in self._workers:
            if worker.ready is not None:
                return worker
        ready = self._first_ready()
        self._welcome(self._workers[0], ready)
        return self._workers[0]

    def _next_to_speak(self) -> WorkerProcess:
        readable = wait([worker.connection for worker in self._workers])
        return next(worker for worker in self._workers if worker.connection in readable)

    def _give(self, ticket: int, batch: NDArray[np.int32]) -> None:
        ready = [worker for worker in self._workers if worker.ready is not None]
        if not ready:
            self._homeless.append((ticket, batch))
            return
        worker = min(ready, key=lambda candidate: len(candidate.in_flight))
        worker.in_flight[ticket] = batch
        worker.send(Batch(ticket, batch))

    def _welcome(self, worker: WorkerProcess, ready: Ready) -> None:
        """Let a process take part that has loaded the model.

        Raises:
            ScoringError: It would give scores of another kind.
        """
        check_same_model(self._name, worker.device, ready, self.ready)
        if self._shared is not None:
            worker.send(self._shared)
        homeless, self._homeless = self._homeless, []
        for ticket, batch in homeless:
            self._give(ticket, batch)

    def _lose(self, worker: WorkerProcess) -> None:
        """Go on without a process that ended; its batches go to the others.

        Raises:
            EnvironmentMissingError: There is no other, or another one was lost with the same batch.
        """
        self._workers.remove(worker)
        reason = worker.how_it_ended()
        worker.end()
        advice = "what was scored is stored, so the same command goes on from here"
        if not self._workers:
            msg = f"model {self._name!r}: {reason}, and no other is left; {advice}"
            raise EnvironmentMissingError(msg)
        for ticket, batch in list(worker.in_flight.items())[:1]:  # the one that it worked on
            if ticket in self._suspects:
                msg = f"model {self._name!r}: {reason}, the second one with the same batch of {len(batch)} items; {advice}"
                raise EnvironmentMissingError(msg)
            self._suspects.add(ticket)
        progress.note(f"{self._name}: {reason}; its batches go to the other devices")
        for ticket, batch in worker.in_flight.items():
            self._give(ticket, batch)

    def _forget(self) -> None:
        """Drop what a job left that ended in an error."""
        self._number_of.clear()
        self._homeless.clear()
        for worker in self._workers:
            worker.in_flight.clear()


def check_same_model(name: str, device: str, ready: Ready, first: Ready) -> None:
    """Raise unless a process gives the scores that the first one gives; say in a note where only their digits may differ.

    Args:
        name: What errors call the model.
        device: What they call the process's device.
        ready: What is known of the model there.
        first: What is known of it on the first device.

    Raises:
        ScoringError: It would give scores of another kind.
    """
    if ready.fingerprint != first.fingerprint:
        own, others = ready.description, first.description
        differing = [key for key in others if own.get(key) != others[key]]
        what = ", ".join(f"{key} {own.get(key)!r} instead of {others[key]!r}" for key in differing) or "setting"
        msg = (
            f"model {name!r}: on {device} it would be run with {what}, so that scores would differ by device; name "
            "devices of one kind"
        )
        raise ScoringError(msg)
    if ready.hardware != first.hardware:
        progress.note(
            f"{device} is a {ready.hardware}, the first device a {first.hardware}: the last digits of scores may depend "
            "on which of them computed them"
        )


def _end(workers: list[WorkerProcess], folder: Path) -> None:
    for worker in workers:
        worker.connection.close()  # all of them first: they end side by side
    for worker in workers:
        worker.end()
    shutil.rmtree(folder, ignore_errors=True)
