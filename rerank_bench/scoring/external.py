"""Family ``external``: a rerank endpoint over HTTP, handed one query with its documents per request.

Two shapes are spoken, both POST:

* ``documents`` (Cohere, Jina, vLLM, llama.cpp): ``{"model", "query", "documents"}`` →
  ``{"results": [{"index", "relevance_score"}, …]}``
* ``texts`` (Text Embeddings Inference): ``{"query", "texts", "raw_scores": true, "truncate": true}`` →
  ``[{"index", "score"}, …]``

Scores are recorded as the endpoint gives them.  Raw logits are asked for where the API knows how to; elsewhere they may
be probabilities, which saturate, so that good documents tie.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any
from urllib.parse import urldefrag, urlsplit

import numpy as np
from numpy.typing import NDArray

from rerank_bench import progress
from rerank_bench.errors import ConfigError, EnvironmentMissingError, ScoringError
from rerank_bench.scoring.external_options import KEY_VARIABLE
from rerank_bench.scoring.http_client import SHOWN_CHARS, JsonClient, StatusError, read_key
from rerank_bench.scoring.scorer import SCORING_CODE_VERSION, PairNamer, ScorerConfig
from rerank_bench.storage import fingerprint_json

PROBE_QUERY = "how to stop a program"
PROBE_DOCS = ("a program ends when its work is done", "a list holds values")

_UNKNOWN_SHAPE = frozenset({400, 422})
"""Statuses with which a server says that it does not know the fields of the request."""
_ADVICE = {
    401: f"expected a valid key in the environment variable {KEY_VARIABLE}",
    403: f"expected a key with access to this model in the environment variable {KEY_VARIABLE}",
    404: "expected a rerank endpoint at this address; check the path (such as /rerank or /v1/rerank) and the model name",
    405: "expected a rerank endpoint that takes POST; check the path",
    413: "expected the server to take a list of this size; pass a lower --external-docs",
    400: "expected the server to take this request; check --external-shape and --external-model",
    422: "expected the server to take this request; check --external-shape and --external-model",
}


@dataclass(frozen=True, slots=True, eq=False)
class ExternalScorer:
    """A rerank endpoint."""

    client: JsonClient
    model: str | None
    shape: str
    """``documents`` or ``texts``."""
    revision: str | None
    """What the user says is deployed there; nothing else can tell one deployment from the next."""
    default_batch_tokens: int = 1
    """Not used: the endpoint batches as it likes."""

    @classmethod
    def load(cls, address: str, config: ScorerConfig) -> ExternalScorer:
        """Return the scorer of an endpoint; with shape ``auto`` it is asked one question, or two.

        Args:
            address: URL, if wanted with ``#model-name``.
            config: Its ``external`` options, and ``revision``.

        Raises:
            ConfigError: Two model names, a malformed key, or the server refuses the question.
            ScoringError: The server's answer is not a list of scores.
            EnvironmentMissingError: The server cannot be reached.
        """
        url, fragment = urldefrag(address)
        options = config.external
        if fragment and options.model and fragment != options.model:
            msg = f"model {address!r} names {fragment!r}, the option {options.model!r}; name it once"
            raise ConfigError(msg)
        client = JsonClient(url, options, read_key())
        if client.key and urlsplit(url).scheme == "http":
            progress.note(f"{url}: the key in {KEY_VARIABLE} is sent without encryption")
        model = fragment or options.model
        if options.shape != "auto":
            return cls(client, model, options.shape, config.revision)
        unstopped = threading.Event()
        with _named(f"{url}, asked for two scores when it was loaded", client):
            shape = _find_shape(lambda shape: _post(client, model, shape, PROBE_QUERY, PROBE_DOCS, unstopped))
        return cls(client, model, shape, config.revision)

    @property
    def fingerprint(self) -> str:
        """SHA-256, hex, of address, model name, shape and revision: all that can be known from outside."""
        return fingerprint_json(
            {
                "code": SCORING_CODE_VERSION,
                "url": self.client.url,
                "model": self.model,
                "shape": self.shape,
                "revision": self.revision,
            }
        )

    def describe(self) -> dict[str, Any]:
        """Return what a result records, JSON-able; the key is not part of it."""
        parts = urlsplit(self.client.url)
        return {
            "name": self.model or f"{parts.netloc}{parts.path}",
            "family": "external",
            "revision": self.revision,
            "url": self.client.url,
            "shape": self.shape,
            "raw_scores_requested": self.shape == "texts",
            "docs_per_request": self.client.options.docs_per_request,
            "concurrency": self.client.options.concurrency,
        }

    def peak_device_bytes(self) -> int | None:
        """Return ``None``: the endpoint's memory is not ours to see."""
        return None

    def score_lists(
        self,
        queries: Sequence[str],
        docs: Sequence[str],
        pairs: NDArray[np.int64],
        *,
        pair_name: PairNamer,
        take: Callable[[NDArray[np.int64], NDArray[np.float32]], None],
    ) -> NDArray[np.float32]:
        """Return (N,) float32 for (N, 2) indices into the texts.

        Raises:
            ConfigError: The server refuses a request.
            ScoringError: An answer does not hold one finite score for each document; the query is named.
            EnvironmentMissingError: The server cannot be reached, or fails again and again.
        """
        scores = np.empty(len(pairs), dtype=np.float32)
        num_retries = len(self.client.retries)
        stopped = threading.Event()
        causes: list[BaseException] = []
        executor = ThreadPoolExecutor(self.client.options.concurrency, thread_name_prefix="rerank-endpoint")

        def score(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            if stopped.is_set():  # by a thread that met an error: what is sent now may be charged and is lost
                raise CancelledError
            try:
                return ask(rows)
            except BaseException as error:
                causes.append(error)  # what others meet once they are stopped comes after it
                stopped.set()
                raise

        def ask(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
            query = queries[pairs[rows[0], 0]]
            with _named(f"{pair_name(int(rows[0]))}{more}: {self.client.url}", self.client):
                return _post(self.client, self.model, self.shape, query, [docs[i] for i in pairs[rows, 1]], stopped)

        try:
            futures: dict[Future[NDArray[np.float32]], NDArray[np.int64]] = {
                executor.submit(score, rows): rows for rows in iter_lists(pairs, self.client.options.docs_per_request)
            }
            for future in as_completed(futures):
                if future.exception() is None:  # what was under way when another list failed is kept, too
                    rows = futures[future]
                    scores[rows] = future.result()
                    take(rows, scores[rows])
            if causes:
                raise causes[0]
        finally:
            # On an error, or Ctrl-C: nothing more is sent, and nobody waits out a back-off.
            stopped.set()
            executor.shutdown(wait=False, cancel_futures=True)
        self._report_retries(num_retries)
        return scores

    def _report_retries(self, before: int) -> None:
        retries = self.client.retries[before:]
        if retries:
            progress.note(f"{self.client.url}: {len(retries)} requests were sent again (the first after: {retries[0]})")


def iter_lists(pairs: NDArray[np.int64], docs_per_request: int) -> Iterator[NDArray[np.int64]]:
    """Yield index arrays of rows that share a query, in their given order, at most ``docs_per_request`` each."""
    order = np.argsort(pairs[:, 0], kind="stable")
    starts = np.flatnonzero(np.diff(pairs[order, 0])) + 1
    for rows in np.split(order, starts):
        for start in range(0, len(rows), docs_per_request):
            yield rows[start : start + docs_per_request]


@contextlib.contextmanager
def _named(where: str, client: JsonClient) -> Iterator[None]:
    """Say in every error of the block what was asked for, and where."""
    try:
        yield
    except StatusError as error:
        msg = f"{where}: {_refused(error, has_key=client.key is not None)}"
        raise ConfigError(msg) from error
    except (ConfigError, ScoringError, EnvironmentMissingError) as error:
        msg = f"{where}: {error}"
        raise type(error)(msg) from error


def _post(
    client: JsonClient, model: str | None, shape: str, query: str, docs: Sequence[str], stopped: threading.Event
) -> NDArray[np.float32]:
    """Return (D,) float32: what the endpoint says of one list."""
    body: dict[str, Any] = {} if model is None else {"model": model}
    if shape == "documents":
        body |= {"query": query, "documents": list(docs)}
    else:
        body |= {"query": query, "texts": list(docs), "raw_scores": True, "truncate": True}
    answer = client.post(body, stopped)
    return parse_answer(answer, shape, len(docs), show=lambda value: client.redact(repr(value))[:SHOWN_CHARS])


def _find_shape(ask: Callable[[str], object]) -> str:
    """Return the shape that the server speaks: ``texts`` if it does not know ``documents``."""
    try:
        ask("documents")
    except StatusError as error:
        if error.status not in _UNKNOWN_SHAPE:
            raise
        first = error
    else:
        return "documents"
    try:
        ask("texts")
    except StatusError as error:
        msg = (
            f"it takes neither shape: 'documents' gets {first}; 'texts' gets {error}; expected a rerank endpoint; "
            "if it is one, check the model name, or name --external-shape"
        )
        raise ConfigError(msg) from error
    return "texts"


def _refused(error: StatusError, *, has_key: bool) -> str:
    advice = _ADVICE.get(error.status, "expected status 200 with scores")
    if error.status in {401, 403}:
        advice += ", and one was sent" if has_key else ", which is not set"
    return f"{error}; {advice}"


def parse_answer(answer: Any, shape: str, num_docs: int, *, show: Callable[[Any], str] = repr) -> NDArray[np.float32]:
    """Return (D,) float32: the score of each document, in the order of the request.

    Args:
        answer: Parsed JSON.
        shape: ``documents`` or ``texts``.
        num_docs: D.
        show: How a value of the answer is shown in an error.

    Raises:
        ScoringError: Not one finite score for each document.
    """
    field = "relevance_score" if shape == "documents" else "score"
    expected = f'[{{"index": …, "{field}": …}}, …]'
    entries = answer
    if shape == "documents":
        expected = f'{{"results": {expected}}}'
        entries = answer.get("results") if isinstance(answer, dict) else None
    if not isinstance(entries, list):
        msg = f"the answer is {show(answer)}, expected {expected}"
        raise ScoringError(msg)
    if len(entries) != num_docs:
        msg = f"the answer holds {len(entries)} scores for {num_docs} documents, expected one each"
        raise ScoringError(msg)
    scores: dict[int, float] = {}
    for entry in entries:
        index = entry.get("index") if isinstance(entry, dict) else None
        if type(index) is not int or not 0 <= index < num_docs:
            msg = f"an entry of the answer is {show(entry)}, expected an index from 0 to {num_docs - 1} and a {field}"
            raise ScoringError(msg)
        if index in scores:
            msg = f"the answer holds index {index} twice, so another is missing; expected each of {num_docs} once"
            raise ScoringError(msg)
        scores[index] = _number(entry.get(field), index, field, show)
    return np.asarray([scores[index] for index in range(num_docs)], dtype=np.float32)


def _number(value: Any, index: int, field: str, show: Callable[[Any], str]) -> float:
    limit = float(np.finfo(np.float32).max)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= limit:
        msg = f"document {index} of the list has the {field} {show(value)}, expected a finite float32 number"
        raise ScoringError(msg)
    return float(value)
