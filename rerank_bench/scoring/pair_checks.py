"""No score that is not a finite number gets any further; what an error calls a pair."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import InvalidScoreError
from rerank_bench.scoring.scorer import PairNamer


def check_scores(scores: NDArray[np.float32], pair_rows: NDArray[np.int64], name: PairNamer) -> None:
    """Raise unless all (B,) scores are finite.

    Args:
        scores: Of one batch.
        pair_rows: (B,): the pairs' rows.
        name: Names a row.

    Raises:
        InvalidScoreError: One is not; its pair is named.
    """
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        first = int(bad[0])
        more = f" ({bad.size} of {len(scores)} scores of this batch are not finite)" if bad.size > 1 else ""
        msg = (
            f"{name(int(pair_rows[first]))}: score is {scores[first]}, expected a finite float32 number{more}; "
            "try --dtype float32"
        )
        raise InvalidScoreError(msg)


def texts_namer(
    queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64], max_chars: int = 60
) -> PairNamer:
    """Return what names a pair by its texts."""

    def name(row: int) -> str:
        texts = (queries[pairs[row, 0]], docs[pairs[row, 1]])
        query, doc = (text if len(text) <= max_chars else text[:max_chars] + "…" for text in texts)
        return f"query {query!r}, document {doc!r}"

    return name
