"""From texts to token ids in flat arrays, and from those to padded batches.

Padding is always on the right: with absolute positions a padded text must start at position 0, as it does alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rerank_bench import progress
from rerank_bench.errors import ScoringError
from rerank_bench.scoring.word_cache import WordCache, collect_ids, ranges, splits_at_spaces

CHUNK_TEXTS = 4_096
"""Texts per call of the tokenizer: enough to keep all cores busy, few enough for a moving progress bar."""


class TokenBatch(NamedTuple):
    """B items of L tokens, padded on the right."""

    input_ids: NDArray[np.int64]
    """(B, L)."""
    attention_mask: NDArray[np.int64]
    """(B, L): 1 for tokens, 0 for padding."""
    token_type_ids: NDArray[np.int64] | None
    """(B, L); ``None`` where the tokenizer gives none."""


@dataclass(frozen=True, slots=True, eq=False)
class FlatTokens:
    """Ids of N items in one array; item i is ``ids[offsets[i]:offsets[i + 1]]``."""

    ids: NDArray[np.int32]
    type_ids: NDArray[np.int8] | None
    offsets: NDArray[np.int64]
    """(N + 1,)."""
    full_lengths: NDArray[np.int64]
    """(N,): tokens before truncation."""
    pad_id: int

    @property
    def flats(self) -> list[FlatTokens]:
        """The arrays that hold the ids: this one."""
        return [self]

    @property
    def lengths(self) -> NDArray[np.int32]:
        """(N,) int32: tokens of each item."""
        return np.diff(self.offsets).astype(np.int32)

    @property
    def is_truncated(self) -> NDArray[np.bool_]:
        """(N,): whether an item lost tokens."""
        return np.asarray(self.full_lengths > np.diff(self.offsets))

    def batch(self, indices: NDArray[np.int64]) -> TokenBatch:
        """Return the items at ``indices``, padded."""
        starts = self.offsets[indices]
        lengths = self.offsets[indices + 1] - starts
        batch = empty_batch(lengths, self.pad_id, has_types=self.type_ids is not None)
        is_token = batch.attention_mask.astype(bool)
        source = ranges(starts, lengths)
        batch.input_ids[is_token] = self.ids[source]
        if batch.token_type_ids is not None and self.type_ids is not None:
            batch.token_type_ids[is_token] = self.type_ids[source]
        return batch


def empty_batch(lengths: NDArray[np.int64], pad_id: int, *, has_types: bool) -> TokenBatch:
    """Return a batch of padding with its mask, for items of (B,) tokens."""
    shape = (len(lengths), int(lengths.max(initial=1)))
    mask = (np.arange(shape[1]) < lengths[:, None]).astype(np.int64)  # (B, L)
    return TokenBatch(np.full(shape, pad_id), mask, np.zeros(shape, dtype=np.int64) if has_types else None)


def _tracked(num_texts: int) -> AbstractContextManager[progress.Advance]:
    """Report the tokenising of texts, unless there are so few that it is over at once."""
    if num_texts <= CHUNK_TEXTS:
        return nullcontext(lambda _units: None)
    return progress.track("tokenise", total=num_texts, unit="texts")


def tokenize_texts(tokenizer: Any, texts: Sequence[str], *, keep: int, keeps_end: bool) -> FlatTokens:
    """Tokenise texts without special tokens, on all cores.

    Args:
        tokenizer: A fast tokenizer.
        texts: N texts.
        keep: Tokens of a text that are stored at most; ``full_lengths`` counts all.
        keeps_end: Whether they are its last tokens instead of its first.
    """
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = tokenizer.split_special_tokens
    cache = WordCache(backend) if splits_at_spaces(tokenizer) else None
    parts: list[NDArray[np.int32]] = [np.empty(0, dtype=np.int32)]
    lengths: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
    with _tracked(len(texts)) as advance:
        for start in range(0, len(texts), CHUNK_TEXTS):
            chunk = list(texts[start : start + CHUNK_TEXTS])
            if cache is None:
                encodings = backend.encode_batch_fast(chunk, add_special_tokens=False)
                ids, counts = collect_ids(encoding.ids for encoding in encodings)
            else:
                ids, counts = cache.encode(chunk)
            lengths.append(counts)
            parts.append(_cut(ids, counts, keep, keeps_end=keeps_end))
            advance(len(chunk))
    full_lengths = np.concatenate(lengths)
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum(np.minimum(full_lengths, keep), out=offsets[1:])
    return FlatTokens(np.concatenate(parts), None, offsets, full_lengths, tokenizer.pad_token_id)


def _cut(ids: NDArray[np.int32], counts: NDArray[np.int64], keep: int, *, keeps_end: bool) -> NDArray[np.int32]:
    """Return the first (or last) ``keep`` ids of every text."""
    kept = np.minimum(counts, keep)
    if np.array_equal(kept, counts):
        return ids
    starts = np.cumsum(counts) - counts
    return ids[ranges(starts + (counts - kept if keeps_end else 0), kept)]


def encode_whole(
    tokenizer: Any, texts: Sequence[str], seconds: Sequence[str] | None, max_length: int, *, has_type_ids: bool
) -> FlatTokens:
    """Tokenise texts, or pairs of texts, by the tokenizer's own call: special tokens, truncation and all."""
    ids: list[NDArray[np.int32]] = []
    type_ids: list[NDArray[np.int8]] | None = [] if has_type_ids else None
    full_lengths = np.zeros(len(texts), dtype=np.int64)
    with _tracked(len(texts)) as advance:
        for start in range(0, len(texts), CHUNK_TEXTS):
            first = list(texts[start : start + CHUNK_TEXTS])
            second = None if seconds is None else list(seconds[start : start + CHUNK_TEXTS])
            whole = tokenizer(first, second, truncation=True, max_length=max_length, verbose=False)
            ids += [np.asarray(row, dtype=np.int32) for row in whole["input_ids"]]
            if type_ids is not None:
                type_ids += [np.asarray(row, dtype=np.int8) for row in whole["token_type_ids"]]
            full_lengths[start : start + len(first)] = _full_lengths(
                tokenizer, first, second, whole["input_ids"], max_length
            )
            advance(len(first))
    return _flat(ids, type_ids, full_lengths, tokenizer.pad_token_id)


