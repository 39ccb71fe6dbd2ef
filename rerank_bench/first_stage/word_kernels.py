"""Compiled loops over UTF-8 bytes: a word becomes a number without becoming a Python object.

A word is a maximal run of at least two word characters, lower-cased one code point at a time; what that leaves out
(lower-casing that looks at the neighbours) is the caller's to sort out beforehand (``tokenization``).

A *word table* is what the kernels keep of the words met so far: ``slots`` (open addressing; a free slot holds 0, a used
one the word's key and its number + 1), ``ends`` (by word number) and ``letters`` (the code points of all words, one word
after the other).  The key of up to eight ASCII letters is these letters themselves, so that finding a word touches one
place in memory; a longer word's key is a hash, and its letters are compared.  Measured on 4.5 million words of which
170,000 were distinct: 165 ns a word with hashes and letters in arrays of their own, 60 ns like this.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.first_stage.compilation import compiled

WordTable = tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.uint32], int]
"""slots (S, 2) with S a power of two, ends (C,), letters (L,), number of words."""

Index = int | np.int64

_HASHED = np.uint64(1 << 63)  # never set in a key of ASCII letters
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio (Knuth, The Art of Computer Programming 3, section 6.4)


def empty_word_table() -> WordTable:
    """Return a table without words; it grows as they come."""
    return (
        np.zeros((1 << 16, 2), dtype=np.uint64),
        np.empty(1 << 15, dtype=np.int64),
        np.empty(1 << 18, dtype=np.uint32),
        0,
    )


@compiled
def _home_slot(key: np.uint64, num_slots: int) -> np.int64:
    return np.int64(((key * _MIX) >> np.uint64(32)) & np.uint64(num_slots - 1))


@compiled
def _grown(array: NDArray[Any], needed: int) -> NDArray[Any]:
    larger = np.empty(max(2 * len(array), needed), dtype=array.dtype)
    larger[: len(array)] = array
    return larger


@compiled
def _rehashed(slots: NDArray[np.uint64]) -> NDArray[np.uint64]:
    larger = np.zeros((2 * len(slots), 2), dtype=np.uint64)
    for old in range(len(slots)):
        if slots[old, 1]:
            slot = _home_slot(slots[old, 0], len(larger))
            while larger[slot, 1]:
                slot = (slot + 1) % len(larger)
            larger[slot] = slots[old]
    return larger


@compiled
def _hashed_key(letters: NDArray[np.uint32], start: int, length: int) -> np.uint64:
    key = np.uint64(0xCBF29CE484222325)  # FNV-1a over code points
    for i in range(start, start + length):
        key = (key ^ np.uint64(letters[i])) * np.uint64(0x100000001B3)
    return key | _HASHED


@compiled
def _same_letters(ends: NDArray[np.int64], letters: NDArray[np.uint32], word: Index, start: int, length: int) -> bool:
    begin = ends[word - 1] if word else 0
    if ends[word] - begin != length:
        return False
    for i in range(length):  # noqa: SIM110  numba compiles no generator
        if letters[begin + i] != letters[start + i]:
            return False
    return True


@compiled
def _find_slot(
    slots: NDArray[np.uint64],
    ends: NDArray[np.int64],
    letters: NDArray[np.uint32],
    key: np.uint64,
    start: int,
    length: int,
) -> Index:
    """Return the slot of the word whose letters stand at ``letters[start:]``: where it is, or where it belongs.

    The arrays come one by one: numba counts references to those of a tuple on every call, which made it three times
    slower.
    """
    slot = _home_slot(key, len(slots))
    while slots[slot, 1]:
        word = np.int64(slots[slot, 1]) - 1
        if slots[slot, 0] == key and (not key & _HASHED or _same_letters(ends, letters, word, start, length)):
            break
        slot = (slot + 1) & (len(slots) - 1)
    return slot


@compiled
def _next_letter(data: NDArray[np.uint8], at: int, folded: NDArray[np.uint32]) -> tuple[np.uint32, int]:
    """Return (lower-cased word character at ``data[at]``, not ASCII, or 0; where the next character begins)."""
    lead = np.int64(data[at])
    if lead < 0xE0:
        return folded[((lead & 0x1F) << 6) | (data[at + 1] & 0x3F)], at + 2
    if lead < 0xF0:
        return folded[((lead & 0x0F) << 12) | ((data[at + 1] & 0x3F) << 6) | (data[at + 2] & 0x3F)], at + 3
    high = ((lead & 0x07) << 18) | ((data[at + 1] & 0x3F) << 12)
    return folded[high | ((data[at + 2] & 0x3F) << 6) | (data[at + 3] & 0x3F)], at + 4


@compiled
def _max_words(num_bytes: int) -> int:
    # A word has two bytes at least, and a byte that is no word between it and the next.
    return (num_bytes + 1) // 3


@compiled
def _number_document(
    data: NDArray[np.uint8],
    bounds: tuple[int, int],
    folded: NDArray[np.uint32],
    table: WordTable,
    word_ids: NDArray[np.int32],
    num_tokens: int,
) -> tuple[int, int]:
    """Number the words of one document for which all arrays have room; return the new numbers of words and tokens."""
    slots, ends, letters, num_words = table
    start = ends[num_words - 1] if num_words else 0  # the word being read is written behind the last known one
    length = 0
    key = np.uint64(0)
    all_bits = np.uint32(0)
    at, end = bounds
    while at <= end:
        letter = np.uint32(0)  # the document's end closes a word, as a space does
        if at < end:
            lead = data[at]
            if lead < 0x80:
                letter = folded[lead]
                at += 1
            else:
                letter, at = _next_letter(data, at, folded)
        else:
            at += 1
        if letter:
            letters[start + length] = letter
            length += 1
            key = (key << np.uint64(8)) | np.uint64(letter)
            all_bits |= letter
            continue
        if length >= 2:
            if length > 8 or all_bits >= np.uint32(0x80):
                key = _hashed_key(letters, start, length)
            slot = _find_slot(slots, ends, letters, key, start, length)
            word: Index = np.int64(slots[slot, 1]) - 1
            if word < 0:
                word = num_words
                start += length
                ends[word] = start
                num_words += 1
                slots[slot, 0] = key
                slots[slot, 1] = np.uint64(num_words)
            word_ids[num_tokens] = word
            num_tokens += 1
        length = 0
        key = np.uint64(0)
        all_bits = np.uint32(0)
    return num_words, num_tokens


@compiled
def number_words(
    data: NDArray[np.uint8], offsets: NDArray[np.int64], folded: NDArray[np.uint32], table: WordTable
) -> tuple[NDArray[np.int32], NDArray[np.int64], WordTable]:
    """Number the words of D documents.

    Args:
        data: (bytes,) uint8, valid UTF-8.
        offsets: (D + 1,) int64, where each document begins in ``data``.
        folded: (0x200000,) uint32 (every value of four UTF-8 bytes), the lower-cased code point of each word character,
            0 for every other character.
        table: The words met before; its arrays are written to.

    Returns:
        (tokens,) int32 word numbers, (D,) int64 tokens per document, the table with the new words.
    """
    slots, ends, letters, num_words = table
    num_docs = len(offsets) - 1
    word_ids = np.empty(_max_words(offsets[num_docs] - offsets[0]) + num_docs, dtype=np.int32)
    lengths = np.empty(num_docs, dtype=np.int64)
    num_tokens = 0
    for doc in range(num_docs):
        num_bytes = offsets[doc + 1] - offsets[doc]
        letters_used = ends[num_words - 1] if num_words else 0
        if letters_used + num_bytes > len(letters):
            letters = _grown(letters, letters_used + num_bytes)
        if num_words + _max_words(num_bytes) > len(ends):
            ends = _grown(ends, num_words + _max_words(num_bytes))
        while 2 * (num_words + _max_words(num_bytes)) > len(slots):
            slots = _rehashed(slots)
        tokens_before = num_tokens
        num_words, num_tokens = _number_document(
            data, (offsets[doc], offsets[doc + 1]), folded, (slots, ends, letters, num_words), word_ids, num_tokens
        )
        lengths[doc] = num_tokens - tokens_before
    return word_ids[:num_tokens].copy(), lengths, (slots, ends, letters, num_words)


@compiled
def renumber(
    word_ids: NDArray[np.int32],
    lengths: NDArray[np.int64],
    term_of_word: NDArray[np.int32],
    id_of_term: NDArray[np.int32],
    num_ids: int,
    out: NDArray[np.int32],
) -> tuple[int, int]:
    """Turn words into terms, numbered in the order in which they first occur, and drop the words without one.

    Args:
        word_ids: (tokens,) int32.
        lengths: (D,) int64, words per document; replaced by terms per document.
        term_of_word: (words,) int32, −1 for a stop word.
        id_of_term: (terms,) int32, −1 for a term not met yet; written to.
        num_ids: How many terms have been met.
        out: (at least tokens,) int32, receives the term ids.

    Returns:
        How many term ids were written, how many terms have been met now.
    """
    read = 0
    written = 0
    for doc in range(len(lengths)):
        written_before = written
        for _ in range(lengths[doc]):
            term = term_of_word[word_ids[read]]
            read += 1
            if term < 0:
                continue
            if id_of_term[term] < 0:
                id_of_term[term] = num_ids
                num_ids += 1
            out[written] = id_of_term[term]
            written += 1
        lengths[doc] = written - written_before
    return written, num_ids
