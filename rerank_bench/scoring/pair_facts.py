"""What is known of pairs beside their scores: which are equal, how many tokens they have, what was cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class PairFacts:
    """N pairs that were asked for, in their order."""

    distinct: NDArray[np.int64]
    """(N,): the same number for pairs of equal texts."""
    tokens: NDArray[np.int32]
    """(N,): tokens of query and document together after truncation, negative where the pair was cut."""
    is_stored: NDArray[np.bool_]
    """(N,): whether the score was stored by an earlier run."""

    def taken(self, rows: NDArray[np.int64] | slice) -> PairFacts:
        """Return some of the pairs."""
        return PairFacts(self.distinct[rows], self.tokens[rows], self.is_stored[rows])

    def summarise(self) -> dict[str, Any]:
        """Return what a data set's result says of its pairs, JSON-able; ``num_tokens`` is that of the distinct ones."""
        _, first = np.unique(self.distinct, return_index=True)
        return {
            "num_pairs": len(self.distinct),
            "num_distinct_pairs": len(first),
            "num_pairs_from_store": int(self.is_stored.sum()),
            "num_tokens": int(np.abs(self.tokens[first]).sum(dtype=np.int64)),
            "truncated_share": float((self.tokens < 0).mean()) if len(self.tokens) else 0.0,
        }
