"""A model on several devices as a scorer like any other: what loading a model with ``devices`` returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rerank_bench.scoring.checkpoints import Checkpoint
from rerank_bench.scoring.device_worker import CompareVectors, Ready
from rerank_bench.scoring.execution import BatchExecutor
from rerank_bench.scoring.multi_device import DeviceFleet, RemoteItems
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.specs import ModelSpec


class Fleet(BatchExecutor, Protocol):
    """The processes of one model: on the devices of this machine, or on those of a cluster."""

    @property
    def ready(self) -> Ready:
        """What is known of the model."""

    def __call__(self, batch: NDArray[np.int32]) -> NDArray[np.float32]:
        """Run one batch, and wait for it."""

    def encode(
        self, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64] | None = None
    ) -> RemoteItems:
        """Let one process tokenise for all."""

    def peak_device_bytes(self) -> int | None:
        """Return the highest memory of any device so far, in bytes."""

    def close(self) -> None:
        """End the processes."""


@dataclass(frozen=True, slots=True, eq=False)
class _FleetModel:
    """What a cross-encoder and a text encoder on several devices have in common."""

    fleet: Fleet

    @property
    def fingerprint(self) -> str:
        """SHA-256, hex: that of the same model on one of the devices."""
        return self.fleet.ready.fingerprint

    @property
    def default_batch_tokens(self) -> int:
        """Budget when the user names none."""
        return self.fleet.ready.default_batch_tokens

    def describe(self) -> dict[str, Any]:
        """Return what a result records of the model, JSON-able."""
        return self.fleet.ready.description

    def peak_device_bytes(self) -> int | None:
        """Return the highest memory of any device so far, in bytes."""
        return self.fleet.peak_device_bytes()


@dataclass(frozen=True, slots=True, eq=False)
class FleetScorer(_FleetModel):
    """A model that reads pairs, on several devices."""

    def encode(self, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]) -> RemoteItems:
        """Tokenise pairs given as (N, 2) indices into the texts."""
        return self.fleet.encode(queries, docs, pairs)

    @property
    def score_batch(self) -> Fleet:
        """The executor that runs the batches."""
        return self.fleet


@dataclass(frozen=True, slots=True, eq=False)
class FleetTextEncoder(_FleetModel):
    """A model that reads each text alone, on several devices."""

    compare: CompareVectors

    def encode_texts(self, queries: Sequence[str], docs: Sequence[str]) -> RemoteItems:
        """Tokenise the queries, then the documents."""
        return self.fleet.encode(queries, docs)

    @property
    def embed_batch(self) -> Fleet:
        """The executor that runs the batches."""
        return self.fleet


def load_on_devices(checkpoint: Checkpoint, model: ModelSpec, config: ScorerConfig) -> FleetScorer | FleetTextEncoder:
    """Return a model that is loaded on all ``config.devices``, by a process each.

    Raises:
        RerankBenchError: What loading the checkpoint raises; or all processes ended while they loaded.
    """
    return _scorer_of(DeviceFleet(checkpoint, model, config))


def load_on_ray(checkpoint: Checkpoint, model: ModelSpec, config: ScorerConfig) -> FleetScorer | FleetTextEncoder:
    """Return a model that is loaded by workers of a Ray cluster.

    Raises:
        RerankBenchError: What loading the checkpoint raises; or no worker could be started.
    """
    from rerank_bench.scoring.ray_engine import RayFleet

    return _scorer_of(RayFleet(checkpoint, model, config))


def _scorer_of(fleet: Fleet) -> FleetScorer | FleetTextEncoder:
    return FleetScorer(fleet) if fleet.ready.compare is None else FleetTextEncoder(fleet, fleet.ready.compare)
