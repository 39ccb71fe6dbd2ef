"""Python code that comes with a checkpoint: whether it may run, and from which commit.

transformers runs what ``auto_map`` in ``config.json`` or ``tokenizer_config.json`` names, from the checkpoint's own folder
or, written ``owner/name--module.Class``, from another repository, of which it takes the newest commit.  Here nothing
runs that was not allowed, and nothing from a hub but a pinned commit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rerank_bench import progress
from rerank_bench.errors import ConfigError
from rerank_bench.scoring.hub import code_snapshot

COMMIT_DIGITS = 40


def check_pinned(repository: str, revision: str | None, where: str) -> None:
    """Raise unless a revision is a whole commit.

    Args:
        repository: Whose code would run.
        revision: What was given.
        where: How to give it.

    Raises:
        ConfigError: It can change.
    """
    is_pinned = revision is not None and len(revision) == COMMIT_DIGITS and set(revision) <= set("0123456789abcdef")
    if not is_pinned:
        msg = (
            f"remote code of {repository!r} would run at revision {revision!r}, which can change; "
            f"pin the commit that you have read: {where} with its {COMMIT_DIGITS} hexadecimal digits"
        )
        raise ConfigError(msg)


def fetch_code(
    name: str, settings: tuple[Mapping[str, Any], ...], *, allow_code: bool, code_revision: str | None
) -> Path | None:
    """Return the folder of code that lies in another repository; ``None`` where there is none, or it may not run.

    Args:
        name: The model, for messages.
        settings: Its ``config.json`` and ``tokenizer_config.json``.
        allow_code: Whether code may run.
        code_revision: The commit of that other repository.

    Raises:
        ConfigError: The commit is not pinned, or pinned for nothing; or the code is in several repositories.
        EnvironmentMissingError: It is neither in the cache nor to be had.
    """
    repositories = sorted({class_name.partition("--")[0] for class_name in _classes(settings) if "--" in class_name})
    if not repositories or not allow_code:
        if code_revision is not None:
            why = "its code does not lie in another repository" if allow_code else "--trust-remote-code was not given"
            msg = f"model {name!r}: --code-revision {code_revision} was given, but {why}; drop it"
            raise ConfigError(msg)
        return None
    if len(repositories) > 1:
        msg = f"model {name!r} takes code from {', '.join(repositories)}; only one repository can be pinned"
        raise ConfigError(msg)
    check_pinned(repositories[0], code_revision, "--code-revision")
    return code_snapshot(repositories[0], str(code_revision))


def check_allowed(name: str, config: Mapping[str, Any], *, allow_code: bool) -> None:
    """Raise if a model is nothing without its own code and that may not run; note it where there is a choice.

    Args:
        name: The model, for messages.
        config: Its ``config.json``.
        allow_code: Whether code may run.

    Raises:
        ConfigError: transformers has no such architecture of its own.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if "auto_map" not in config or allow_code:
        return
    model_type = config.get("model_type")
    if model_type in CONFIG_MAPPING:
        progress.note(
            f"{name}: comes with Python code of its own, which was not allowed to run (--trust-remote-code); it is loaded "
            f"as {model_type} by transformers"
        )
        return
    elsewhere = sorted({class_name.partition("--")[0] for class_name in _classes((config,)) if "--" in class_name})
    pin = f"; its code lies in {', '.join(elsewhere)}: --code-revision COMMIT" if elsewhere else ""
    msg = (
        f"model {name!r} (model_type {model_type!r}) comes with Python code of its own, which was not "
        f"allowed to run; read it, then pass --trust-remote-code (and --revision COMMIT for a hub id{pin})"
    )
    raise ConfigError(msg)


def _classes(settings: tuple[Mapping[str, Any], ...]) -> Iterator[str]:
    """Yield the class names of all ``auto_map`` entries; a tokenizer's entry may hold two, or null."""
    for config in settings:
        for entry in dict(config.get("auto_map") or {}).values():
            for class_name in entry if isinstance(entry, list) else [entry]:
                if isinstance(class_name, str):
                    yield class_name
