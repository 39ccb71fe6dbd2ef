"""One model on the machines of a Ray cluster: ``--engine ray``.

The process that was started plans, checks and stores, as with the local engine; it loads no weights.  One worker tokenises
into Ray's object store, from which each machine takes a copy; batches of the plan go in chunks, as item numbers, to
workers that have fewer than two, and come back as values, in any order.  What a lost worker had goes to the others, within
bounds (docs/decisions/0012-ray.md).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench import progress
from rerank_bench.errors import EnvironmentMissingError
from rerank_bench.scoring.checkpoints import Checkpoint
from rerank_bench.scoring.device_worker import Ready, Start
from rerank_bench.scoring.execution import ItemsFailedError, Outcome, compute_one
from rerank_bench.scoring.model_memo import fingerprint_contents
from rerank_bench.scoring.multi_device import RemoteItems
from rerank_bench.scoring.ray_cluster import connect, worker_shape
from rerank_bench.scoring.ray_pool import ADVICE, Answered, Lost, RayPool, Worker, say
from rerank_bench.scoring.ray_serving import ChunkResult, ItemFailure, RayStart
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.specs import ModelSpec

CHUNK_SECONDS = 0.5
"""Work of a chunk: a hundred times what handing it over costs (docs/experiments.md), and what is lost with a worker."""
MAX_CHUNK_BATCHES = 64
CHUNKS_PER_WORKER = 2
"""One to work on, one to go on with."""


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
        shape = worker_shape(self._ray, config)
        progress.note(
            f"{checkpoint.name}: a Ray cluster with room for {shape.num_workers} workers ({shape.device}, threads of "
            f"each: {shape.num_threads})"
        )
        self.pool = RayPool(self._ray, shape, checkpoint.name, _start_of(checkpoint, model, config, shape.num_threads))
        self.items: Any = None
        """Reference of the job's items."""
        self._tickets = count()
        self._number_of: dict[int, int] = {}
        """Ticket -> number of a batch in flight; a ticket is never used twice, so late answers are told apart."""
        self._buffer: list[tuple[int, NDArray[np.int32]]] = []
        """Batches for the next chunk."""
        self._waiting: deque[_Chunk] = deque()
        self._outcomes: deque[tuple[int, Outcome]] = deque()
        self._chunk_batches = 1
        try:
            with progress.track("start workers on the cluster"):
                self.pool.any_ready()
        except BaseException:
            self.pool.close()  # else they hold their devices for as long as the traceback lives
            raise

    def close(self) -> None:
        """End the workers."""
        self.pool.close()

    @property
    def ready(self) -> Ready:
        """What the first worker that loaded the model said of it."""
        assert self.pool.first is not None  # noqa: S101 - for the type checker: it was waited for
        return self.pool.first

    @property
    def capacity(self) -> int:
        """Batches that keep the workers busy."""
        return CHUNKS_PER_WORKER * max(1, len(self.pool.ready_workers())) * self._chunk_batches

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
            event = self.pool.next_event()
            if isinstance(event, Answered):
                self._take(event)
            elif isinstance(event, Lost):
                self._take_back(event.worker.chunks)
        ticket, outcome = self._outcomes.popleft()
        return self._number_of.pop(ticket), outcome

    def __call__(self, batch: NDArray[np.int32]) -> NDArray[np.float32]:
        """Run one batch, and wait for it."""
        return compute_one(self, batch)

    def encode(
        self, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64] | None = None
    ) -> RemoteItems:
        """Let one worker tokenise pairs of texts, or texts where there are no pairs; the others take copies.

        Raises:
            EnvironmentMissingError: The object store cannot hold the items.
        """
        self._forget()
        with progress.track("tokenise on the cluster"):
            encoded = self.pool.ask_any("encode", list(queries), list(docs), pairs)
        say(encoded.notes)
        try:
            # Put again from here: what a worker put is lost with it.
            self.items = self._ray.put(encoded.items)
        except self._ray.exceptions.RayError as error:
            msg = (
                f"Ray's object store cannot hold the tokens of {len(encoded.items.lengths):,} items ({error}); start Ray "
                "with a larger --object-store-memory, or run in parts with --shard"
            )
            raise EnvironmentMissingError(msg) from error
        # Copies: a view would hold the worker's object in the store.
        return RemoteItems(np.array(encoded.items.lengths), np.array(encoded.items.is_truncated))

    def peak_device_bytes(self) -> int | None:
        """Return the highest memory that any of the devices was seen to use, in bytes; ``None`` on a CPU."""
        self._forget()
        return max((peak for (peak,) in self.pool.ask_each("peak_memory") if peak is not None), default=None)

    def _hand_out(self) -> None:
        """Make a chunk of the batches that were submitted, and give chunks to workers that have room for one."""
        if self._buffer:
            tickets, batches = zip(*self._buffer, strict=True)
            self._waiting.append(_Chunk(list(tickets), list(batches)))
            self._buffer = []
        ready = self.pool.ready_workers()
        while self._waiting and ready:
            worker = min(ready, key=lambda candidate: len(candidate.chunks))
            if len(worker.chunks) == CHUNKS_PER_WORKER:
                return
            chunk = self._waiting.popleft()
            self.pool.run(worker, chunk, [self.items], chunk.batches)

    def _take(self, event: Answered) -> None:
        """Keep the outcomes of a chunk, and make the next ones as long as they should be.

        Raises:
            ItemsFailedError: The model raised an exception.
        """
        chunk = event.chunk
        if chunk.tickets[0] not in self._number_of:
            return  # of a job that ended in an error
        answer = self._keep(chunk, event.answer, event.worker)
        seconds = max(answer.seconds / len(chunk.batches), 1e-6)
        self._chunk_batches = min(MAX_CHUNK_BATCHES, max(1, round(CHUNK_SECONDS / seconds)))

    def _keep(self, chunk: _Chunk, answer: ChunkResult | ItemFailure, worker: Worker) -> ChunkResult:
        """Keep the outcomes of a chunk.

        Raises:
            ItemsFailedError: The model raised an exception.
        """
        if isinstance(answer, ItemFailure):
            reason = answer.text.strip().rpartition("\n")[2]
            msg = f"the model raised {reason}, on {worker.where}; the traceback there:\n{answer.text}"
            raise ItemsFailedError(answer.items, msg)
        self._outcomes.extend(zip(chunk.tickets, answer.outcomes, strict=True))
        return answer

    def _take_back(self, chunks: list[_Chunk]) -> None:
        """Put the chunks of a lost worker first in the line, those batches alone that it worked on.

        Raises:
            ItemsFailedError: A third worker was lost with the same batch.
        """
        chunks = [chunk for chunk in chunks if chunk.tickets[0] in self._number_of]
        if not chunks:
            return
        first, *others = chunks
        first.num_losses += 1
        if first.num_losses > 1 and len(first.batches) == 1:
            self._run_suspect(first)
        else:
            others = [*first.alone(), *others]
        self._waiting.extendleft(reversed(others))

    def _run_suspect(self, chunk: _Chunk) -> None:
        """Run a batch that two workers were lost with, at the price of a third one: item by item, then as it is.

        Both may have been lost for a reason of their own, such as a machine that was switched off with the two of them.

        Raises:
            ItemsFailedError: The third worker is lost, too: with the item that costs it, or with all where each of them
                alone costs none.
        """
        batch = chunk.batches[0].astype(np.int64)
        items, alone = batch, ""
        for item in batch if len(batch) > 1 else ():
            if self._ask_idle([item[None]])[1] is None:
                items = item[None]
                break
        else:
            worker, answer = self._ask_idle([batch])
            if answer is not None:
                self._keep(chunk, answer, worker)
                return
            if len(batch) > 1:
                alone = "; each of them alone costs none, so pass a lower --batch-tokens"
        msg = (
            f"every worker that was given this was lost{alone}. It is not tried again; {ADVICE} once the cause is gone"
        )
        raise ItemsFailedError(items, msg)

    def _ask_idle(self, batches: list[NDArray[np.int64]]) -> tuple[Worker, ChunkResult | ItemFailure | None]:
        """Return a worker that has nothing else to do and its answer; ``None``: it was lost with these batches."""
        while self.pool.ask(worker := self.pool.any_ready(), "peak_memory") is None:  # answered behind its chunks
            pass
        return worker, self.pool.ask(worker, "run", [self.items], batches)

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
