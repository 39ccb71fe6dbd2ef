"""Repositories of the hub on this machine: fetched whole at one commit, and compared with known checksums.

A repository is fetched with ``huggingface_hub`` and then read with ``datasets`` from the folder of that commit
(``hub_tables``).  Giving ``datasets`` the repository's name instead would do both in one call, but without a network it
falls back to whichever revision was prepared last, and before that it tries again for 23 seconds; here the pinned commit
is read or nothing.  A commit that is in the cache is read without asking the network.
"""

from __future__ import annotations

import contextlib
import errno
import re
import socket
import urllib.request
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from rerank_bench.data.manifests import HubSource
from rerank_bench.errors import ChecksumError, DataError, EnvironmentMissingError
from rerank_bench.progress import note, track
from rerank_bench.storage import file_sha256

PROBE_SECONDS = 3.0
"""How long the hub may take to accept a connection before it counts as out of reach."""

_IS_LOCAL_ONLY: ContextVar[bool] = ContextVar("rerank_bench_is_local_only", default=False)

_COMMIT = re.compile(r"[0-9a-f]{40}")
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A repository at one commit, on disk."""

    source: HubSource
    folder: Path
    commit: str
    """What the source's revision resolved to."""

    def describe(self) -> dict[str, str]:
        """Return repository, revision asked for and commit, JSON-able."""
        return {"repository": self.source.repository, "revision": self.source.revision, "commit": self.commit}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCheck:
    """One file of a repository against its manifest."""

    file: str
    expected: str | None
    """SHA-256 that the manifest names; ``None`` where it names none."""
    found: str | None
    """SHA-256 of the file here; ``None`` where it is absent."""


# --- fetching ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def local_only() -> Iterator[None]:
    """Read what is on this machine inside the block, and never ask the hub: for texts that are only shown."""
    token = _IS_LOCAL_ONLY.set(True)
    try:
        yield
    finally:
        _IS_LOCAL_ONLY.reset(token)


def fetch_snapshot(source: HubSource, *, patterns: Sequence[str] | None = None) -> Snapshot:
    """Return the repository's files at the source's revision, from the cache or, if they are not there, the hub.

    Args:
        source: Repository and revision.
        patterns: Names of the files that are wanted, with ``*``; ``None`` wants all of them.

    Raises:
        DataError: The repository or the revision does not exist, or a file could not be fetched whole.
        EnvironmentMissingError: Not in the cache and the hub is out of reach, or access is not granted.
    """
    from huggingface_hub import errors

    # Older clients cannot tell that a cached copy is incomplete; the hub must then be asked first.
    can_trust_cache = hasattr(errors, "IncompleteSnapshotError")
    if can_trust_cache and _COMMIT.fullmatch(source.revision):
        with contextlib.suppress(errors.LocalEntryNotFoundError):
            return _snapshot(source, patterns, is_local_only=True)
    reason = _why_unreachable()
    if reason is None:
        with _translated_errors(source), track(f"fetch {source.repository}"):
            return _snapshot(source, patterns, is_local_only=False)
    try:
        snapshot = _snapshot(source, patterns, is_local_only=True)
    except errors.LocalEntryNotFoundError as error:
        raise _missing(source, reason) from error
    note(f"{reason}: {source.repository}@{source.revision} is taken from the cache, at commit {snapshot.commit[:12]}")
    return snapshot


def fetch_verified(source: HubSource) -> Snapshot:
    """Return the repository's files, all known checksums compared.

    Raises:
        ChecksumError: A file is not the one that the manifest names.
        DataError: The repository or the revision does not exist, or a file could not be fetched whole.
        EnvironmentMissingError: Not in the cache and the hub is out of reach, or access is not granted.
    """
    snapshot = fetch_snapshot(source)
    verify_known_files(snapshot)
    return snapshot


def _snapshot(source: HubSource, patterns: Sequence[str] | None, *, is_local_only: bool) -> Snapshot:
    import huggingface_hub

    with quiet_libraries():
        folder = huggingface_hub.snapshot_download(
            source.repository,
            repo_type="dataset",
            revision=source.revision,
            allow_patterns=None if patterns is None else list(patterns),
            local_files_only=is_local_only,
        )
    return Snapshot(source=source, folder=Path(folder), commit=Path(folder).name)


def _why_unreachable() -> str | None:
    """Return why the hub cannot be asked, or ``None``; the clients themselves would retry for half a minute."""
    if _IS_LOCAL_ONLY.get():
        return "only what is on this machine is used here"
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    url = urlsplit(constants.ENDPOINT)
    host = url.hostname or ""
    proxies = urllib.request.getproxies()
    if url.scheme in proxies and not urllib.request.proxy_bypass(host):
        return None  # the proxy alone knows
    try:
        with socket.create_connection((host, url.port or (443 if url.scheme == "https" else 80)), PROBE_SECONDS):
            return None
    except OSError as error:
        return f"no connection to {constants.ENDPOINT} ({error.strerror or error})"


