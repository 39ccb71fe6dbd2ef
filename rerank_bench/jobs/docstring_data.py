"""Training data from docstrings: documents by BM25, labels by the encoder that trainings start from, a held-out search task.

The standard library's own docstrings, and copies of them in other packages, are left out: the data set ``pydocs`` stays
unseen.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rerank_bench.data.pydocs import build_pydocs_collection
from rerank_bench.errors import ConfigError
from rerank_bench.first_stage.bm25 import BM25Config, build_index
from rerank_bench.progress import note
from rerank_bench.records import Collection
from rerank_bench.storage import cache_folder, fingerprint_items, write_text
from rerank_bench.training.docstring_groups import (
    DocstringTask,
    build_groups,
    part_docstrings,
    read_groups,
    write_groups,
    write_held_out,
)
from rerank_bench.training.docstrings import Docstring, collect_docstrings, describe_distributions
from rerank_bench.training.examples import Examples
from rerank_bench.training.request import DOCSTRINGS, DataRequest, EvaluationSet

CACHE_VERSION = "7"
"""Changes when the rules for what is a docstring of ours, or its document, change."""
DOCSTRINGS_PER_GROUP = 10
"""No more are parsed than so many for each group that is asked for: a short training waits for no long parsing, and its groups
still come from a collection where most documents are about something else."""
HELD_OUT_DEPTH = 20
DEFAULT_HELD_OUT = 200
TEACHER = "demo"
TEACHER_MAX_LENGTH = 128
"""Tokens per text that the teacher reads."""


def build_docstring_data(data: DataRequest) -> tuple[Examples, tuple[EvaluationSet, ...]]:
    """Return the training groups, and the held-out search task as an evaluation data set: a folder in the cache.

    Args:
        data: ``held_out`` is the number of queries that are set aside, ``limit`` that of the groups (all docstrings where
            it is ``None``: the teacher then takes minutes), ``split_seed`` draws them and their documents.

    Raises:
        ConfigError: An option that only files have, or more held out than there are.
        DataError: No docstrings are installed.
        EnvironmentMissingError: No interpreter could be started, or the teacher's package is absent.
    """
    _check_options(data)
    cache = cache_folder() / "training"
    enough = None if data.limit is None else data.limit * DOCSTRINGS_PER_GROUP
    key = fingerprint_items([CACHE_VERSION, str(enough and (enough, data.split_seed)), *describe_distributions()])[:16]
    docstrings = _cached_docstrings(cache / f"docstrings-{key}.jsonl.gz", enough=enough, seed=data.split_seed)
    num_held_out = data.held_out if isinstance(data.held_out, int) else DEFAULT_HELD_OUT
    try:
        task = part_docstrings(docstrings, num_held_out=num_held_out, seed=data.split_seed)
    except ValueError as error:
        msg = f"held_out is {num_held_out}: {error}; hold out fewer, parse more of them (a higher limit), or install more packages"
        raise ConfigError(msg) from error
    name = f"docstrings-{key}-{num_held_out}-{data.split_seed}"
    groups = _cached_groups(task, cache / f"{name}-{data.limit or 'all'}.parquet", data)
    folder = cache / name / "held-out"
    write_held_out(task, folder)
    note(f"docstrings: {len(groups):,} groups of 1 + 4 to train on, {num_held_out} queries held out in {folder}")
    return groups, (EvaluationSet(name=str(folder), depth=HELD_OUT_DEPTH),)


def _check_options(data: DataRequest) -> None:
    lost = [n for n in ("config", "revision", "columns", "first_rows", "drop_unusable") if getattr(data, n)]
    if lost:
        msg = f"{', '.join(lost)} does not go with {DOCSTRINGS}, which are whole already; drop it"
        raise ConfigError(msg)
    if isinstance(data.held_out, Path):
        msg = f"held_out is a file, expected a number: {DOCSTRINGS} set some of their own queries aside"
        raise ConfigError(msg)


def search_bm25(queries: Sequence[str], docs: Sequence[str], depth: int) -> list[list[int]]:
    """Return for each query the positions of BM25's best documents, best first; equal scores by position."""
    collection = Collection([str(number) for number in range(len(docs))], list(docs))
    index = build_index(collection, BM25Config())
    ranked = []
    for matches in index.search(queries, depth=depth):
        order = np.lexsort((matches.positions, -matches.scores))[:depth]
        ranked.append(matches.positions[order].tolist())
    return ranked


def score_by_teacher(queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return (N,) the cosines of pairs, given as (N, 2) positions, by the demo encoder."""
    from rerank_bench.scoring.loaded_scorer import load_scorer

    return load_scorer(TEACHER, max_length=TEACHER_MAX_LENGTH).score_indexed(queries, docs, pairs).scores


def match_by_bm25(queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return (N,) BM25's scores of pairs, given as (N, 2) positions, as shares of the best that any of the documents has."""
    collection = Collection([str(number) for number in range(len(docs))], list(docs))
    index = build_index(collection, BM25Config())
    shares = np.zeros(len(pairs), dtype=np.float32)
    scores = np.zeros(len(docs), dtype=np.float32)
    order = np.argsort(pairs[:, 0], kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(pairs[order, 0])) + 1):
        matches = index.score(queries[pairs[rows[0], 0]])
        if len(matches.positions):
            scores[matches.positions] = matches.scores
            shares[rows] = scores[pairs[rows, 1]] / matches.scores.max()
            scores[matches.positions] = 0.0
    return shares


def _cached_groups(task: DocstringTask, path: Path, data: DataRequest) -> Examples:
    """Return the training groups; the teacher's labels are computed once per request."""
    if path.is_file():
        return read_groups(path)
    num_groups = min(data.limit or len(task.training), len(task.training))
    note(f"docstrings: labels of {num_groups:,} groups, once; they are kept in {path.parent}")
    groups = build_groups(task, search_bm25, score_by_teacher, match_by_bm25, seed=data.split_seed, limit=data.limit)
    write_groups(groups, path)
    return groups


def _cached_docstrings(path: Path, *, enough: int | None, seed: int) -> list[Docstring]:
    """Return the docstrings of what is installed, or of a sample; parsed once per set of installed versions."""
    if path.is_file():
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return [Docstring(*json.loads(line)) for line in file]
    library = [text.as_py().partition("\n\n")[2] for text in build_pydocs_collection().texts]
    # A copy may have kept the whole docstring, its first paragraph, or the rest.
    parts = [part for doc in library for part in (doc, doc.partition("\n\n")[0], doc.partition("\n\n")[2]) if part]
    docstrings = collect_docstrings(excluded=parts, enough=enough, seed=seed)
    write_text(path, "".join(json.dumps(docstring) + "\n" for docstring in docstrings))
    return docstrings
