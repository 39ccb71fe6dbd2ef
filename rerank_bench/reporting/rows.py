"""Leaderboard rows from a run's ``result.json``: one per (data set, view), and one per (suite, view).

A suite of one data set gets no row, since it would repeat the data set's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rerank_bench.errors import ConfigError, DataError
from rerank_bench.reporting.columns import COLUMNS, FIRST_STAGE_SUFFIX, MEASURE_COLUMNS, PRIMARY_MEASURE, Row
from rerank_bench.reporting.run_folder import SCHEMA_VERSION
from rerank_bench.storage import fingerprint_json

_FINGERPRINTS = ("corpus", "queries", "qrels", "candidates")
_MODEL_TEXTS = ("family", "revision", "weights_fingerprint", "dtype", "device", "instruction")
_FAMILIES_WITHOUT_WEIGHTS = ("run", "callable", "external")


def rows_from_result(result: Mapping[str, Any], run_folder: str, *, allow_incomparable: bool = False) -> list[Row]:
    """Return the leaderboard rows of one model's result.

    Args:
        result: The dictionary of ``result.json``.
        run_folder: What the column ``run_folder`` says; a relative path keeps the file free of a machine's paths.
        allow_incomparable: Whether to return rows of a result with ``comparable: false`` (a run over part of the
            queries), to show them on the screen.  They must not go into a leaderboard.

    Raises:
        ConfigError: The result is not comparable and that was not allowed.
        DataError: The result lacks a field, or has another schema version; the message names the field.
    """
    schema = _field(result, "schema_version")
    if schema != SCHEMA_VERSION:
        msg = f"{run_folder}: result.json has schema_version {schema!r}, expected {SCHEMA_VERSION}; run it again"
        raise DataError(msg)
    model = _field(result, "model", "name")
    if not allow_incomparable and not _field(result, "comparable"):
        limit = _field(result, "request").get("limit")
        msg = (
            f"{run_folder}: the result of {model!r} covers only a part of the queries (limit {limit}) and compares with "
            f"no other; run it again without --limit to put it into a leaderboard"
        )
        raise ConfigError(msg)
    shared = _shared_fields(result, run_folder)
    rows = []
    for name in _field(result, "datasets"):
        fields = shared | _dataset_fields(result, name)
        rows += _view_rows(fields, _field(result, "datasets", name, "views"))
    for name, suite in _field(result, "suites").items():
        members = _field(suite, "datasets")
        if len(members) > 1:
            fields = shared | _suite_fields(result, name, members)
            rows += _view_rows(fields, _field(suite, "views"))
    return rows


def _field(value: Any, *path: str) -> Any:
    """Return the value at a path of keys; a missing key is an error that names the path."""
    for depth, key in enumerate(path, start=1):
        if not isinstance(value, Mapping) or key not in value:
            msg = f"result.json: {' > '.join(path[:depth])} is missing; was it written by another version?"
            raise DataError(msg)
        value = value[key]
    return value


def _shared_fields(result: Mapping[str, Any], run_folder: str) -> Row:
    """Return the columns that are the same in all rows of a result."""
    model, provenance = _field(result, "model"), _field(result, "provenance")
    versions = {
        "rerank-bench": provenance.get("rerank_bench"),
        "python": provenance.get("python"),
        **provenance.get("versions", {}),
    }
    texts = {
        **{name: model.get(name) for name in _MODEL_TEXTS},
        **{name: provenance.get(name) for name in ("machine", "commit", "utc_time", "command")},
    }
    if model.get("family") in _FAMILIES_WITHOUT_WEIGHTS:  # two files, sources or services of one name are two models
        texts["weights_fingerprint"] = model.get("fingerprint")
    if model.get("positive_label") is not None:
        texts["positive_label"] = model["labels"][model["positive_label"]]
    if model.get("template") is not None:
        texts["prompt_fingerprint"] = _prompt_fingerprint(model)
    return {
        **{name: text or "" for name, text in texts.items()},
        "model": _field(model, "name"),
        "num_parameters": model.get("num_parameters"),
        "max_length": model.get("max_length"),
        "protocol_version": _field(result, "protocol_version"),
        "versions": ";".join(f"{name}={version}" for name, version in versions.items() if version),
        "run_folder": run_folder,
    }


def _prompt_fingerprint(model: Mapping[str, Any]) -> str:
    """Return the SHA-256 of how a model is asked, apart from the instruction, which has a column of its own."""
    template = model["template"]
    if model.get("instruction"):
        template = template.replace(model["instruction"], "{instruction}")
    return fingerprint_json([template, model.get("positive_token"), model.get("negative_token")])


def _dataset_fields(result: Mapping[str, Any], name: str) -> Row:
    """Return the columns that are the same in all views of one data set."""

    def field(*path: str) -> Any:
        return _field(result, "datasets", name, *path)

    return {
        "kind": "dataset",
        "dataset": name,
        "datasets": "",
        **{f"{kind}_fingerprint": field("fingerprints", kind) for kind in _FINGERPRINTS},
        "first_stage": field("first_stage", "name"),
        "depth": field("depth"),
        "num_queries": field("counts", "evaluated"),
        "num_pairs": field("counts", "pairs"),
        "ties_share": field("ties", "share_crossing"),
        "truncated_share": (field().get("timing") or {}).get("truncated_share"),
        **_job_fields(result, [name], field("depth")),
    }


def _job_fields(result: Mapping[str, Any], names: Collection[str], depth: int) -> Row:
    """Return the columns that belong to the jobs that scored these data sets, together with what else was in them.

    A smaller depth of a sweep was not scored by itself, so no seconds are its own.
    """
    scoring = result.get("scoring") or {}
    jobs = [job for job in scoring.get("jobs", ()) if not set(names).isdisjoint(job["datasets"])]
    seconds = [job["tokenise_seconds"] + job["score_seconds"] for job in jobs]
    is_own = bool(jobs) and scoring["depth"] == depth
    return {
        "score_seconds": _rounded(sum(seconds)) if is_own else None,
        **{name: _rounded(_speed(jobs, seconds, name)) for name in ("pairs_per_second", "tokens_per_second")},
    }


def _speed(jobs: Sequence[Mapping[str, Any]], seconds: Sequence[float], name: str) -> float | None:
    """Return a speed over all jobs that scored anything; ``None`` where none did."""
    timed = [(job[name] * spent, spent) for job, spent in zip(jobs, seconds, strict=True) if job[name] is not None]
    return sum(done for done, _ in timed) / sum(spent for _, spent in timed) if timed else None


def _suite_fields(result: Mapping[str, Any], name: str, members: Sequence[str]) -> Row:
    """Return the columns that are the same in all views of one suite.

    Counts are summed, shares weighted by their queries or pairs, each fingerprint covers the members', and seconds and
    speeds are those of the jobs that scored them.
    """
    rows = [_dataset_fields(result, member) for member in members]
    depths = {row["depth"] for row in rows}
    if len(depths) > 1:
        msg = f"result.json: the data sets of suite {name!r} have different depths ({sorted(depths)}); run them at one"
        raise DataError(msg)
    first_stages = sorted({row["first_stage"] for row in rows})
    depth = depths.pop()
    return {
        "kind": "suite",
        "dataset": name,
        "datasets": ";".join(members),
        **suite_fingerprints(rows),
        "first_stage": "+".join(first_stages),
        "depth": depth,
        "num_queries": sum(row["num_queries"] for row in rows),
        "num_pairs": sum(row["num_pairs"] for row in rows),
        "ties_share": _weighted_mean(rows, "ties_share", "num_queries"),
        "truncated_share": _weighted_mean(rows, "truncated_share", "num_pairs"),
        **_job_fields(result, members, depth),
    }


def suite_fingerprints(rows: Sequence[Row]) -> dict[str, str]:
    """Return a suite's fingerprint columns: each the SHA-256 over its data sets' names and fingerprints.

    Args:
        rows: One row of each data set of the suite, in any order.
    """
    columns = [f"{kind}_fingerprint" for kind in _FINGERPRINTS]
    return {column: fingerprint_json({row["dataset"]: row[column] for row in rows}) for column in columns}


def _view_rows(fields: Row, views: Mapping[str, Any]) -> list[Row]:
    """Return one complete row per view: every column of the header has a value, ``None`` or ''."""
    rows = []
    for view, evaluation in views.items():
        row = fields | {"view": view} | _measure_fields(_field(evaluation, "measures"))
        rows.append({column.name: row.get(column.name, "" if column.kind == "text" else None) for column in COLUMNS})
    return rows


def _measure_fields(measures: Mapping[str, Any]) -> Row:
    fields: Row = {}
    for measure, column in MEASURE_COLUMNS.items():
        if measure in measures:
            fields[column] = _field(measures, measure, "reranked")
            fields[f"{column}{FIRST_STAGE_SUFFIX}"] = _field(measures, measure, "first_stage")
    primary = _field(measures, PRIMARY_MEASURE)
    interval = primary.get("ci") or (None, None)
    fields |= {"delta": _field(primary, "delta"), "ci_low": interval[0], "ci_high": interval[1]}
    return fields | {name: primary.get(name) for name in ("p", "ceiling", "headroom_used", "mde")}


def _sum(values: Iterable[float | None]) -> float | None:
    """Return the sum, ``None`` where one of the values is missing."""
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _weighted_mean(rows: Sequence[Row], column: str, weight: str) -> float | None:
    """Return the mean, ``None`` where a value or a weight is missing or the weights are all 0."""
    weights = _sum(row[weight] for row in rows)
    total = _sum(None if None in (row[column], row[weight]) else row[column] * row[weight] for row in rows)
    return total / weights if total is not None and weights else None


def _rounded(value: float | None) -> float | None:
    """Return a measured time or rate to three decimals: the rest is noise that would fill the file."""
    return None if value is None else round(value, 3)
