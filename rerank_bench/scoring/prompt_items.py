"""Prompts as token ids: what of each text is kept, and what stands around it; put together batch by batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerank_bench.scoring.scorer import EncodedItems
from rerank_bench.scoring.tokenization import FlatTokens, TokenBatch, empty_batch

Ids = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Affix:
    """What follows a text in the prompt."""

    after_whole: Ids
    """The text's piece already holds the white space that follows it."""
    after_cut: Ids
    """The text lost its end, and the white space with it."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPrompts:
    """N prompts over tokenised queries and documents; ids are put together batch by batch."""

    head: Ids
    affixes: tuple[Affix, Affix]
    texts: tuple[FlatTokens, FlatTokens]
    """Tokens of the first and the second texts."""
    rows: NDArray[np.int64]
    """(N, 2): indices into the first and the second texts."""
    kept: NDArray[np.int64]
    """(N, 2): tokens of both after truncation."""
    is_cut: NDArray[np.bool_]
    """(N, 2): whether that is fewer than before."""

    @property
    def flats(self) -> list[FlatTokens]:
        """The arrays that hold the ids: of the texts, and of what stands around them."""
        affixes = [ids for affix in self.affixes for ids in (affix.after_whole, affix.after_cut)]
        ids = np.concatenate([self.head, *affixes])
        length = np.asarray([len(ids)], dtype=np.int64)
        return [*self.texts, FlatTokens(ids, None, np.append(np.int64(0), length), length, self.texts[0].pad_id)]

    @property
    def lengths(self) -> NDArray[np.int32]:
        """(N,) int32: tokens of each prompt."""
        return np.asarray(self._lengths(slice(None)), dtype=np.int32)

    @property
    def is_truncated(self) -> NDArray[np.bool_]:
        """(N,): whether a prompt lost tokens."""
        return np.asarray(self.is_cut.any(axis=1))

    def batch(self, indices: NDArray[np.int64]) -> TokenBatch:
        """Return the prompts at ``indices``, padded on the right."""
        batch = empty_batch(self._lengths(indices), self.texts[0].pad_id, has_types=False)
        batch.input_ids[:, : len(self.head)] = self.head
        for row, index in enumerate(indices.tolist()):
            stop = len(self.head)
            for part, (texts, affix) in enumerate(zip(self.texts, self.affixes, strict=True)):
                start = int(texts.offsets[self.rows[index, part]])
                num_kept = int(self.kept[index, part])
                after = affix.after_cut if self.is_cut[index, part] else affix.after_whole
                for ids in (texts.ids[start : start + num_kept], after):
                    batch.input_ids[row, stop : stop + len(ids)] = ids
                    stop += len(ids)
        return batch

    def _lengths(self, indices: NDArray[np.int64] | slice) -> NDArray[np.int64]:
        lengths: NDArray[np.int64] = self.kept[indices].sum(axis=1) + len(self.head)
        for part, affix in enumerate(self.affixes):
            lengths += np.where(self.is_cut[indices, part], len(affix.after_cut), len(affix.after_whole))
        return lengths


@dataclass(frozen=True, slots=True, eq=False)
class LeftPadded:
    """Items whose batches are padded on the left, so that every row ends with its last token."""

    items: EncodedItems

    @property
    def lengths(self) -> NDArray[np.int32]:
        """(N,) int32: tokens of each item."""
        return self.items.lengths

    @property
    def is_truncated(self) -> NDArray[np.bool_]:
        """(N,): whether an item lost tokens."""
        return self.items.is_truncated

    def batch(self, indices: NDArray[np.int64]) -> TokenBatch:
        """Return the items at ``indices``, padded on the left."""
        ids, mask, _ = self.items.batch(indices)
        num_padding = ids.shape[1] - mask.sum(axis=1, keepdims=True)  # (B, 1)
        source = (np.arange(ids.shape[1]) - num_padding) % ids.shape[1]  # (B, L)
        return TokenBatch(np.take_along_axis(ids, source, axis=1), np.take_along_axis(mask, source, axis=1), None)
