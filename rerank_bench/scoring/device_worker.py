"""A process that runs one model on one device for another process: what ``--devices`` starts for every device.

It answers one message after the other: load the model, tokenise, map what another process tokenised, run a batch.  It
ends at once when the process that started it is gone, whatever it is doing, and never by Ctrl-C: that is for the one
who started it (``worker_process.py``).
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rerank_bench import progress
from rerank_bench.errors import EnvironmentMissingError, RerankBenchError
from rerank_bench.scoring.checkpoints import Checkpoint
from rerank_bench.scoring.execution import BatchExecutor, Outcome
from rerank_bench.scoring.launching import LaunchQueue
from rerank_bench.scoring.scorer import Scorer, ScorerConfig, TextEncoder
from rerank_bench.scoring.shared_items import SharedItems, read_items, write_items
from rerank_bench.scoring.specs import ModelSpec

CompareVectors = Callable[[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]], NDArray[np.float32]]
"""(Q, H) and (D, H) vectors and (N, 2) indices into them -> (N,) scores."""


class Start(NamedTuple):
    """What a process is to load."""

    checkpoint: Checkpoint
    model: ModelSpec
    config: ScorerConfig
    num_threads: int
    """Of torch."""


class Ready(NamedTuple):
    """What is known of a model once it is loaded."""

    compare: CompareVectors | None
    """Of a text encoder, without its model: vectors are compared where the scores are stored."""
    fingerprint: str
    default_batch_tokens: int
    description: dict[str, Any]
    hardware: str
    """The device's own name, such as that of a GPU."""


class Note(NamedTuple):
    """A line for the user."""

    text: str


class Advanced(NamedTuple):
    """Progress of a call: ``units`` more, of a task that starts with its first message."""

    description: str
    total: int | None
    unit: str
    units: int


class Encode(NamedTuple):
    """Tokenise pairs, or texts where there are no pairs, into a file."""

    path: Path
    queries: list[str]
    docs: list[str]
    pairs: NDArray[np.int64] | None


class Encoded(NamedTuple):
    """What the process that plans needs of encoded items."""

    shared: SharedItems
    lengths: NDArray[np.int32]
    is_truncated: NDArray[np.bool_]


class PeakMemory(NamedTuple):
    """Say how much of the device's memory was used at most."""


class Batch(NamedTuple):
    """Run some items; the answer carries the same number."""

    number: int
    indices: NDArray[np.int32]


class Computed(NamedTuple):
    """What came of a batch."""

    number: int
    outcome: Outcome
    capacity: int
    """Batches that the process takes at a time from here on, one to go on with included."""


class Failed(NamedTuple):
    """An error: one of ours, or a defect with its traceback."""

    error: RerankBenchError | None
    text: str


@dataclass(slots=True, eq=False)
class _Server:
    """One model behind one connection."""

    connection: Connection
    scorer: Scorer | TextEncoder
    executor: BatchExecutor
    messages: queue.SimpleQueue[Any]
    items: Any = None
    num_in_flight: int = 0

    def serve(self) -> None:
        """Answer messages for as long as there is somebody who sends them."""
        while True:
            if self.num_in_flight < self.executor.capacity and not (self.num_in_flight and self.messages.empty()):
                self._answer(self.messages.get())
            else:
                number, outcome = self.executor.collect()
                self.num_in_flight -= 1
                self.connection.send(Computed(number, outcome, self.executor.capacity + 1))

    def _answer(self, message: Any) -> None:
        if isinstance(message, Batch):
            self.executor.submit(message.number, self.items.batch(message.indices.astype(np.int64)))
            self.num_in_flight += 1
        elif isinstance(message, SharedItems):
            self.items = read_items(message)
        elif isinstance(message, Encode):
            self.connection.send(self._encode(message))
        else:
            self.connection.send(self.scorer.peak_device_bytes())

    def _encode(self, message: Encode) -> Encoded:
        if isinstance(self.scorer, TextEncoder):
            items = self.scorer.encode_texts(message.queries, message.docs)
        else:
            assert message.pairs is not None  # noqa: S101 - for the type checker: only text encoders have none
            items = self.scorer.encode(message.queries, message.docs, message.pairs)
        self.items = items
        return Encoded(write_items(message.path, items), items.lengths, items.is_truncated)


@dataclass(frozen=True, slots=True, eq=False)
class _Messenger:
    """A reporter that hands progress and notes on to the process that shows them."""

    send: Callable[[Any], None]

    @contextlib.contextmanager
    def task(self, description: str, total: int | None, unit: str) -> Iterator[progress.Advance]:
        """Report a task message by message."""
        yield lambda units: self.send(Advanced(description, total, unit, units))

    def note(self, message: str) -> None:
        """Hand on a line."""
        self.send(Note(message))


@dataclass(slots=True, eq=False)
class _Reader:
    """Reads messages in a thread of its own, so that whoever sends one never waits, and the end is seen at once."""

    connection: Connection
    messages: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)

    def start(self) -> None:
        """Read until the connection is closed, then end this process."""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            while True:
                self.messages.put(self.connection.recv())
        except (EOFError, OSError):
            os._exit(0)  # whatever is being computed, nobody waits for it


def _without_model(scorer: Any) -> Any:
    """Return a text encoder that holds its settings alone, and can be sent: comparing vectors takes no more."""
    held = {field.name for field in fields(scorer)} & {"runtime", "tokenizer", "table"}
    return replace(scorer, **dict.fromkeys(held))


def load_model(start: Start) -> tuple[Scorer | TextEncoder, Ready]:
    """Load a model in this process, on its device and with its threads, and return it with what is known of it.

    Raises:
        RerankBenchError: What loading the checkpoint raises.
    """
    import torch

    from rerank_bench.scoring.loaded_scorer import load_checkpoint

    torch.set_num_threads(start.num_threads)
    device = torch.device(start.config.device)
    if device.type == "cuda" and device.index is not None:  # Ray shows each of its workers one GPU only
        torch.cuda.set_device(device)
    scorer: Any = load_checkpoint(start.checkpoint, start.model, start.config).scorer
    ready = Ready(
        compare=_without_model(scorer).compare if isinstance(scorer, TextEncoder) else None,
        fingerprint=scorer.fingerprint,
        default_batch_tokens=scorer.default_batch_tokens,
        description=scorer.describe(),
        hardware=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    )
    return scorer, ready


def main() -> None:
    """Serve the process at the other end of the connection that is open under the number in the last argument."""
    connection = Connection(int(sys.argv[-1]))
    reader = _Reader(connection)
    reader.start()
    try:
        with progress.use_reporter(_Messenger(connection.send)):
            scorer, ready = load_model(reader.messages.get())
            connection.send(ready)
            compute: Any = scorer.embed_batch if isinstance(scorer, TextEncoder) else scorer.score_batch
            _Server(connection, scorer, LaunchQueue(compute), reader.messages).serve()
    except RerankBenchError as error:
        connection.send(Failed(error, str(error)))
    except OSError as error:
        message = f"{error}; what is tokenised is handed over in a file there"
        connection.send(Failed(EnvironmentMissingError(message), message))
    except Exception:  # noqa: BLE001 - whatever it is, the other process is told, traceback and all
        connection.send(Failed(None, traceback.format_exc()))
