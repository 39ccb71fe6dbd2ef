"""Whether a model read the whole text, as far as it can be told without its tokenizer.

What a run says of the pair decides, and what it says of all pairs: none was cut, or every one.  For folders that do
not say two bounds hold, of every subword tokenizer in use: a word is at least one token, and a byte is at most one.
Between the two nothing is claimed.  The upper bound needs to know what else stands in the model's input; of a language
model's prompt nothing is known here, so that only the lower bound holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from rerank_bench.reporting.pair_tokens import PairTokens

UNKNOWN = "unknown"
WHOLE = "read whole"
CUT = "cut"

ADDED_TOKENS = 8
"""More than a classifier adds to a pair: four special tokens, and a word mark that stands alone before each text."""
_PAIR_FAMILIES = frozenset({"sequence-classifier", "onnx"})
"""Families whose input is query, document and special tokens, behind a prompt that the run names."""
_APART_FAMILIES = frozenset({"bi-encoder", "static-embedding", "late-interaction"})
"""Families that read query and document each by itself."""


class Pair(NamedTuple):
    """A query and a document."""

    query_id: str
    doc_id: str
    query: str | None
    """Its text; ``None`` where it is not here."""
    doc: str | None
    """Likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """What is known of how much a side's model reads."""

    reads_texts: bool
    """False for the first stage and the baselines, which cut nothing."""
    max_length: int | None = None
    """Tokens of one input; ``None``: the run does not say."""
    family: str = ""
    prompt: str = ""
    """Stands before the document, or before the pair."""
    truncated_share: float | None = None
    """Share of the data set's pairs that were cut; ``None`` where the run does not say."""
    tokens: PairTokens | None = None
    """What was read of each relevant document; ``None`` where the run does not say."""

    def cuts(self, pair: Pair) -> bool | None:
        """Return whether a pair was cut, which is the document but for the rarest query; ``None`` where it cannot be told."""
        if not self.reads_texts or self.truncated_share == 0:
            return False
        if self.truncated_share == 1:
            return True
        read = None if self.tokens is None else self.tokens.get(pair.query_id, {}).get(pair.doc_id)
        if read is not None:
            return read.is_cut
        if self.max_length is None or pair.query is None or pair.doc is None:
            return None
        texts = (self.prompt, pair.doc) if self.family in _APART_FAMILIES else (self.prompt, pair.query, pair.doc)
        if sum(len(text.split()) for text in texts) > self.max_length:
            return True
        is_bounded = self.family in _PAIR_FAMILIES | _APART_FAMILIES
        num_bytes = sum(len(text.encode("utf-8")) for text in texts)
        return False if is_bounded and num_bytes + ADDED_TOKENS <= self.max_length else None


FIRST_STAGE = Reader(reads_texts=False)
"""Its index holds whole texts."""


def reader_of(model: Mapping[str, Any], block: Mapping[str, Any], tokens: PairTokens | None = None) -> Reader:
    """Return what a run says of how much its model reads.

    Args:
        model: The block ``model`` of ``result.json``.
        block: The data set's block there.
        tokens: What the run folder says of the relevant documents.
    """
    is_apart = model["family"] in _APART_FAMILIES
    return Reader(
        reads_texts=model["family"] != "baseline",
        max_length=model["max_length"],
        family=model["family"],
        prompt=model.get("doc_prompt" if is_apart else "query_prompt") or "",
        truncated_share=block["timing"].get("truncated_share"),
        tokens=tokens,
    )


def describe_cut(reader: Reader, pair: Pair) -> str:
    """Return ``cut``, ``read whole`` or ``unknown``."""
    is_cut = reader.cuts(pair)
    return UNKNOWN if is_cut is None else CUT if is_cut else WHOLE