def _missing(source: HubSource, reason: str) -> EnvironmentMissingError:
    msg = (
        f"{reason}, and {source.repository}@{source.revision} is not (or not wholly) in the cache. On a machine with "
        f"a network run 'hf download {source.repository} --repo-type dataset --revision {source.revision}', then copy "
        "its cache folder (HF_HOME) here"
    )
    return EnvironmentMissingError(msg)


def _interrupted(source: HubSource, error: BaseException) -> EnvironmentMissingError:
    msg = (
        f"{source.repository}@{source.revision}: the hub broke off or refused ({on_one_line(error)}). Try again, now or "
        "later: files that arrived whole are kept"
    )
    return EnvironmentMissingError(msg)


@contextlib.contextmanager
def _translated_errors(source: HubSource) -> Iterator[None]:
    """Raise what the hub's client raises as our errors."""
    from huggingface_hub import errors

    where = f"{source.repository}@{source.revision}"
    try:
        yield
    except errors.GatedRepoError as error:
        msg = f"{where}: access must be granted first; accept the terms on its page and set HF_TOKEN"
        raise EnvironmentMissingError(msg) from error
    except errors.RepositoryNotFoundError as error:
        msg = f"{where}: no such data set repository, or a private one; for a private one set HF_TOKEN"
        raise DataError(msg) from error
    except errors.RevisionNotFoundError as error:
        msg = f"{where}: the repository has no such revision; was it rewritten? See its history for another commit"
        raise DataError(msg) from error
    except errors.EntryNotFoundError as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise _missing(source, f"the hub did not answer ({on_one_line(error.__cause__ or error)})") from error
        msg = f"{where}: a file that the repository lists cannot be fetched: {on_one_line(error)}"
        raise DataError(msg) from error
    except OSError as error:  # the client's HTTP errors are OSErrors, and so is a transfer of the wrong length
        raise_if_unwritable(where, error)
        raise _interrupted(source, error) from error
    except Exception as error:
        # The client hands network errors of its HTTP library through, whose name differs between its versions.
        if not type(error).__module__.startswith(("httpx", "httpcore")):
            raise
        raise _interrupted(source, error) from error


def raise_if_unwritable(where: str, error: BaseException) -> None:
    """Raise if an error, or one that caused it, says that a cache folder cannot be written.

    Raises:
        EnvironmentMissingError: The disk is full, the folder read-only or no folder.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _UNWRITABLE:
            msg = f"{where}: the cache cannot be written ({on_one_line(cause)}); free some space, or set HF_HOME to another folder"
            raise EnvironmentMissingError(msg) from error
        cause = cause.__cause__


def on_one_line(error: BaseException, max_chars: int = 300) -> str:
    """Return an error's message without its line breaks, shortened."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= max_chars else text[:max_chars] + "…"


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Switch the libraries' own progress bars off for a while: ``progress.track`` shows ours, on terminals only."""
    import datasets
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    switches = []
    if not are_progress_bars_disabled():
        switches.append((disable_progress_bars, enable_progress_bars))
    if not datasets.are_progress_bars_disabled():
        switches.append((datasets.disable_progress_bars, datasets.enable_progress_bars))
    for switch_off, _ in switches:
        switch_off()
    try:
        yield
    finally:
        for _, switch_on in switches:
            switch_on()


# --- checksums --------------------------------------------------------------------------------------------------


def check_files(snapshot: Snapshot) -> list[FileCheck]:
    """Return one check per file with a known checksum, then one per other parquet file (nothing expected of it)."""
    known = snapshot.source.files
    others = (path.relative_to(snapshot.folder).as_posix() for path in sorted(snapshot.folder.rglob("*.parquet")))
    names = [*known, *(name for name in others if name not in known)]
    checks = []
    for name in names:
        path = snapshot.folder / name
        found = file_sha256(path) if path.is_file() else None
        checks.append(FileCheck(file=name, expected=known[name]["sha256"] if name in known else None, found=found))
    return checks


def verify_known_files(snapshot: Snapshot) -> None:
    """Raise unless every file whose checksum the manifest names is there and is that file.

    Raises:
        ChecksumError: Names all files that differ, what was expected and where the copy lies.
    """
    problems = []
    for name, known in snapshot.source.files.items():
        path = snapshot.folder / name
        if not path.is_file():
            problems.append(f"{name} is not in the repository")
            continue
        found = file_sha256(path)
        if found != known["sha256"]:
            size, expected_size = path.stat().st_size, known.get("bytes")
            sizes = f", {size:,} bytes instead of {expected_size:,}" if expected_size not in {None, size} else ""
            problems.append(
                f"{name} has SHA-256 {found}{sizes}, expected {known['sha256']}; it lies at {path.resolve()}"
            )
    if problems:
        where = f"{snapshot.source.repository}@{snapshot.commit}"
        msg = f"{where}: {'; '.join(problems)}. Remove such a file from the cache and load again"
        raise ChecksumError(msg)
