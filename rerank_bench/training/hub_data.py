"""Training data from a hub repository: one configuration and split, and only the files of that one are fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rerank_bench.data.hub_client import Snapshot, fetch_snapshot
from rerank_bench.data.hub_tables import read_table
from rerank_bench.data.manifests import HubSource
from rerank_bench.errors import ConfigError, DataError, ManifestError
from rerank_bench.training.tables import Rows, TableFile

README = "README.md"


def read_hub_rows(repository: str, *, revision: str | None, config: str | None, split: str) -> Rows:
    """Return the rows of one configuration and split.

    Args:
        repository: ``owner/name``.
        revision: Branch, tag or commit; ``None`` for ``main``.
        config: ``None`` where the repository has one only, or marks one as its default.
        split: Such as ``train``.

    Raises:
        ConfigError: Several configurations, and none was named.
        DataError: No such repository, revision, configuration or split, or damaged files.
        EnvironmentMissingError: Not in the cache, and the hub is out of reach.
    """
    source = HubSource(repository=repository, revision=revision or "main")
    configs = _configs(fetch_snapshot(source, patterns=[README]))
    chosen = _choose(repository, configs, config)
    patterns = None if chosen not in configs else [README, *configs[chosen]]
    snapshot = fetch_snapshot(source, patterns=patterns)
    try:
        table = read_table(snapshot, chosen, split, None)
    except ManifestError as error:
        cause = " ".join(str(error.__cause__ or error).split())
        msg = f"{repository}@{snapshot.commit[:12]}: {cause}; see --data-config and --data-split"
        raise DataError(msg) from error
    name = f"{repository}@{snapshot.commit[:12]} ({chosen}, {split})"
    return Rows(table, [TableFile(Path(name), "parquet", len(table))], name)


def _choose(repository: str, configs: dict[str, list[str]], config: str | None) -> str:
    if config is not None:
        return config
    if len(configs) > 1 and "default" not in configs:
        msg = f"{repository}: has the configurations {', '.join(configs)}; choose one with --data-config"
        raise ConfigError(msg)
    return next(iter(configs), "default") if "default" not in configs else "default"


def _configs(snapshot: Snapshot) -> dict[str, list[str]]:
    """Return configuration -> patterns of its files, from the head of the README; empty where it says nothing."""
    from huggingface_hub import metadata_load

    path = snapshot.folder / README
    metadata: dict[str, Any] = (metadata_load(path) if path.is_file() else None) or {}
    return {
        str(entry["config_name"]): _patterns(entry.get("data_files", []))
        for entry in metadata.get("configs", [])
        if isinstance(entry, dict) and "config_name" in entry
    }


def _patterns(data_files: Any) -> list[str]:
    """Return the paths of ``data_files`` as a README may write them: a text, a list, or splits with paths."""
    if isinstance(data_files, str):
        return [data_files]
    if isinstance(data_files, dict):
        return _patterns(data_files["path"]) if "path" in data_files else []
    return [pattern for entry in data_files for pattern in _patterns(entry)]
