"""Texts of a late-interaction model as tokens: behind their markers, queries filled up, and which tokens are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rerank_bench import progress
from rerank_bench.errors import ConfigError, ScoringError
from rerank_bench.scoring.late_interaction_recipe import LateRecipe
from rerank_bench.scoring.text_assembly import TextTokenizer
from rerank_bench.scoring.tokenization import FlatTokens, TokenBatch
from rerank_bench.scoring.word_cache import ranges


class LateBatch(NamedTuple):
    """B texts of L tokens, and which W of their token vectors are compared."""

    tokens: TokenBatch
    position: NDArray[np.int64]
    """(B, W): the token that each vector is of.

    Vectors that are left over repeat the first one of a document, which no maximum sees."""
    weight: NDArray[np.int64]
    """(B, W): 1, or 0 for what is left over of a query, which adds nothing to the sum."""


@dataclass(frozen=True, slots=True, eq=False)
class LateItems:
    """Q queries, then D documents."""

    tokens: FlatTokens
    num_own: NDArray[np.int64]
    """(Q,): tokens of each query before it was filled up."""
    is_attended: bool
    """Whether a query's own tokens look at what it was filled up with."""
    is_compared: NDArray[np.bool_]
    """(S,) of every token."""

    @property
    def lengths(self) -> NDArray[np.int32]:
        """(Q + D,) int32: tokens of each text."""
        return self.tokens.lengths

    @property
    def is_truncated(self) -> NDArray[np.bool_]:
        """(Q + D,): whether a text lost tokens."""
        return self.tokens.is_truncated

    def batch(self, indices: NDArray[np.int64]) -> LateBatch:
        """Return the texts at ``indices``, padded on the right."""
        num_queries = len(self.num_own)
        tokens = self.tokens.batch(indices)
        is_token = tokens.attention_mask.astype(bool)
        starts = self.tokens.offsets[indices]
        is_compared = np.zeros_like(is_token)
        is_compared[is_token] = self.is_compared[ranges(starts, self.tokens.offsets[indices + 1] - starts)]
        is_query = indices < num_queries
        if not self.is_attended and is_query.any():
            own = np.full(len(indices), is_token.shape[1])
            own[is_query] = self.num_own[indices[is_query]]
            tokens.attention_mask[np.arange(is_token.shape[1]) >= own[:, None]] = 0
        # All queries get the same number of vectors, so that those of several batches fit into one array.
        width = max(is_token.shape[1], int(self.lengths[:num_queries].max()) if is_query.any() else 0)
        position = np.tile(np.arange(width), (len(indices), 1))
        is_left_over = np.pad(~is_compared, ((0, 0), (0, width - is_token.shape[1])), constant_values=True)
        np.copyto(position, is_compared.argmax(axis=1)[:, None], where=is_left_over)
        return LateBatch(tokens, position, np.where(is_query[:, None] & is_left_over, 0, 1))


