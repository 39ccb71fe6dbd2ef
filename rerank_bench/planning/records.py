"""What a plan says; plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Basis = Literal["lists", "sample", "counts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetPlan:
    """What one data set asks for."""

    name: str
    basis: Basis
    """``lists``: its candidate lists and texts; ``sample``: its texts, documents drawn in the place of candidates;
    ``counts``: its data are not on this machine, and the counts are those of its manifest."""
    queries: int
    documents: int | None
    """``None`` where the manifest does not say."""
    pairs: int
    """To be scored per model; an upper bound unless the basis is ``lists``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPlan:
    """What one model would cost; ``None`` where it is not known before it runs."""

    spec: str
    pairs: int
    stored_pairs: int
    """Of them, scored by an earlier run."""
    tokens: int | None = None
    """Of the distinct pairs (texts, for a model that reads each alone) that are still to be scored, without padding."""
    measured_pairs: int = 0
    """Whose tokens were counted; the others are taken to be like them."""
    truncated_share: float | None = None
    """Of what was counted."""
    flops: float | None = None
    """Operations of the forward passes; counted as ``scoring/flops.py`` says."""
    load_seconds: float | None = None
    tokenise_seconds: float | None = None
    score_seconds: float | None = None
    calibration_seconds: float | None = None
    """Of the forward passes that were timed."""
    processor_seconds: float | None = None
    """Of scoring on a CPU, all threads together: what other work on the machine hardly changes."""
    busy_share: float | None = None
    """Share of the cores that it runs on which others used while batches were timed; ``None`` on an accelerator."""
    host_bytes: int | None = None
    """Peak of this process, and what texts and tables of the largest job take beside it."""
    device_bytes: int | None = None
    """Peak after the batch of the longest items; ``None`` without an accelerator."""
    device: str | None = None
    note: str | None = None
    """Why something is not known."""

    @property
    def seconds(self) -> float | None:
        """Of loading, tokenising and scoring together."""
        parts = (self.load_seconds, self.tokenise_seconds, self.score_seconds)
        return None if None in parts else sum(part for part in parts if part is not None)

    def as_dict(self) -> dict[str, Any]:
        """Return every field, JSON-able."""
        return {**asdict(self), "seconds": self.seconds}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would cost."""

    first_stage: str
    depth: int
    datasets: Sequence[DatasetPlan]
    models: Sequence[ModelPlan]

    def as_dict(self) -> dict[str, Any]:
        """Return the content of ``rerank-bench plan --json``."""
        return {
            "first_stage": self.first_stage,
            "depth": self.depth,
            "datasets": [asdict(dataset) for dataset in self.datasets],
            "models": [model.as_dict() for model in self.models],
        }
