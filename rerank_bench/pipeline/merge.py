"""``merge``: the parts that ``run --shard`` wrote become an ordinary run folder and a row of the leaderboard."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import ComparisonError, DataError, EnvironmentMissingError
from rerank_bench.pipeline.candidates import PreparedDataset, prepare_datasets
from rerank_bench.pipeline.extras import NO_EXTRAS
from rerank_bench.pipeline.request import Request, RunConfig, resolve_request
from rerank_bench.pipeline.results import write_outcomes
from rerank_bench.pipeline.run import RunReport, find_leaderboard, report_outcomes
from rerank_bench.pipeline.scores import ScoringPass
from rerank_bench.pipeline.scoring_jobs import number_distinct
from rerank_bench.pipeline.shards import ARRAYS, FOLDER_SUFFIX, SCHEMA_VERSION, Shard, fingerprints_of
from rerank_bench.progress import note
from rerank_bench.provenance import describe_invocation
from rerank_bench.records import PROTOCOL_VERSION
from rerank_bench.reporting.run_folder import RESULT_FILE
from rerank_bench.scoring.devices import resolve_device
from rerank_bench.scoring.pair_facts import PairFacts
from rerank_bench.storage import check_writable, file_sha256, read_json

META_FIELDS = ("shard", "same", "description", "scoring", "counts_tokens", "sha256")
MAX_NAMED = 8


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    path: Path
    meta: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]

    @property
    def shard(self) -> Shard:
        return Shard(self.meta["shard"], self.meta["same"]["shards"])


def merge_shards(folder: Path, *, leaderboard: Path | None = None) -> RunReport:
    """Join all parts of one model, measure, and write what the run as a whole would have written.

    Args:
        folder: ``<out>/<model>.shards``.
        leaderboard: As for ``run``.

    Raises:
        ComparisonError: Parts are of different models, data, protocols or versions, or of other data than are here now.
        DataError: A part is missing, there twice, damaged, or of another size than its queries.
        EnvironmentMissingError: The device of a dense first stage is not here.
    """
    parts = _read_parts(folder)
    same = parts[0].meta["same"]
    here: dict[str, Any] = {"protocol_version": PROTOCOL_VERSION}
    _check_same({"protocol_version": same["protocol_version"]}, here, str(parts[0].path), "this rerank-bench")
    _note_other_versions(same["code"])
    wanted = dict(same["request"])
    device = wanted.pop("first_stage_device")
    config = RunConfig(
        models=(same["model"]["spec"],),
        datasets=tuple(wanted.pop("datasets")),
        suites=tuple(wanted.pop("suites")),
        depth=tuple(wanted.pop("depth")),
        extra_measures=tuple(wanted.pop("extra_measures")),
        out=folder.parent,
        leaderboard=leaderboard,
        scorer={} if device is None else {"device": _device_of_lists(device, folder)},
        **wanted,
    )
    request = resolve_request(config)
    target = find_leaderboard(request)
    check_writable(request.out / RESULT_FILE)
    prepared = prepare_datasets(request)
    here = {"datasets": {ready.dataset.name: dict(fingerprints_of(ready)) for ready in prepared}}
    _check_same({"datasets": same["datasets"]}, here, str(parts[0].path), "the data that are here now")
    outcomes = write_outcomes(request.models[0], _join(parts, prepared, request), prepared, request, NO_EXTRAS)
    return report_outcomes(outcomes, request, target)


def _device_of_lists(device: str, folder: Path) -> str:
    """Return the device that a dense first stage was computed on: on another one its lists would be others.

    Raises:
        EnvironmentMissingError: It is not here.
    """
    try:
        return resolve_device(device).type
    except EnvironmentMissingError as error:
        msg = f"{folder}: the lists of its first stage were made on {device}; merge where that is ({error})"
        raise EnvironmentMissingError(msg) from error


def _note_other_versions(scored_by: Mapping[str, Any]) -> None:
    """Say where the parts were scored by other versions: the result's provenance is that of the merging."""
    invocation = describe_invocation()
    there, here = dict(_flat(scored_by)), dict(_flat({name: invocation[name] for name in scored_by}))
    other = [f"{name} {there.get(name)}, here {here.get(name)}" for name in there if there[name] != here.get(name)]
    if other:
        note(
            f"the parts were scored with {'; '.join(other)}; the result's provenance names the versions that merged them"
        )


