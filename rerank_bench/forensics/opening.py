"""Which runs are explained, and on which data sets: run folders only, as a TREC run does not say what it reranked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rerank_bench.comparison.opening import open_sources
from rerank_bench.comparison.sources import FolderSource
from rerank_bench.errors import ComparisonError, ConfigError, describe_unknown
from rerank_bench.reporting.run_folder import RESULT_FILE


def open_runs(locations: Sequence[str | Path]) -> list[FolderSource]:
    """Return the run folders that the locations name, with labels that tell them apart.

    Raises:
        ConfigError: A location is a TREC run, which does not say what it reranked.
        DataError: A run is not finished.
    """
    for location in locations:
        path = Path(location)
        if path.is_file() and path.suffix.lower() not in {".json", ".csv"}:
            msg = (
                f"{path}: a TREC run does not say which candidates it reranked; expected a run folder, its {RESULT_FILE}, "
                f"or FILE.csv:MODEL. `rerank-bench run --model run:{path.name}` makes a run folder of it"
            )
            raise ConfigError(msg)
    sources = open_sources([str(location) for location in locations])
    return [source for source in sources if isinstance(source, FolderSource)]


def choose_datasets(sources: Sequence[FolderSource], wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the data sets that are explained: those asked for, else those that every run has.

    Raises:
        ComparisonError: A run lacks a data set that is asked for, or the runs share none.
    """
    for source in sources:
        unknown = [name for name in wanted if name not in source.datasets]
        if unknown:
            raise ComparisonError(f"{source.label}: " + describe_unknown("data set", unknown, source.datasets))
    shared = [name for name in sources[0].datasets if all(name in source.datasets for source in sources)]
    if not shared:
        held = "; ".join(f"{source.label} has {', '.join(source.datasets)}" for source in sources)
        msg = f"data set: the runs share none: {held}; run both on the same ones"
        raise ComparisonError(msg)
    return tuple(dict.fromkeys(wanted)) or tuple(shared)


def left_out_notes(sources: Sequence[FolderSource], names: Sequence[str]) -> list[str]:
    """Return a sentence per run that has data sets beside those that are explained."""
    return [
        f"only {source.label!r} has {', '.join(left_out)}: left out"
        for source in sources
        if (left_out := [name for name in source.datasets if name not in names])
    ]


def limit_notes(source: FolderSource) -> list[str]:
    """Return a sentence where a run is over part of the queries."""
    return [] if source.is_comparable else ["the run is over part of the queries (--limit): it compares with nothing"]
