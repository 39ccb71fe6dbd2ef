"""The one way in: a name or a folder becomes a ``Dataset``, whatever kind of source stands behind it.

What the text means:

- the name or alias of a shipped manifest, in any case (``NanoMSMARCO``, ``msmarco``, ``pydocs``);
- otherwise a folder.  A text without a path separator that is both means the manifest (``./scifact`` is the folder).

A folder is read by the first that fits:

1. ``dataset.toml``: a manifest of kind ``beir`` or ``trec`` that names the folder's files;
2. ``corpus.jsonl``, ``queries.jsonl``, ``qrels/SPLIT.tsv`` (BEIR);
3. ``corpus.jsonl``, ``topics.*``, ``qrels.*`` (TREC).

Every file may be gzip-compressed.  A folder's data set is called like the folder, or as its manifest says; the counts in
its manifest are those of the split ``test``.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rerank_bench.data.beir import find_file, load_beir_folder
from rerank_bench.data.checks import check_counts, count_dataset
from rerank_bench.data.fingerprints import with_fingerprints
from rerank_bench.data.manifests import Manifest, load_manifest, manifest_names, read_manifest
from rerank_bench.data.suites import describe_unknown_datasets, find_dataset
from rerank_bench.data.trec import load_trec_folder
from rerank_bench.errors import ConfigError, DataError, ManifestError
from rerank_bench.progress import note
from rerank_bench.records import Dataset

FOLDER_MANIFEST = "dataset.toml"
DEFAULT_SPLIT = "test"


def load_dataset(name_or_folder: str | Path, *, split: str = DEFAULT_SPLIT) -> Dataset:
    """Return a data set by name, or from a folder.

    Args:
        name_or_folder: See the module's documentation; a ``Path`` is always a folder.
        split: Which judgements of a folder to use; the shipped manifests pin their own split.

    Raises:
        ConfigError: Neither a data set nor a folder has this name, or there is no such split.
        DataError: The data is wrong: malformed, incomplete, or not what the manifest promises.
        EnvironmentMissingError: The data is not on this machine, and the hub is out of reach.
    """
    found = str(name_or_folder) if isinstance(name_or_folder, Path) else find_dataset(name_or_folder)
    if found is None:
        msg = describe_unknown_datasets([str(name_or_folder)])
        raise ConfigError(msg)
    if isinstance(name_or_folder, str) and found in manifest_names():
        if Path(name_or_folder).is_dir():
            note(f"{name_or_folder!r} is read as the data set {found}; write ./{name_or_folder} for the folder")
        if split != DEFAULT_SPLIT:
            msg = f"{found}: its manifest pins the judgements, split {split!r} cannot be chosen; leave the split out"
            raise ConfigError(msg)
        return load_from_manifest(load_manifest(found))
    folder = Path(found).expanduser()
    manifest_path = folder / FOLDER_MANIFEST
    manifest = read_manifest(manifest_path) if manifest_path.is_file() else None
    dataset = _load_folder(folder, manifest, split)
    if manifest is not None:
        if split == DEFAULT_SPLIT:  # which the counts of a folder's manifest are about
            check_counts(str(folder), manifest.counts, count_dataset(dataset))
        dataset = _described(dataset, manifest)
    return with_fingerprints(dataset)


def load_from_manifest(manifest: Manifest, *, is_checked: bool = True) -> Dataset:
    """Return the data set of a shipped manifest, with fingerprints and the manifest's description as its source.

    Args:
        manifest: The manifest.
        is_checked: Whether counts that differ from the manifest's are an error; ``verify`` reports them itself.
    """
    if manifest.kind == "hub":
        from rerank_bench.data.hub import load_hub_dataset

        dataset = load_hub_dataset(manifest)
    elif manifest.kind == "gooaq":
        from rerank_bench.data.gooaq import load_gooaq_dataset

        dataset = load_gooaq_dataset(manifest)
    elif manifest.kind == "pydocs":
        dataset = _load_pydocs(manifest)
    else:
        dataset = _load_folder(manifest.path.parent, manifest, DEFAULT_SPLIT)
    if is_checked:
        check_counts(manifest.name, expected_counts(manifest, dataset), count_dataset(dataset))
    return with_fingerprints(_described(dataset, manifest))


def expected_counts(manifest: Manifest, dataset: Dataset) -> dict[str, int]:
    """Return the manifest's counts, less the judgements that it says the running Python's documentation lacks."""
    counts = dict(manifest.counts)
    if "judgements" in counts:
        counts["judgements"] -= dataset.source.get("missing_judgements", 0)
    return counts


def _load_pydocs(manifest: Manifest) -> Dataset:
    import sys

    from rerank_bench.data.pydocs import load_pydocs

    missing = manifest.table.get("pydocs", {}).get("missing", {})
    files = manifest.path.parent / manifest.name
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return load_pydocs(
        files / "queries.jsonl", files / "qrels.tsv", missing=tuple(missing.get(version, ())), name=manifest.name
    )


def _load_folder(folder: Path, manifest: Manifest | None, split: str) -> Dataset:
    if not folder.is_dir():
        msg = f"{folder}: no such folder"
        raise DataError(msg)
    if manifest is not None and manifest.kind not in {"beir", "trec"}:
        msg = f"{manifest.path}: kind is {manifest.kind!r}, expected 'beir' or 'trec' in a folder's manifest"
        raise ManifestError(msg)
    is_trec = (
        manifest.kind == "trec" if manifest else not find_file(folder, "queries.jsonl") and any(folder.glob("topics.*"))
    )
    load = load_trec_folder if is_trec else load_beir_folder
    return load(folder, split=split, manifest=manifest)


def _described(dataset: Dataset, manifest: Manifest) -> Dataset:
    """Return the data set with what its manifest says added to its source."""
    described = {
        key: manifest.table[key] for key in ("title", "licence", "homepage", "citation") if key in manifest.table
    }
    grades = {str(grade): meaning for grade, meaning in manifest.grades.items()}
    source = {**dataset.source, **described, "grades": grades}
    return dataclasses.replace(dataset, source=source)
