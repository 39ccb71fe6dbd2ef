"""A hub on 127.0.0.1 for tests: speaks what the real ``huggingface_hub`` and ``datasets`` clients ask, nothing else.

It serves data set and model repositories from memory, at the commits that the test gave them, and can be told to
misbehave: list a file and not have it, break a transfer off in the middle, or refuse everything.  Use::

    with LoopbackHub() as hub:
        commit = hub.add_repository("org/name", {"README.md": b"...", "data/train-00000-of-00001.parquet": ...})
        use_hub(monkeypatch, hub, tmp_path)          # this process's clients, until the test ends
        env = hub.environment(tmp_path)              # or another process's
"""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

RepositoryType = Literal["dataset", "model"]
PREFIXES: Mapping[str, RepositoryType] = {"datasets": "dataset", "models": "model"}


@dataclass
class Repository:
    """One repository: its files at every commit, and where its branches point."""

    files_by_commit: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    unavailable: set[str] = field(default_factory=set)
    """Files that are listed and then answered with 404."""
    cut_after: dict[str, int] = field(default_factory=dict)
    """file -> bytes after which every transfer of it breaks off."""
    refusal: tuple[int, str] | None = None
    """(HTTP status, error code) with which everything is answered, such as (403, "GatedRepo") or (503, "")."""

    def resolve(self, revision: str) -> str | None:
        commit = self.branches.get(revision, revision)
        return commit if commit in self.files_by_commit else None


class LoopbackHub:
    """The server; a context manager.  ``requests`` lists (method, path) of what was asked, in order."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[RepositoryType, str], Repository] = {}
        self.requests: list[tuple[str, str]] = []
        hub = self

        class Handler(_Handler):
            loopback = hub

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Go out of reach: the port is closed; safe to call twice."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def add_repository(
        self,
        name: str,
        files: Mapping[str, bytes],
        *,
        repository_type: RepositoryType = "dataset",
        branch: str = "main",
    ) -> str:
        """Commit files to a branch of a repository (made when it is new) and return the commit: 40 hex digits."""
        repository = self.repositories.setdefault((repository_type, name), Repository())
        digest = hashlib.sha1(name.encode(), usedforsecurity=False)
        for path, content in sorted(files.items()):
            digest.update(path.encode() + b"\0" + content)
        commit = digest.hexdigest()
        repository.files_by_commit[commit] = dict(files)
        repository.branches[branch] = commit
        return commit

    def environment(self, home: Path, *, is_offline: bool = False) -> dict[str, str]:
        """Return the variables that point another process's clients here, with their caches under ``home``."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "1" if is_offline else "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
        }


