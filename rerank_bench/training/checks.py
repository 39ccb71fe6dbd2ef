"""What training data look like, before any of it is trained on: examples, label balance, lengths, truncation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rerank_bench.training.contamination import Contamination
from rerank_bench.training.examples import Examples

NUM_SHOWN = 3
SAMPLED_PAIRS = 2_000
"""Pairs that are tokenised to estimate lengths."""
PERCENTILES = (50, 90, 99)
MAX_DISTINCT = 8
"""Up to so many distinct labels are counted one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReport:
    """What ``train --check`` shows."""

    source: str
    shape: str
    columns: str
    num_examples: int
    num_pairs: int
    group_sizes: tuple[int, int]
    """Smallest and largest number of documents per query."""
    labels: dict[str, Any]
    """``counts`` by label where there are few, else ``min``, ``mean``, ``max``; and ``positive_share``."""
    tokens: dict[str, Any]
    """Of sampled pairs, before truncation: ``p50``, ``p90``, ``p99``, ``max``; ``truncated_share`` at ``max_length``."""
    shown: Sequence[dict[str, Any]]
    """The first examples: place, query, documents, labels."""
    dropped: dict[str, int]
    """Reason -> examples that were left out."""
    contamination: dict[str, Any]
    """Evaluation data set -> what of it is in the data."""

    def as_dict(self) -> dict[str, Any]:
        """Return everything, JSON-able."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def report_data(
    examples: Examples,
    tokenizer: Any,
    max_length: int,
    *,
    dropped: dict[str, int],
    contamination: Sequence[Contamination],
    seed: int,
) -> DataReport:
    """Return the report of examples under a tokenizer.

    Args:
        examples: After everything that was to be dropped is gone.
        tokenizer: The base model's.
        max_length: Tokens that a pair is cut to.
        dropped: Reason -> examples that were left out.
        contamination: As ``find_contamination`` returns it.
        seed: Chooses the pairs that are tokenised.
    """
    sizes = examples.sizes
    return DataReport(
        source=examples.source,
        shape=examples.shape,
        columns=examples.columns,
        num_examples=len(examples),
        num_pairs=len(examples.docs),
        group_sizes=(int(sizes.min()), int(sizes.max())),
        labels=_describe_labels(examples),
        tokens=_describe_lengths(examples, tokenizer, max_length, seed),
        shown=[_shown(examples, number) for number in range(min(NUM_SHOWN, len(examples)))],
        dropped=dropped,
        contamination={found.name: found.describe() for found in contamination},
    )


def _describe_labels(examples: Examples) -> dict[str, Any]:
    distinct, counts = np.unique(examples.labels, return_counts=True)
    described: dict[str, Any] = {"positive_share": float((examples.labels > 0).mean())}
    if len(distinct) <= MAX_DISTINCT:
        named = zip(distinct.tolist(), counts.tolist(), strict=True)
        return described | {"counts": {f"{label:g}": count for label, count in named}}
    return described | {name: float(getattr(examples.labels, name)()) for name in ("min", "mean", "max")}


def _describe_lengths(examples: Examples, tokenizer: Any, max_length: int, seed: int) -> dict[str, Any]:
    num_pairs = len(examples.docs)
    count = min(SAMPLED_PAIRS, num_pairs)
    chosen = np.sort(np.random.default_rng(seed).choice(num_pairs, count, replace=False))
    owners = np.searchsorted(examples.offsets, chosen, side="right") - 1
    queries = [examples.queries[int(i)].as_py() for i in owners]
    docs = [examples.docs[int(m)].as_py() for m in chosen]
    encoded = tokenizer(queries, docs, truncation=False, verbose=False)
    lengths = np.array([len(ids) for ids in encoded["input_ids"]])
    return {
        "sampled_pairs": count,
        **{f"p{p}": int(np.percentile(lengths, p)) for p in PERCENTILES},
        "max": int(lengths.max()),
        "max_length": max_length,
        "truncated_share": float((lengths > max_length).mean()),
    }


def _shown(examples: Examples, number: int) -> dict[str, Any]:
    group = examples[number]
    return {"place": examples.place(number), "query": group.query, "documents": group.docs, "labels": group.labels}
