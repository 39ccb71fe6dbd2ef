"""Data sets and published first-stage lists in the hub's corpus / queries / qrels layout, pinned by their manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from rerank_bench.data.checks import check_ids, check_qrels, describe_bad_id
from rerank_bench.data.hub_client import Snapshot, fetch_verified
from rerank_bench.data.hub_tables import read_table, string_column
from rerank_bench.data.jsonl import CHUNK_DOCS, document_text
from rerank_bench.data.manifests import TITLE_AND_TEXT, Manifest
from rerank_bench.errors import ConfigError, DataError
from rerank_bench.records import Collection, Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedLists:
    """Ranked lists of a first stage that somebody published, taken as they are."""

    by_query: Mapping[str, tuple[str, ...]]
    """query_id -> doc_ids, best first; they carry no scores."""
    source: Mapping[str, str]
    """``repository``, ``revision`` as the manifest names it, and the ``commit`` that it resolved to."""


def load_hub_dataset(manifest: Manifest) -> Dataset:
    """Return the data set that a manifest of kind ``hub`` names; its counts are left to the caller.

    Raises:
        ChecksumError: A file is not the one that the manifest names.
        DataError: The repository, the revision or a file is missing or damaged, or ids and judgements do not fit.
        EnvironmentMissingError: Not in the cache, and the hub is out of reach.
        ManifestError: A config, split or column that the manifest names does not exist.
    """
    snapshot = fetch_verified(manifest.hub_source)
    collection = _read_collection(snapshot, manifest)
    queries = _read_queries(snapshot, manifest.table["hub"]["queries"])
    qrels = _read_qrels(snapshot, manifest.table["hub"]["qrels"])
    check_qrels(f"{snapshot.source.repository}@{snapshot.commit[:12]}", qrels, queries, collection)
    return Dataset(
        name=manifest.name,
        queries=queries,
        collection=collection,
        qrels=qrels,
        drops_self_match=manifest.drops_self_match,
        source={"kind": "hub", **snapshot.describe(), "text_rule": manifest.text_rule},
    )


def load_published_lists(manifest: Manifest) -> PublishedLists:
    """Return the first-stage lists that a manifest's ``[published]`` table names.

    Raises:
        ChecksumError: A file is not the one that the manifest names.
        ConfigError: No list is published for this data set.
        DataError: The repository, the revision or a file is missing or damaged, or a list repeats a document.
        EnvironmentMissingError: Not in the cache, and the hub is out of reach.
        ManifestError: A config, split or column that the manifest names does not exist.
    """
    if manifest.published is None:
        msg = f"no first-stage lists are published for {manifest.name!r}; use --first-stage bm25, or a run file"
        raise ConfigError(msg)
    snapshot = fetch_verified(manifest.published)
    spec = manifest.table["published"]
    table = read_table(snapshot, spec["config"], spec["split"], [spec["query_id"], spec["doc_ids"]])
    where = _where(snapshot, spec)
    query_ids = string_column(where, table, spec["query_id"])
    check_ids(where, query_ids)
    lists = table.column(spec["doc_ids"])
    if not (pa.types.is_list(lists.type) or pa.types.is_large_list(lists.type)):
        msg = f"{where}: column {spec['doc_ids']!r} is {lists.type}, expected lists of document ids"
        raise DataError(msg)
    by_query = {
        query_id: _checked_list(where, query_id, doc_ids)
        for query_id, doc_ids in zip(query_ids.to_pylist(), lists.to_pylist(), strict=True)
    }
    return PublishedLists(by_query=by_query, source=snapshot.describe())


def _where(snapshot: Snapshot, spec: Mapping[str, Any]) -> str:
    return f"{snapshot.source.repository}@{snapshot.commit[:12]}, config {spec['config']!r}"


def _read_collection(snapshot: Snapshot, manifest: Manifest) -> Collection:
    spec = manifest.table["hub"]["corpus"]
    has_titles = manifest.text_rule == TITLE_AND_TEXT
    columns = [spec["id"], spec["text"], *([spec["title"]] if has_titles else [])]
    table = read_table(snapshot, spec["config"], spec["split"], columns)
    where = _where(snapshot, spec)
    doc_ids = string_column(where, table, spec["id"])
    check_ids(where, doc_ids)
    texts = string_column(where, table, spec["text"])
    return Collection(doc_ids, _with_titles(table.column(spec["title"]), texts) if has_titles else texts)


def _with_titles(titles: pa.ChunkedArray, texts: pa.Array) -> pa.ChunkedArray:
    """Return (N,) texts with their titles before them, by the rule that ``corpus.jsonl`` follows; a chunk at a time."""
    chunks = []
    for start in range(0, len(texts), CHUNK_DOCS):
        pairs = zip(
            titles.slice(start, CHUNK_DOCS).to_pylist(), texts.slice(start, CHUNK_DOCS).to_pylist(), strict=True
        )
        chunks.append(pa.array([document_text(title, text) for title, text in pairs], type=pa.large_string()))
    return pa.chunked_array(chunks, type=pa.large_string())


def _read_queries(snapshot: Snapshot, spec: Mapping[str, str]) -> dict[str, str]:
    table = read_table(snapshot, spec["config"], spec["split"], [spec["id"], spec["text"]])
    where = _where(snapshot, spec)
    query_ids = string_column(where, table, spec["id"])
    check_ids(where, query_ids)
    texts = string_column(where, table, spec["text"])
    return dict(zip(query_ids.to_pylist(), texts.to_pylist(), strict=True))


def _read_qrels(snapshot: Snapshot, spec: Mapping[str, str]) -> dict[str, dict[str, int]]:
    has_grades = "grade" in spec
    columns = [spec["query_id"], spec["doc_id"], *([spec["grade"]] if has_grades else [])]
    table = read_table(snapshot, spec["config"], spec["split"], columns)
    where = _where(snapshot, spec)
    query_ids = string_column(where, table, spec["query_id"]).to_pylist()
    doc_ids = string_column(where, table, spec["doc_id"]).to_pylist()
    grades = table.column(spec["grade"]).to_pylist() if has_grades else [1] * len(query_ids)
    qrels: dict[str, dict[str, int]] = {}
    for row, (query_id, doc_id, grade) in enumerate(zip(query_ids, doc_ids, grades, strict=True)):
        if not isinstance(grade, int | float) or isinstance(grade, bool) or not float(grade).is_integer():
            msg = f"{where}, row {row}: grade is {grade!r}, expected a whole number"
            raise DataError(msg)
        judged = qrels.setdefault(query_id, {})
        if doc_id in judged:
            msg = f"{where}, row {row}: document {doc_id!r} of query {query_id!r} was judged before ({judged[doc_id]})"
            raise DataError(msg)
        judged[doc_id] = int(grade)
    return qrels


def _checked_list(where: str, query_id: str, doc_ids: list[str] | None) -> tuple[str, ...]:
    ranked = tuple(doc_ids or ())
    bad = next((problem for doc_id in ranked if (problem := describe_bad_id(str(doc_id)))), None)
    if bad or not all(isinstance(doc_id, str) for doc_id in ranked):
        msg = f"{where}: the list of query {query_id!r} holds an id that is no string or {bad}"
        raise DataError(msg)
    if len(set(ranked)) < len(ranked):
        repeated = next(doc_id for position, doc_id in enumerate(ranked) if doc_id in ranked[:position])
        msg = f"{where}: the list of query {query_id!r} holds document {repeated!r} twice"
        raise DataError(msg)
    return ranked
