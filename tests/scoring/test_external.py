from __future__ import annotations

import email.utils
import json
import time
import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback_endpoint import LoopbackEndpoint, break_off, change, drop, refuse, say, score_of, stall

from rerank_bench.errors import ConfigError, EnvironmentMissingError, RerankBenchError, ScoringError
from rerank_bench.progress import use_reporter
from rerank_bench.scoring.external import iter_lists, parse_answer
from rerank_bench.scoring.external_options import ExternalOptions
from rerank_bench.scoring.loaded_scorer import LoadedScorer, load_scorer

KEY = "sk-very-secret-0123456789"
PAIRS = [
    ("stop a program", "a program can stop"),
    ("stop a program", "lists"),
    ("sort a list", "a list"),
    ("sort a list", "to sort a list of numbers"),
    ("stop a program", "signal"),
    ("stop a program", "a program can stop"),
]
EXPECTED = np.asarray([score_of(query, doc) for query, doc in PAIRS], dtype=np.float32)


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RERANK_BENCH_API_KEY", raising=False)


@pytest.fixture
def endpoint() -> Iterator[LoopbackEndpoint]:
    with LoopbackEndpoint("documents") as running:
        yield running


def load(endpoint: LoopbackEndpoint, fragment: str = "", revision: str | None = None, **options: Any) -> LoadedScorer:
    """The endpoint's scorer; its shape is given, so that the first request is the first list."""
    settings: dict[str, Any] = {"shape": endpoint.shape, "first_wait_seconds": 0.01, "attempts": 3} | options
    return load_scorer(f"{endpoint.url}/rerank{fragment}", external=ExternalOptions(**settings), revision=revision)


