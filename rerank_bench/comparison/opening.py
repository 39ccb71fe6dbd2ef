"""What a user names as a run, opened.

======================================  ==============================================================================
``runs/nanobeir/my-model``              a run folder, or the ``result.json`` in it
``results.csv:my-model``                a model of a leaderboard, by the folder that its rows point at
``results.csv:my-model@nanobeir``       the same, of one suite or data set only
``elsewhere.trec``                      any other file is a TREC run, plain or gzip
======================================  ==============================================================================

A ``run_folder`` of a leaderboard is relative to the folder in which ``rerank-bench run`` was called.  It is looked for
from the CSV file's own folder upwards, then in the working directory, so that a checkout may lie anywhere.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from rerank_bench.comparison.labels import LEADERBOARD_ROW, distinct_labels
from rerank_bench.comparison.sources import FolderSource, RunSource, TrecSource
from rerank_bench.errors import ConfigError, DataError, describe_unknown
from rerank_bench.records import Qrels
from rerank_bench.reporting.columns import MEASURE_COLUMNS, PRIMARY_MEASURE, Row
from rerank_bench.reporting.comparability import model_key
from rerank_bench.reporting.labels import label_models
from rerank_bench.reporting.leaderboard import read_rows, row_key
from rerank_bench.reporting.rows import rows_from_result
from rerank_bench.reporting.run_folder import RESULT_FILE
from rerank_bench.reporting.stored_result import StoredResult, read_stored_result
from rerank_bench.trec_io import read_qrels, read_run


def open_sources(
    locations: Sequence[str],
    *,
    qrels: str | Path | None = None,
    datasets: Sequence[str] = (),
    allow_missing_queries: bool = False,
) -> list[RunSource]:
    """Return the runs that the locations name, in their order, with labels that tell them apart.

    Args:
        locations: As in the module's documentation.
        qrels: Judgements of the TREC runs.  Without them they are taken from a run folder among the locations that
            covers the same data set, else from the data set itself.
        datasets: The data sets that are compared; a TREC run is of the one named here, of the one that the run
            folders have, or of one that is called like the file of judgements.
        allow_missing_queries: Judged queries that a TREC run lacks count 0; without it they are an error.

    Raises:
        ConfigError: A leaderboard lacks the row, or it is not clear which data set a TREC run is of.
        DataError: A file does not exist or cannot be read, or a run folder is not finished.
    """
    folders = {location: open_folder(location) for location in locations if not _is_trec_run(location)}
    opened: list[RunSource] = []
    trec: tuple[str, Qrels] | None = None
    for location in locations:
        if location in folders:
            opened.append(folders[location])
            continue
        if trec is None:
            trec = _judgements(list(folders.values()), qrels, datasets)
        dataset, judged = trec
        path = Path(location)
        opened.append(
            TrecSource(
                label=_bare_name(path),
                location=location,
                datasets=(dataset,),
                path=path,
                run=read_run(path),
                qrels=judged,
                allow_missing_queries=allow_missing_queries,
            )
        )
    if qrels is not None and trec is None:
        msg = f"--qrels {qrels} is for TREC runs; the runs given are folders, which hold their judgements: leave it out"
        raise ConfigError(msg)
    labels = distinct_labels([source.label for source in opened], locations)
    return [dataclasses.replace(source, label=label) for source, label in zip(opened, labels, strict=True)]


def _is_trec_run(location: str) -> bool:
    """Return whether a location is a file that is neither ``result.json`` nor a row of a leaderboard.

    Raises:
        DataError: There is no such thing.
    """
    path = Path(location)
    if LEADERBOARD_ROW.fullmatch(location) or path.is_dir():
        return False
    if not path.exists():
        msg = f"{location}: no such run; expected a run folder, its result.json, FILE.csv:MODEL or a TREC run file"
        raise DataError(msg)
    return path.suffix.lower() not in {".json", ".csv"}


def open_folder(location: str) -> FolderSource:
    """Return a run folder, ``result.json`` or leaderboard row as a source; its label is the model's name.

    Raises:
        ConfigError: The leaderboard has no such row, or several.
        DataError: There is no finished run, or it is no longer the one that the row is about.
    """
    row_name = LEADERBOARD_ROW.fullmatch(location)
    if row_name and not Path(location).exists():
        return _open_row(location, Path(row_name["file"]), row_name["model"])
    path = Path(location)
    if path.suffix.lower() == ".csv":
        msg = f"{location}: which of its models? Write {location}:MODEL; it has {', '.join(_model_names(path))}"
        raise ConfigError(msg)
    stored = read_stored_result(path)
    return _folder_source(stored, stored.name, location, stored.datasets)


def _folder_source(stored: StoredResult, label: str, location: str, datasets: tuple[str, ...]) -> FolderSource:
    return FolderSource(
        label=label,
        location=location,
        datasets=datasets,
        suites={name: members for name, members in stored.suites.items() if set(members) <= set(datasets)},
        result=stored.result,
        stored=stored,
    )


def _model_names(path: Path) -> list[str]:
    return sorted(label_models(read_rows(path)).values())


def _open_row(location: str, path: Path, name: str) -> FolderSource:
    rows = read_rows(path)
    labels = label_models(rows)
    chosen: list[Row] = []
    scope: str | None = None
    for row in rows:
        names = {row["model"], labels[model_key(row)]}
        if name in names:
            chosen.append(row)
        elif name in {f"{model}@{row['dataset']}" for model in names}:
            scope = row["dataset"]
            chosen.append(row)
    if not chosen:
        known = {*labels.values(), *(f"{labels[model_key(row)]}@{row['dataset']}" for row in rows)}
        raise ConfigError(f"{path}: " + describe_unknown("model", [name], known))
    if len({(model_key(row), row["run_folder"]) for row in chosen}) > 1:
        choices = sorted({f"{labels[model_key(row)]}@{row['dataset']} ({row['run_folder']})" for row in chosen})
        msg = f"{path}: {name!r} stands for several runs: {', '.join(choices)}; name one of them"
        raise ConfigError(msg)
    row = chosen[0]
    stored = read_stored_result(_find_run_folder(path, row))
    _check_is_run_of(stored, row, path)
    datasets = stored.datasets if scope is None else stored.suites.get(scope, (scope,))
    return _folder_source(stored, labels[model_key(row)], location, datasets)


def _find_run_folder(path: Path, row: Row) -> Path:
    """Return the folder that a row points at."""
    given = Path(row["run_folder"])
    tried = [folder / given for folder in (*path.absolute().parents, Path.cwd())]
    for folder in dict.fromkeys(tried):
        if (folder / RESULT_FILE).exists():
            return folder
    msg = (
        f"{path}: the row of {row['model']!r} on {row['dataset']!r} points at {str(given)!r}, which is neither under the "
        f"file's folder or one above it, nor under the working directory; name the run folder itself, or run it again"
    )
    raise DataError(msg)


def _check_is_run_of(stored: StoredResult, row: Row, path: Path) -> None:
    """Raise where the folder was written anew since the row was."""
    here = rows_from_result(stored.result, row["run_folder"], allow_incomparable=True)
    column = MEASURE_COLUMNS[PRIMARY_MEASURE]
    if not any(row_key(other) == row_key(row) and other[column] == row[column] for other in here):
        msg = (
            f"{path}: the row of {row['model']!r} on {row['dataset']!r} is not that of {stored.folder}, which holds "
            f"{stored.name!r} as it was run later or otherwise; name the run folder itself, or run the model again"
        )
        raise DataError(msg)


def _judgements(
    folders: Sequence[FolderSource], qrels: str | Path | None, datasets: Sequence[str]
) -> tuple[str, Qrels]:
    """Return the data set that the TREC runs are of, and its judgements."""
    common = [name for name in (folders[0].datasets if folders else ()) if all(name in f.datasets for f in folders)]
    names = list(datasets) or common
    if not names and qrels is not None:
        names = [_bare_name(Path(qrels))]
    if len(names) != 1:
        found = f"found {', '.join(names)}" if names else "found none"
        msg = (
            f"a TREC run is of one data set, {found}: name it with --dataset NAME (its judgements are taken), "
            f"or give judgements with --qrels FILE"
        )
        raise ConfigError(msg)
    (name,) = names
    if qrels is not None:
        return name, read_qrels(qrels)
    for folder in folders:
        if name in folder.datasets:
            return name, folder.stored.qrels(name)
    from rerank_bench.data.datasets import load_dataset

    dataset = load_dataset(name)
    return dataset.name, dataset.qrels


def _bare_name(path: Path) -> str:
    """Return a file's name without what says that it is a run or holds judgements."""
    return re.sub(r"^qrels\.(?=.)|(?<=.)(\.(run|trec|qrels|res|txt|tsv|gz))+$", "", path.name)
