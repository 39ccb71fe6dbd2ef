r"""Prompts put together from the token ids of their texts, each distinct text tokenised once.

White space around a placeholder belongs to the text's piece, because tokenizers join it to words and punctuation:
``Query: {query}\n`` gives the pieces ``Query:`` and `` …\n``.  Some join punctuation to it as well, so several cuts
are tried when a checkpoint is loaded; where none gives the tokenizer's own ids of the whole prompt, whole prompts are
tokenised (slower).

A prompt that is too long loses the end of its document; a query that takes more than three quarters of the room for
both loses its end too.  Head, middle and tail of the template always stay whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import ConfigError, ScoringError
from rerank_bench.scoring.pair_assembly import PROBE_TEXTS
from rerank_bench.scoring.prompt_items import Affix, EncodedPrompts, Ids
from rerank_bench.scoring.templates import PromptTemplate
from rerank_bench.scoring.tokenization import FlatTokens, tokenize_texts

UNLIMITED = 1 << 30
"""More tokens than any text has."""


class PromptTokenizer:
    """Tokenises prompts for one checkpoint.

    Args:
        name: The model, for messages.
        tokenizer: The checkpoint's, owned by this object: its truncation settings are changed.
        template: The text around a pair.
        max_length: Tokens of a prompt, special tokens included.
        closes: Whether the tokenizer's closing special tokens (T5's ``</s>``) follow the prompt; without them the
            prompt's last token is the one that the answer follows.

    Raises:
        ConfigError: ``max_length`` leaves no room for query and document.
        ScoringError: The tokenizer is not a fast one.
    """

    num_template_tokens: int
    """Tokens that are neither query nor document, at most."""

    def __init__(
        self, name: str, tokenizer: Any, template: PromptTemplate, max_length: int, *, closes: bool = False
    ) -> None:
        if not tokenizer.is_fast:
            msg = f"model {name!r}: its tokenizer has no tokenizer.json (fast tokenizer), which prompts need"
            raise ScoringError(msg)
        self.tokenizer = tokenizer
        self.template = template
        self.max_length = max_length
        opening, closing = _special_ids(tokenizer, template)
        self._opening, self._closing = opening, closing if closes else opening[:0]
        self.is_pieced = any(self._is_exact(left) for left in LEFT_CONTEXTS)
        if not self.is_pieced:
            self.num_template_tokens = max(self.num_template_tokens, len(self._rows([template.fill("", "")])[0]))
        if max_length < self.num_template_tokens + 2:
            msg = (
                f"max_length is {max_length}, but the template of model {name!r} alone takes "
                f"{self.num_template_tokens} tokens; pass --max-length of at least {self.num_template_tokens + 2}"
            )
            raise ConfigError(msg)

    def encode(
        self, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]
    ) -> EncodedPrompts | FlatTokens:
        """Tokenise prompts given as (N, 2) indices into the texts."""
        if self.is_pieced:
            return self._assemble(queries, docs, pairs, self.max_length)
        return self._encode_whole(queries, docs, pairs)

    def _split(self, left: re.Pattern[str]) -> None:
        """Tokenise what stands around the texts, without what is left to a text's piece.

        Args:
            left: What that is before a text; after a text it is white space.
        """
        template = self.template
        head = left.sub("", template.head)
        between = template.middle.lstrip()
        after_first = template.middle[: len(template.middle) - len(between)]
        middle = left.sub("", between)
        tail = template.tail.lstrip()
        after_second = template.tail[: len(template.tail) - len(tail)]
        self._contexts = (
            (template.head[len(head) :], after_first),
            (between[len(middle) :], after_second),
        )
        self._head = np.concatenate([self._opening, self._ids(head)])
        self._affixes = (
            Affix(self._ids(middle), self._ids(after_first + middle)),
            Affix(
                np.concatenate([self._ids(tail), self._closing]),
                np.concatenate([self._ids(after_second + tail), self._closing]),
            ),
        )
        self.num_template_tokens = len(self._head) + sum(
            max(len(affix.after_whole), len(affix.after_cut)) for affix in self._affixes
        )

    def _ids(self, text: str) -> Ids:
        return self._texts([text], keep=UNLIMITED).ids

    def _texts(self, texts: Sequence[str], *, keep: int) -> FlatTokens:
        return tokenize_texts(self.tokenizer, texts, keep=keep, keeps_end=False)

    def _assemble(
        self, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64], max_length: int
    ) -> EncodedPrompts:
        query_column = 0 if self.template.query_first else 1
        pieces: list[FlatTokens] = []
        for column, texts in enumerate((queries, docs) if query_column == 0 else (docs, queries)):
            before, after = self._contexts[column]
            clean = [text.strip() for text in texts] if self.template.trims else texts
            pieces.append(self._texts([f"{before}{text}{after}" for text in clean], keep=max_length))
        rows = pairs if query_column == 0 else pairs[:, ::-1]
        full = np.stack([pieces[0].full_lengths[rows[:, 0]], pieces[1].full_lengths[rows[:, 1]]], axis=1)  # (N, 2)
        kept = self._kept(full, query_column, max_length)
        return EncodedPrompts(self._head, self._affixes, (pieces[0], pieces[1]), rows, kept, kept < full)

    def _kept(self, full: NDArray[np.int64], query_column: int, max_length: int) -> NDArray[np.int64]:
        """Return how many tokens of both texts stay, (N, 2), from how many there are."""
        whole = len(self._head) + sum(len(affix.after_whole) for affix in self._affixes)
        fits = full.sum(axis=1) + whole <= max_length
        room = max_length - self.num_template_tokens
        num_query, num_doc = full[:, query_column], full[:, 1 - query_column]
        query_kept, doc_kept = truncate_doc_first(num_query, num_doc, room)
        # What follows a query is shorter after a whole one, which leaves more room for the document.
        after = self._affixes[query_column]
        slack = max(0, len(after.after_cut) - len(after.after_whole))
        doc_kept = np.where(query_kept == num_query, np.minimum(num_doc, room + slack - num_query), doc_kept)
        kept = np.stack([query_kept, doc_kept], axis=1)
        return np.where(fits[:, None], full, kept if query_column == 0 else kept[:, ::-1])

    def _encode_whole(self, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]) -> FlatTokens:
        """Tokenise whole prompts; texts of one that is too long are cut, as texts, until it fits."""
        prompts = [self.template.fill(queries[query], docs[doc]) for query, doc in pairs.tolist()]
        rows = self._rows(prompts)
        full_lengths = np.asarray([len(row) for row in rows], dtype=np.int64)
        for index in np.flatnonzero(full_lengths > self.max_length).tolist():
            rows[index] = self._cut_prompt(queries[pairs[index, 0]], docs[pairs[index, 1]])
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        ids = np.concatenate(rows) if rows else np.empty(0, dtype=np.int32)
        return FlatTokens(ids, None, offsets, full_lengths, self.tokenizer.pad_token_id)

    def _rows(self, prompts: Sequence[str]) -> list[Ids]:
        flat = self._texts(prompts, keep=UNLIMITED)
        return [
            np.concatenate([self._opening, flat.ids[start:stop], self._closing])
            for start, stop in zip(flat.offsets[:-1].tolist(), flat.offsets[1:].tolist(), strict=True)
        ]

    def _cut_prompt(self, query: str, doc: str) -> Ids:
        """Return the ids of the prompt with as much of document and query as ``max_length`` has room for."""
        ends = [self._token_ends(text) for text in (query, doc)]
        room = self.max_length - self.num_template_tokens
        while True:
            kept = truncate_doc_first(np.asarray([len(ends[0])]), np.asarray([len(ends[1])]), room)
            num_query, num_doc = int(kept[0][0]), int(kept[1][0])
            cut_query = query if num_query == len(ends[0]) else query[: ends[0][num_query - 1] if num_query else 0]
            cut_doc = doc if num_doc == len(ends[1]) else doc[: ends[1][num_doc - 1] if num_doc else 0]
            row = self._rows([self.template.fill(cut_query, cut_doc)])[0]
            if len(row) <= self.max_length or room == 0:
                return row
            room = max(0, room - (len(row) - self.max_length))

    def _token_ends(self, text: str) -> list[int]:
        encoding = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return [int(stop) for _, stop in encoding["offset_mapping"]]

    def _is_exact(self, left: re.Pattern[str]) -> bool:
        """Split the template, and return whether pieces give the tokenizer's own ids on every pair of probe texts."""
        self._split(left)
        grid = np.indices((len(_PROBES), len(_PROBES))).reshape(2, -1).T.astype(np.int64)
        whole = self._rows([self.template.fill(_PROBES[query], _PROBES[doc]) for query, doc in grid.tolist()])
        ours = self._assemble(_PROBES, _PROBES, grid, UNLIMITED)
        batch = ours.batch(np.arange(len(grid), dtype=np.int64))
        return all(
            np.array_equal(ids[:length], row)
            for ids, length, row in zip(batch.input_ids, ours.lengths.tolist(), whole, strict=True)
        )


