"""What the engine hands back: scores in the order of the pairs, what is known of each pair, and what it cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.scoring.device_use import DeviceUse
from rerank_bench.scoring.pair_facts import PairFacts
from rerank_bench.scoring.pair_work import PairWork


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """What scoring cost."""

    num_pairs: int
    num_distinct_pairs: int
    """Pairs of different texts."""
    num_pairs_from_store: int
    """Pairs asked for whose score was stored by an earlier run."""
    num_items: int
    """What was batched: the distinct pairs, or the distinct texts of a bi-encoder.

    This and the counts below are of the job that scored what this request lacked, whatever run it was in; 0 where
    several jobs of other requests did.
    """
    num_tokens: int
    """Tokens of all items, without padding."""
    num_padded_tokens: int
    """Tokens of all batches, padding included."""
    padding_share: float
    """Share of the padded tokens that is padding."""
    num_batches: int
    batch_tokens: int | None
    """The budget at the end; lower than at the start if memory ran out.  ``None`` where nothing was batched."""
    is_calibrated: bool = False
    """Whether that budget was found by trying some on the first batches of this job."""
    tokenise_seconds: float
    """Of this run, like all times and speeds."""
    score_seconds: float
    pairs_per_second: float | None
    """Pairs that were really scored, over tokenising and scoring together; ``None`` when none was."""
    cpu_threads: tuple[int, ...] = ()
    """Numbers of CPU threads that scores of this model were computed with, here or in the store; empty on an accelerator,
    and for functions and services.  More than one: last digits may differ from those of a run with one number."""
    tokens_per_second: float | None
    """Their tokens, without padding, over the same."""
    peak_host_bytes: int | None
    peak_device_bytes: int | None
    use: DeviceUse = field(default_factory=DeviceUse)
    """What the run did with its time and its device."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, those of ``use`` among them, JSON-able."""
        fields = asdict(self)
        use = fields.pop("use")
        return {**fields, "cpu_threads": list(self.cpu_threads), **use}


@dataclass(frozen=True, slots=True, eq=False)
class EngineResult:
    """Scores in the order of the pairs."""

    scores: NDArray[np.float32]
    """(N,) float32, all finite."""
    facts: PairFacts
    """Of the same pairs."""
    stats: EngineStats

    def computed_with(self, cpu_threads: tuple[int, ...]) -> EngineResult:
        """Return the same, with the numbers of CPU threads that scores were computed with."""
        return replace(self, stats=replace(self.stats, cpu_threads=cpu_threads))


def facts_of(work: PairWork, tokens: NDArray[np.int32], is_scored: NDArray[np.bool_]) -> PairFacts:
    """Return the facts of the pairs asked for from (M,) ones of the distinct pairs."""
    row = work.row_of_pair
    return PairFacts(distinct=row, tokens=tokens[row], is_stored=~is_scored[row])
