"""A checkpoint's files from the Hugging Face hub, or from its cache when there is no network.

Only what scoring reads is downloaded: settings, tokenizer, and weights in one format.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rerank_bench.errors import ConfigError, EnvironmentMissingError

SETTINGS_PATTERNS = ["*.json", "*.txt", "*.model", "*.jinja", "artifact.metadata"]
"""Jinja: a chat template, which takes the place of the one in tokenizer_config.json.  Metadata: ColBERT's settings."""
SKIPPED_PATTERNS = ["onnx/*", "openvino/*", "*/onnx/*", "original/*", "checkpoint-*/*", "runs/*"]
WEIGHT_PATTERNS = (["*.safetensors"], ["pytorch_model*.bin"])
"""The second is asked for only where the repository has none of the first."""
GRAPH_PATTERNS = (["model.onnx*"], ["onnx/model.onnx*"])
"""A graph and the file of its larger tensors, as exporters name it; likewise one place after the other."""


def hub_folder(
    repository: str,
    revision: str | None,
    *,
    allow_code: bool,
    weights: Sequence[list[str]] = WEIGHT_PATTERNS,
) -> tuple[Path, str]:
    """Return (folder, commit) of a repository's snapshot, downloaded if the cache lacks it.

    Args:
        repository: ``owner/name``.
        revision: Branch, tag or commit; ``None`` for the default branch.
        allow_code: Whether Python files are fetched too.
        weights: Names of files of weights; the later ones are asked for only where the earlier ones match nothing.

    Raises:
        ConfigError: No such repository or revision.
        EnvironmentMissingError: No network and not cached, or no access.
    """
    settings = SETTINGS_PATTERNS + (["*.py"] if allow_code else [])
    folder = _snapshot(repository, revision, settings)
    commit = folder.name
    for patterns in weights:
        _snapshot(repository, commit, patterns, skipped=[] if weights is GRAPH_PATTERNS else SKIPPED_PATTERNS)
        if any(path.is_file() for pattern in patterns for path in folder.rglob(pattern)):
            return folder, commit
    names = " or ".join(pattern for patterns in weights for pattern in patterns)
    msg = (
        f"model {repository!r} at {commit}: the snapshot holds no weights ({names}). "
        "Either the repository has none, or they are not cached and there is no network; "
        f"with a network, run: hf download {repository} --revision {commit}"
    )
    raise EnvironmentMissingError(msg)


def code_snapshot(repository: str, commit: str) -> Path:
    """Return the folder of a repository's Python files at a commit, downloaded if the cache lacks it.

    Raises:
        ConfigError: No such repository or commit.
        EnvironmentMissingError: No network and not cached, or no access.
    """
    return _snapshot(repository, commit, ["*.py"])


def _snapshot(
    repository: str, revision: str | None, patterns: list[str], *, skipped: Sequence[str] = SKIPPED_PATTERNS
) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    wanted = f"{repository!r} at revision {revision or 'main'!r}"
    options: dict[str, Any] = {"allow_patterns": patterns, "ignore_patterns": [*skipped]}
    try:
        with _quiet_hub():
            return Path(snapshot_download(repository, revision=revision, tqdm_class=_terminal_bar(), **options))
    except GatedRepoError as error:
        msg = f"model {wanted} is gated: ask for access on its page, then log in with: hf auth login"
        raise EnvironmentMissingError(msg) from error
    except RevisionNotFoundError as error:
        msg = f"model {wanted}: the repository has no such branch, tag or commit"
        raise ConfigError(msg) from error
    except RepositoryNotFoundError as error:
        msg = (
            f"model {wanted}: the hub has no such repository, or it is private. Check the spelling, give a local "
            "folder, or log in with: hf auth login"
        )
        raise ConfigError(msg) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, *_transport_errors()) as error:
        msg = (
            f"model {wanted} is not in the cache and the hub cannot be reached ({_first_line(error)}). With a network, "
            f"run: hf download {repository}{f' --revision {revision}' if revision else ''} ; without one, give a folder"
        )
        raise EnvironmentMissingError(msg) from error


@contextlib.contextmanager
def _quiet_hub() -> Iterator[None]:
    """Silence the client's warning that no file matched: that is how we learn which format a repository has."""
    from huggingface_hub.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _terminal_bar() -> type[Any]:
    """Return the client's progress bar, shown on a terminal only."""
    from huggingface_hub.utils import tqdm

    class TerminalBar(tqdm):  # type: ignore[misc]  # a class without types
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs["disable"] = kwargs.get("disable") or not sys.stderr.isatty()
            super().__init__(*args, **kwargs)

    return TerminalBar


def _transport_errors() -> tuple[type[Exception], ...]:
    """Return the base errors of the HTTP clients that releases of huggingface_hub use (httpx, later httpx2)."""
    from importlib import import_module
    from importlib.util import find_spec

    return tuple(import_module(name).HTTPError for name in ("httpx", "httpx2") if find_spec(name))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
