"""A BEIR folder: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/SPLIT.tsv``; each also as ``.gz``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rerank_bench.data.checks import check_qrels
from rerank_bench.data.jsonl import read_corpus, read_queries
from rerank_bench.data.manifests import TITLE_AND_TEXT, Manifest
from rerank_bench.errors import ConfigError, DataError, describe_unknown
from rerank_bench.progress import note
from rerank_bench.records import Dataset, Qrels
from rerank_bench.trec_io import read_qrels


def find_file(folder: Path, name: str) -> Path | None:
    """Return ``folder/name`` or ``folder/name.gz``, whichever exists."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    return None


def find_qrels(folder: Path) -> dict[str, Path]:
    """Return split -> qrels file of a folder."""
    found: dict[str, Path] = {}
    for pattern in ("*.tsv", "*.tsv.gz"):
        for path in sorted((folder / "qrels").glob(pattern)):
            found.setdefault(path.name.removesuffix(".gz").removesuffix(".tsv"), path)
    return found


def choose_split(where: Path, files_by_split: Mapping[str, Path], split: str) -> Path:
    """Return the qrels file of a split.

    Raises:
        ConfigError: There is no such split; those that exist are named.
    """
    if split in files_by_split:
        return files_by_split[split]
    msg = f"{where}: {describe_unknown('split', [split], list(files_by_split))}"
    raise ConfigError(msg)


def load_beir_folder(folder: Path, *, split: str = "test", manifest: Manifest | None = None) -> Dataset:
    """Return the data set in a BEIR folder.

    Queries without judgements, empty queries and empty documents are kept.  Queries that only another split judges are
    not this split's: they are left out, counted in ``source`` and reported.

    Args:
        folder: The folder.
        split: The part whose judgements are used.
        manifest: The folder's own manifest, which then names the files.

    Raises:
        ConfigError: There is no such split.
        DataError: A file is missing, or the qrels name unknown queries or documents.
        ParseError: A line of a file cannot be read.
    """
    if manifest is None:
        corpus_path, queries_path = find_file(folder, "corpus.jsonl"), find_file(folder, "queries.jsonl")
        files_by_split = find_qrels(folder)
        missing = [
            name
            for name, is_there in (
                ("corpus.jsonl", corpus_path),
                ("queries.jsonl", queries_path),
                ("qrels/SPLIT.tsv", files_by_split),
            )
            if not is_there
        ]
        if corpus_path is None or queries_path is None or missing:
            msg = f"{folder}: not a BEIR folder, {' and '.join(missing)} missing (each may be .gz)"
            raise DataError(msg)
    else:
        files = manifest.table["files"]
        corpus_path, queries_path = folder / files["corpus"], folder / files["queries"]
        files_by_split = {name: folder / file for name, file in files["qrels"].items()}
    qrels_path = choose_split(folder, files_by_split, split)
    text_rule = (manifest and manifest.text_rule) or TITLE_AND_TEXT
    queries = read_queries(queries_path)
    qrels = read_qrels(qrels_path)
    collection = read_corpus(corpus_path, text_rule=text_rule)
    check_qrels(str(qrels_path), qrels, queries, collection)
    foreign = _queries_of_other_splits(queries, qrels, [path for path in files_by_split.values() if path != qrels_path])
    if foreign:
        note(f"{folder}: {len(foreign):,} of {len(queries):,} queries are judged by other splits only, and left out")
        queries = {query_id: text for query_id, text in queries.items() if query_id not in foreign}
    return Dataset(
        name=manifest.name if manifest else folder.resolve().name,
        queries=queries,
        collection=collection,
        qrels=qrels,
        drops_self_match=manifest.drops_self_match if manifest else False,
        source={
            "kind": "beir",
            "folder": str(folder),
            "split": split,
            "text_rule": text_rule,
            "queries_of_other_splits": len(foreign),
        },
    )


def _queries_of_other_splits(queries: Mapping[str, str], qrels: Qrels, other_files: Sequence[Path]) -> set[str]:
    """Return the queries that other splits judge and this one does not; the usual queries.jsonl holds all splits'."""
    unjudged = queries.keys() - qrels.keys()
    return {query_id for path in other_files if unjudged for query_id in read_qrels(path)} & unjudged
