"""Pairs put together from the token ids of their texts, exactly as the tokenizer itself would.

A pair's ids are ``prefix + query + middle + document + suffix``, where query and document are cut as the tokenizer's
``longest_first`` truncation cuts them.  Whether that gives the tokenizer's own ids is tried on a few pairs when a
checkpoint is loaded; a tokenizer that fails is called on whole pairs instead (slower, equal by definition).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import ConfigError
from rerank_bench.scoring.tokenization import FlatTokens, TokenBatch, empty_batch, encode_whole, tokenize_texts
from rerank_bench.scoring.word_cache import ranges


@dataclass(frozen=True, slots=True, eq=False)
class PairTemplate:
    """What a tokenizer puts around a query and a document."""

    prefix: NDArray[np.int32]
    middle: NDArray[np.int32]
    suffix: NDArray[np.int32]
    type_ids: tuple[int, int, int, int, int] | None
    """Segment ids of prefix, query, middle, document and suffix; ``None`` where the tokenizer gives none."""

    @property
    def num_special(self) -> int:
        """Tokens that are neither query nor document."""
        return len(self.prefix) + len(self.middle) + len(self.suffix)


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPairs:
    """N pairs over tokenised queries and documents; ids are put together batch by batch."""

    template: PairTemplate
    queries: FlatTokens
    docs: FlatTokens
    pairs: NDArray[np.int64]
    """(N, 2): indices into ``queries`` and ``docs``."""
    kept: NDArray[np.int64]
    """(N, 2): tokens of query and document after truncation."""
    keeps_end: bool
    """Whether truncation drops tokens at the start of a text."""
    is_truncated: NDArray[np.bool_]
    """(N,): whether a pair lost tokens."""

    @property
    def flats(self) -> list[FlatTokens]:
        """The arrays that hold the ids."""
        return [self.queries, self.docs]

    @property
    def lengths(self) -> NDArray[np.int32]:
        """(N,) int32: tokens of each pair."""
        return np.asarray(self.kept.sum(axis=1) + self.template.num_special, dtype=np.int32)

    def batch(self, indices: NDArray[np.int64]) -> TokenBatch:
        """Return the pairs at ``indices``, padded."""
        template = self.template
        kept = self.kept[indices]
        lengths = kept.sum(axis=1) + template.num_special
        batch = empty_batch(lengths, self.queries.pad_id, has_types=template.type_ids is not None)
        flat = batch.input_ids.reshape(-1)  # a view
        width = batch.input_ids.shape[1]
        row_starts = np.arange(len(indices), dtype=np.int64) * width
        # Where every row's five segments stop: prefix, query, middle, document, suffix.
        sizes = np.empty((len(indices), 5), dtype=np.int64)
        sizes[:, 0], sizes[:, 2], sizes[:, 4] = len(template.prefix), len(template.middle), len(template.suffix)
        sizes[:, 1], sizes[:, 3] = kept[:, 0], kept[:, 1]
        stops = np.cumsum(sizes, axis=1)  # (B, 5)
        for column, special in ((0, template.prefix), (2, template.middle), (4, template.suffix)):
            at = row_starts + stops[:, column] - len(special)
            flat[at[:, None] + np.arange(len(special))] = special
        for column, texts, rows in ((1, self.queries, self.pairs[indices, 0]), (3, self.docs, self.pairs[indices, 1])):
            count = sizes[:, column]
            starts = texts.offsets[rows + 1] - count if self.keeps_end else texts.offsets[rows]
            flat[ranges(row_starts + stops[:, column] - count, count)] = texts.ids[ranges(starts, count)]
        if batch.token_type_ids is not None and template.type_ids is not None:
            types = np.repeat(np.tile(np.asarray(template.type_ids), len(indices)), sizes.reshape(-1))
            batch.token_type_ids[batch.attention_mask.astype(bool)] = types
        return batch


def truncate_longest_first(
    query_lengths: NDArray[np.int64], doc_lengths: NDArray[np.int64], budget: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many tokens of query and document stay, (N,) each, as the ``tokenizers`` library cuts a pair.

    A text that takes less than half of the budget stays whole and the other one gets the rest; if both take more,
    each gets half, and the odd token goes to the longer one (the document, if they are equally long).

    Args:
        query_lengths: (N,) tokens without special ones.
        doc_lengths: (N,) likewise.
        budget: Tokens for both together.
    """
    shorter = np.minimum(query_lengths, doc_lengths)
    fits = query_lengths + doc_lengths <= budget
    short_kept = np.where(fits, shorter, np.minimum(shorter, budget // 2))
    long_kept = np.where(fits, np.maximum(query_lengths, doc_lengths), budget - short_kept)
    query_is_longer = query_lengths > doc_lengths
    return np.where(query_is_longer, long_kept, short_kept), np.where(query_is_longer, short_kept, long_kept)


class PairTokenizer:
    """Tokenises pairs for one checkpoint.

    Args:
        tokenizer: The checkpoint's, owned by this object: its truncation settings are changed.
        max_length: Tokens of a pair, special tokens included.
        has_type_ids: Whether the model takes segment ids.

    Raises:
        ConfigError: ``max_length`` leaves no room for query and document.
    """

    def __init__(self, tokenizer: Any, max_length: int, *, has_type_ids: bool) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.has_type_ids = has_type_ids and "token_type_ids" in tokenizer(["a"], ["b"])
        num_special = tokenizer.num_special_tokens_to_add(pair=True)
        if max_length < num_special + 2:
            msg = (
                f"max_length is {max_length}, but the tokenizer adds {num_special} special tokens to a pair; "
                f"pass at least {num_special + 2}"
            )
            raise ConfigError(msg)
        self.template = self._proven_template()

    def encode(
        self, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]
    ) -> EncodedPairs | FlatTokens:
        """Tokenise pairs given as (N, 2) indices into the texts."""
        if self.template is None:
            return encode_whole(
                self.tokenizer,
                [queries[i] for i in pairs[:, 0]],
                [docs[i] for i in pairs[:, 1]],
                self.max_length,
                has_type_ids=self.has_type_ids,
            )
        return self._assemble(self.template, queries, docs, pairs, self.max_length)

    def _assemble(
        self,
        template: PairTemplate,
        queries: Sequence[str],
        docs: Sequence[str],
        pairs: NDArray[np.int64],
        max_length: int,
    ) -> EncodedPairs:
        budget = max_length - template.num_special
        keeps_end = self.tokenizer.truncation_side == "left"
        query_tokens = tokenize_texts(self.tokenizer, queries, keep=budget, keeps_end=keeps_end)
        doc_tokens = tokenize_texts(self.tokenizer, docs, keep=budget, keeps_end=keeps_end)
        full = np.stack([query_tokens.full_lengths[pairs[:, 0]], doc_tokens.full_lengths[pairs[:, 1]]], axis=1)
        kept = np.stack(truncate_longest_first(full[:, 0], full[:, 1], budget), axis=1)  # (N, 2)
        is_cut = np.asarray((kept < full).any(axis=1))
        return EncodedPairs(template, query_tokens, doc_tokens, pairs, kept, keeps_end, is_cut)

    def _proven_template(self) -> PairTemplate | None:
        """Return the template if putting pairs together from it gives the tokenizer's own ids on every probe."""
        template = find_template(self.tokenizer, has_type_ids=self.has_type_ids)
        if template is None:
            return None
        texts = list(PROBE_TEXTS)
        grid = np.indices((len(texts), len(texts))).reshape(2, -1).T.astype(np.int64)  # every text with every text
        rows = np.arange(len(grid), dtype=np.int64)
        # Without truncation, and with an odd and an even room for the texts.
        lengths = {self.max_length, template.num_special + 7, template.num_special + 16}
        for max_length in (length for length in lengths if length <= self.max_length):
            whole = encode_whole(
                self.tokenizer,
                [texts[i] for i in grid[:, 0]],
                [texts[i] for i in grid[:, 1]],
                max_length,
                has_type_ids=self.has_type_ids,
            )
            ours = self._assemble(template, texts, texts, grid, max_length)
            if not _equal(whole.batch(rows), ours.batch(rows)):
                return None
        return template


PROBE_TEXTS = (
    "",
    "how to stop a program",
    "Straße, naïve café\n\tand 東京: 10.5 % of “it” 🙂",
    "  leading and trailing white space  ",
    "a [SEP] b </s> c <s> d [CLS]",
    " ".join(f"word{i} and more" for i in range(8)),
)


def _equal(first: TokenBatch, second: TokenBatch) -> bool:
    """Return whether two batches are the same, token for token, (B, L) each."""
    pairs = zip(first, second, strict=True)
    return all(
        (a is None and b is None) or (a is not None and b is not None and np.array_equal(a, b)) for a, b in pairs
    )


def find_template(tokenizer: Any, *, has_type_ids: bool) -> PairTemplate | None:
    """Return what the tokenizer puts around a pair; ``None`` if it cannot be read off, or the tokenizer is slow."""
    if not tokenizer.is_fast:
        return None
    query, doc = "what is a query", "the text of another document"
    own = tokenizer([query, doc], add_special_tokens=False)["input_ids"]
    whole = tokenizer([query], [doc])
    ids = whole["input_ids"][0]
    query_at, doc_at = _find(ids, own[0], start=0), _find(ids, own[1], start=len(own[0]))
    if query_at is None or doc_at is None or doc_at < query_at + len(own[0]):
        return None
    cuts = [query_at, query_at + len(own[0]), doc_at, doc_at + len(own[1])]
    prefix, _, middle, _, suffix = (np.asarray(part, dtype=np.int32) for part in _split(ids, cuts))
    type_ids = None
    if has_type_ids:
        segments = [set(part) for part in _split(whole["token_type_ids"][0], cuts)]
        if any(len(segment) > 1 for segment in segments):
            return None
        type_ids = tuple(segment.pop() if segment else 0 for segment in segments)
    return PairTemplate(prefix, middle, suffix, type_ids)  # type: ignore[arg-type]  # five cuts, five segments


def _find(ids: list[int], part: list[int], *, start: int) -> int | None:
    last = len(ids) - len(part)
    return next((at for at in range(start, last + 1) if ids[at : at + len(part)] == part), None)


def _split(values: list[int], cuts: list[int]) -> list[list[int]]:
    bounds = [0, *cuts, len(values)]
    return [values[start:stop] for start, stop in pairwise(bounds)]