def _read_parts(folder: Path) -> list[_Part]:
    """Return all parts in order, each there once and of the same run."""
    if not folder.is_dir():
        msg = f"{folder}: no such folder; name what run --shard wrote, <out>/<model>{FOLDER_SUFFIX}"
        raise DataError(msg)
    paths = sorted(folder.glob("*-of-*.json"))
    if not paths:
        msg = f"{folder}: holds no part (i-of-n.json); name what run --shard wrote, <out>/<model>{FOLDER_SUFFIX}"
        raise DataError(msg)
    metas = [(path, _read_meta(path)) for path in paths]
    first_path, first = metas[0]
    for path, meta in metas[1:]:
        _check_same(first["same"], meta["same"], str(first_path), str(path))
    count = first["same"]["shards"]
    numbers = [meta["shard"] for _, meta in metas]
    twice = sorted({number for number in numbers if numbers.count(number) > 1})
    if twice:
        names = ", ".join(path.name for path, meta in metas if meta["shard"] == twice[0])
        msg = f"{folder}: shard {twice[0]} of {count} is there {numbers.count(twice[0])} times ({names}); remove all but one"
        raise DataError(msg)
    missing = sorted(set(range(1, count + 1)) - set(numbers))
    if missing:
        named = ", ".join(f"{number}/{count}" for number in missing[:MAX_NAMED])
        msg = (
            f"{folder}: {len(missing)} of {count} shards are missing ({named}); run them with --shard, or wait until "
            "they have ended"
        )
        raise DataError(msg)
    parts = [_Part(path, meta, _read_arrays(path.with_suffix(".npz"), meta["sha256"])) for path, meta in metas]
    return sorted(parts, key=lambda part: part.meta["shard"])


def _read_meta(path: Path) -> Mapping[str, Any]:
    meta = read_json(path)
    if not isinstance(meta, dict) or meta.get("schema_version") != SCHEMA_VERSION:
        found = meta.get("schema_version") if isinstance(meta, dict) else type(meta).__name__
        msg = f"{path}: schema version is {found!r}, expected {SCHEMA_VERSION}; run that shard anew"
        raise DataError(msg)
    lacking = [name for name in META_FIELDS if name not in meta]
    if lacking:
        msg = f"{path}: lacks {', '.join(map(repr, lacking))}; the file was changed or damaged, run that shard anew"
        raise DataError(msg)
    return meta


def _read_arrays(path: Path, sha256: str) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        msg = f"{path}: no such file, though {path.with_suffix('.json').name} is there; run that shard anew"
        raise DataError(msg)
    if file_sha256(path) != sha256:
        msg = f"{path}: its checksum is not the one in {path.with_suffix('.json').name}; run that shard anew"
        raise DataError(msg)
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in ARRAYS}
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        msg = f"{path}: is no part of a run ({error}); run that shard anew"
        raise DataError(msg) from error


def _check_same(one: Mapping[str, Any], other: Mapping[str, Any], one_name: str, other_name: str) -> None:
    left, right = dict(_flat(one)), dict(_flat(other))
    for name in dict.fromkeys([*left, *right]):
        if left.get(name) != right.get(name):
            msg = (
                f"{name} differs: {left.get(name)!r} in {one_name}, {right.get(name)!r} in {other_name}; shards of one "
                "run have the same model, data, protocol and versions: run one of them anew, or remove what an earlier run left"
            )
            raise ComparisonError(msg)


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield prefix, value
        return
    for name, inner in value.items():
        yield from _flat(inner, f"{prefix}.{name}" if prefix else str(name))


def _join(parts: Sequence[_Part], prepared: Sequence[PreparedDataset], request: Request) -> ScoringPass:
    """Return the scoring pass of the whole run: every pair's score where it belongs."""
    pairs_of = [[len(docs) for docs in ready.pool.values()] for ready in prepared]
    counts = np.asarray([count for of_dataset in pairs_of for count in of_dataset], dtype=np.int64)  # per query
    starts = np.cumsum(counts) - counts
    joined: dict[str, NDArray[Any]] = {}
    for part in parts:
        queries = np.arange(part.shard.number - 1, len(counts), part.shard.count)
        rows = np.concatenate([np.arange(starts[q], starts[q] + counts[q]) for q in queries])
        for name, values in part.arrays.items():
            if values.shape != rows.shape:
                msg = f"{part.path.with_suffix('.npz')}: {name} has shape {values.shape}, expected {rows.shape}; run it anew"
                raise DataError(msg)
            joined.setdefault(name, np.empty(int(counts.sum()), dtype=values.dtype))[rows] = values
    facts = PairFacts(np.concatenate(number_distinct(prepared)), joined["tokens"], joined["is_stored"])
    ends = np.cumsum([sum(of_dataset) for of_dataset in pairs_of]).tolist()
    bounds = [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    seconds = [part.meta["scoring"]["model_load_seconds"] for part in parts]
    return ScoringPass(
        prepared=prepared,
        scores=[joined["scores"][rows] for rows in bounds],
        facts=[facts.taken(rows) for rows in bounds],
        description=parts[0].meta["description"],
        scoring={
            "depth": request.depths[-1],
            "model_load_seconds": max((value for value in seconds if value is not None), default=None),
            "jobs": [job for part in parts for job in part.meta["scoring"]["jobs"]],
        },
        counts_tokens=parts[0].meta["counts_tokens"],
    )
