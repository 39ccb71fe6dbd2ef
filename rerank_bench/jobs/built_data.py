"""Training data that is built: the data of published recipes, made from their repositories once and kept in the cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from rerank_bench.errors import ConfigError
from rerank_bench.jobs.gooaq_pairs import GooaqPairs
from rerank_bench.jobs.msmarco_lists import MsmarcoLists
from rerank_bench.jobs.msmarco_pairs import MsmarcoPairs
from rerank_bench.locks import file_lock
from rerank_bench.progress import note
from rerank_bench.provenance import describe_invocation
from rerank_bench.storage import cache_folder, fingerprint_json, read_json, write_json
from rerank_bench.training.request import DataRequest
from rerank_bench.training.tables import Rows, read_files

VERSION = "1"
"""Changes when the same description would give other rows."""
DESCRIPTION_DIGITS = 12


class Builder(Protocol):
    """Makes one kind of training data."""

    @property
    def repository(self) -> str:
        """The hub repository that the texts come from."""

    @property
    def revision(self) -> str:
        """Its commit."""

    def describe(self) -> dict[str, Any]:
        """Return what decides the rows, JSON-able."""

    def say(self) -> str:
        """Return what a reader of the model's card should know, in one phrase."""

    def build(self, path: Path, *, device: str) -> dict[str, Any]:
        """Write the rows to a Parquet file, whole or not at all, and return what is recorded of them."""


BUILDERS: Mapping[str, Builder] = {
    "gooaq-pairs": GooaqPairs(),
    "msmarco-lists": MsmarcoLists(),
    "msmarco-pairs": MsmarcoPairs(),
}
"""Name of a data source -> how it is made."""


def is_built(data: DataRequest) -> bool:
    """Return whether the request is for data that is built, and for nothing else.

    Raises:
        ConfigError: There are other sources beside it, or options that only hub data sets have.
    """
    named = [source for source in data.sources if source in BUILDERS]
    if not named:
        return False
    if len(data.sources) > 1:
        msg = f"data {', '.join(map(repr, data.sources))}: {named[0]} stands alone; drop the others"
        raise ConfigError(msg)
    given = [name for name in ("config", "revision") if getattr(data, name) is not None]
    given += ["split"] if data.split != DataRequest().split else []
    if given:
        msg = f"--data-{given[0]} is for hub data sets; {named[0]} is built from a pinned commit. Drop it"
        raise ConfigError(msg)
    return True


def read_built_rows(name: str, *, device: str) -> tuple[Rows, dict[str, Any]]:
    """Return the rows of a built source, from the cache where they are, and what a record says of them.

    Processes that want the same wait for the first of them.

    Args:
        name: One of ``BUILDERS``.
        device: Where a retriever runs.

    Raises:
        RerankBenchError: The hub is out of reach, the cache cannot be written, or the data are not what they were.
    """
    builder = BUILDERS[name]
    described = {"version": VERSION, "name": name, **builder.describe()}
    key = fingerprint_json(described)[:DESCRIPTION_DIGITS]
    path = cache_folder() / "training" / f"{name}-{key}.parquet"
    record = path.with_suffix(".json")  # written last: it says that the file beside it is whole
    with file_lock(path, waits=True):
        if record.is_file() and path.is_file():
            note(f"{name}: from the cache ({path})")
        else:
            note(f"{name}: building from {builder.repository}, once; then it is kept in the cache")
            made = builder.build(path, device=device)
            write_json(record, described | made | {"provenance": describe_invocation()})
        about = read_json(record)
    about |= {"repository": builder.repository, "revision": builder.revision, "said": builder.say()}
    del about["provenance"]
    return replace(read_files([path]), name=name), about
