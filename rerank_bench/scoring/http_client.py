"""JSON over HTTP with the standard library: time-outs, retries with back-off, a key that never shows.

``huggingface_hub`` brings an HTTP client along, but which one depends on its release; what is needed here is one POST.
A proxy named in the environment is used, except for this machine's own addresses.  Redirects are not followed: they
would hand the key to whoever the answer names.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from rerank_bench.errors import ConfigError, EnvironmentMissingError, ScoringError
from rerank_bench.scoring.external_options import KEY_VARIABLE, ExternalOptions

MAX_WAIT_SECONDS = 30.0
"""Longest wait of our own choice between two attempts."""
MAX_RETRY_AFTER_SECONDS = 300.0
"""Longest wait that a server may ask for; beyond it the user is told instead."""
MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A list of scores takes a few kilobytes; what is larger is not one."""
SHOWN_CHARS = 200

_RETRIED = frozenset({408, 429})
"""Statuses below 500 after which the same request may succeed."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_CONNECTION_ERRORS = (OSError, http.client.HTTPException)
"""``URLError``, time-outs and resets are ``OSError``; an answer that breaks off is an ``HTTPException``."""


class StatusError(Exception):
    """The server refused a request, and would refuse it again.

    Never seen by users: whoever knows what was asked for says what to do about it.
    """

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"status {status} ({http.client.responses.get(status, 'no standard meaning')}): {body!r}")
        self.status = status


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        """Follow nothing; the redirect's status becomes an error."""


def read_key() -> str | None:
    """Return the key in ``RERANK_BENCH_API_KEY``, or ``None`` if the variable is unset or empty.

    Raises:
        ConfigError: It holds what cannot stand in a header; the message does not show it.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if any(not "!" <= letter <= "~" for letter in key):
        msg = f"{KEY_VARIABLE} holds white space or a character outside ASCII, expected a key as the provider shows it"
        raise ConfigError(msg)
    return key or None


@dataclass(frozen=True, slots=True, eq=False)
class JsonClient:
    """Posts JSON to one address; several threads may share it."""

    url: str
    options: ExternalOptions
    key: str | None = field(repr=False)
    retries: list[str] = field(default_factory=list)
    """Why a request was sent again, once for each repetition."""
    _opener: urllib.request.OpenerDirector = field(init=False, repr=False)

    def __post_init__(self) -> None:
        handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
        if urlsplit(self.url).hostname in _LOOPBACK:
            handlers.append(urllib.request.ProxyHandler({}))
        object.__setattr__(self, "_opener", urllib.request.build_opener(*handlers))

    def post(self, value: Any, stopped: threading.Event) -> Any:
        """Return the parsed answer to a JSON value.

        Args:
            value: What is sent.
            stopped: Set by the caller to end all waiting: the answer is no longer wanted.

        Raises:
            StatusError: The server refused the request.
            ScoringError: The answer is not JSON.
            EnvironmentMissingError: The server cannot be reached, or fails again and again.
        """
        body = json.dumps(value, ensure_ascii=False).encode()
        for attempt in range(self.options.attempts):
            wait: float | None = None
            try:
                return self._send(body)
            except urllib.error.HTTPError as error:
                refused = self._refusal(error)
                if refused.status not in _RETRIED and refused.status < 500:
                    raise refused from None  # urllib's error carries the request, and the request carries the key
                wait, problem = _retry_after(error.headers.get("Retry-After")), str(refused)
            except _CONNECTION_ERRORS as error:
                problem = self.redact(_describe(error, self.options.timeout_seconds))
            self._wait(attempt, wait, problem, stopped)
        raise AssertionError  # the last attempt raises in _wait

    def redact(self, text: str) -> str:
        """Return the text without the key: a server may quote it back."""
        return text.replace(self.key, "(key)") if self.key else text

    def _send(self, body: bytes) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "rerank-bench"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        # The scheme was checked when the spec was parsed.
        request = urllib.request.Request(self.url, data=body, headers=headers, method="POST")  # noqa: S310
        with self._opener.open(request, timeout=self.options.timeout_seconds) as response:
            data = response.read(MAX_ANSWER_BYTES + 1)
            content_type = response.headers.get("Content-Type", "no content type")
            num_missing = response.length or 0  # a read of limited size does not mind a transfer that breaks off
        if len(data) > MAX_ANSWER_BYTES:
            msg = f"the answer is longer than {MAX_ANSWER_BYTES} bytes, expected a list of scores"
            raise ScoringError(msg)
        if num_missing:
            raise http.client.IncompleteRead(data, num_missing)
        try:
            return json.loads(data)
        except ValueError as error:
            msg = f"the answer is {content_type}, beginning with {self._shown(data)!r}, expected JSON"
            raise ScoringError(msg) from error

    def _refusal(self, error: urllib.error.HTTPError) -> StatusError:
        with error:
            try:
                data = error.read(4 * SHOWN_CHARS)
            except _CONNECTION_ERRORS:
                data = b""
        return StatusError(error.code, self._shown(data))

    def _shown(self, data: bytes) -> str:
        # Redacted before it is cut: half a key must not stay behind.
        text = self.redact(data.decode("utf-8", errors="replace")).strip()
        return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…"

    def _wait(self, attempt: int, asked_seconds: float | None, problem: str, stopped: threading.Event) -> None:
        """Wait before the next attempt, or give up.

        Raises:
            EnvironmentMissingError: It was the last attempt, the server asks for too long a wait, or all was stopped.
        """
        if asked_seconds is not None and asked_seconds > MAX_RETRY_AFTER_SECONDS:
            msg = f"{problem}; the server asks to wait {asked_seconds:.0f} s: run the same command again later"
            raise EnvironmentMissingError(msg)
        if attempt + 1 == self.options.attempts:
            msg = (
                f"{problem}, after {self.options.attempts} attempts; check the server, then run the same command again"
            )
            raise EnvironmentMissingError(msg)
        self.retries.append(problem)
        longest = min(self.options.first_wait_seconds * 2**attempt, MAX_WAIT_SECONDS)
        # Spread out, so that requests that failed together do not come back together.
        jitter = random.uniform(0.5, 1.0) * longest  # noqa: S311 - spreads requests, guards nothing
        if stopped.wait(jitter if asked_seconds is None else asked_seconds + jitter):
            msg = f"{problem}; not tried again, because another request had failed for good"
            raise EnvironmentMissingError(msg)


def _retry_after(value: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for, given as seconds or as a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _describe(error: Exception, timeout_seconds: float) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return f"no answer within {timeout_seconds:g} s"
    if isinstance(reason, http.client.IncompleteRead | http.client.RemoteDisconnected | ConnectionResetError):
        return f"the connection broke off ({type(reason).__name__})"
    return f"the server cannot be reached ({reason})"
