"""Scores of a rerank endpoint, kept until the request that they are part of is answered as a whole, and no longer.

Nothing says whether a service is the same as yesterday, so its scores are not stored for other runs.  But a run against
a paid service that is interrupted should not pay twice: the same request, started again within a day, asks only for the
lists that were not answered.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rerank_bench import progress
from rerank_bench.scoring.model_memo import scores_folder
from rerank_bench.scoring.score_rows import hash_texts
from rerank_bench.scoring.score_store import ScoreStore, describe_store
from rerank_bench.storage import fingerprint_items

RESUME_HOURS = 24
"""How long an interrupted request can be taken up again."""


@contextmanager
def keep_unfinished(
    fingerprint: str, name: str, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]
) -> Iterator[ScoreStore]:
    """Open the store of one request; it is deleted when the block ends without an error.

    Args:
        fingerprint: The endpoint's.
        name: What notes call it.
        queries: Query texts.
        docs: Document texts.
        pairs: (N, 2) int64: indices into both; the request is all of them.
    """
    texts = b"".join([*hash_texts(queries), *hash_texts(docs)])
    rows = np.ascontiguousarray(pairs, dtype="<i8").tobytes()
    key = fingerprint_items([fingerprint, f"{len(queries)} {len(docs)}", texts.hex(), rows.hex()])
    path = scores_folder() / f"unfinished-{key[:32]}.sqlite"
    _look_at(path, name)
    with ScoreStore(path, key, f"{name} (unfinished)") as store:
        yield store
    _remove(path)


def _look_at(path: Path, name: str) -> None:
    """Remove what is too old, and say what is taken over."""
    if not path.is_file():
        return
    hours = (time.time() - max(part.stat().st_mtime for part in _parts(path))) / 3_600
    num_scores = describe_store(path)["scores"]
    if hours > RESUME_HOURS:
        _remove(path)
    elif num_scores:
        progress.note(
            f"{name}: {num_scores:,} scores of the same run, interrupted {hours:.1f} hours ago, are taken over; "
            "--no-cache asks for them again"
        )


def _parts(path: Path) -> list[Path]:
    return [part for suffix in ("", "-wal", "-shm") if (part := Path(f"{path}{suffix}")).is_file()]


def _remove(path: Path) -> None:
    for part in _parts(path):
        part.unlink(missing_ok=True)
