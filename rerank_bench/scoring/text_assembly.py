"""Texts that a model reads alone, tokenised on all cores, with the special tokens that the tokenizer itself would add.

A text's ids are ``prefix + text + suffix``, the text cut to what is left of the length.  Whether that gives the tokenizer's
own ids is tried on a few texts when a checkpoint is loaded; a tokenizer that fails is called on whole texts instead (slower,
equal by definition).  ``pair_assembly.py`` does the same for pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rerank_bench.scoring.pair_assembly import PROBE_TEXTS
from rerank_bench.scoring.tokenization import FlatTokens, encode_whole, tokenize_texts
from rerank_bench.scoring.word_cache import ranges


class TextTemplate(NamedTuple):
    """What a tokenizer puts around a text."""

    prefix: NDArray[np.int32]
    suffix: NDArray[np.int32]

    @property
    def num_special(self) -> int:
        """Tokens that are not the text's."""
        return len(self.prefix) + len(self.suffix)


class TextTokenizer:
    """Tokenises single texts for one checkpoint.

    Args:
        tokenizer: The checkpoint's, owned by this object: its truncation settings are changed.
        has_type_ids: Whether the model takes segment ids.
    """

    def __init__(self, tokenizer: Any, *, has_type_ids: bool) -> None:
        self.tokenizer = tokenizer
        self.has_type_ids = has_type_ids and "token_type_ids" in tokenizer(["a"])
        self.template = self._proven_template()

    def encode(self, texts: Sequence[str], max_length: int) -> FlatTokens:
        """Tokenise texts, cut to ``max_length`` tokens, special ones included: more than there are special ones."""
        if self.template is None:
            return encode_whole(self.tokenizer, texts, None, max_length, has_type_ids=self.has_type_ids)
        return self._assemble(self.template, texts, max_length)

    def _assemble(self, template: TextTemplate, texts: Sequence[str], max_length: int) -> FlatTokens:
        keeps_end = self.tokenizer.truncation_side == "left"
        room = max_length - template.num_special
        bare = tokenize_texts(self.tokenizer, texts, keep=room, keeps_end=keeps_end)
        prefix, suffix = template
        offsets = bare.offsets + template.num_special * np.arange(len(bare.offsets))
        starts, stops = offsets[:-1], offsets[1:]
        ids = np.empty(offsets[-1], dtype=np.int32)
        ids[starts[:, None] + np.arange(len(prefix))] = prefix
        ids[ranges(starts + len(prefix), np.diff(bare.offsets))] = bare.ids
        ids[stops[:, None] - np.arange(len(suffix), 0, -1)] = suffix
        type_ids = np.zeros(len(ids), dtype=np.int8) if self.has_type_ids else None
        return FlatTokens(ids, type_ids, offsets, bare.full_lengths + template.num_special, bare.pad_id)

    def _proven_template(self) -> TextTemplate | None:
        """Return the template if putting texts together from it gives the tokenizer's own tokens on every probe."""
        template = _find_template(self.tokenizer, has_type_ids=self.has_type_ids)
        if template is None:
            return None
        for max_length in (template.num_special + room for room in (1, 4, 500)):
            whole = encode_whole(self.tokenizer, PROBE_TEXTS, None, max_length, has_type_ids=self.has_type_ids)
            if not _equal(whole, self._assemble(template, PROBE_TEXTS, max_length)):
                return None
        return template


def _equal(whole: FlatTokens, ours: FlatTokens) -> bool:
    """Return whether texts have the same tokens, segments (ours are all 0) and lengths before they were cut."""
    return (
        np.array_equal(whole.ids, ours.ids)
        and np.array_equal(whole.offsets, ours.offsets)
        and np.array_equal(whole.full_lengths, ours.full_lengths)
        and (whole.type_ids is None or not whole.type_ids.any())
    )


def _find_template(tokenizer: Any, *, has_type_ids: bool) -> TextTemplate | None:
    """Return what stands around a text; ``None`` if it cannot be read off, has segments, or the tokenizer is slow."""
    if not tokenizer.is_fast:
        return None
    text = "what is a query"
    own = tokenizer([text], add_special_tokens=False)["input_ids"][0]
    whole = tokenizer([text])
    if has_type_ids and any(whole["token_type_ids"][0]):
        return None
    ids = whole["input_ids"][0]
    at = next((at for at in range(len(ids) - len(own) + 1) if ids[at : at + len(own)] == own), None)
    if at is None:
        return None
    return TextTemplate(np.asarray(ids[:at], dtype=np.int32), np.asarray(ids[at + len(own) :], dtype=np.int32))