class LateTokenizer:
    """Tokenises the texts of one checkpoint.

    Args:
        name: The model, for messages.
        tokenizer: The checkpoint's.
        recipe: What its files say.
        query_length: Tokens of a query at most, marker included.
        doc_length: Likewise of a document.
        has_type_ids: Whether the model takes segment ids.

    Raises:
        ConfigError: A length leaves no room for a text, or the tokenizer cannot fill up queries as the model does.
        ScoringError: The vocabulary has no such marker.
    """

    def __init__(
        self, name: str, tokenizer: Any, recipe: LateRecipe, *, query_length: int, doc_length: int, has_type_ids: bool
    ) -> None:
        self._name = name
        self._tokenizer = tokenizer
        self._recipe = recipe
        self._texts = TextTokenizer(tokenizer, has_type_ids=has_type_ids)
        self.query_length, self.doc_length = query_length, doc_length
        self._markers = [self._marker_id(side.marker) for side in (recipe.query, recipe.document)]
        num_special = tokenizer.num_special_tokens_to_add(pair=False)
        for what, length, marker in zip(
            ("query_length", "max_length"), (query_length, doc_length), self._markers, strict=True
        ):
            num_fixed = num_special + (marker is not None)
            if length <= num_fixed:
                msg = (
                    f"{what} is {length}, but special tokens and marker of model {name!r} alone take {num_fixed}; "
                    "it must be more than that"
                )
                raise ConfigError(msg)
        self._expansion_id = None if recipe.expansion is None else self._find_expansion_id(recipe.expansion.token)
        self.skipped_ids = self._find_skipped_ids()

    def encode(self, queries: Sequence[str], docs: Sequence[str]) -> LateItems:
        """Tokenise the queries, then the documents."""
        recipe = self._recipe
        query_tokens = self._encode_side(recipe.query.prompt, queries, self._markers[0], self.query_length)
        own = query_tokens.lengths.astype(np.int64)
        query_tokens = self._expanded(query_tokens)
        doc_tokens = self._encode_side(recipe.document.prompt, docs, self._markers[1], self.doc_length)
        is_skipped_query = np.isin(query_tokens.ids, self.skipped_ids) & recipe.skips_in_queries
        is_compared = ~np.concatenate([is_skipped_query, np.isin(doc_tokens.ids, self.skipped_ids)])
        is_attended = recipe.expansion is not None and recipe.expansion.is_attended
        return LateItems(_joined(query_tokens, doc_tokens), own, is_attended, is_compared)

    def _encode_side(self, prompt: str, texts: Sequence[str], marker: int | None, length: int) -> FlatTokens:
        room = length - (marker is not None)
        texts = [prompt + text for text in texts]
        tokens = self._texts.encode(texts, room)
        if marker is None:
            return tokens
        places = tokens.offsets[:-1] + np.minimum(np.diff(tokens.offsets), 1)  # behind the first token
        return FlatTokens(
            np.insert(tokens.ids, places, marker).astype(np.int32),
            None if tokens.type_ids is None else np.insert(tokens.type_ids, places, 0).astype(np.int8),
            tokens.offsets + np.arange(len(tokens.offsets)),
            tokens.full_lengths + 1,
            tokens.pad_id,
        )

    def _expanded(self, tokens: FlatTokens) -> FlatTokens:
        """Return the queries, short ones filled up."""
        if self._recipe.expansion is None or self._expansion_id is None:
            return tokens
        lengths = np.diff(tokens.offsets)
        missing = np.maximum(self._recipe.expansion.length - lengths, 0)
        places = np.repeat(tokens.offsets[1:], missing)
        offsets = tokens.offsets.copy()
        offsets[1:] += np.cumsum(missing)
        return FlatTokens(
            np.insert(tokens.ids, places, self._expansion_id).astype(np.int32),
            None if tokens.type_ids is None else np.insert(tokens.type_ids, places, 0).astype(np.int8),
            offsets,
            tokens.full_lengths + missing,
            tokens.pad_id,
        )

    def _token_id(self, token: str) -> int | None:
        """Return a token's id; ``None`` where the vocabulary has no such token."""
        found = self._tokenizer.convert_tokens_to_ids(token)
        is_unknown = found == self._tokenizer.unk_token_id and token != self._tokenizer.unk_token
        return None if found is None or is_unknown else int(found)

    def _marker_id(self, marker: str | None) -> int | None:
        if marker is None:
            return None
        found = self._token_id(marker)
        if found is None:
            msg = (
                f"model {self._name!r}: its tokenizer has no token {marker!r}, which its files put before every text; "
                "the token's embedding would be random numbers. Copy the tokenizer files that belong to the weights"
            )
            raise ScoringError(msg)
        return found

    def _find_expansion_id(self, token: str | None) -> int:
        tokenizer = self._tokenizer
        candidates = (tokenizer.mask_token_id, tokenizer.eos_token_id) if token is None else (self._token_id(token),)
        found = next((candidate for candidate in candidates if candidate is not None), None)
        if found is None:
            what = "a mask token or an end-of-text token" if token is None else f"the token {token!r}"
            msg = f"model {self._name!r} fills up short queries, but its tokenizer does not have {what} to do so"
            raise ConfigError(msg)
        if tokenizer.padding_side != "right":
            msg = (
                f"model {self._name!r} fills up short queries and its tokenizer pads on the {tokenizer.padding_side}; "
                "only queries that are filled up at the end are supported"
            )
            raise ConfigError(msg)
        return int(found)

    def _find_skipped_ids(self) -> NDArray[np.int64]:
        """Return the ids of the tokens that are not compared; words that are no token of the vocabulary are noted."""
        words = self._recipe.skipped_words
        if self._recipe.layout == "stanford":  # whose code tokenises them
            rows = self._tokenizer(list(words), add_special_tokens=False)["input_ids"] if words else []
            found = [row[0] if row and row[0] != self._tokenizer.unk_token_id else None for row in rows]
        else:
            found = [self._token_id(word) for word in words]
        unknown = [word for word, token_id in zip(words, found, strict=True) if token_id is None]
        if unknown:
            progress.note(
                f"{self._name}: {' '.join(unknown)} are no tokens of its vocabulary, so none of them is skipped"
            )
        return np.asarray(sorted({token_id for token_id in found if token_id is not None}), dtype=np.int64)


def _joined(first: FlatTokens, second: FlatTokens) -> FlatTokens:
    """Return the items of both, one after the other."""
    type_ids = None
    if first.type_ids is not None and second.type_ids is not None:
        type_ids = np.concatenate([first.type_ids, second.type_ids])
    return FlatTokens(
        np.concatenate([first.ids, second.ids]),
        type_ids,
        np.concatenate([first.offsets, second.offsets[1:] + first.offsets[-1]]),
        np.concatenate([first.full_lengths, second.full_lengths]),
        first.pad_id,
    )
