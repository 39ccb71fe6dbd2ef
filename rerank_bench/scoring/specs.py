"""What ``--model`` may say: a baseline, a stored run, anyone's callable, a local folder or a hub id.

Parsing reads names and looks whether paths exist; it opens no model, imports no torch and asks no server.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rerank_bench.errors import ConfigError, describe_unknown

BASELINES = ("first-stage", "random", "oracle")
DEMO = "demo"

SpecKind = Literal["baseline", "run", "demo", "callable", "local", "hub"]

_CALLABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_HUB_ID = re.compile(r"(?P<repository>[A-Za-z0-9][\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A parsed ``--model``."""

    kind: SpecKind
    value: str
    """Name of the baseline, path of the run or the folder, ``module:callable``, or the hub id without revision."""
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
        text: ``first-stage``, ``random``, ``oracle``; ``demo``; ``run:FILE``; ``module:callable``; a folder;
            or a hub id ``owner/name``, if wanted with ``@revision``.

    Raises:
        ConfigError: It is none of these, or names a path that does not exist.
    """
    if text in BASELINES:
        return ModelSpec(kind="baseline", value=text, text=text)
    if text == DEMO:
        return ModelSpec(kind="demo", value=text, text=text)
    if text.startswith("run:"):
        return _parse_run(text)
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
    msg = f"{unknown}; a model is also a folder, a hub id 'owner/name', 'run:FILE' or 'module:callable'"
    raise ConfigError(msg)


def _parse_run(text: str) -> ModelSpec:
    path = Path(text.removeprefix("run:")).expanduser()
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "no such file"
        msg = f"model {text!r}: {found}; expected 'run:FILE' with a TREC run, plain or gzip"
        raise ConfigError(msg)
    return ModelSpec(kind="run", value=str(path), text=text)


def _is_path_like(text: str) -> bool:
    has_marks = text.startswith((".", "/", "~")) or text.endswith("/") or "\\" in text
    return has_marks or text.partition("@")[0].count("/") > 1
