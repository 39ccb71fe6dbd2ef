"""The texts behind a run, where they can be had on this machine: nothing is fetched for an explanation.

The data set is found as the run found it, by its name or in its folder.  Texts of another corpus or other queries than
the run's are not shown: the fingerprints must agree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from rerank_bench.data.datasets import DEFAULT_SPLIT, load_dataset
from rerank_bench.data.fingerprints import with_fingerprints
from rerank_bench.data.hub_client import local_only
from rerank_bench.errors import RerankBenchError
from rerank_bench.forensics.records import DatasetTexts
from rerank_bench.progress import track
from rerank_bench.records import Dataset

NO_TEXTS = DatasetTexts()
_FOLDER_KINDS = frozenset({"beir", "trec"})


def load_texts(
    name: str,
    block: Mapping[str, Any],
    *,
    query_ids: Collection[str],
    doc_ids: Collection[str],
    limit: int | None = None,
) -> tuple[DatasetTexts, str]:
    """Return the texts of some queries and documents, and why there are none (empty where there are).

    Args:
        name: The data set's name in the run.
        block: What ``result.json`` says of it.
        query_ids: Queries of the run.
        doc_ids: Documents of its lists or judgements.
        limit: The run is over the first so many queries; ``None``: over all.
    """
    source = block["source"]
    try:
        with local_only(), track(f"read texts of {name}"):
            if source.get("kind") in _FOLDER_KINDS:
                dataset = load_dataset(Path(source["folder"]), split=source.get("split", DEFAULT_SPLIT))
            else:
                dataset = load_dataset(name)
    except RerankBenchError as error:
        return NO_TEXTS, f"texts of {name} are not shown: {error}"
    if limit is not None:
        first = dict(list(dataset.queries.items())[:limit])
        dataset = with_fingerprints(dataclasses.replace(dataset, queries=first))
    differing = _differing_parts(dataset, block)
    if differing:
        reason = f"texts of {name} are not shown: the {' and the '.join(differing)} here are not those of the run"
        return NO_TEXTS, reason
    return (
        DatasetTexts(
            queries={query_id: dataset.queries[query_id] for query_id in query_ids},
            docs=dataset.collection.texts_of(sorted(doc_ids)),
        ),
        "",
    )


def _differing_parts(dataset: Dataset, block: Mapping[str, Any]) -> list[str]:
    names = {"corpus": "documents", "queries": "queries"}
    return [noun for part, noun in names.items() if dataset.fingerprints[part] != block["fingerprints"][part]]
