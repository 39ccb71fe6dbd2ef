"""Means over queries that share a feature, each with its interval: where a run wins and where it loses.

Features of a document are those of the query's relevant document that the first stage places best.  A slice is a look
at few queries, chosen after the fact: its interval is its own, not adjusted for how many slices stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rerank_bench.evaluation.significance import DEFAULT_SEED, bca_intervals, mean
from rerank_bench.evaluation.summaries import interval_of
from rerank_bench.forensics.records import DatasetTexts, QueryExplanation, SideLabel, Slice, Slicing
from rerank_bench.forensics.truncation import CUT, UNKNOWN, WHOLE, Pair, Reader, describe_cut

SLICE_RESAMPLES = 2_000
"""Fewer than a headline has: there are two dozen slices, and their intervals are read to two digits."""
FEW_QUERIES = 10
"""Below this an interval from so few queries is marked: a bootstrap of them is too narrow."""

QUERY_WORDS = (3, 6, 10, 20)
DOC_WORDS = (50, 100, 200, 400)
NUM_RELEVANT = (1, 3, 10)
RANKS = (1, 5, 10, 50, 100)
"""The last value of each bin; one more bin holds what is above."""
MISSED = "missed"

Feature = Callable[[QueryExplanation], str]


def slice_queries(
    queries: Sequence[QueryExplanation],
    texts: Mapping[str, DatasetTexts],
    readers: Mapping[str, tuple[Reader, Reader]],
    labels: tuple[SideLabel, SideLabel],
) -> list[Slicing]:
    """Return the queries cut by each feature; features of texts are left out where no data set has its texts.

    Args:
        queries: Of all data sets.
        texts: Data set -> texts of its queries and of their best-placed relevant documents.
        readers: Data set -> what the model of each side reads of a pair.
        labels: How the sides are called.
    """

    def query_words(query: QueryExplanation) -> str:
        text = texts[query.dataset].queries.get(query.query_id)
        return UNKNOWN if text is None else bin_label(len(text.split()), QUERY_WORDS)

    def doc_words(query: QueryExplanation) -> str:
        text = texts[query.dataset].docs.get(query.best_doc_id)
        return UNKNOWN if text is None else bin_label(len(text.split()), DOC_WORDS)

    slicings = [
        _slicing("rank in the first stage", queries, _first_stage_rank, [*bin_labels(RANKS), MISSED]),
        _slicing(
            "relevant documents",
            queries,
            lambda query: bin_label(query.num_relevant, NUM_RELEVANT),
            bin_labels(NUM_RELEVANT),
        ),
    ]
    if any(known.queries for known in texts.values()):
        slicings += [
            _slicing("words in the query", queries, query_words, [*bin_labels(QUERY_WORDS, first=0), UNKNOWN]),
            _slicing("words in the document", queries, doc_words, [*bin_labels(DOC_WORDS, first=0), UNKNOWN]),
        ]
    for side, label in enumerate(labels):
        known = _slicing(f"the document, in {label.short}", queries, _cut_by(side, texts, readers), None)
        if set(known.slices) & {CUT, WHOLE} and any(pair[side].reads_texts for pair in readers.values()):
            slicings.append(known)
    return slicings


def _cut_by(side: int, texts: Mapping[str, DatasetTexts], readers: Mapping[str, tuple[Reader, Reader]]) -> Feature:
    """Return the feature: whether one side's model read the whole of a query's best-placed relevant document."""

    def feature(query: QueryExplanation) -> str:
        known = texts[query.dataset]
        reader = readers[query.dataset][side]
        texts_of_pair = known.queries.get(query.query_id), known.docs.get(query.best_doc_id)
        return describe_cut(reader, Pair(query.query_id, query.best_doc_id, *texts_of_pair))

    return feature


def bin_labels(lasts: Sequence[int], *, first: int = 1) -> list[str]:
    """Return the labels of all bins: ``1``, ``2–5``, …, ``101+``."""
    starts = [first, *(last + 1 for last in lasts)]
    closed = [str(last) if start == last else f"{start}–{last}" for start, last in zip(starts, lasts, strict=False)]
    return [*closed, f"{starts[-1]}+"]


def bin_label(number: int, lasts: Sequence[int]) -> str:
    """Return the label of a number's bin."""
    first = 0 if number == 0 or lasts in {QUERY_WORDS, DOC_WORDS} else 1
    return bin_labels(lasts, first=first)[sum(number > last for last in lasts)]


def _first_stage_rank(query: QueryExplanation) -> str:
    rank = query.best_first_stage_rank
    return MISSED if rank is None else bin_label(rank, RANKS)


def _slicing(title: str, queries: Sequence[QueryExplanation], feature: Feature, order: Sequence[str] | None) -> Slicing:
    """Return the queries by feature.

    Args:
        title: What the feature is.
        queries: All queries.
        feature: Query -> label.
        order: Every label; ``None``: the biggest slice first.
    """
    members: dict[str, list[QueryExplanation]] = {}
    for query in queries:
        members.setdefault(feature(query), []).append(query)
    labels = order if order is not None else sorted(members, key=lambda label: (-len(members[label]), label))
    return Slicing(title=title, slices={label: _slice(members[label]) for label in labels if label in members})


def _slice(members: Sequence[QueryExplanation]) -> Slice:
    # In the order of the ids, as resamples are drawn by position.
    ordered = sorted(members, key=lambda query: (query.dataset, query.query_id))
    deltas = np.array([[query.delta] for query in ordered])  # (n, 1)
    intervals = bca_intervals([deltas], rng=np.random.default_rng(DEFAULT_SEED), resamples=SLICE_RESAMPLES)
    before, after = mean([query.before for query in ordered]), mean([query.after for query in ordered])
    return Slice(
        num_queries=len(ordered),
        before=before,
        after=after,
        delta=after - before,
        interval=None if intervals is None else interval_of(intervals[0]),
    )
