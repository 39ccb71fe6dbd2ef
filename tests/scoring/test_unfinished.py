"""What an endpoint answered before a run was interrupted is not asked for again; a finished run leaves nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from loopback_endpoint import LoopbackEndpoint, change, refuse, score_of
from numpy.typing import NDArray
from watcher import Watcher

from rerank_bench import progress
from rerank_bench.errors import ConfigError
from rerank_bench.scoring.engine_result import EngineResult
from rerank_bench.scoring.external_options import ExternalOptions
from rerank_bench.scoring.lazy_scorer import open_scorer
from rerank_bench.scoring.model_memo import scores_folder
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.specs import parse_model_spec

QUERIES = ["how to stop", "sort a list", "read the file"]
DOCS = [f"stop the list of words number {number} " + "file " * number for number in range(7)]
PAIRS = np.asarray([(query, doc) for query in range(3) for doc in (3, 1, 6, 0, 5)])
EXPECTED = [np.float32(score_of(QUERIES[query], DOCS[doc])) for query, doc in PAIRS]


@pytest.fixture
def endpoint() -> Iterator[LoopbackEndpoint]:
    with LoopbackEndpoint("documents") as server:
        yield server


def score(
    endpoint: LoopbackEndpoint, pairs: NDArray[np.int64] = PAIRS, *, use_store: bool = True
) -> tuple[EngineResult, list[str]]:
    """Score in requests of two documents, one at a time, as another process would."""
    options = ExternalOptions(shape="documents", docs_per_request=2, concurrency=1)
    config = ScorerConfig(external=options)
    scorer = open_scorer(parse_model_spec(f"{endpoint.url}/rerank#tiny"), config=config, use_store=use_store)
    watcher = Watcher()
    with progress.use_reporter(watcher):
        return scorer.score_indexed(QUERIES, DOCS, pairs), watcher.notes


def interrupt(endpoint: LoopbackEndpoint, *, after: int) -> None:
    """A run whose request after so many is refused."""
    endpoint.faults += [change(lambda answer: answer)] * after + [refuse(401)]
    with pytest.raises(ConfigError, match="401"):
        score(endpoint)


def lists_of(endpoint: LoopbackEndpoint) -> list[tuple[str, ...]]:
    return [(body["query"], *body["documents"]) for body in endpoint.bodies]


def left_files() -> list[Path]:
    return sorted(scores_folder().glob("unfinished-*"))


@pytest.mark.parametrize("after", [1, 4, 8])
def test_an_interrupted_run_asks_only_for_the_lists_it_lacks(endpoint: LoopbackEndpoint, after: int) -> None:
    plain, _ = score(endpoint)
    expected = lists_of(endpoint)
    assert len(expected) == 9
    np.testing.assert_array_equal(plain.scores, EXPECTED)
    endpoint.bodies.clear()
    interrupt(endpoint, after=after)
    asked = lists_of(endpoint)
    assert asked[:after] == expected[:after]
    endpoint.bodies.clear()
    resumed, notes = score(endpoint)
    num_stored = sum(len(texts) - 1 for texts in asked[:after])
    assert lists_of(endpoint) == expected[after:], "cut as they would have been"
    assert resumed.scores.tobytes() == plain.scores.tobytes()
    assert resumed.stats.num_pairs_from_store == num_stored
    assert resumed.facts.is_stored.sum() == num_stored
    assert [note for note in notes if f"{num_stored} scores of the same run, interrupted 0.0 hours ago" in note]


def test_a_finished_run_leaves_nothing_behind(endpoint: LoopbackEndpoint) -> None:
    interrupt(endpoint, after=2)
    assert left_files()
    score(endpoint)
    assert left_files() == []
    endpoint.bodies.clear()
    again, notes = score(endpoint)
    assert len(endpoint.bodies) == 9, "the service may have changed: it is asked again"
    assert again.stats.num_pairs_from_store == 0
    assert notes == []


def test_another_request_is_not_answered_from_it(endpoint: LoopbackEndpoint) -> None:
    interrupt(endpoint, after=2)
    endpoint.bodies.clear()
    fewer, _ = score(endpoint, PAIRS[:10])
    assert len(endpoint.bodies) == 6
    np.testing.assert_array_equal(fewer.scores, EXPECTED[:10])


def test_what_is_older_than_a_day_is_asked_for_again(endpoint: LoopbackEndpoint) -> None:
    interrupt(endpoint, after=4)
    endpoint.bodies.clear()
    for path in left_files():
        os.utime(path, (time.time() - 25 * 3_600,) * 2)
    result, notes = score(endpoint)
    assert len(endpoint.bodies) == 9
    assert notes == []
    np.testing.assert_array_equal(result.scores, EXPECTED)


def test_no_cache_neither_takes_nor_keeps(endpoint: LoopbackEndpoint) -> None:
    interrupt(endpoint, after=4)
    endpoint.bodies.clear()
    result, _ = score(endpoint, use_store=False)
    assert (len(endpoint.bodies), result.stats.num_pairs_from_store) == (9, 0)
    assert left_files(), "that of the other run"
