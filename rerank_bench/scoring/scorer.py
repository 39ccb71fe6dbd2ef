"""Scorers: what they promise, and how one is configured.

A scorer turns (query, document) texts into one float32 logit each.  There is one class per family; the table
``FAMILIES`` names them and nothing is imported before it is used, so that parsing a request costs no torch.
Order, batches, back-off and progress are the engine's (``engine.py``), not the scorer's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import ConfigError, describe_unknown
from rerank_bench.scoring.batching import check_batch_tokens
from rerank_bench.scoring.device_list import check_devices
from rerank_bench.scoring.devices import DTYPES, check_device_name
from rerank_bench.scoring.external_options import ExternalOptions
from rerank_bench.scoring.launching import LaunchResult
from rerank_bench.scoring.ray_options import RayOptions, check_device_for_ray

SCORING_CODE_VERSION = 2
"""Part of every fingerprint: bumped when the same weights would get other scores from this code."""

PairNamer = Callable[[int], str]
"""Row of ``pairs`` -> what an error calls that pair, such as ``"query '17', document 'd3'"``."""

FAMILIES = {
    "sequence-classifier": "rerank_bench.scoring.sequence_classifier:SequenceClassifierScorer",
    "causal-lm": "rerank_bench.scoring.causal_lm:CausalLmScorer",
    "seq2seq": "rerank_bench.scoring.seq2seq:Seq2SeqScorer",
    "bi-encoder": "rerank_bench.scoring.bi_encoder:BiEncoderScorer",
    "static-embedding": "rerank_bench.scoring.static_embedding:StaticEmbeddingScorer",
    "late-interaction": "rerank_bench.scoring.late_interaction:LateInteractionScorer",
    "onnx": "rerank_bench.scoring.onnx_classifier:OnnxClassifierScorer",
}
"""Family of a checkpoint -> class with ``load(checkpoint, config)``."""

LABEL_FAMILIES = ("sequence-classifier", "onnx")
"""Families with a logit for each of several labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerConfig:
    """How a model is loaded and run."""

    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``."""
    devices: tuple[str, ...] = ()
    """Several devices of one kind, ``cuda:N`` or ``cpu``: a process on each.  Empty: this process, on ``device``."""
    ray: RayOptions | None = None
    """The cluster whose workers run the model; ``None``: this machine."""
    dtype: str = "auto"
    """Precision of the trunk; head and logit are always float32."""
    max_length: int | None = None
    """Tokens of a pair (of a text, for a bi-encoder), special tokens included; ``None``: what the files say."""
    batch_tokens: int | None = None
    """Padded tokens per batch; ``None``: chosen for the device."""
    family: str | None = None
    """Overrides the family that the checkpoint's files name."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    trust_remote_code: bool = False
    """Whether Python code that comes with the checkpoint may run."""
    code_revision: str | None = None
    """Commit of that code where the checkpoint takes it from another repository."""
    external: ExternalOptions = field(default_factory=ExternalOptions)
    """How a rerank endpoint is spoken to."""
    positive_label: str | None = None
    """Name or index of the label that means relevant; ``None``: read from the names of two labels."""
    instruction: str | None = None
    """Task that a ``causal-lm`` or ``seq2seq`` model is told; ``None``: what its files or recipe say."""
    template: str | None = None
    """Their prompt: a name of ``templates.RECIPES``, or a text with ``{query}`` and ``{document}``."""
    positive_token: str | None = None
    """Their answer that means relevant; ``None``: what files or recipe say."""
    negative_token: str | None = None
    """Their answer that means not relevant."""

    def __post_init__(self) -> None:
        check_device_name(self.device)
        if self.devices:
            check_devices(self.devices)
            if self.device != "auto":
                msg = f"device {self.device!r} and devices {','.join(self.devices)} were named; name one or the other"
                raise ConfigError(msg)
        if self.ray is not None:
            check_device_for_ray(self.device, self.devices)
        if self.dtype not in DTYPES:
            raise ConfigError(describe_unknown("dtype", [self.dtype], DTYPES))
        if self.family is not None and self.family not in FAMILIES:
            raise ConfigError(describe_unknown("family", [self.family], FAMILIES))
        if self.max_length is not None and self.max_length < 1:
            msg = f"max_length is {self.max_length}, expected at least 1 token, or None for what the files say"
            raise ConfigError(msg)
        if self.batch_tokens is not None:
            check_batch_tokens(self.batch_tokens)


