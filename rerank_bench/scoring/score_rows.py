"""The rows of a score store as bytes: scores with their checksums, and the batches of a job."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK_ROWS = 100_000
"""Rows held as Python objects at once."""
HASH_BYTES = 16
"""By the birthday bound, 10 billion texts share a hash with a probability of 1e-19."""


class DamagedStoreError(Exception):
    """A store's content is not what was written; never seen by users."""


def hash_texts(texts: Sequence[str]) -> list[bytes]:
    """Return the BLAKE2b hash of each text, ``HASH_BYTES`` long."""
    return [blake2b(text.encode(), digest_size=HASH_BYTES).digest() for text in texts]


StoredRow = tuple[bytes, bytes, int, int]
"""Hash of the query, hash of the document, value, tokens."""


def pack_rows(
    queries: Sequence[bytes],
    docs: Sequence[bytes],
    pairs: NDArray[np.int64],
    scores: NDArray[np.float32],
    tokens: NDArray[np.int32],
) -> Iterator[StoredRow]:
    """Yield table rows: in the value's low half the float's bits (−0.0 survives), in the high half the row's checksum."""
    for start in range(0, len(pairs), CHUNK_ROWS):
        chunk = slice(start, start + CHUNK_ROWS)
        bits = np.ascontiguousarray(scores[chunk], dtype="<f4").view("<u4").tolist()
        for (query, doc), value, count in zip(pairs[chunk].tolist(), bits, tokens[chunk].tolist(), strict=True):
            yield queries[query], docs[doc], _value(queries[query], docs[doc], value, count), count


def _value(query: bytes, doc: bytes, bits: int, tokens: int) -> int:
    checksum = zlib.crc32(query + doc + bits.to_bytes(4, "little") + tokens.to_bytes(4, "little", signed=True))
    return (checksum - 2**31) * 2**32 + bits  # SQLite's integers are signed


def checked_bits(query: bytes, doc: bytes, value: object, tokens: object) -> tuple[int, int]:
    """Return (the float's bits, tokens) of a table row.

    Raises:
        DamagedStoreError: They do not agree with their checksum.
    """
    if isinstance(value, int) and isinstance(tokens, int) and -(2**31) <= tokens < 2**31:
        bits = value % 2**32
        if value == _value(query, doc, bits, tokens):
            return bits, tokens
    msg = "a score does not agree with its checksum"
    raise DamagedStoreError(msg)


Job = tuple[dict[str, Any], list[NDArray[np.int64]] | None]
"""What a job counts, and the rows of every batch; ``None`` for the batches of a finished one."""


def pack_job(counts: dict[str, Any], batches: Sequence[NDArray[np.int64]] | None) -> bytes:
    """Return a job as bytes: a line of JSON, the sizes of the batches, their rows."""
    head = {"counts": counts, "num_batches": None if batches is None else len(batches)}
    parts = [json.dumps(head).encode(), b"\n"]
    if batches is not None:
        parts.append(np.asarray([len(batch) for batch in batches], dtype="<i4").tobytes())
        parts += [batch.astype("<i4").tobytes() for batch in batches]
    return b"".join(parts)


def unpack_job(content: bytes) -> Job:
    """Return what ``pack_job`` was given."""
    head, _, body = content.partition(b"\n")
    found = json.loads(head)
    num_batches = found["num_batches"]
    if not num_batches:
        return found["counts"], None if num_batches is None else []
    numbers = np.frombuffer(body, dtype="<i4").astype(np.int64)
    return found["counts"], np.split(numbers[num_batches:], np.cumsum(numbers[: num_batches - 1]))
