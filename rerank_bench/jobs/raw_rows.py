"""The raw rows of training data: files, or one hub data set."""

from __future__ import annotations

from pathlib import Path

from rerank_bench.errors import ConfigError
from rerank_bench.scoring.specs import parse_model_spec
from rerank_bench.training.hub_data import read_hub_rows
from rerank_bench.training.request import DataRequest
from rerank_bench.training.tables import FORMAT_OF_SUFFIX, Rows, read_files


def read_rows(data: DataRequest) -> Rows:
    """Return the raw rows of files, or of one hub data set.

    Raises:
        ConfigError: No source, several of different kinds, or an option that does not go with them.
        DataError: The data cannot be read.
    """
    if not data.sources:
        msg = "no training data: name files or a hub data set with --data"
        raise ConfigError(msg)
    paths = [Path(source).expanduser() for source in data.sources]
    is_file = [path.exists() or looks_like_file(source) for path, source in zip(paths, data.sources, strict=True)]
    if all(is_file):
        given = [name for name in ("config", "revision") if getattr(data, name) is not None]
        if given:
            msg = f"--data-{given[0]} is for hub data sets; {data.sources[0]} is a file"
            raise ConfigError(msg)
        return read_files(paths)
    if len(data.sources) > 1 or parse_model_spec(data.sources[0]).kind != "hub":
        msg = f"data {', '.join(map(repr, data.sources))}: expected files, or one hub data set 'owner/name'"
        raise ConfigError(msg)
    return read_hub_rows(data.sources[0], revision=data.revision, config=data.config, split=data.split)


def looks_like_file(source: str) -> bool:
    """Return whether a text ends as the name of a data file does."""
    return any(source.removesuffix(".gz").lower().endswith(suffix) for suffix in FORMAT_OF_SUFFIX)
