from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rerank_bench.evaluation.significance import DEFAULT_SEED, bca_intervals, mean
from rerank_bench.forensics.explain import ExplainOptions, explain_pair, explain_run
from rerank_bench.forensics.records import Explanation
from rerank_bench.forensics.slices import (
    DOC_WORDS,
    NUM_RELEVANT,
    QUERY_WORDS,
    RANKS,
    SLICE_RESAMPLES,
    bin_label,
    bin_labels,
)


@pytest.mark.parametrize(
    ("lasts", "number", "label"),
    [
        (RANKS, 1, "1"),
        (RANKS, 2, "2–5"),
        (RANKS, 5, "2–5"),
        (RANKS, 6, "6–10"),
        (RANKS, 50, "11–50"),
        (RANKS, 51, "51–100"),
        (RANKS, 101, "101+"),
        (NUM_RELEVANT, 1, "1"),
        (NUM_RELEVANT, 11, "11+"),
        (QUERY_WORDS, 0, "0–3"),
        (QUERY_WORDS, 4, "4–6"),
        (DOC_WORDS, 401, "401+"),
    ],
)
def test_bins(lasts: tuple[int, ...], number: int, label: str) -> None:
    assert bin_label(number, lasts) == label


def test_every_number_has_one_bin_and_bins_come_in_order() -> None:
    for lasts in (RANKS, NUM_RELEVANT):
        labels = bin_labels(lasts)
        seen = list(dict.fromkeys(bin_label(number, lasts) for number in range(1, 600)))
        assert seen == labels


def slices_of(explanation: Explanation) -> dict[str, dict[str, int]]:
    return {s.title: {label: part.num_queries for label, part in s.slices.items()} for s in explanation.slicings}


def test_the_hand_made_queries_fall_where_they_should(before: Path, after: Path) -> None:
    assert slices_of(explain_pair(before, after)) == {
        "rank in the first stage": {"1": 2, "2–5": 1, "11–50": 1, "missed": 1},
        "relevant documents": {"1": 3, "2–3": 2},
        "words in the query": {"0–3": 4, "11–20": 1},
        "words in the document": {"0–50": 5},
        # A reads 512 tokens: whole by the bytes. B reads 8: "mend a chain" beside six words is 9 words at least.
        "the document, in A": {"read whole": 5},
        "the document, in B": {"cut": 2, "unknown": 3},
    }


def test_without_texts_the_slices_of_texts_are_left_out(before: Path, after: Path) -> None:
    titles = list(slices_of(explain_pair(before, after, ExplainOptions(use_texts=False))))
    assert titles == ["rank in the first stage", "relevant documents"]


def test_slices_are_means_over_their_queries_and_together_over_all(random_runs: tuple[Path, Path]) -> None:
    explanation = explain_pair(*random_runs)
    for slicing in explanation.slicings:
        parts = slicing.slices.values()
        assert sum(part.num_queries for part in parts) == len(explanation.queries)
        pooled = sum(part.delta * part.num_queries for part in parts) / len(explanation.queries)
        assert pooled == pytest.approx(mean([query.delta for query in explanation.queries]))
        assert all(part.after - part.before == pytest.approx(part.delta) for part in parts)


def test_an_interval_is_that_of_the_slice_alone(random_runs: tuple[Path, Path]) -> None:
    explanation = explain_run(random_runs[0])
    slicing = explanation.slicings[0]
    assert slicing.title == "rank in the first stage"
    for label, part in slicing.slices.items():
        members = [
            query
            for query in explanation.queries
            if (label == "missed" and query.best_first_stage_rank is None)
            or (query.best_first_stage_rank is not None and bin_label(query.best_first_stage_rank, RANKS) == label)
        ]
        deltas = np.array([[q.delta] for q in sorted(members, key=lambda q: (q.dataset, q.query_id))])
        expected = bca_intervals([deltas], rng=np.random.default_rng(DEFAULT_SEED), resamples=SLICE_RESAMPLES)
        assert part.interval == (None if expected is None else tuple(expected[0].tolist()))