class EncodedItems(Protocol):
    """N tokenised items, ready to be cut into batches; an item is a pair, or a text of a bi-encoder."""

    @property
    def lengths(self) -> NDArray[np.int32]:
        """(N,) int32: tokens of each item after truncation."""

    @property
    def is_truncated(self) -> NDArray[np.bool_]:
        """(N,): whether an item lost tokens."""

    def batch(self, indices: NDArray[np.int64]) -> Any:
        """Return the items at ``indices`` in the form that the scorer computes on."""


class Described(Protocol):
    """What every scorer says of itself."""

    @property
    def fingerprint(self) -> str:
        """SHA-256, hex, of all that decides a score: weights, tokenizer, template, precision, code version."""

    @property
    def default_batch_tokens(self) -> int:
        """Budget when the user names none."""

    def describe(self) -> dict[str, Any]:
        """Return what a result records of the model, JSON-able."""

    def peak_device_bytes(self) -> int | None:
        """Return the highest device memory so far, in bytes; ``None`` without an accelerator."""


@runtime_checkable
class Scorer(Described, Protocol):
    """Reads query and document together."""

    def encode(self, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]) -> EncodedItems:
        """Tokenise pairs: row i of ``pairs``, (N, 2), holds indices into ``queries`` and ``docs``."""

    def score_batch(self, batch: Any) -> LaunchResult:
        """Return (B,) float32, one logit per item, or a batch that will give them.

        Raises:
            BatchTooLargeError: The device's memory did not suffice.
        """


@runtime_checkable
class TextEncoder(Described, Protocol):
    """Reads each text alone, once; a pair's score comes from two vectors."""

    def encode_texts(self, queries: Sequence[str], docs: Sequence[str]) -> EncodedItems:
        """Tokenise the Q queries, then the D documents: Q + D items."""

    def embed_batch(self, batch: Any) -> LaunchResult:
        """Return (B, H) float32, or a batch that will give them.

        Raises:
            BatchTooLargeError: The device's memory did not suffice.
        """

    def compare(
        self, query_vectors: NDArray[np.float32], doc_vectors: NDArray[np.float32], pairs: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return (N,) float32 from (Q, H) and (D, H) vectors and (N, 2) indices into them."""


class PairedDocs(NamedTuple):
    """A batch of B documents with the pairs that they stand in, M at most for any of them."""

    docs: Any
    """As ``EncodedItems.batch`` gave them."""
    pairs: NDArray[np.int64]
    """(N, 2): a query, and the document's place in the batch."""
    places: NDArray[np.int64]
    """(N,): where a pair's score stands among the (B, M) that are returned, counted row by row."""
    shape: tuple[int, int]
    """(B, M)."""


@runtime_checkable
class ComparingEncoder(TextEncoder, Protocol):
    """Compares on its device what would be too much to bring back: the vectors of all tokens."""

    def scoring_against(self, query_vectors: NDArray[np.float32]) -> Callable[[PairedDocs], LaunchResult]:
        """Return what launches a batch of documents: (B, M) float32, the scores of every document's pairs."""


@runtime_checkable
class ListScorer(Described, Protocol):
    """Is handed one query with many documents at a time, as texts, and counts no tokens: a service elsewhere."""

    def score_lists(
        self,
        queries: Sequence[str],
        docs: Sequence[str],
        pairs: NDArray[np.int64],
        *,
        pair_name: PairNamer,
        take: Callable[[NDArray[np.int64], NDArray[np.float32]], None],
    ) -> NDArray[np.float32]:
        """Return (N,) float32 for (N, 2) indices into the texts; documents keep their order within a query's list.

        Args:
            queries: Q texts.
            docs: D texts.
            pairs: One query's rows need not stand together.
            pair_name: What an error calls a row of ``pairs``.
            take: Called with the rows and the scores of every list as it is answered, in the caller's thread.
        """


AnyScorer = Scorer | TextEncoder | ListScorer
