"""MS MARCO in small, in the layout of its two repositories on the hub."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from loopback_hub import data_set_files
from tiny_pairs import some_texts


@dataclass(frozen=True, slots=True)
class MsmarcoTexts:
    """Ids with their texts, and triplets of ids."""

    queries: dict[str, str]
    passages: dict[str, str]
    triplets: dict[str, list[str]]


def msmarco_files(num_triplets: int, *, lacking_passage: str | None = None) -> tuple[dict[str, bytes], MsmarcoTexts]:
    """The files of a repository with the configurations triplets, queries and corpus, and what is in them."""
    rng = random.Random(0)
    queries = {f"q{i}": text for i, text in enumerate(some_texts(num_triplets + 3, seed=1, most=6))}
    passages = {f"p{i}": text for i, text in enumerate(some_texts(2 * num_triplets + 5, seed=2))}
    triplets = {
        "query_id": rng.choices(list(queries), k=num_triplets),
        "positive_id": [f"p{i}" for i in range(num_triplets)],
        "negative_id": rng.choices(list(passages), k=num_triplets),
    }
    kept = {i: text for i, text in passages.items() if i != lacking_passage}
    order = rng.sample(list(kept), k=len(kept))
    files = data_set_files(
        {
            "triplets": triplets,
            "queries": {"query_id": list(queries), "query": list(queries.values())},
            "corpus": {"passage_id": order, "passage": [kept[i] for i in order]},
            "labeled-list": {"query_id": ["q0"], "doc_ids": [["p0"]], "labels": [[1]]},
        }
    )
    return files, MsmarcoTexts(queries, passages, triplets)


def ms_marco_rows(count: int) -> list[dict[str, Any]]:
    """Rows of MS MARCO v1.1: a query with its passages, of which none, one or two are selected."""
    rng = random.Random(3)
    queries, texts = some_texts(count, seed=4, most=6), some_texts(8 * count, seed=5)
    rows = []
    for number, query in enumerate(queries):
        passages = [texts.pop() for _ in range(rng.randint(4, 7))]
        selected = [0] * len(passages)
        for place in rng.sample(range(len(passages)), k=(1, 2, 0, 1)[number % 4]):
            selected[place] = 1
            passages[place] = f"{query} {passages[place]}"
        urls = [f"https://example.org/{number}/{i}" for i in range(len(passages))]
        rows.append(
            {
                "answers": ["yes"],
                "passages": {"is_selected": selected, "passage_text": passages, "url": urls},
                "query": query,
                "query_id": number,
            }
        )
    return rows