LEFT_CONTEXTS = (re.compile(r"\s*\Z"), re.compile(r"[^\S\r\n]*\Z"), re.compile(r"[\W_]*\Z"))
"""What is tried to be left to the piece of the text that follows: white space, blanks, all up to a letter."""

_PROBES = (*PROBE_TEXTS, "what is it?", "ends with a line.\n", "\n\nstarts with lines", "a: b\n\n", "1 2 3", "x")


def truncate_doc_first(
    query_lengths: NDArray[np.int64], doc_lengths: NDArray[np.int64], room: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many tokens of query and document stay, (N,) each.

    The document gives way; a query only for what it takes beyond three quarters of the room.

    Args:
        query_lengths: (N,) tokens.
        doc_lengths: (N,) tokens.
        room: Tokens for both together.
    """
    query_kept = np.minimum(query_lengths, np.maximum(room - doc_lengths, room * 3 // 4))
    return query_kept, np.minimum(doc_lengths, room - query_kept)


def _special_ids(tokenizer: Any, template: PromptTemplate) -> tuple[Ids, Ids]:
    """Return the special tokens that the tokenizer puts before and after a text, as far as the template wants them."""
    none = np.empty(0, dtype=np.int32)
    if not template.adds_special_tokens:
        return none, none
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    ids = tokenizer("a")["input_ids"]
    at = next(start for start in range(len(ids)) if ids[start : start + len(bare)] == bare)
    opening, closing = ids[:at], ids[at + len(bare) :]
    written = tokenizer(template.head, add_special_tokens=False)["input_ids"][: len(opening)]
    # A template that writes its own opening token gets no second one.
    return np.asarray([] if written == opening else opening, dtype=np.int32), np.asarray(closing, dtype=np.int32)
