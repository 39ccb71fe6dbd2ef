"""Inverted indices on disk, one file per collection and analyser, mapped into memory when they are used again.

A file holds what does not depend on the formula, so that ``bm25`` and ``rank-bm25``, whatever their parameters, share it.
Its first 80 bytes say which collection and analyser it is of, how much of each thing follows, and the checksum of all
that follows: a file that is cut short, damaged or of another collection is noticed and built anew.  The postings of a
term are read from the disk when a query names it, and count as the system's cache, not as the program's memory.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import DataError, EnvironmentMissingError
from rerank_bench.first_stage.analysis import AnalyzerConfig, analyzer_versions
from rerank_bench.first_stage.bm25 import BM25Config, BM25Index, weigh
from rerank_bench.first_stage.inverted_index import InvertedIndex, invert
from rerank_bench.first_stage.tokenization import tokenize_collection
from rerank_bench.locks import taken_or_built
from rerank_bench.progress import note
from rerank_bench.records import Dataset
from rerank_bench.storage import atomic_path, cache_folder, fingerprint_json

MIN_STORED_DOCS = 100_000
"""A smaller collection is indexed in less than a second, and not stored."""

CODE_VERSION = 1
"""Bumped by any change of code that may change an index, so that those in caches are built anew."""

SUFFIX = ".inverted"
MAGIC = b"rbinvert"
HEADER = struct.Struct("<8s32sQQQQII")
"""Magic, key, documents, terms, postings, bytes of the terms, CRC-32 of the rest of the file, CRC-32 of what stands
before it in the header."""
CHECKED_BYTES = 1 << 22
"""Read at a time when the checksum is taken."""


def indexes_folder() -> Path:
    """Return the folder of the stored indices."""
    return cache_folder() / "indexes"


def open_index(dataset: Dataset, config: BM25Config, *, min_docs: int = MIN_STORED_DOCS) -> BM25Index:
    """Return the index of a data set's collection, from the disk where it was built before.

    Args:
        dataset: The collection; without a fingerprint of it nothing is stored.
        config: Variant, parameters, analyser.
        min_docs: Collections with fewer documents are indexed every time.
    """
    collection = dataset.collection
    corpus = dataset.fingerprints.get("corpus")
    if corpus is None or len(collection) < min_docs:
        return weigh(invert(tokenize_collection(collection.texts, config.analyzer)), config)
    key = index_key(corpus, len(collection), config.analyzer)
    path = indexes_folder() / f"{key.hex()[:32]}{SUFFIX}"

    def build() -> InvertedIndex:
        inverted = invert(tokenize_collection(collection.texts, config.analyzer))
        try:
            num_bytes = write_inverted(path, key, inverted)
        except EnvironmentMissingError as error:  # it was built all the same
            note(f"the index of {dataset.name!r} is not kept for the next time: {error}")
        else:
            note(f"index of {dataset.name!r} kept in {path} ({num_bytes / 1e9:.2f} GB)")
        return inverted

    return weigh(taken_or_built(path, path.name, lambda: _find_stored(path, key, dataset.name), build), config)


def _find_stored(path: Path, key: bytes, name: str) -> InvertedIndex | None:
    if not path.exists():
        return None
    try:
        inverted = read_inverted(path, key)
    except DataError as error:
        note(f"the stored index cannot be used and is built anew: {error}")
        return None
    note(f"index of {name!r} taken from {path}")
    return inverted


def index_key(corpus: str, num_docs: int, analyzer: AnalyzerConfig) -> bytes:
    """Return 32 bytes over everything that decides an index.

    Args:
        corpus: The fingerprint of the collection.
        num_docs: Its number of documents.
        analyzer: What makes its terms.
    """
    described: dict[str, Any] = {
        "code": CODE_VERSION,
        "corpus": corpus,
        "docs": num_docs,
        "analyzer": analyzer.describe(),
        "versions": analyzer_versions(),
    }
    return bytes.fromhex(fingerprint_json(described))


def write_inverted(path: Path, key: bytes, inverted: InvertedIndex) -> int:
    """Write an index and return the bytes of the file.

    Raises:
        EnvironmentMissingError: The folder cannot be written, or the disk is full.
    """
    words = [term.encode() for term in inverted.vocabulary]
    sections: list[NDArray[Any]] = [
        inverted.indptr,
        inverted.lengths,
        np.cumsum([len(word) for word in words], dtype=np.int64),
        inverted.docs,
        inverted.frequencies,
        np.frombuffer(b"".join(words), dtype=np.uint8),
    ]
    checksum = 0
    for section in sections:
        checksum = zlib.crc32(section.data, checksum)
    num_docs, num_terms, num_postings = len(inverted.lengths), len(words), len(inverted.docs)
    header = HEADER.pack(MAGIC, key, num_docs, num_terms, num_postings, len(sections[-1]), checksum, 0)
    header = header[:-4] + zlib.crc32(header[:-4]).to_bytes(4, "little")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(header)
        for section in sections:
            file.write(section.data)
    return len(header) + sum(section.nbytes for section in sections)


def read_inverted(path: Path, key: bytes) -> InvertedIndex:
    """Return a stored index; its arrays are mapped from the file.

    Args:
        path: The file.
        key: What it must be of.

    Raises:
        DataError: The file is cut short, damaged, or of something else, or cannot be read.
    """
    try:
        lengths = _check(path, key)
        # Copy on write: compiled loops are compiled once, for arrays that may be written to.
        mapped: NDArray[np.uint8] = np.asarray(np.memmap(path, dtype=np.uint8, mode="c"))
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror})"
        raise DataError(msg) from error
    bounds = itertools.accumulate(lengths, initial=HEADER.size)
    indptr, doc_lengths, word_ends, docs, frequencies, letters = (
        mapped[start:end].view(dtype)
        for (start, end), dtype in zip(
            itertools.pairwise(bounds), ("<i8", "<i8", "<i8", "<i4", "<i4", "u1"), strict=True
        )
    )
    text = letters.tobytes()
    vocabulary = [text[start:end].decode() for start, end in itertools.pairwise([0, *word_ends.tolist()])]
    return InvertedIndex(vocabulary, indptr, docs, frequencies, doc_lengths)


def _check(path: Path, key: bytes) -> list[int]:
    """Return the bytes of each section of an index that is whole and of the key.

    Raises:
        DataError: It is not.
    """
    with path.open("rb") as file:
        header = file.read(HEADER.size)
        if len(header) < HEADER.size or int.from_bytes(header[-4:], "little") != zlib.crc32(header[:-4]):
            msg = f"{path}: is no index, or its beginning is cut short or damaged"
            raise DataError(msg)
        magic, found_key, num_docs, num_terms, num_postings, num_bytes, checksum, _ = HEADER.unpack(header)
        if (magic, found_key) != (MAGIC, key):
            msg = f"{path}: is of another collection, analyser or version"
            raise DataError(msg)
        lengths = [8 * (num_terms + 1), 8 * num_docs, 8 * num_terms, 4 * num_postings, 4 * num_postings, num_bytes]
        size = path.stat().st_size
        if size != HEADER.size + sum(lengths):
            msg = f"{path}: has {size:,} bytes, expected {HEADER.size + sum(lengths):,}; it was cut short or added to"
            raise DataError(msg)
        found = 0
        # Read, not mapped: what is only looked at for its checksum shall not count as this process's memory.
        while chunk := file.read(CHECKED_BYTES):
            found = zlib.crc32(chunk, found)
    if found != checksum:
        msg = f"{path}: is damaged, its checksum differs"
        raise DataError(msg)
    return lengths