def _full_lengths(
    tokenizer: Any, first: list[str], second: list[str] | None, rows: list[list[int]], max_length: int
) -> NDArray[np.int64]:
    """Return the lengths before truncation; only items that fill ``max_length`` are looked at a second time."""
    lengths = np.asarray([len(row) for row in rows], dtype=np.int64)
    full = np.flatnonzero(lengths >= max_length)
    if full.size:
        again = tokenizer(
            [first[i] for i in full], None if second is None else [second[i] for i in full], verbose=False
        )
        lengths[full] = [len(row) for row in again["input_ids"]]
    return lengths


def _flat(
    parts: list[NDArray[np.int32]],
    type_parts: list[NDArray[np.int8]] | None,
    full_lengths: NDArray[np.int64],
    pad_id: int,
) -> FlatTokens:
    offsets = np.zeros(len(parts) + 1, dtype=np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    ids = np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)
    types = None
    if type_parts is not None:
        types = np.concatenate(type_parts) if type_parts else np.empty(0, dtype=np.int8)
    return FlatTokens(ids, types, offsets, full_lengths, pad_id)


def check_vocabulary(name: str, flats: Sequence[FlatTokens], num_embeddings: int) -> None:
    """Raise if a token has no row in the model's embedding table (on a GPU that would be a crash without a cause).

    Raises:
        ScoringError: Tokenizer and weights are of two checkpoints.
    """
    highest = max((int(flat.ids.max(initial=0)) for flat in flats), default=0)
    if highest >= num_embeddings:
        msg = (
            f"model {name!r}: the tokenizer gives token id {highest}, but the model has {num_embeddings} embeddings; "
            "tokenizer files and weights are of two checkpoints"
        )
        raise ScoringError(msg)