def use_hub(monkeypatch: pytest.MonkeyPatch, hub: LoopbackHub, home: Path, *, is_offline: bool = False) -> None:
    """Point this process's clients at a hub: they read their variables once, on import, so the constants change too."""
    import datasets
    from huggingface_hub import constants

    for name, value in hub.environment(home, is_offline=is_offline).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HOME", str(home))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", is_offline)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.url)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", home / "datasets")
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", home / "datasets" / "downloads")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", is_offline)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Routes: /api/{datasets|models}/NAME[/revision/REV | /tree/REV[/PATH]] and /[datasets/]NAME/resolve/REV/FILE."""

    loopback: ClassVar[LoopbackHub]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Keep quiet."""

    def _answer(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.loopback.requests.append((self.command, path))
        parts = path.strip("/").split("/")
        if parts[0] == "api" and len(parts) >= 4 and parts[1] in PREFIXES:
            self._answer_api(PREFIXES[parts[1]], "/".join(parts[2:4]), parts[4:], parse_qs(url.query))
            return
        repository_type: RepositoryType = "dataset" if parts[0] == "datasets" else "model"
        if repository_type == "dataset":
            parts = parts[1:]
        if len(parts) >= 5 and parts[2] == "resolve":
            self._answer_file(repository_type, "/".join(parts[:2]), parts[3], "/".join(parts[4:]))
            return
        self._refuse(404, "EntryNotFound", f"no such page: {path}")

    def _answer_api(
        self, repository_type: RepositoryType, name: str, rest: Sequence[str], query: Mapping[str, list[str]]
    ) -> None:
        found = self._find(repository_type, name, rest[1] if len(rest) > 1 else "main")
        if found is None:
            return
        commit, files = found
        if not rest or rest[0] == "revision":
            siblings = [{"rfilename": path} for path in sorted(files)]
            info = {"id": name, "sha": commit, "private": False, "gated": False, "tags": [], "siblings": siblings}
            self._send_json({**info, "downloads": 0, "likes": 0, "lastModified": "2024-09-10T00:00:00.000Z"})
        elif rest[0] == "tree":
            is_recursive = query.get("recursive", ["false"])[0].lower() in {"true", "1"}
            self._send_json(_tree(files, "/".join(rest[2:]), is_recursive=is_recursive))
        else:
            self._refuse(404, "EntryNotFound", f"no such question: {rest[0]}")

    def _answer_file(self, repository_type: RepositoryType, name: str, revision: str, file: str) -> None:
        found = self._find(repository_type, name, revision)
        if found is None:
            return
        commit, files = found
        repository = self.loopback.repositories[repository_type, name]
        if file not in files or file in repository.unavailable:
            self._refuse(404, "EntryNotFound", f"Entry not found: {file}", commit=commit)
            return
        content = files[file]
        start = 0
        asked = self.headers.get("Range")
        if asked:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if asked else 200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(content) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{_etag(content)}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("X-Linked-Etag", f'"{_etag(content)}"')
        self.end_headers()
        if self.command == "GET":
            end = repository.cut_after.get(file, len(content))
            self.wfile.write(content[start : max(end, start)])
            if end < len(content):
                self.close_connection = True

    def _find(
        self, repository_type: RepositoryType, name: str, revision: str
    ) -> tuple[str, Mapping[str, bytes]] | None:
        repository = self.loopback.repositories.get((repository_type, name))
        if repository is None:
            self._refuse(404, "RepoNotFound", "Repository not found")
            return None
        if repository.refusal:
            self._refuse(*repository.refusal, "refused")
            return None
        commit = repository.resolve(revision)
        if commit is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return commit, repository.files_by_commit[commit]

    def _send_json(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str, message: str, *, commit: str | None = None) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _tree(files: Mapping[str, bytes], folder: str, *, is_recursive: bool) -> list[dict[str, Any]]:
    """List a folder of a repository as the hub does; parquet, like every big file there, as LFS."""
    prefix = f"{folder}/" if folder else ""
    entries: dict[str, dict[str, Any]] = {}
    for path, content in sorted(files.items()):
        if not path.startswith(prefix):
            continue
        inner = path.removeprefix(prefix).split("/")
        for depth in range(1, len(inner)):
            parent = prefix + "/".join(inner[:depth])
            if is_recursive or depth == 1:
                entries[parent] = {"type": "directory", "oid": _etag(parent.encode())[:40], "size": 0, "path": parent}
        if is_recursive or len(inner) == 1:
            oid = _etag(content)
            entry = {"type": "file", "oid": oid[:40], "size": len(content), "path": path}
            if path.endswith((".parquet", ".safetensors", ".bin")):
                entry["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 128}
            entries[path] = entry
    return list(entries.values())


# --- contents ---------------------------------------------------------------------------------------------------


def parquet_bytes(columns: Mapping[str, Sequence[Any] | pa.Array]) -> bytes:
    """Return a table as the bytes of a parquet file."""
    buffer = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), buffer)
    return buffer.getvalue()


def data_set_files(
    configs: Mapping[str, Mapping[str, Sequence[Any] | pa.Array]], *, split: str = "train"
) -> dict[str, bytes]:
    """Return the files of a data set repository, one config per table, in the layout that ``push_to_hub`` makes."""
    lines = ["---", "configs:"]
    files = {}
    for config, columns in configs.items():
        lines += [f"- config_name: {config}", "  data_files:", f"  - split: {split}", f"    path: {config}/{split}-*"]
        files[f"{config}/{split}-00000-of-00001.parquet"] = parquet_bytes(columns)
    return {"README.md": "\n".join([*lines, "---", "", "# A data set", ""]).encode(), **files}
