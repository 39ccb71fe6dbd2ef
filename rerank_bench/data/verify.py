"""What ``rerank-bench datasets show`` and ``verify`` print: a manifest in plain values, and the data held against it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rerank_bench.data.checks import count_dataset
from rerank_bench.data.datasets import expected_counts, load_from_manifest
from rerank_bench.data.manifests import HubSource, Manifest, load_manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetCheck:
    """One statement of a manifest against the data."""

    what: str
    expected: str | None
    """``None`` where the manifest states nothing: the value found is shown, and passes."""
    found: str | None
    """``None`` where it is absent."""
    is_ok: bool


def verify_dataset(name: str) -> list[DatasetCheck]:
    """Return every count and checksum of a shipped manifest beside what the data has; the data is fetched if need be.

    Args:
        name: The data set's name or alias.

    Raises:
        ConfigError: No data set has that name.
        DataError: The data cannot be fetched or read at all.
        EnvironmentMissingError: The data is not on this machine, and the hub is out of reach.
    """
    manifest = load_manifest(name)
    checks = [
        check
        for label, source in (("", manifest.source), ("published lists, ", manifest.published))
        if source is not None
        for check in _check_source(label, source)
    ]
    if not all(check.is_ok for check in checks):
        return checks  # nothing is read from files that are not the ones named
    dataset = load_from_manifest(manifest, is_checked=False)
    found = count_dataset(dataset)
    counts = expected_counts(manifest, dataset)
    for what, number in found.items():
        expected = counts.get(what)
        checks.append(_check(f"number of {what}", None if expected is None else str(expected), str(number)))
    checks.extend(_check(f"fingerprint of the {what}", None, value) for what, value in dataset.fingerprints.items())
    if manifest.published is not None:
        checks.append(_check_published_queries(manifest, set(dataset.queries)))
    return checks


def _check_source(label: str, source: HubSource) -> Iterator[DatasetCheck]:
    from rerank_bench.data.hub_client import check_files, fetch_snapshot

    snapshot = fetch_snapshot(source)
    is_pinned = source.revision != "main"
    yield _check(f"{label}commit of {source.repository}", source.revision if is_pinned else None, snapshot.commit)
    for check in check_files(snapshot):
        yield _check(f"{label}SHA-256 of {check.file}", check.expected, check.found)


def _check_published_queries(manifest: Manifest, query_ids: set[str]) -> DatasetCheck:
    from rerank_bench.data.hub import load_published_lists

    listed = set(load_published_lists(manifest).by_query)
    return _check(
        "published lists, queries of the data set that have one", str(len(query_ids)), str(len(query_ids & listed))
    )


def _check(what: str, expected: str | None, found: str | None) -> DatasetCheck:
    return DatasetCheck(
        what=what, expected=expected, found=found, is_ok=found is not None and expected in {None, found}
    )


def describe_manifest(manifest: Manifest) -> dict[str, Any]:
    """Return what a manifest says, JSON-able, in the order in which ``datasets show`` prints it."""
    described: dict[str, Any] = {
        "name": manifest.name,
        "title": manifest.title,
        "aliases": list(manifest.aliases),
        "description": manifest.table.get("description"),
        "kind": manifest.kind,
        "counts": dict(manifest.counts),
        "grades": {str(grade): meaning for grade, meaning in manifest.grades.items()},
        "text_rule": manifest.text_rule,
        "drops_self_match": manifest.drops_self_match,
        "licence": manifest.table.get("licence"),
        "homepage": manifest.table.get("homepage"),
        "citation": manifest.table.get("citation"),
    }
    for label, source in (("source", manifest.source), ("published_lists", manifest.published)):
        if source is not None:
            described[label] = {
                "repository": source.repository,
                "revision": source.revision,
                "files_with_checksum": len(source.files),
            }
    values = manifest.table.get("published", {}).get("values")
    if values:
        described["published_lists"]["values"] = dict(values)
    return described
