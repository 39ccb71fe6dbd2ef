"""The terms of a whole collection as numbers, on all cores, in memory that does not grow with Python objects.

Threads number the words of their chunks, each in a word table of its own (compiled, without the interpreter lock);
then every distinct word is stemmed once, and the words' numbers become the terms'.  Terms are numbered in the order in
which they first occur in the collection, so neither the number of workers nor the size of the chunks can be seen in
the result.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rerank_bench.first_stage.analysis import WORD_PATTERN, AnalyzerConfig, split_words, stem_words
from rerank_bench.progress import track
from rerank_bench.provenance import num_usable_cores

CHUNK_DOCS = 16_384
"""Documents per piece of work."""

MAX_WORKERS = 8
"""Every worker has a table of words or an array of scores of its own, and the rest of the work runs on one core."""

CONTEXT_LETTERS = ("\u0130", "\u03a3")
"""Dotted I and capital sigma: the letters whose lower case is not one code point that depends on nothing else."""

_NUM_CODE_POINTS = 0x110000

Chunk = tuple[NDArray[np.int32], NDArray[np.int64]]
"""(words,) word numbers of a chunk's documents, (D,) words per document."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenizedCorpus:
    """The terms of N documents as numbers."""

    token_ids: NDArray[np.int32]
    """(T,) the terms of all documents, one document after the other."""
    offsets: NDArray[np.int64]
    """(N + 1,) where each document begins in ``token_ids``."""
    vocabulary: list[str]
    """V terms in the order in which they first occur; a term's number is its position."""


