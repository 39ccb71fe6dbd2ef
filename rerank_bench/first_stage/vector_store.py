"""Vectors of a collection's documents on disk: one file per chunk, mapped into memory when it is read again.

A chunk is written whole under another name and renamed, so encoding that was interrupted goes on at the next chunk.  Its
first 56 bytes say which encoder, which collection and which chunk it is of, its shape, and the checksum of the rest: a
file that is cut short, damaged or of another collection is noticed, and encoded again.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import ScoringError
from rerank_bench.locks import taken_or_built
from rerank_bench.progress import note
from rerank_bench.storage import atomic_path, fingerprint_json, write_json

META_NAME = "vectors.meta.json"
HEADER = struct.Struct("<8s32sIIII")
"""Magic, key, number of the chunk, documents, dimensions, CRC-32 of the vectors."""
MAGIC = b"rbvector"
CHUNK_DOCS = 32_768
"""In one file, and in memory at a time: with 1,024 dimensions, 134 MB."""

EncodeDocs = Callable[[int, int], NDArray[np.float32]]
"""First document and the one after the last -> their (D, H) float32 vectors."""


@dataclass(slots=True, eq=False)
class VectorStore:
    """The vectors of N documents, encoded where they are not stored yet.

    Args:
        folder: Of this store alone.
        about: JSON-able, all that decides a vector and its place: encoder, collection, order of the documents.
        num_docs: N.
        encode: Returns the vectors of a range of documents.
        chunk_docs: Documents per file.
    """

    folder: Path
    about: Mapping[str, Any]
    num_docs: int
    encode: EncodeDocs
    chunk_docs: int = CHUNK_DOCS
    num_encoded: int = field(default=0, init=False)
    """Documents that were encoded, not read."""
    _checked: set[int] = field(default_factory=set, init=False)
    """Chunks whose checksum need not be looked at again."""

    @property
    def key(self) -> bytes:
        """32 bytes over everything that decides a vector."""
        return bytes.fromhex(fingerprint_json({**self.about, "docs": self.num_docs, "chunk": self.chunk_docs}))

    def chunks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the first document of every chunk and its (D, H) vectors, read-only.

        Raises:
            EnvironmentMissingError: The folder cannot be written, or the disk is full.
            ScoringError: The encoder returns something else than one vector per document.
        """
        key = self.key
        for number, start in enumerate(range(0, self.num_docs, self.chunk_docs)):
            end = min(start + self.chunk_docs, self.num_docs)
            path = self.folder / f"{number:06}.vectors"
            vectors = taken_or_built(
                path,
                f"{key.hex()[:32]}-{path.name}",
                partial(_read, path, key, number, end - start, is_checked=number in self._checked),
                partial(self._build, path, number, start, end),
                says=number == 0,  # there may be hundreds of chunks
            )
            self._checked.add(number)
            yield start, vectors
        if self.num_encoded or not (self.folder / META_NAME).exists():
            write_json(self.folder / META_NAME, {**self.about, "docs": self.num_docs, "key": key.hex()})

    def _build(self, path: Path, number: int, start: int, end: int) -> NDArray[np.float32]:
        vectors = self._encode(start, end)
        _write(path, self.key, number, vectors)
        self.num_encoded += end - start
        return vectors

    def _encode(self, start: int, end: int) -> NDArray[np.float32]:
        vectors = np.ascontiguousarray(self.encode(start, end), dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != end - start:
            msg = f"{end - start} documents were encoded into an array of shape {vectors.shape}, expected one row each"
            raise ScoringError(msg)
        if not np.isfinite(vectors).all():
            bad = start + int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            msg = f"document number {bad} of {self.num_docs} was encoded into a vector that is not finite"
            raise ScoringError(msg)
        return vectors


def _read(path: Path, key: bytes, number: int, num_docs: int, *, is_checked: bool) -> NDArray[np.float32] | None:
    """Return a chunk, mapped; ``None`` where it is not stored, or where what is stored cannot be used."""
    try:
        with path.open("rb") as file:
            header = file.read(HEADER.size)
        size = path.stat().st_size
    except FileNotFoundError:
        return None
    except OSError as error:
        note(f"{path}: cannot be read ({error.strerror}); its {num_docs:,} documents are encoded anew")
        return None
    problem = "is cut short"
    if len(header) == HEADER.size:
        magic, found_key, found_number, docs, width, checksum = HEADER.unpack(header)
        if (magic, found_key, found_number, docs) != (MAGIC, key, number, num_docs):
            problem = "is of another collection or encoder"
        elif size != HEADER.size + 4 * docs * width:
            problem = f"has {size:,} bytes, expected {HEADER.size + 4 * docs * width:,}"
        else:
            vectors = np.memmap(path, dtype="<f4", mode="c", offset=HEADER.size, shape=(docs, width))
            if is_checked or zlib.crc32(vectors.data) == checksum:
                return vectors
            problem = "is damaged: its checksum differs"
    note(f"{path}: {problem}; its {num_docs:,} documents are encoded anew")
    return None


def _write(path: Path, key: bytes, number: int, vectors: NDArray[np.float32]) -> None:
    docs, width = vectors.shape
    header = HEADER.pack(MAGIC, key, number, docs, width, zlib.crc32(vectors.data))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(header)
        file.write(vectors.data)
