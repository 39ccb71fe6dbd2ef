"""Files that are either whole or absent: atomic writes, file locks, the cache folder, fingerprints.

A file is written under a temporary name beside its target and renamed over it, so that a reader, a crash or Ctrl-C
never sees half of it.  An artifact of several files is complete when the one written last exists (``result.json`` of a
run folder, ``*.meta.json`` of a candidate list).
"""

from __future__ import annotations

import contextlib
import errno
import glob
import gzip
import hashlib
import itertools
import json
import os
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from rerank_bench.errors import DataError, EnvironmentMissingError, ParseError

CACHE_VARIABLE = "RERANK_BENCH_CACHE"
_BROKEN_GZIP = (EOFError, gzip.BadGzipFile, zlib.error)
LEFT_OVER_SECONDS = 86_400.0
"""A temporary file that nobody has written to for so long belongs to a process that was killed."""

UNWRITABLE = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.ENOTDIR,
        errno.EEXIST,
        errno.EISDIR,
        errno.EBUSY,
        errno.ENAMETOOLONG,
    }
)
"""What the system says of a place that the user can change, not of a defect of ours."""


def cache_folder() -> Path:
    """Return the folder for what can be rebuilt: $RERANK_BENCH_CACHE, else the platform's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("rerank-bench")


@contextlib.contextmanager
def atomic_writer(path: str | Path) -> Iterator[IO[str]]:
    """Open a UTF-8 text file that replaces ``path`` when the block ends without an error.

    A name ending in ``.gz`` is compressed, without a time stamp, so equal content gives equal bytes.

    Raises:
        EnvironmentMissingError: The folder is read-only or the disk is full; ``path`` is as it was before.
    """
    with _replacing(Path(path)) as (_, descriptor), os.fdopen(descriptor, "wb") as raw:
        if Path(path).suffix == ".gz":
            with (
                gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as packed,
                _text_layer(cast("IO[bytes]", packed)) as text,
            ):
                yield text
        else:
            with _text_layer(raw) as text:
                yield text
                text.flush()
                os.fsync(raw.fileno())


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary file that replaces ``path`` when the block ends without an error: for libraries that write files.

    Raises:
        EnvironmentMissingError: The folder is read-only or the disk is full; ``path`` is as it was before.
    """
    with _replacing(Path(path)) as (temporary, descriptor):
        os.close(descriptor)
        yield temporary


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[tuple[Path, int]]:
    """Give a temporary file beside ``path`` and its open descriptor; the block closes it."""
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_overs(path)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        yield temporary, descriptor
        temporary.chmod(_default_mode())
        temporary.replace(path)
    except OSError as error:
        if error.errno in UNWRITABLE:
            reason = error.strerror or str(error)
            msg = f"{path}: cannot be written ({reason}); free some space or choose another folder. It is as it was before"
            raise EnvironmentMissingError(msg) from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _remove_left_overs(path: Path) -> None:
    """Remove temporary files that killed processes left beside ``path``."""
    oldest = time.time() - LEFT_OVER_SECONDS
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError):  # another process removes it, or it is not ours to remove
            if temporary.stat().st_mtime < oldest:
                temporary.unlink()


def _text_layer(raw: IO[bytes]) -> IO[str]:
    import io

    return io.TextIOWrapper(raw, encoding="utf-8", newline="\n")


def _default_mode() -> int:
    """Return the mode that ``open`` would have given (mkstemp's is 0600)."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def check_writable(path: str | Path) -> None:
    """Raise unless ``path`` can be written or replaced, and leave nothing behind: for what is written after long work.

    Raises:
        EnvironmentMissingError: Its folder, or the nearest one that exists, cannot be written, or the file is read-only.
    """
    path = Path(path)
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        problem = "the file is read-only" if path.exists() and not os.access(path, os.W_OK) else None
    except OSError as error:
        problem = error.strerror or str(error)
    if problem is not None:
        msg = f"{path}: cannot be written ({problem}); choose another place. Nothing has been done yet"
        raise EnvironmentMissingError(msg)


def remove_file(path: str | Path) -> None:
    """Remove a file; one that is not there is no error.

    Raises:
        EnvironmentMissingError: The folder is read-only, or the path leads through a file.
    """
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        if error.errno in UNWRITABLE:
            msg = f"{path}: cannot be removed ({error.strerror}); choose another folder"
            raise EnvironmentMissingError(msg) from error
        raise


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically."""
    with atomic_writer(path) as file:
        file.write(text)


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; NaN and infinity are refused (they are not JSON)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Return the parsed JSON file.

    Raises:
        DataError: The file does not exist.
        ParseError: It is not UTF-8 or not JSON; the line is named.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        msg = f"{path}: no such file"
        raise DataError(msg) from error
    except UnicodeDecodeError as error:
        raise ParseError(path, None, f"is not UTF-8 ({error.reason} at byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise ParseError(path, error.lineno, f"is not JSON: {error.msg}") from error


def open_text(path: str | Path) -> IO[str]:
    """Open a UTF-8 text file for reading, through gzip when its first bytes say so.

    Raises:
        DataError: The file does not exist, or is a folder.
    """
    path = Path(path)
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
    except FileNotFoundError as error:
        msg = f"{path}: no such file"
        raise DataError(msg) from error
    except (IsADirectoryError, PermissionError) as error:
        msg = f"{path}: cannot be read ({error.strerror})"
        raise DataError(msg) from error
    if packed:
        return cast("IO[str]", gzip.open(path, "rt", encoding="utf-8-sig"))
    return path.open(encoding="utf-8-sig")


def read_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end) of a UTF-8 text file, plain or gzip.

    Raises:
        DataError: The file does not exist.
        ParseError: A line is not UTF-8, or the gzip stream is cut short.
    """
    number = 0
    with open_text(path) as file:
        try:
            for number, line in enumerate(file, start=1):
                yield number, line.rstrip("\n")
        except UnicodeDecodeError as error:
            problem = f"is not UTF-8 ({error.reason}: byte {error.object[error.start]:#04x}); convert the file to UTF-8"
            raise ParseError(path, _undecodable_line(path), problem) from error
        except _BROKEN_GZIP as error:
            raise ParseError(path, number, f"the compressed file ends or breaks here ({error})") from error


def _undecodable_line(path: str | Path) -> int | None:
    """Return the first line (from 1) that is not UTF-8: the decoder above reads ahead and cannot tell."""
    with Path(path).open("rb") as raw:
        is_packed = raw.peek(2)[:2] == b"\x1f\x8b"
        lines: Any = gzip.GzipFile(fileobj=raw, mode="rb") if is_packed else raw
        numbers = itertools.count(1)
        try:
            for line in lines:
                line.decode("utf-8")
                next(numbers)
        except (UnicodeDecodeError, *_BROKEN_GZIP):
            return next(numbers)
    return None


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint_items(items: Iterable[str]) -> str:
    """Return the SHA-256, in hex, of a sequence of strings; order and boundaries count."""
    digest = hashlib.sha256()
    for item in items:
        data = item.encode("utf-8", errors="surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def fingerprint_json(value: Any) -> str:
    """Return the SHA-256, in hex, of a value's canonical JSON (sorted keys, no spaces)."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
