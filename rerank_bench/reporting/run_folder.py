"""The folder of one reranker's results.

::

    result.json                          everything that was measured; written last, so that it marks a whole folder
    <dataset>.candidates.trec.gz         the first stage's list
    <dataset>.run.trec.gz                the candidates as the reranker orders them, with its scores
    <dataset>.missed.trec.gz             the scores of the positives that the first stage missed (injected view)
    <dataset>.qrels.gz                   the judgements
    <dataset>.queries.csv                one row per query: first stage and reranked value of each measure and view;
                                         .parquet from 10,000 queries on (``query_values``)
    <dataset>.tokens.tsv                 tokens that the model read of each query with its relevant documents, and
                                         whether that was all (``pair_tokens``); only where the model's tokens are known

The JSON is described by ``result.schema.json`` beside this file (JSON Schema 2020-12).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from rerank_bench.errors import DataError
from rerank_bench.locks import file_lock
from rerank_bench.records import CandidateSet, Evaluation, Qrels, Run
from rerank_bench.reporting.pair_tokens import TOKENS_FILE, PairTokens, write_pair_tokens
from rerank_bench.reporting.query_values import write_query_values
from rerank_bench.storage import read_json, remove_file, write_json
from rerank_bench.trec_io import write_qrels, write_run

SCHEMA_VERSION = 1
RESULT_FILE = "result.json"
CANDIDATES_FILE = "{stem}.candidates.trec.gz"
RUN_FILE = "{stem}.run.trec.gz"
MISSED_FILE = "{stem}.missed.trec.gz"
QRELS_FILE = "{stem}.qrels.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetArtifacts:
    """What is kept of one data set beside ``result.json``."""

    candidates: CandidateSet
    reranked: Run
    missed: Run
    """Scored positives that are not among the candidates."""
    qrels: Qrels
    evaluation: Evaluation
    tokens: PairTokens | None = None
    """What the model read of the relevant documents; ``None`` where nobody counts its tokens."""


def write_run_folder(
    folder: Path, result: Mapping[str, Any], artifacts: Mapping[str, DatasetArtifacts], *, run_name: str
) -> None:
    """Write all files of a run; a folder of an earlier run is replaced, its ``result.json`` taken away first.

    Args:
        folder: Created when absent.
        result: The content of ``result.json``.
        artifacts: By data-set name.
        run_name: The tag in the TREC files.

    Raises:
        EnvironmentMissingError: The folder is read-only or the disk is full.
    """
    # Two runs that write one folder at once would leave values of both under one result.json.
    with file_lock(folder / RESULT_FILE, waits=True):
        _write_files(folder, result, artifacts, run_name)


def _write_files(
    folder: Path, result: Mapping[str, Any], artifacts: Mapping[str, DatasetArtifacts], run_name: str
) -> None:
    remove_file(folder / RESULT_FILE)
    for name, kept in artifacts.items():
        stem = file_stem(name)
        write_run(folder / CANDIDATES_FILE.format(stem=stem), kept.candidates.by_query, run_name="first-stage")
        write_run(folder / RUN_FILE.format(stem=stem), kept.reranked, run_name=run_name)
        write_run(folder / MISSED_FILE.format(stem=stem), kept.missed, run_name=run_name)
        write_qrels(folder / QRELS_FILE.format(stem=stem), kept.qrels)
        write_query_values(folder, stem, kept.evaluation)
        if kept.tokens is None:
            remove_file(folder / TOKENS_FILE.format(stem=stem))  # of an earlier run
        else:
            write_pair_tokens(folder / TOKENS_FILE.format(stem=stem), kept.tokens)
    write_json(folder / RESULT_FILE, result)


def read_result(path: Path) -> dict[str, Any]:
    """Return the result in a run folder, or in a ``result.json`` itself.

    Raises:
        DataError: There is no ``result.json`` (the run did not finish), or it is of another schema version.
    """
    file = path / RESULT_FILE if path.is_dir() else path
    if not file.exists():
        msg = f"{file}: no such file; a run folder without it is not finished: run the same command again"
        raise DataError(msg)
    result = read_json(file)
    version = result.get("schema_version") if isinstance(result, dict) else None
    if version != SCHEMA_VERSION:
        msg = f"{file}: schema_version is {version!r}, expected {SCHEMA_VERSION}; was it written by another version?"
        raise DataError(msg)
    return dict(result)


def result_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``result.json``."""
    import json

    text = resources.files("rerank_bench.reporting").joinpath("result.schema.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def file_stem(name: str) -> str:
    """Return a name for files: letters and digits of any script, ``.``, ``_``, ``-``; anything else becomes ``-``."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "unnamed"
