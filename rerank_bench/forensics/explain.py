"""The whole explanation of one run (against its own first stage) or of two: the composition of this room."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from rerank_bench.comparison.comparability import check_comparable
from rerank_bench.comparison.sources import FolderSource
from rerank_bench.errors import ConfigError, describe_unknown
from rerank_bench.evaluation.measures import PRIMARY_MEASURE, measure_param, parse_measures
from rerank_bench.evaluation.significance import DEFAULT_SEED, RESAMPLES, TIE, mean
from rerank_bench.evaluation.summaries import summarise_columns
from rerank_bench.forensics.opening import choose_datasets, left_out_notes, limit_notes, open_runs
from rerank_bench.forensics.queries import explain_queries
from rerank_bench.forensics.records import (
    DatasetSummary,
    DatasetTexts,
    Explanation,
    Happening,
    QueryExplanation,
    Share,
    SideLabel,
    Split,
)
from rerank_bench.forensics.sides import DatasetCase, case_of_pair, case_of_run
from rerank_bench.forensics.slices import slice_queries
from rerank_bench.forensics.texts import NO_TEXTS, load_texts
from rerank_bench.forensics.truncation import FIRST_STAGE, Reader, reader_of
from rerank_bench.records import View

SETTINGS = (
    "name",
    "family",
    "revision",
    "weights_fingerprint",
    "tokenizer_fingerprint",
    "template",
    "instruction",
    "query_prompt",
    "doc_prompt",
    "positive_label",
    "max_length",
    "dtype",
    "attention",
    "device",
)
"""Fields of a result's model that may move a score; those that differ between two runs are shown."""

DEFAULT_WORST = 10
"""Queries shown when nothing else is asked for."""

_RETRIEVED_NOTE = "in this view a run that changes nothing can show a gain (docs/protocol.md, section 4)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainOptions:
    """What is explained."""

    measure: str = PRIMARY_MEASURE
    """Any ir-measures name."""
    view: View = "end_to_end"
    datasets: tuple[str, ...] = ()
    """None: all that the run has, or both have."""
    use_texts: bool = True


def explain_run(location: str | Path, options: ExplainOptions | None = None) -> Explanation:
    """Return what a run did to its own first stage, query by query.

    Args:
        location: A run folder, its ``result.json``, or ``FILE.csv:MODEL`` of a leaderboard.
        options: What to explain; ``None``: the defaults.

    Raises:
        ComparisonError: The run has no such data set.
        ConfigError: The location is a TREC run, or the measure is unknown.
        DataError: The run is not finished, or a file of it is missing or broken.
    """
    chosen, (source,) = options or ExplainOptions(), open_runs([location])
    names = choose_datasets([source], chosen.datasets)
    return _explain(
        kind="inspect",
        names=names,
        case_of=lambda name, measure: case_of_run(source.stored, name, view=chosen.view, measure=measure),
        readers_of=lambda name: (FIRST_STAGE, _reader(source, name)),
        labels=(_first_stage_label(source, names), SideLabel(short="run", long=_long_label(source))),
        options=chosen,
        notes=[*limit_notes(source), *([_RETRIEVED_NOTE] if chosen.view == "retrieved" else [])],
    )


def explain_pair(before: str | Path, after: str | Path, options: ExplainOptions | None = None) -> Explanation:
    """Return what changes from one run to another over the same candidates, query by query.

    Args:
        before: As in ``explain_run``.
        after: The same.
        options: The same; without data sets, those that both runs have.

    Raises:
        ComparisonError: The runs share no data set, or differ in the field that the message names.
        ConfigError: As ``explain_run``.
        DataError: As ``explain_run``.
    """
    chosen = options or ExplainOptions()
    first, second = open_runs([before, after])
    names = choose_datasets([first, second], chosen.datasets)
    check_comparable([first, second], names)
    return _explain(
        kind="diff",
        names=names,
        case_of=lambda name, measure: case_of_pair(
            first.stored, second.stored, name, view=chosen.view, measure=measure
        ),
        readers_of=lambda name: (_reader(first, name), _reader(second, name)),
        labels=(SideLabel(short="A", long=_long_label(first)), SideLabel(short="B", long=_long_label(second))),
        options=chosen,
        notes=left_out_notes([first, second], names) if not chosen.datasets else [],
        settings=_differing_settings(first, second),
    )


def _reader(source: FolderSource, name: str) -> Reader:
    stored = source.stored
    return reader_of(stored.result["model"], stored.result["datasets"][name], stored.tokens(name))


def _first_stage_label(source: FolderSource, names: Sequence[str]) -> SideLabel:
    stages = dict.fromkeys(source.stored.result["datasets"][name]["first_stage"]["name"] for name in names)
    return SideLabel(short="first", long=f"first stage ({', '.join(stages)})")


def _long_label(source: FolderSource) -> str:
    return f"{source.stored.name} ({source.location})"


