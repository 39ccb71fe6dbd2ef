"""What ``--model`` may say: a baseline, a stored run, a rerank endpoint, anyone's callable, a local folder or a hub id.

Parsing reads names and looks whether paths exist; it opens no model, imports no torch and asks no server.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from rerank_bench.errors import ConfigError, describe_unknown

BASELINES = ("first-stage", "random", "oracle")
DEMO = "demo"

SpecKind = Literal["baseline", "run", "external", "demo", "callable", "local", "hub"]

_CALLABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_HUB_ID = re.compile(r"(?P<repository>[A-Za-z0-9][\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_SECRET = re.compile(r"key|token|secret|passw|sig$|signature|auth|credential", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A parsed ``--model``."""

    kind: SpecKind
    value: str
    """Name of the baseline, path of the run or the folder, URL (with ``#model-name``), ``module:callable``, or the hub
    id without revision."""
    revision: str | None = None
    """What follows ``@`` in a hub id: branch, tag or commit."""
    text: str
    """What the user wrote."""

    @property
    def scores_texts(self) -> bool:
        """Whether it reads texts; baselines and stored runs rank documents by id."""
        return self.kind not in {"baseline", "run"}


def parse_model_spec(text: str) -> ModelSpec:
    """Return what a ``--model`` means.

    Args:
        text: ``first-stage``, ``random``, ``oracle``; ``demo``; ``run:FILE``; ``http://…`` or ``https://…``, if wanted
            with ``#model-name``; ``module:callable``; a folder; or a hub id ``owner/name``, if wanted with ``@revision``.

    Raises:
        ConfigError: It is none of these, or names a path that does not exist.
    """
    if text == DEMO or text in BASELINES:
        return ModelSpec(kind="demo" if text == DEMO else "baseline", value=text, text=text)
    if text.startswith("run:"):
        return _parse_run(text)
    if text.startswith(("external:", "http://", "https://")):
        return _parse_external(text)
    path = Path(text).expanduser()
    if text.strip() and path.is_dir():
        return ModelSpec(kind="local", value=str(path), text=text)
    if path.is_file():
        msg = f"model {text!r} is a file, expected a folder with config.json and weights; a stored run is 'run:{text}'"
        raise ConfigError(msg)
    if _CALLABLE.fullmatch(text):
        return ModelSpec(kind="callable", value=text, text=text)
    if _is_path_like(text):
        msg = f"model {text!r}: no such folder; expected a folder with config.json, weights and tokenizer files"
        raise ConfigError(msg)
    hub_id = _HUB_ID.fullmatch(text)
    if hub_id:
        return ModelSpec(kind="hub", value=hub_id["repository"], revision=hub_id["revision"], text=text)
    unknown = describe_unknown("model", [text], [*BASELINES, DEMO])
    msg = f"{unknown}; a model is also a folder, a hub id 'owner/name', 'run:FILE', 'http://…' or 'module:callable'"
    raise ConfigError(msg)


def _parse_run(text: str) -> ModelSpec:
    path = Path(text.removeprefix("run:")).expanduser()
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "no such file"
        msg = f"model {text!r}: {found}; expected 'run:FILE' with a TREC run, plain or gzip"
        raise ConfigError(msg)
    return ModelSpec(kind="run", value=str(path), text=text)


def _parse_external(text: str) -> ModelSpec:
    """Return the spec of a rerank endpoint.

    The address stands in results and in errors, so nothing secret may be part of it, and none of it is shown here
    before that is known.

    Raises:
        ConfigError: It is no HTTP address, or holds a password or a key.
    """
    address = text.removeprefix("external:")
    try:
        parts = urlsplit(address)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or any(not "!" <= letter <= "~" for letter in address.partition("#")[0]):
        msg = "a rerank endpoint is 'http://HOST:PORT/PATH' or 'https://…', if wanted with '#model-name'; found another form"
        raise ConfigError(msg)
    secret = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if _SECRET.search(name)]
    if "@" in parts.netloc or secret:
        what = f"a parameter {secret[0]!r}" if secret else "a user name or password"
        msg = (
            f"the address of the rerank endpoint at {parts.hostname} holds {what}, and addresses are written into "
            "results; put the key into the environment variable RERANK_BENCH_API_KEY, it is sent as a Bearer token"
        )
        raise ConfigError(msg)
    return ModelSpec(kind="external", value=address, text=text)


def _is_path_like(text: str) -> bool:
    has_marks = text.startswith((".", "/", "~")) or text.endswith("/") or "\\" in text
    return has_marks or text.partition("@")[0].count("/") > 1