def tokenize_collection(
    texts: pa.Array, config: AnalyzerConfig, *, num_workers: int | None = None, chunk_docs: int = CHUNK_DOCS
) -> TokenizedCorpus:
    """Return the terms of all texts.

    Args:
        texts: (N,) large_string.
        config: The analyser.
        num_workers: Number of threads; ``None`` takes one per usable core, up to ``MAX_WORKERS``.
        chunk_docs: Documents per piece of work.
    """
    from rerank_bench.first_stage.word_kernels import renumber

    # Only the compiled loops leave the interpreter lock to others.
    is_compiled = config.token_pattern == WORD_PATTERN
    num_tables = choose_workers(num_workers, len(texts) // chunk_docs + 1) if is_compiled else 1
    tables: list[_WordTable] = [
        _CompiledTable(config) if is_compiled else _PlainTable(config) for _ in range(num_tables)
    ]
    pieces = _number_words(texts, tables, chunk_docs)
    terms, term_of_word = _stem_tables([table.words() for table in tables], config)
    token_ids = np.empty(sum(len(word_ids) for _, (word_ids, _) in pieces), dtype=np.int32)
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    id_of_term = np.full(len(terms), -1, dtype=np.int32)
    num_terms = num_tokens = num_docs = 0
    pieces.reverse()
    while pieces:  # a piece is let go as soon as it is copied
        table, (word_ids, lengths) = pieces.pop()
        out = token_ids[num_tokens:]
        written, num_terms = renumber(word_ids, lengths, term_of_word[table], id_of_term, num_terms, out)
        num_tokens += written
        offsets[num_docs + 1 : num_docs + 1 + len(lengths)] = lengths
        num_docs += len(lengths)
    np.cumsum(offsets, out=offsets)
    met = np.flatnonzero(id_of_term >= 0)
    in_order = met[np.argsort(id_of_term[met])]  # (V,)
    return TokenizedCorpus(token_ids[:num_tokens], offsets, [terms[term] for term in in_order.tolist()])


def choose_workers(wanted: int | None, num_tasks: int) -> int:
    """Return the number of threads for some tasks; ``None`` wants one per usable core, up to ``MAX_WORKERS``."""
    return max(1, min(wanted or min(num_usable_cores(), MAX_WORKERS), num_tasks))


class _WordTable(Protocol):
    """The distinct words that one worker has met."""

    def number(self, texts: pa.Array) -> Chunk:
        """Number the words of some documents."""

    def words(self) -> list[str]:
        """Return the words by number."""


class _PlainTable:
    """Words found by the regular expression, for patterns that the compiled loops do not know."""

    def __init__(self, config: AnalyzerConfig) -> None:
        self._config = config
        self._numbers: dict[str, int] = {}

    def number(self, texts: pa.Array) -> Chunk:
        numbers = self._numbers
        words_by_doc = [split_words(text, self._config) for text in texts.to_pylist()]
        word_ids = [numbers.setdefault(word, len(numbers)) for words in words_by_doc for word in words]
        return np.asarray(word_ids, dtype=np.int32), np.asarray([len(words) for words in words_by_doc], dtype=np.int64)

    def words(self) -> list[str]:
        return list(self._numbers)


class _CompiledTable:
    """Words found in the texts' UTF-8 bytes."""

    def __init__(self, config: AnalyzerConfig) -> None:
        from rerank_bench.first_stage.word_kernels import empty_word_table

        self._lowercase = config.lowercase
        self._table = empty_word_table()

    def number(self, texts: pa.Array) -> Chunk:
        from rerank_bench.first_stage.word_kernels import number_words

        offsets, data = _utf8_buffers(texts)
        if self._lowercase:
            text_bytes = data[offsets[0] : offsets[-1]].tobytes()
            if any(letter.encode() in text_bytes for letter in CONTEXT_LETTERS):
                lowered = [text.lower() for text in texts.to_pylist()]
                offsets, data = _utf8_buffers(pa.array(lowered, type=pa.large_string()))
        word_ids, lengths, self._table = number_words(
            data, offsets, folded_letters(lowercase=self._lowercase), self._table
        )
        return word_ids, lengths

    def words(self) -> list[str]:
        _, ends, letters, num_words = self._table
        bounds = [0, *ends[:num_words].tolist()]
        text = letters[: bounds[-1]].astype("<u4").tobytes().decode("utf-32-le")
        return [text[start:end] for start, end in itertools.pairwise(bounds)]


def _utf8_buffers(texts: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return (D + 1,) offsets and (bytes,) data of a large_string array of at least one text, without a copy."""
    _, offsets, data = texts.buffers()
    starts = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return starts, np.frombuffer(data, dtype=np.uint8)


@functools.cache
def folded_letters(*, lowercase: bool) -> NDArray[np.uint32]:
    """Return (0x200000,) uint32: each word character's (lower-cased) code point, 0 for all others.

    Longer than Unicode, so that no four bytes read as UTF-8 point behind its end.  Where lower case is asked for,
    ``CONTEXT_LETTERS`` count as no word characters: texts with them must be lower-cased beforehand.
    """
    characters = np.arange(_NUM_CODE_POINTS, dtype="<u4").tobytes().decode("utf-32-le", errors="surrogatepass")
    if lowercase:
        characters = characters.translate({ord(letter): " " for letter in CONTEXT_LETTERS}).lower()
    code_points = np.frombuffer(characters.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")
    assert len(code_points) == _NUM_CODE_POINTS, "one code point has come to lower-case to several"  # noqa: S101  a new Unicode version
    folded = np.zeros(0x200000, dtype=np.uint32)
    for run in re.finditer(r"\w+", characters):
        folded[run.start() : run.end()] = code_points[run.start() : run.end()]
    return folded


def _number_words(texts: pa.Array, tables: Sequence[_WordTable], chunk_docs: int) -> list[tuple[int, Chunk]]:
    """Return the chunks in order, each with the number of the table that its word numbers belong to."""
    free: SimpleQueue[int] = SimpleQueue()
    for number in range(len(tables)):
        free.put(number)

    def number_chunk(start: int) -> tuple[int, Chunk]:
        number = free.get()
        try:
            return number, tables[number].number(texts.slice(start, chunk_docs))
        finally:
            free.put(number)

    pieces = []
    with (
        track("tokenize", total=len(texts), unit="documents") as advance,
        ThreadPoolExecutor(len(tables)) as pool,
    ):
        for piece in pool.map(number_chunk, range(0, len(texts), chunk_docs)):
            pieces.append(piece)
            advance(len(piece[1][1]))
    return pieces


def _stem_tables(
    words_by_table: Sequence[list[str]], config: AnalyzerConfig
) -> tuple[list[str], list[NDArray[np.int32]]]:
    """Return the distinct terms, in any order, and per table (words,) int32: each word's term, −1 for a stop word."""
    distinct = list(dict.fromkeys(itertools.chain.from_iterable(words_by_table)))
    stems = stem_words(distinct, config)
    terms = list(dict.fromkeys(stem for stem in stems if stem is not None))
    number_of_term: dict[str | None, int] = {term: number for number, term in enumerate(terms)}
    number_of_term[None] = -1
    number_of_word = dict(zip(distinct, map(number_of_term.__getitem__, stems), strict=True))
    return terms, [
        np.fromiter(map(number_of_word.__getitem__, words), dtype=np.int32, count=len(words))
        for words in words_by_table
    ]
