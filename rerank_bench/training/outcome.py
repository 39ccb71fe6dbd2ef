"""What one training made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOutcome:
    """What one training made."""

    folder: Path
    """The checkpoint: the best one by ``best_by``, else the last."""
    steps: int
    """Optimizer steps in all, over every part of an interrupted job."""
    saved_step: int
    """The step whose weights were kept."""
    best_by: str | None
    best_value: float | None
    values: Mapping[str, float]
    """What was measured at ``saved_step``."""
    seconds: float
    """Of this process; an interrupted job took longer."""
    resumed_from: int
    """Step that this process began at."""
    precision: str

    def as_dict(self) -> dict[str, Any]:
        """Return every field, JSON-able."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"folder": str(self.folder)}
