"""A rerank endpoint on 127.0.0.1 for tests: speaks both shapes, counts what it sees, and can be told to misbehave.

A document's score is the number of words that it shares with the query, plus a thousandth of its length, so that every
document of a list has a score of its own.  Each entry of ``faults`` is used up by one request::

    with LoopbackEndpoint("documents") as endpoint:
        endpoint.faults.append(refuse(500))
        load_scorer(f"{endpoint.url}/rerank")
"""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

Fault = Callable[["_Handler", Any], None]
"""Answers instead of the endpoint; the second argument is what the endpoint itself would say."""


def score_of(query: str, doc: str) -> float:
    return len(set(query.split()) & set(doc.split())) + len(doc) / 1000


def refuse(status: int, body: str = "no", **headers: str) -> Fault:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, _answer: handler.say(status, body.encode(), named)


def change(edit: Callable[[Any], Any]) -> Fault:
    """The answer with its parsed JSON edited; NaN is written as Python writes it."""
    return lambda handler, answer: handler.say(200, json.dumps(edit(answer)).encode())


def say(body: str, content_type: str = "application/json") -> Fault:
    return lambda handler, _answer: handler.say(200, body.encode(), {"Content-Type": content_type})


def stall(seconds: float) -> Fault:
    return lambda _handler, _answer: time.sleep(seconds)


def drop(handler: _Handler, _answer: Any) -> None:
    """Close the connection without a word."""
    handler.close_connection = True


def break_off(handler: _Handler, answer: Any) -> None:
    """Promise more bytes than are sent."""
    data = json.dumps(answer).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data) + 100))
    handler.end_headers()
    handler.wfile.write(data)
    handler.close_connection = True


class LoopbackEndpoint:
    """The server; a context manager."""

    def __init__(self, shape: str, *, delay_seconds: float = 0.0) -> None:
        self.shape = shape
        self.delay_seconds = delay_seconds
        self.faults: list[Fault] = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.paths: list[str] = []
        self.times: list[float] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.lock = threading.Lock()
        endpoint_ = self

        class Handler(_Handler):
            endpoint = endpoint_

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, body: dict[str, Any]) -> Any:
        """Best first, as real endpoints answer: the index says which document is meant."""
        if self.shape == "documents":
            scored = [(index, score_of(body["query"], doc)) for index, doc in enumerate(body["documents"])]
            scored.sort(key=lambda entry: -entry[1])
            return {"results": [{"index": index, "relevance_score": score} for index, score in scored]}
        scored = [(index, score_of(body["query"], doc)) for index, doc in enumerate(body["texts"])]
        scored.sort(key=lambda entry: -entry[1])
        return [{"index": index, "score": score} for index, score in scored]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    endpoint: LoopbackEndpoint

    def do_POST(self) -> None:
        endpoint = self.endpoint
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with endpoint.lock:
            endpoint.in_flight += 1
            endpoint.most_in_flight = max(endpoint.most_in_flight, endpoint.in_flight)
            endpoint.bodies.append(body)
            endpoint.headers.append(dict(self.headers.items()))
            endpoint.paths.append(self.path)
            endpoint.times.append(time.monotonic())
            fault = endpoint.faults.pop(0) if endpoint.faults else None
        time.sleep(endpoint.delay_seconds)
        # Before the answer goes out: a client that has it may send its next request before this thread runs again.
        with endpoint.lock:
            endpoint.in_flight -= 1
        self._respond(body, fault)

    def _respond(self, body: dict[str, Any], fault: Fault | None) -> None:
        if self.endpoint.shape not in body:
            self.say(422, f"missing field `{self.endpoint.shape}`".encode())
            return
        answer = self.endpoint.answer(body)
        if fault is not None:
            fault(self, answer)
        else:
            self.say(200, json.dumps(answer).encode())

    def say(self, status: int, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | dict(headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing on stderr."""
