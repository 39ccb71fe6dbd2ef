"""What the cache folder holds, and taking it away; only what rerank-bench itself put there is counted or deleted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rerank_bench.errors import EnvironmentMissingError
from rerank_bench.first_stage.dense import vectors_folder
from rerank_bench.first_stage.index_store import indexes_folder
from rerank_bench.scoring.model_memo import scores_folder
from rerank_bench.scoring.score_store import describe_store
from rerank_bench.storage import cache_folder


def describe_cache() -> dict[str, Any]:
    """Return folder, sizes and entries: the content of ``rerank-bench cache info --json``."""
    stores = sorted(scores_folder().glob("*.sqlite"))
    candidates = cache_folder() / "candidates"
    training = cache_folder() / "training"
    lists = sorted(path.name for path in candidates.iterdir() if path.is_dir()) if candidates.is_dir() else []
    return {
        "folder": str(cache_folder()),
        "scores": {"bytes": _num_bytes(scores_folder()), "stores": [describe_store(path) for path in stores]},
        "candidates": {"bytes": _num_bytes(candidates), "lists": lists},
        "indexes": {"bytes": _num_bytes(indexes_folder()), "collections": sum(1 for _ in _files(indexes_folder()))},
        "vectors": {"bytes": _num_bytes(vectors_folder()), "collections": _num_folders(vectors_folder())},
        "training": {"bytes": _num_bytes(training), "files": sum(1 for _ in _files(training))},
    }


def clear_cache(
    *,
    scores: bool = False,
    candidates: bool = False,
    indexes: bool = False,
    vectors: bool = False,
    training: bool = False,
) -> int:
    """Delete what is chosen of stored scores, lists, indices, documents' vectors and built training data.

    Returns:
        The bytes that were freed.

    Raises:
        EnvironmentMissingError: A file cannot be deleted.
    """
    chosen = [
        (scores, scores_folder()),
        (candidates, cache_folder() / "candidates"),
        (indexes, indexes_folder()),
        (vectors, vectors_folder()),
        (training, cache_folder() / "training"),
        (candidates or indexes or vectors, cache_folder() / "locks"),  # of who builds them; empty files
    ]
    num_bytes = 0
    for is_chosen, folder in chosen:
        if not is_chosen or not folder.is_dir():
            continue
        size = _num_bytes(folder)
        try:
            shutil.rmtree(folder)
        except OSError as error:
            msg = (
                f"{error.filename}: cannot be deleted ({error.strerror}); what stood before it is gone, the rest stays"
            )
            raise EnvironmentMissingError(msg) from error
        num_bytes += size
    return num_bytes


def _num_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in _files(folder))


def _num_folders(folder: Path) -> int:
    return sum(path.is_dir() for path in folder.iterdir()) if folder.is_dir() else 0


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())
