"""A model in a process of a Ray cluster: loads it from what that machine has, tokenises, runs chunks of batches.

Whatever goes wrong is an answer, not an exception: Ray would wrap it, and an error of ours should look the same from
everywhere.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from rerank_bench import progress
from rerank_bench.errors import ConfigError, DataError, EnvironmentMissingError, RerankBenchError, ScoringError
from rerank_bench.provenance import processor_name
from rerank_bench.scoring.checkpoints import Checkpoint
from rerank_bench.scoring.device_worker import Failed, Ready, Start, load_model
from rerank_bench.scoring.execution import Outcome
from rerank_bench.scoring.launching import LaunchQueue
from rerank_bench.scoring.model_files import find_checkpoint
from rerank_bench.scoring.model_memo import fingerprint_contents
from rerank_bench.scoring.scorer import TextEncoder

T = TypeVar("T")
_KINDS = (EnvironmentMissingError, ConfigError, ScoringError, DataError, RerankBenchError)


class RayStart(NamedTuple):
    """What a worker is to load."""

    start: Start
    contents: str | None
    """Fingerprint of a local model's files where the run was started; ``None``: its name says what they are."""


class Loaded(NamedTuple):
    """A model that is ready."""

    ready: Ready
    notes: list[str]


class Encoded(NamedTuple):
    """Tokenised items, and what was said meanwhile."""

    items: Any
    notes: list[str]


class ChunkResult(NamedTuple):
    """What came of some batches."""

    outcomes: list[Outcome]
    seconds: float


class ItemFailure(NamedTuple):
    """The model raised an exception."""

    items: NDArray[np.int64]
    """The item of a batch that raises alone, too; all of them where none does."""
    text: str
    """The traceback."""


class DeviceLost(NamedTuple):
    """CUDA has failed in this process: no later call would work, whatever the pair."""

    text: str
    """The traceback."""


_PASSING_CUDA_ERRORS = ("CUBLAS_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_NOT_SUPPORTED")
"""torch says ``CUDA error`` of these as well, but the process can go on."""


@dataclass(slots=True, eq=False)
class ModelServer:
    """One model, and the items of the job that it works on."""

    message: RayStart
    scorer: Any = None
    _items: Any = None
    _items_key: Any = None
    _notes: list[str] = field(default_factory=list)

    def load(self) -> Loaded | Failed:
        """Load the model."""
        start = self.message.start

        def load() -> Loaded:
            self.scorer, ready = load_model(start._replace(checkpoint=_find_here(self.message)))
            if ready.hardware == "cpu":
                ready = ready._replace(hardware=processor_name())
            return Loaded(ready, self._said())

        return self._answer(load)

    def encode(self, queries: list[str], docs: list[str], pairs: NDArray[np.int64] | None) -> Encoded | Failed:
        """Tokenise pairs, or texts where there are no pairs."""

        def encode() -> Encoded:
            if isinstance(self.scorer, TextEncoder):
                items = self.scorer.encode_texts(queries, docs)
            else:
                items = self.scorer.encode(queries, docs, pairs)
            return Encoded(items, self._said())

        return self._answer(encode)

    def run(self, items: Any, batches: Sequence[NDArray[np.int32]]) -> ChunkResult | ItemFailure | DeviceLost | Failed:
        """Run batches of item numbers; the items are fetched once for every job."""
        if items != self._items_key:
            import ray

            self._items, self._items_key = ray.get(items), items
        return self._answer(lambda: self._run(batches))

    def _run(self, batches: Sequence[NDArray[np.int32]]) -> ChunkResult | ItemFailure | DeviceLost:
        started = time.perf_counter()
        queue = LaunchQueue(self._compute)
        outcomes: list[Outcome] = []
        num_launched = 0
        while len(outcomes) < len(batches):
            at = len(outcomes)  # what an exception is about
            try:
                while num_launched < len(batches) and num_launched - len(outcomes) < queue.capacity:
                    at = num_launched
                    queue.submit(at, self._items.batch(batches[at].astype(np.int64)))
                    num_launched += 1
                at = len(outcomes)
                outcomes.append(queue.collect()[1])  # in their order
            except RerankBenchError:
                raise
            except Exception as error:  # noqa: BLE001 - a model may raise anything; the pair is what the user can act on
                text = traceback.format_exc()
                return DeviceLost(text) if _is_lasting(error) else self._find_item(batches[at].astype(np.int64), text)
        return ChunkResult(outcomes, time.perf_counter() - started)

    def _compute(self, batch: Any) -> Any:
        return (
            self.scorer.embed_batch(batch) if isinstance(self.scorer, TextEncoder) else self.scorer.score_batch(batch)
        )

    def _find_item(self, batch: NDArray[np.int64], text: str) -> ItemFailure | DeviceLost:
        """Return which item of a batch that raised an exception raises one alone."""
        for item in batch:
            queue = LaunchQueue(self._compute)
            try:
                queue.submit(0, self._items.batch(item[None]))
                queue.collect()
            except Exception as error:  # noqa: BLE001 - as above
                text = traceback.format_exc()
                return DeviceLost(text) if _is_lasting(error) else ItemFailure(item[None], text)
        return ItemFailure(batch, text)

    def _answer(self, action: Callable[[], T]) -> T | Failed:
        try:
            with progress.use_reporter(_Notes(self._notes)):
                return action()
        except RerankBenchError as error:
            # Made anew, of a class that takes a text alone: others cannot be sent.
            return Failed(next(kind for kind in _KINDS if isinstance(error, kind))(str(error)), str(error))
        except Exception:  # noqa: BLE001 - whatever it is, the process that waits is told, traceback and all
            return Failed(None, traceback.format_exc())

    def _said(self) -> list[str]:
        said, self._notes[:] = list(self._notes), []
        return said


@dataclass(frozen=True, slots=True)
class _Notes:
    """A reporter that keeps notes for the answer; progress is shown where the run was started."""

    said: list[str]

    @contextlib.contextmanager
    def task(self, _description: str, _total: int | None, _unit: str) -> Iterator[progress.Advance]:
        """Show nothing."""
        yield lambda _units: None

    def note(self, message: str) -> None:
        """Keep a line."""
        self.said.append(message)


def _is_lasting(error: Exception) -> bool:
    """Return whether CUDA has failed for good in this process; memory that runs out is no such error."""
    text = str(error)
    return "CUDA error" in text and not any(name in text for name in _PASSING_CUDA_ERRORS)


def _find_here(message: RayStart) -> Checkpoint:
    """Return the checkpoint as this machine has it.

    Raises:
        ScoringError: A local model is not here, or is another one.
        RerankBenchError: What ``find_checkpoint`` raises.
    """
    start = message.start
    model, config = start.model, start.config
    if model.kind == "local" and not Path(model.value).is_dir():
        msg = (
            f"there is no {model.value}; a local model must lie under the same path on every machine of the cluster (a "
            "shared file system, or a copy), or be named by its hub id: each machine fetches that itself"
        )
        raise ScoringError(msg)
    if model.kind == "hub":
        model, config = replace(model, revision=None), replace(config, revision=start.checkpoint.revision)
    checkpoint = find_checkpoint(model, config)
    if message.contents is not None and fingerprint_contents(checkpoint) != message.contents:
        msg = f"the files in {model.value} are not those of the machine that the run was started on; copy them again"
        raise ScoringError(msg)
    return checkpoint
