"""BM25 as the first stage and as a judge of training pairs from docstrings."""

from __future__ import annotations

import numpy as np
import pytest
from rank_bm25 import BM25Okapi

from rerank_bench.first_stage.bm25 import BM25Config, build_index
from rerank_bench.jobs.docstring_data import match_by_bm25, search_bm25
from rerank_bench.records import Collection

DOCS = (
    "open a file and read its lines",
    "read a file",
    "close the window",
    "a window opens where the file was",
    "nothing else",
)
QUERIES = ("read the lines of a file", "window", "zebra")


def test_shares_of_the_best_match_are_bm25s_scores_scaled_per_query() -> None:
    pairs = np.array([[1, 2], [0, 1], [0, 0], [2, 3], [0, 4], [1, 3], [1, 0]])
    shares = match_by_bm25(QUERIES, DOCS, pairs)
    assert shares.dtype == np.float32
    index = build_index(Collection(list("01234"), list(DOCS)), BM25Config())
    for (query, doc), share in zip(pairs.tolist(), shares.tolist(), strict=True):
        matches = index.score(QUERIES[query])
        found = dict(zip(matches.positions.tolist(), matches.scores.tolist(), strict=True))
        best = max(found.values(), default=1.0)
        assert share == pytest.approx(found.get(doc, 0.0) / best, abs=1e-6)
    assert shares[2] == 1.0  # the best match itself
    assert shares[3] == 0.0  # no document has the word
    assert shares[6] == 0.0


def test_search_agrees_with_rank_bm25_on_the_best() -> None:
    peer = BM25Okapi([doc.split() for doc in DOCS], k1=1.5, b=0.75)
    for query, ranked in zip(QUERIES[:2], search_bm25(QUERIES[:2], DOCS, 2), strict=True):
        assert ranked[0] == int(np.argmax(peer.get_scores(query.split())))