def _differing_settings(first: FolderSource, second: FolderSource) -> dict[str, tuple[str, str]]:
    """Return what may move a score and is not the same: fields of the model, versions of libraries."""
    models = [source.stored.result["model"] for source in (first, second)]
    versions = [source.stored.result["provenance"]["versions"] for source in (first, second)]
    pairs = {name: (_shown(models[0].get(name)), _shown(models[1].get(name))) for name in SETTINGS}
    pairs |= {
        name: (_shown(versions[0].get(name)), _shown(versions[1].get(name))) for name in versions[0] | versions[1]
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _shown(value: object) -> str:
    text = "–" if value in (None, "") else str(value)
    return text if len(text) < 64 else f"{text[:12]}…"


def _explain(
    *,
    kind: Literal["diff", "inspect"],
    names: Sequence[str],
    case_of: Callable[[str, str], DatasetCase],
    readers_of: Callable[[str], tuple[Reader, Reader]],
    labels: tuple[SideLabel, SideLabel],
    options: ExplainOptions,
    notes: Sequence[str],
    settings: Mapping[str, tuple[str, str]] | None = None,
) -> Explanation:
    (measure,) = parse_measures([options.measure])
    summaries: list[DatasetSummary] = []
    queries: list[QueryExplanation] = []
    texts: dict[str, DatasetTexts] = {}
    all_notes = list(notes)
    for name in names:
        case = case_of(name, measure)
        explained = explain_queries(case)
        texts[name], problem = _texts_of(case, explained) if options.use_texts else (NO_TEXTS, "")
        all_notes += [problem] if problem else []
        summaries.append(_summarise(name, [explained]))
        queries += explained
    by_dataset = [[query for query in queries if query.dataset == name] for name in names]
    readers = {name: readers_of(name) for name in names}
    overall = _summarise(f"mean of {len(names)}", by_dataset) if len(names) > 1 else None
    return Explanation(
        kind=kind,
        measure=measure,
        cutoff=measure_param(measure, "cutoff"),
        view=options.view,
        before=labels[0],
        after=labels[1],
        settings=settings or {},
        datasets=summaries,
        mean=overall,
        shares=_share_out(by_dataset),
        slicings=slice_queries(queries, texts, readers, labels),
        queries=sorted(queries, key=lambda query: (query.delta, query.dataset, query.query_id)),
        texts=texts,
        readers=readers,
        notes=all_notes,
    )


def _texts_of(case: DatasetCase, explained: Sequence[QueryExplanation]) -> tuple[DatasetTexts, str]:
    doc_ids = {doc.doc_id for query in explained for doc in query.shown_docs}
    doc_ids |= {query.best_doc_id for query in explained}
    return load_texts(case.name, case.block, query_ids=case.query_ids, doc_ids=doc_ids, limit=case.limit)


def _summarise(name: str, by_dataset: Sequence[Sequence[QueryExplanation]]) -> DatasetSummary:
    """Return the summary of one data set, or of the mean of several; the same digits as any other command's."""
    ordered = [sorted(queries, key=lambda query: query.query_id) for queries in by_dataset]
    before = [np.array([[query.before] for query in queries]) for queries in ordered]  # D times (n_d, 1)
    after = [np.array([[query.after] for query in queries]) for queries in ordered]
    splits = _mean_splits([[query.before_split for query in queries] for queries in ordered])
    splits_after = _mean_splits([[query.after_split for query in queries] for queries in ordered])
    ceiling = None if splits_after is None else splits_after.ceiling
    (summary,) = summarise_columns(before, after, [ceiling], seed=DEFAULT_SEED, resamples=RESAMPLES)
    return DatasetSummary(
        name=name,
        num_queries=sum(map(len, ordered)),
        summary=summary,
        before_split=splits,
        after_split=splits_after,
    )


def _mean_splits(by_dataset: Sequence[Sequence[Split | None]]) -> Split | None:
    """Return the mean over data sets of the mean over queries, of each part."""
    known = [[split for split in splits if split is not None] for splits in by_dataset]
    if [len(splits) for splits in known] != [len(splits) for splits in by_dataset]:
        return None
    parts = [[(split.ideal, split.ceiling, split.value) for split in splits] for splits in known]
    means = [[mean(column) for column in zip(*rows, strict=True)] for rows in parts]
    return Split(*(mean(column) for column in zip(*means, strict=True)))


def _share_out(by_dataset: Sequence[Sequence[QueryExplanation]]) -> list[Share]:
    """Return what each kind of happening adds to the mean difference; the shares sum to it."""
    shares = []
    for happening in Happening:
        members = [[query for query in queries if query.happening == happening] for queries in by_dataset]
        # A query weighs 1 / n_d in its data set, and a data set 1 / D.
        added = [
            query.delta / len(queries) / len(by_dataset)
            for queries, chosen in zip(by_dataset, members, strict=True)
            for query in chosen
        ]
        if added:
            shares.append(Share(happening=happening, num_queries=len(added), contribution=sum(added)))
    return shares


def select_queries(
    explanation: Explanation, *, worst: int | None = None, best: int | None = None, query_ids: Sequence[str] = ()
) -> Explanation:
    """Return the explanation with the queries that a rendering shows, the worst first.

    Args:
        explanation: With all queries.
        worst: How many of those with the biggest loss; with nothing asked for, 10.
        best: How many of those with the biggest gain.
        query_ids: Queries by id, in every data set that has them, whatever became of them.

    Raises:
        ConfigError: A query id is unknown; the nearest are named.
    """
    known = {query.query_id for query in explanation.queries}
    unknown = [query_id for query_id in query_ids if query_id not in known]
    if unknown:
        msg = f"{describe_unknown('query', unknown, known)} Only queries with a positive judgement are evaluated"
        raise ConfigError(msg)
    if worst is None and best is None and not query_ids:
        worst = DEFAULT_WORST
    lost = [query for query in explanation.queries if query.delta < -TIE][: worst or 0]
    won = [query for query in reversed(explanation.queries) if query.delta > TIE][: best or 0]
    named = [query for query in explanation.queries if query.query_id in set(query_ids)]
    chosen = {(query.dataset, query.query_id): query for query in [*named, *lost, *won]}
    return replace(explanation, queries=list(chosen.values()))
