"""Candidate lists as files: a TREC run, and beside it what made it; and their reuse when nothing changed.

``candidates.trec.gz`` holds ids and scores, ``candidates.trec.gz.meta.json`` the rest; the latter is written last, so a
list without it is not complete.  The fingerprint in it is recomputed on reading: a list that was touched, or that
another sidecar belongs to, is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rerank_bench.errors import DataError, EnvironmentMissingError
from rerank_bench.first_stage.analysis import analyzer_versions
from rerank_bench.first_stage.bm25 import BM25Config
from rerank_bench.first_stage.candidates import build_bm25_candidates, candidates_fingerprint, check_depth
from rerank_bench.locks import taken_or_built
from rerank_bench.progress import note
from rerank_bench.provenance import library_versions
from rerank_bench.records import EMPTY_DOCS, CandidateSet, Dataset
from rerank_bench.storage import cache_folder, fingerprint_json, read_json, write_json
from rerank_bench.trec_io import read_run, write_run

SCHEMA_VERSION = 1

CODE_VERSION = 1
"""Bumped by any change of code that may change a list, so that lists in caches are built anew."""

LOADED_FIELDS = ("dataset_fingerprints", "dataset_name", "depth", "first_stage", "fingerprint")

RUN_NAME = "candidates.trec.gz"
META_NAME = f"{RUN_NAME}.meta.json"


def save_candidates(folder: str | Path, dataset: Dataset, candidates: CandidateSet) -> Path:
    """Write a candidate list and what made it; return the run's path.

    Args:
        folder: Created where it is missing; a list that stands in it is replaced.
        dataset: The data set that the list is for.
        candidates: The list.

    Raises:
        DataError: An id is empty or holds white space, which a TREC file cannot express.
        EnvironmentMissingError: The folder cannot be written.
    """
    _check_ids(candidates)
    path = Path(folder) / RUN_NAME
    write_run(path, candidates.by_query, run_name=str(candidates.first_stage["name"]))
    write_json(Path(folder) / META_NAME, _describe(dataset, candidates))
    return path


def load_candidates(folder: str | Path, dataset: Dataset) -> CandidateSet:
    """Return the list that ``save_candidates`` wrote.

    Args:
        folder: Where it stands.
        dataset: The data set that it is for: its queries without a line have an empty list.

    Raises:
        DataError: The list is missing, incomplete, damaged, or was made for another data set.
        ParseError: A file cannot be read.
    """
    where = Path(folder) / RUN_NAME
    meta = _load_meta(Path(folder) / META_NAME)
    for part, fingerprint in _list_inputs(dataset).items():
        if meta["dataset_fingerprints"].get(part) != fingerprint:
            msg = f"{where}: was made for {meta['dataset_name']!r} with another {part}; build it anew"
            raise DataError(msg)
    run = read_run(where)
    by_query = {query_id: run.pop(query_id, EMPTY_DOCS) for query_id in dataset.queries}
    if run:
        msg = f"{where}: names query {next(iter(run))!r}, which the data set lacks; the file was changed, build it anew"
        raise DataError(msg)
    fingerprint = candidates_fingerprint(by_query)
    if fingerprint != meta["fingerprint"]:
        msg = (
            f"{where}: fingerprint is {fingerprint[:12]}…, expected {meta['fingerprint'][:12]}…; the file was changed or "
            "damaged, build it anew"
        )
        raise DataError(msg)
    return CandidateSet(
        dataset_name=dataset.name,
        depth=meta["depth"],
        by_query=by_query,
        first_stage=meta["first_stage"],
        fingerprint=fingerprint,
    )


def cached_candidates(
    dataset: Dataset, config: BM25Config, *, depth: int, folder: str | Path | None = None
) -> CandidateSet:
    """Return BM25 candidates, built unless they were built before and nothing has changed since.

    A data set without fingerprints of its corpus and queries is built every time.

    Args:
        dataset: Queries and collection.
        config: Variant, parameters, analyser.
        depth: Documents per query, at least 1.
        folder: Where the lists are kept; ``None`` is the cache folder's ``candidates``.
    """
    return cached_list(
        dataset,
        config.describe(),
        lambda: build_bm25_candidates(dataset, config, depth=depth),
        depth=depth,
        versions=analyzer_versions(),
        folder=folder,
    )


def cached_list(
    dataset: Dataset,
    first_stage: Mapping[str, Any],
    build: Callable[[], CandidateSet],
    *,
    depth: int,
    versions: Mapping[str, Any],
    folder: str | Path | None = None,
) -> CandidateSet:
    """Return what ``build`` returns, unless it was built before and nothing has changed since.

    Args:
        dataset: Queries and collection.
        first_stage: The whole configuration of the first stage; JSON-able, with its ``name``.
        build: Called only if the list is not stored.
        depth: Documents per query, at least 1.
        versions: Of the libraries that decide what stands in the list.
        folder: Where the lists are kept; ``None`` is the cache folder's ``candidates``.
    """
    check_depth(depth)
    if len(_list_inputs(dataset)) < 2:
        return build()
    root = Path(folder) if folder is not None else cache_folder() / "candidates"
    key = cache_key(dataset, first_stage, depth, versions)
    place = root / f"{_safe_name(dataset.name)}-{_safe_name(str(first_stage['name']))[:60]}-{key[:16]}"

    def build_and_keep() -> CandidateSet:
        candidates = build()
        try:
            save_candidates(place, dataset, candidates)
        except EnvironmentMissingError as error:  # they were built all the same
            note(f"the candidates of {dataset.name!r} are not kept for the next time: {error}")
        return candidates

    return taken_or_built(place / META_NAME, place.name, lambda: _find_stored(place, dataset), build_and_keep)


def _find_stored(place: Path, dataset: Dataset) -> CandidateSet | None:
    if not (place / META_NAME).exists():
        return None
    try:
        candidates = load_candidates(place, dataset)
    except DataError as error:
        note(f"the stored candidates cannot be used and are built anew: {error}")
        return None
    note(f"candidates of {dataset.name!r} taken from {place}")
    return candidates


def cache_key(dataset: Dataset, first_stage: Mapping[str, Any], depth: int, versions: Mapping[str, Any]) -> str:
    """Return the SHA-256, in hex, over all that a list depends on.

    Of the library versions only those are part of it that decide what the list is.
    """
    return fingerprint_json(
        {
            "code": CODE_VERSION,
            **_list_inputs(dataset),
            "drops_self_match": dataset.drops_self_match,
            "first_stage": dict(first_stage),
            "depth": depth,
            "versions": dict(versions),
        }
    )


def _list_inputs(dataset: Dataset) -> dict[str, str]:
    """Return the fingerprints of what a list is made from: judgements are not."""
    return {part: dataset.fingerprints[part] for part in ("corpus", "queries") if part in dataset.fingerprints}


def _load_meta(path: Path) -> dict[str, Any]:
    meta = read_json(path)
    if not isinstance(meta, dict) or meta.get("schema_version") != SCHEMA_VERSION:
        found = meta.get("schema_version") if isinstance(meta, dict) else type(meta).__name__
        msg = f"{path}: schema version is {found!r}, expected {SCHEMA_VERSION}; build the list anew"
        raise DataError(msg)
    missing = [name for name in LOADED_FIELDS if name not in meta]
    if missing:
        msg = f"{path}: lacks {', '.join(map(repr, missing))}; the file was changed or damaged, build the list anew"
        raise DataError(msg)
    return meta


def _describe(dataset: Dataset, candidates: CandidateSet) -> dict[str, Any]:
    lengths = [len(docs) for docs in candidates.by_query.values()]
    return {
        "schema_version": SCHEMA_VERSION,
        "code_version": CODE_VERSION,
        "dataset_name": dataset.name,
        "dataset_fingerprints": _list_inputs(dataset),
        "drops_self_match": dataset.drops_self_match,
        "first_stage": dict(candidates.first_stage),
        "depth": candidates.depth,
        "counts": {
            "queries": len(lengths),
            "candidates": sum(lengths),
            "queries_without_candidates": lengths.count(0),
            "queries_below_depth": sum(length < candidates.depth for length in lengths),
        },
        "versions": {**analyzer_versions(), **library_versions(("numba", "numpy"))},
        "fingerprint": candidates.fingerprint,
    }


def _check_ids(candidates: CandidateSet) -> None:
    for query_id, docs in candidates.by_query.items():
        for identifier in (query_id, *docs.doc_ids):
            if identifier.split() != [identifier]:
                msg = (
                    f"{candidates.dataset_name}: the id {identifier!r} is empty or holds white space, which a TREC "
                    "file cannot express; rename it in the data set"
                )
                raise DataError(msg)


def _safe_name(name: str) -> str:
    return "".join(character if character.isalnum() or character in "-_." else "_" for character in name)
