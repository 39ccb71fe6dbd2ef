"""Which runs compare, and on what: protocol, section 7.  A refusal names the field that differs and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rerank_bench.comparison.sources import IDENTITY_FIELDS, RunSource
from rerank_bench.errors import ComparisonError

_SHOWN_HEX = 12
_ADVICE = {
    "protocol": "run both with the same version of rerank-bench",
    "corpus": "the documents of the data set differ: run both on the same ones",
    "queries": "the queries of the data set differ: run both on the same ones",
    "qrels": "the judgements differ: run both with the same ones",
    "candidates": "they reranked different lists: run both with the same first stage and depth",
    "depth": "run both with the same --depth",
}


def choose_datasets(sources: Sequence[RunSource], wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the data sets that are compared, in the order of the first run.

    Args:
        sources: At least one run.
        wanted: Names; empty for all data sets, which every run must then have.

    Raises:
        ComparisonError: A run lacks a data set.
    """
    chosen = tuple(dict.fromkeys(wanted)) or tuple(dict.fromkeys(name for s in sources for name in s.datasets))
    for source in sources:
        lacking = [name for name in chosen if name not in source.datasets]
        if lacking:
            others = [name for name in chosen if all(name in s.datasets for s in sources)]
            advice = f"compare on {' '.join(f'--dataset {name}' for name in others)}" if others else "they share none"
            msg = (
                f"data set: {source.label} lacks {', '.join(lacking)}, it has {', '.join(source.datasets)}; "
                f"run it on the same data sets, or {advice}"
            )
            raise ComparisonError(msg)
    return chosen


def shared_suites(sources: Sequence[RunSource], datasets: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return suite -> its data sets, for the means over data sets that a comparison shows.

    They are the suites of several data sets that all runs have alike, and whose data sets are all compared.  Where none
    of them is over everything that is compared, the mean over that is added, called ``a+b``.
    """
    first = sources[0].suites
    suites = {
        name: members
        for name, members in first.items()
        if len(members) > 1
        and set(members) <= set(datasets)
        and all(set(source.suites.get(name, ())) == set(members) for source in sources)
    }
    if len(datasets) > 1 and not any(set(members) == set(datasets) for members in suites.values()):
        suites["+".join(datasets)] = tuple(datasets)
    return suites


def check_comparable(sources: Sequence[RunSource], datasets: Sequence[str]) -> tuple[str, ...]:
    """Raise unless the runs may be compared on these data sets.

    Every run is checked against the first one that says a field's value: protocol, corpus, queries, judgements,
    candidates, depth.  A TREC run does not say which candidates it ranked; it is compared as a ranking of its own.
    Whether all runs cover the same queries is checked by ``paired.align_runs``, view and measure by
    ``RunSource.query_values``.

    Returns:
        What could not be checked, one sentence each, for the user.

    Raises:
        ComparisonError: Names the first field that differs, with both values.
    """
    for source in sources:
        if not source.is_comparable:
            limit = (source.result or {}).get("request", {}).get("limit")
            msg = (
                f"queries: {source.label} ({source.location}) was run over part of the queries (--limit {limit}), "
                f"which compares with nothing; run it again without --limit"
            )
            raise ComparisonError(msg)
    for dataset in datasets:
        identities = {source.label: source.identity(dataset) for source in sources}
        for field in IDENTITY_FIELDS:
            _check_field(dataset, field, {label: identity[field] for label, identity in identities.items()})
    silent = [source.label for source in sources if source.result is None]
    if not silent or len(silent) == len(sources):
        return ()
    note = (
        f"{', '.join(silent)}: a TREC run does not say which candidates it reranked or how deep it is; "
        f"the comparison is between two rankings, not between two rerankers of one list"
    )
    return (note,)


def _check_field(dataset: str, field: str, value_by_label: Mapping[str, str | int | None]) -> None:
    said = {label: value for label, value in value_by_label.items() if value is not None}
    differing = [label for label, value in said.items() if value != next(iter(said.values()))]
    if differing:
        first, other = next(iter(said)), differing[0]
        msg = (
            f"{field} of {dataset}: {first} has {_short(said[first])}, {other} has {_short(said[other])}; "
            f"{_ADVICE[field]}"
        )
        raise ComparisonError(msg)


def _short(value: str | int) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN_HEX else f"{text[:_SHOWN_HEX]}…"