class Notes:
    """A reporter that keeps the notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)

    def task(self, description: str, total: int | None, unit: str) -> Any:
        import contextlib

        assert (description, total, unit) == ("score", 5, "pairs")
        return contextlib.nullcontext(lambda _units: None)


@pytest.mark.parametrize("shape", ["documents", "texts"])
def test_each_shape_gives_its_scores_in_the_order_of_the_pairs(shape: str) -> None:
    with LoopbackEndpoint(shape) as endpoint:
        loaded = load(endpoint, "#owner/ranker-v1")
        scores = loaded.score(PAIRS)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, EXPECTED)
    assert set(endpoint.paths) == {"/rerank"}
    # One request a query; equal texts once; documents in the order of the pairs.
    lists = {body["query"]: body[shape] for body in endpoint.bodies}
    assert lists == {
        "stop a program": ["a program can stop", "lists", "signal"],
        "sort a list": ["a list", "to sort a list of numbers"],
    }
    rest = [{k: v for k, v in body.items() if k not in {"query", shape}} for body in endpoint.bodies]
    asked = {"model": "owner/ranker-v1"}
    assert rest == [asked if shape == "documents" else asked | {"raw_scores": True, "truncate": True}] * 2


@pytest.mark.parametrize("shape", ["documents", "texts"])
def test_the_shape_is_found_by_asking(shape: str) -> None:
    with LoopbackEndpoint(shape) as endpoint:
        loaded = load_scorer(f"external:{endpoint.url}/v1/rerank")
        assert len(endpoint.bodies) == (1 if shape == "documents" else 2)
        np.testing.assert_array_equal(loaded.score(PAIRS), EXPECTED)
    described = loaded.describe()
    assert (described["family"], described["shape"]) == ("external", shape)
    assert described["raw_scores_requested"] == (shape == "texts")
    assert described["name"] == f"{endpoint.url.removeprefix('http://')}/v1/rerank"
    assert "model" not in endpoint.bodies[-1]


def test_what_speaks_neither_shape_is_refused_with_both_answers() -> None:
    with (
        LoopbackEndpoint("inputs") as endpoint,
        pytest.raises(ConfigError, match=r"asked for two scores when it was loaded: it takes neither shape.*missing.*"),
    ):
        load_scorer(f"{endpoint.url}/rerank")
    assert [min(body) for body in endpoint.bodies] == ["documents", "query"]


def test_a_list_is_cut_into_requests_of_the_size_allowed(endpoint: LoopbackEndpoint) -> None:
    pairs = [("stop", f"{'stop ' * (n % 2)}doc {n}") for n in range(7)] + [("sort", "doc 0")]
    scores = load(endpoint, docs_per_request=3).score(pairs)
    np.testing.assert_array_equal(scores, np.asarray([score_of(*pair) for pair in pairs], dtype=np.float32))
    assert sorted((body["query"], len(body["documents"])) for body in endpoint.bodies) == [
        ("sort", 1),
        ("stop", 1),
        ("stop", 3),
        ("stop", 3),
    ]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9))), st.integers(1, 4))
def test_lists_hold_every_row_once_and_one_query_each(rows: list[tuple[int, int]], most: int) -> None:
    pairs = np.asarray(rows, dtype=np.int64).reshape(-1, 2)
    lists = [part for part in iter_lists(pairs, most) if len(part)]
    assert sorted(row for part in lists for row in part.tolist()) == list(range(len(pairs)))
    for part in lists:
        assert len(part) <= most
        assert len(set(pairs[part, 0].tolist())) == 1
        assert part.tolist() == sorted(part.tolist())


def test_requests_run_side_by_side_and_no_more_than_allowed() -> None:
    with LoopbackEndpoint("documents", delay_seconds=0.1) as endpoint:
        pairs = [(f"query {n}", "doc") for n in range(12)]
        load(endpoint, concurrency=4).score(pairs)
        assert endpoint.most_in_flight == 4
        endpoint.most_in_flight = 0
        load(endpoint, concurrency=1).score(pairs[:3])
        assert endpoint.most_in_flight == 1


def test_no_pairs_ask_nothing(endpoint: LoopbackEndpoint) -> None:
    assert load(endpoint).score([]).shape == (0,)
    assert endpoint.bodies == []


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (refuse(500), "status 500"),
        (refuse(503, "busy"), "status 503"),
        (refuse(429), "status 429"),
        (drop, "the connection broke off"),
        (break_off, "the connection broke off"),
        (stall(0.6), r"no answer within 0.3 s"),
    ],
)
def test_a_passing_failure_is_tried_again_and_noted(endpoint: LoopbackEndpoint, fault: Any, why: str) -> None:
    endpoint.faults += [fault, fault]
    notes = Notes()
    with use_reporter(notes):
        scores = load(endpoint, concurrency=1, timeout_seconds=0.3).score(PAIRS)
    np.testing.assert_array_equal(scores, EXPECTED)
    assert len(endpoint.bodies) == 4
    (note,) = notes.lines
    assert "2 requests were sent again" in note
    assert why in note


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (refuse(502), r"status 502 \(Bad Gateway\): 'no', after 3 attempts; check the server"),
        (drop, r"the connection broke off \(RemoteDisconnected\), after 3 attempts"),
        (stall(0.6), r"no answer within 0.2 s, after 3 attempts"),
    ],
)
def test_a_lasting_failure_names_query_and_address(endpoint: LoopbackEndpoint, fault: Any, message: str) -> None:
    endpoint.faults += [fault] * 3
    where = r"query 'sort a list', document 'a list' and 1 more: http://127\.0\.0\.1:\d+/rerank: "
    with pytest.raises(EnvironmentMissingError, match=where + message):
        load(endpoint, concurrency=1, timeout_seconds=0.2).score(PAIRS[2:4])
    assert len(endpoint.bodies) == 3


def test_a_server_that_is_not_there_is_an_error_on_loading() -> None:
    with LoopbackEndpoint("documents") as gone:
        url = gone.url
    options = ExternalOptions(attempts=2, first_wait_seconds=0.01)
    with pytest.raises(EnvironmentMissingError, match=r"when it was loaded: the server cannot be reached \(.*refused"):
        load_scorer(f"{url}/rerank", external=options)


def test_waits_grow_and_retry_after_is_honoured(endpoint: LoopbackEndpoint) -> None:
    endpoint.faults += [refuse(429, Retry_After="1"), refuse(500), refuse(500)]
    load(endpoint, attempts=4, first_wait_seconds=0.1).score(PAIRS[:1])
    waits = np.diff(endpoint.times)
    assert 1.0 <= waits[0] < 1.9
    assert waits[1] >= 0.1
    assert waits[2] >= 0.2


def test_retry_after_may_be_a_date(endpoint: LoopbackEndpoint) -> None:
    endpoint.faults += [refuse(503, Retry_After=email.utils.formatdate(time.time() + 2, usegmt=True))]
    load(endpoint).score(PAIRS[:1])
    assert np.diff(endpoint.times)[0] >= 0.9, "the date has whole seconds"


def test_a_wait_of_an_hour_is_for_the_user_to_decide(endpoint: LoopbackEndpoint) -> None:
    endpoint.faults += [refuse(429, Retry_After="3600")]
    with pytest.raises(EnvironmentMissingError, match=r"status 429.*the server asks to wait 3600 s: run .* later"):
        load(endpoint).score(PAIRS[:1])
    assert len(endpoint.bodies) == 1


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, r"status 401 \(Unauthorized\): 'no'; expected a valid key in .* RERANK_BENCH_API_KEY, which is not set"),
        (403, r"status 403 \(Forbidden\): 'no'; expected a key with access"),
        (404, r"status 404 \(Not Found\): 'no'; expected a rerank endpoint at this address; check the path"),
        (413, r"status 413 .*pass a lower --external-docs"),
        (422, r"status 422 .*check --external-shape and --external-model"),
        (307, r"status 307 .*expected status 200 with scores"),
    ],
)
def test_a_refusal_is_not_repeated(endpoint: LoopbackEndpoint, status: int, message: str) -> None:
    endpoint.faults += [refuse(status, Location=f"{endpoint.url}/elsewhere")]
    with pytest.raises(
        ConfigError, match=r"query 'stop', document 'a list': http://127\.0\.0\.1:\d+/rerank: " + message
    ):
        load(endpoint).score([("stop", "a list")])
    assert endpoint.paths == ["/rerank"]


def _first(answer: Any, **values: Any) -> Any:
    answer["results"][0] |= values
    return answer


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (change(lambda a: {"results": a["results"][:2]}), r"holds 2 scores for 3 documents, expected one each"),
        (change(lambda a: {"results": [*a["results"], a["results"][0]]}), r"holds 4 scores for 3 documents"),
        (change(lambda a: _first(a, index=a["results"][1]["index"])), r"holds index \d twice, so another is missing"),
        (change(lambda a: _first(a, index=3)), r"'index': 3, .*expected an index from 0 to 2"),
        (change(lambda a: _first(a, index=-1)), r"'index': -1, .*expected an index from 0 to 2"),
        (change(lambda a: _first(a, index=[0])), r"'index': \[0\], .*expected an index from 0 to 2"),
        (
            change(lambda a: _first(a, relevance_score="high")),
            r"document \d of the list has the relevance_score 'high'",
        ),
        (change(lambda a: _first(a, relevance_score=None)), r"relevance_score None, expected a finite float32 number"),
        (change(lambda a: _first(a, relevance_score=True)), r"relevance_score True, expected a finite"),
        (change(lambda a: _first(a, relevance_score=float("nan"))), r"relevance_score nan, expected a finite"),
        (change(lambda a: _first(a, relevance_score=1e300)), r"relevance_score 1e\+300, expected a finite"),
        (change(lambda a: a["results"]), r"the answer is \[.*expected \{\"results\": \[\{\"index\": …, \"relevance_sc"),
        (change(lambda _: {"data": []}), r"the answer is \{'data': \[\]\}, expected"),
        (change(lambda _: {"results": [1, 2, 3]}), r"an entry of the answer is 1, expected an index"),
        (say("<html><body>Sign in</body></html>", "text/html"), r"answer is text/html, beginning with '<html>.*JSON"),
        (say('{"results": [', "application/json"), r"the answer is application/json, beginning with .*expected JSON"),
        (say("", "text/plain"), r"the answer is text/plain, beginning with '', expected JSON"),
    ],
)
def test_a_wrong_answer_is_an_error_that_names_the_query(endpoint: LoopbackEndpoint, fault: Any, message: str) -> None:
    pairs = [("stop", "one"), ("stop", "two stop"), ("stop", "three")]
    endpoint.faults += [fault]
    with pytest.raises(ScoringError, match=r"(?s)query 'stop', document 'one' and 2 more: http://.*" + message):
        load(endpoint).score(pairs)
    assert len(endpoint.bodies) == 1


def test_bytes_that_are_no_text_are_an_error(endpoint: LoopbackEndpoint) -> None:
    endpoint.faults += [lambda handler, _answer: handler.say(200, b"\xff\xfe\x00")]
    with pytest.raises(ScoringError, match="expected JSON"):
        load(endpoint).score(PAIRS[:1])


def test_one_error_ends_all(endpoint: LoopbackEndpoint) -> None:
    endpoint.faults += [refuse(404)]
    with pytest.raises(ConfigError, match="status 404"):
        load(endpoint, concurrency=1).score([(f"query {n}", "doc") for n in range(200)])
    assert len(endpoint.bodies) < 200


@given(st.permutations(range(5)))
def test_the_order_of_an_answer_does_not_matter(order: list[int]) -> None:
    entries = [{"index": index, "score": index / 2, "text": "x"} for index in order]
    assert parse_answer(entries, "texts", 5).tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]


class TestKey:
    """The key goes into the header and nowhere else."""

    @pytest.fixture(autouse=True)
    def _key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RERANK_BENCH_API_KEY", KEY)

    def test_it_is_sent_and_not_recorded(self, endpoint: LoopbackEndpoint) -> None:
        notes = Notes()
        with use_reporter(notes):
            loaded = load(endpoint)
            loaded.score(PAIRS)
        assert [headers["Authorization"] for headers in endpoint.headers] == [f"Bearer {KEY}"] * 2
        assert KEY not in json.dumps(loaded.describe()) + repr(loaded) + repr(loaded.scorer)
        assert KEY not in json.dumps(endpoint.bodies)
        assert notes.lines == [f"{endpoint.url}/rerank: the key in RERANK_BENCH_API_KEY is sent without encryption"]

    @pytest.mark.parametrize(
        "fault",
        [
            refuse(401, f"the key {KEY} is not known"),
            refuse(500, f"{'x' * 190}{KEY}"),
            say(f"<html>{KEY}</html>", "text/html"),
            change(lambda _: {"error": KEY}),
            change(lambda answer: _first(answer, relevance_score=f"{'x' * 180} {KEY}")),
            drop,
        ],
    )
    def test_a_server_that_quotes_it_does_not_give_it_away(self, endpoint: LoopbackEndpoint, fault: Any) -> None:
        endpoint.faults += [fault] * 2
        with pytest.raises(RerankBenchError) as caught:
            load(endpoint, attempts=2).score(PAIRS[:1])
        shown = "".join(traceback.format_exception(caught.value))
        assert "rerank" in shown
        assert KEY[:12] not in shown

    def test_it_does_not_follow_a_redirect(self, endpoint: LoopbackEndpoint) -> None:
        with LoopbackEndpoint("documents") as other:
            endpoint.faults += [refuse(302, Location=f"{other.url}/rerank")]
            with pytest.raises(ConfigError, match=r"status 302 \(Found\)"):
                load(endpoint).score(PAIRS[:1])
        assert other.headers == []

    @pytest.mark.parametrize("key", ["two words", "caf\u00e9", "a\tb"])
    def test_what_cannot_stand_in_a_header_is_refused_unseen(
        self, endpoint: LoopbackEndpoint, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RERANK_BENCH_API_KEY", key)
        with pytest.raises(
            ConfigError, match="RERANK_BENCH_API_KEY holds white space or a character outside"
        ) as caught:
            load(endpoint)
        assert key not in "".join(traceback.format_exception(caught.value))
        assert endpoint.headers == []

    def test_a_line_end_around_it_is_dropped(self, endpoint: LoopbackEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RERANK_BENCH_API_KEY", f"{KEY}\n")
        load(endpoint).score(PAIRS[:1])
        assert endpoint.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_without_a_key_none_is_sent(endpoint: LoopbackEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANK_BENCH_API_KEY", "")
    load(endpoint).score(PAIRS[:1])
    assert "Authorization" not in endpoint.headers[0]


def test_a_proxy_is_used_but_never_for_this_machine(
    endpoint: LoopbackEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with LoopbackEndpoint("documents") as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        load(endpoint).score(PAIRS[:1])
        assert (len(endpoint.paths), proxy.paths) == (1, [])
        options = ExternalOptions(shape="documents")
        load_scorer("http://ranker.invalid/v1/rerank", external=options).score(PAIRS[:1])
        assert proxy.paths == ["http://ranker.invalid/v1/rerank"]


def test_the_fingerprint_covers_address_model_shape_and_revision(endpoint: LoopbackEndpoint) -> None:
    unnamed, first, second = (load(endpoint, revision=revision) for revision in (None, "2026-11-01", "2026-11-02"))
    assert first.describe()["revision"] == "2026-11-01"
    fingerprints = {
        loaded.fingerprint for loaded in (unnamed, first, second, load(endpoint, "#m"), load(endpoint, shape="texts"))
    }
    assert len(fingerprints) == 5
    assert load(endpoint, docs_per_request=1).fingerprint == unnamed.fingerprint


def test_two_names_of_the_model_are_one_too_many(endpoint: LoopbackEndpoint) -> None:
    with pytest.raises(ConfigError, match=r"names 'a', the option 'b'; name it once"):
        load(endpoint, "#a", model="b")
    load(endpoint, model="b").score(PAIRS[:1])
    assert endpoint.bodies[0]["model"] == "b"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": "text"}, r"unknown shape of a rerank endpoint 'text'; did you mean 'texts'"),
        ({"docs_per_request": 0}, r"docs_per_request of a rerank endpoint is 0, expected at least 1"),
        ({"concurrency": 0}, r"concurrency of a rerank endpoint is 0"),
        ({"attempts": 0}, r"attempts of a rerank endpoint is 0"),
        ({"timeout_seconds": 0.0}, r"timeout_seconds of a rerank endpoint is 0.0, expected more than 0"),
        ({"timeout_seconds": float("nan")}, r"timeout_seconds of a rerank endpoint is nan"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ExternalOptions(**options)
