"""The baseline file: what a gate holds a run against, small enough for version control and readable in a review.

A run folder is big and stays out of the repository.  A baseline file keeps of it what the gate needs: fingerprints, the
values per query of one measure in one view, and, for ``repro``, the scores in TREC runs beside it::

    baselines/nanobeir.json                       what is compared, one query a line
    baselines/nanobeir.NanoNQ.run.trec.gz         the scores of one data set, where ``repro`` needs them
    baselines/nanobeir.history.toml               who moved it, when and why (``history``)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerank_bench.comparison.sources import FolderSource, Identity, RunSource
from rerank_bench.errors import ComparisonError, DataError, ParseError
from rerank_bench.evaluation.measures import ValuesByQuery
from rerank_bench.evaluation.significance import mean
from rerank_bench.records import Run, View
from rerank_bench.reporting.run_folder import file_stem
from rerank_bench.storage import file_sha256, fingerprint_json, read_json, write_json
from rerank_bench.trec_io import read_run, write_run

KIND = "rerank-bench gate baseline"
BASELINE_SCHEMA_VERSION = 1
MODEL_FIELDS = ("name", "family", "revision", "fingerprint", "weights_fingerprint", "dtype", "device", "max_length")
"""What the file keeps of a result's ``model`` block."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BaselineSource(RunSource):
    """A baseline file, as one side of a comparison."""

    path: Path
    content: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the content: what the history names."""
        return fingerprint_json(self.content)

    @property
    def score_files(self) -> list[Path]:
        """Where the scores stand; empty where the baseline was made without."""
        kept = (block.get("scores") for block in self.content["datasets"].values())
        return [self.path.parent / scores["file"] for scores in kept if scores]

    def ranking(self, dataset: str) -> Run:
        """Return the stored scores of a data set.

        Raises:
            ComparisonError: The file was made without scores.
            DataError: The file of the scores is missing, or is not the one that the baseline names.
        """
        kept = self.content["datasets"][dataset].get("scores")
        if kept is None:
            msg = f"scores of {dataset}: {self.path} holds none; make it with `rerank-bench gate accept --mode repro`"
            raise ComparisonError(msg)
        path = self.path.parent / kept["file"]
        if not path.exists():
            msg = f"{path}: no such file, though {self.path} names it; commit both, or accept the baseline again"
            raise DataError(msg)
        if file_sha256(path) != kept["sha256"]:
            msg = f"{path}: is not the file that {self.path} names (its SHA-256 differs); accept the baseline again"
            raise DataError(msg)
        return read_run(path)

    def _identity(self, dataset: str) -> Identity:
        block = self.content["datasets"][dataset]
        return {"protocol": self.content["protocol_version"], **block["fingerprints"], "depth": block["depth"]}

    def _query_values(self, dataset: str, measure: str, view: View) -> ValuesByQuery:
        for field, asked in (("measure", measure), ("view", view)):
            if self.content[field] != asked:
                msg = (
                    f"{field}: {self.path} holds {self.content[field]}, asked for is {asked}; accept it again with "
                    f"--{field} {asked}, or hold the run against a run folder"
                )
                raise ComparisonError(msg)
        return dict(self.content["datasets"][dataset]["queries"])


def is_baseline_file(path: str | Path) -> bool:
    """Return whether a path is a baseline file rather than a ``result.json``; whatever else it is, readers say."""
    path = Path(path)
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    content = read_json(path)
    return isinstance(content, dict) and content.get("kind") == KIND


def read_baseline(path: str | Path) -> BaselineSource:
    """Return a baseline file as a source.

    Raises:
        DataError: The file does not exist, or is of another schema version.
        ParseError: It is not JSON, or lacks a field.
    """
    path = Path(path)
    content = read_json(path)
    version = content.get("schema_version") if isinstance(content, dict) and content.get("kind") == KIND else None
    if version != BASELINE_SCHEMA_VERSION:
        msg = f"{path}: {_version_problem(version)}"
        raise DataError(msg)
    _check_content(path, content)
    return BaselineSource(
        label=f"{content['model']['name']} (baseline)",
        location=str(path),
        datasets=tuple(content["datasets"]),
        result={"comparable": True, "model": content["model"], "request": {"cache": content["cache"]}},
        path=path,
        content=content,
    )


def _version_problem(version: object) -> str:
    if not isinstance(version, int):
        return f"is not a baseline file (schema_version {version!r}); make one with `rerank-bench gate accept`"
    if version < BASELINE_SCHEMA_VERSION:
        return (
            f"schema_version is {version}, this version reads {BASELINE_SCHEMA_VERSION}: the file is older; make it "
            f"anew with `rerank-bench gate accept`"
        )
    return f"schema_version is {version}, this version reads {BASELINE_SCHEMA_VERSION}: the file is newer; update rerank-bench"


_KINDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "a table"}
_TOP_FIELDS = {
    "protocol_version": int,
    "measure": str,
    "view": str,
    "mean": float,
    "cache": bool,
    "model": dict,
    "datasets": dict,
}
_FINGERPRINTS = dict.fromkeys(("corpus", "queries", "qrels", "candidates"), str)
_DATASET_FIELDS = {"fingerprints": dict, "depth": int, "mean": float, "queries": dict}


def _check_content(path: Path, content: Mapping[str, Any]) -> None:
    problems = _wrong_fields("", content, _TOP_FIELDS)
    if not problems:
        problems = [] if content["datasets"] else ["datasets is empty"]
        for name, block in content["datasets"].items():
            problems += _wrong_fields(f"datasets.{name}.", block, _DATASET_FIELDS)
            if isinstance(block, dict):
                fingerprints, queries = block.get("fingerprints", {}), block.get("queries", {})
                problems += _wrong_fields(f"datasets.{name}.fingerprints.", fingerprints, _FINGERPRINTS)
                problems += _wrong_fields(f"datasets.{name}.queries.", queries, dict.fromkeys(queries, float))
    if problems:
        raise ParseError(path, None, f"{'; '.join(problems)}; make it anew with `rerank-bench gate accept`")


def _wrong_fields(where: str, table: Any, expected: Mapping[str, type]) -> list[str]:
    if not isinstance(table, dict):
        return [f"{where.rstrip('.')} is {table!r}, expected a table"]
    problems = [f"{where}{name} is missing" for name in expected if name not in table]
    return problems + [
        f"{where}{name} is {table[name]!r}, expected {_KINDS[kind]}"
        for name, kind in expected.items()
        if name in table and not isinstance(table[name], kind)
    ]


def write_baseline(path: Path, source: FolderSource, *, measure: str, view: View, with_scores: bool) -> BaselineSource:
    """Write a run as a baseline file, the scores first: the JSON names them.

    Args:
        path: The baseline file; its folder is made when absent.
        source: The run.
        measure: The measure whose values per query are kept.
        view: The view that they are of.
        with_scores: Whether the scores are kept too.

    Returns:
        The file as ``read_baseline`` reads it.

    Raises:
        ComparisonError: The run is over part of the queries, or lacks the measure.
        EnvironmentMissingError: The folder is read-only or the disk is full.
    """
    if not source.is_comparable:
        msg = f"queries: {source.location} was run over part of the queries (--limit), which is no baseline"
        raise ComparisonError(msg)
    datasets: dict[str, Any] = {}
    for name in source.datasets:
        values = source.query_values(name, measure, view)
        identity = dict(source.identity(name))
        del identity["protocol"]
        datasets[name] = {
            "depth": identity.pop("depth"),
            "fingerprints": identity,
            "mean": mean(values.values()),
            "queries": {query_id: values[query_id] for query_id in sorted(values)},
        }
        if with_scores:
            file = path.with_name(f"{path.stem}.{file_stem(name)}.run.trec.gz")
            write_run(file, source.stored.reranked(name), run_name=source.stored.name)
            datasets[name]["scores"] = {"file": file.name, "sha256": file_sha256(file)}
    result = source.stored.result
    content = {
        "kind": KIND,
        "schema_version": BASELINE_SCHEMA_VERSION,
        "protocol_version": result["protocol_version"],
        "measure": measure,
        "view": view,
        "mean": mean([block["mean"] for block in datasets.values()]),
        "model": {field: result["model"].get(field) for field in MODEL_FIELDS},
        "cache": bool(result["request"].get("cache", True)),
        "run": {field: result["provenance"].get(field) for field in ("rerank_bench", "commit", "command", "utc_time")},
        "datasets": datasets,
    }
    write_json(path, content)
    return read_baseline(path)
