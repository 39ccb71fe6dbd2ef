"""What a user may name as first stage, and what the name stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rerank_bench.errors import ConfigError, describe_unknown
from rerank_bench.first_stage.bm25 import BM25Config

PUBLISHED: Literal["published"] = "published"
DENSE = "dense:"
FUSION = "fusion:"
FUSED = "+"
"""Between the lists that are fused."""


@dataclass(frozen=True, slots=True)
class DenseStage:
    """``dense:MODEL``: the nearest documents by a bi-encoder's vectors."""

    model: str
    """Folder, hub id (if wanted with ``@revision``) or ``demo``."""


@dataclass(frozen=True, slots=True)
class FusionStage:
    """``fusion:A+B``: several first stages in one list."""

    parts: tuple[str, ...]


FirstStage = BM25Config | Literal["published"] | Path | DenseStage | FusionStage

FIRST_STAGES: Mapping[str, BM25Config | Literal["published"]] = {
    "bm25": BM25Config(),
    "rank-bm25": BM25Config(variant="okapi"),
    PUBLISHED: PUBLISHED,
}
"""Names without an argument; others are ``dense:MODEL``, ``fusion:A+B`` and the path of a TREC run file."""


def parse_first_stage(text: str) -> FirstStage:
    """Return the first stage that a user asks for.

    Args:
        text: A name of ``FIRST_STAGES``, ``dense:MODEL``, ``fusion:A+B``, or the path of a run file.

    Raises:
        ConfigError: None of these, or the path of no file.
    """
    if text in FIRST_STAGES:
        return FIRST_STAGES[text]
    if text.startswith(DENSE):
        model = text.removeprefix(DENSE).strip()
        if not model:
            msg = f"first stage {text!r} names no model; write dense:MODEL, with a bi-encoder's folder or hub id"
            raise ConfigError(msg)
        return DenseStage(model)
    if text.startswith(FUSION):
        return _parse_fusion(text)
    path = Path(text)
    if path.is_file():
        return path
    known = [*FIRST_STAGES, f"{DENSE}MODEL", f"{FUSION}A+B"]
    msg = f"{describe_unknown('first stage', [text], known)}; or the path of a TREC run: no such file {text!r}"
    raise ConfigError(msg)


def _parse_fusion(text: str) -> FusionStage:
    parts = tuple(part.strip() for part in text.removeprefix(FUSION).split(FUSED))
    if len(parts) < 2 or not all(parts):
        msg = f"first stage {text!r} names {sum(map(bool, parts))} lists, expected two or more: fusion:bm25+dense:MODEL"
        raise ConfigError(msg)
    repeated = sorted({part for part in parts if parts.count(part) > 1})
    if repeated:
        msg = f"first stage {text!r} names {repeated[0]!r} twice; name every list once"
        raise ConfigError(msg)
    for part in parts:
        if part.startswith(FUSION):
            msg = f"first stage {text!r}: a fusion within a fusion; name all lists side by side"
            raise ConfigError(msg)
        try:
            parse_first_stage(part)
        except ConfigError as error:
            msg = f"first stage {text!r}: {error} (lists are parted by {FUSED!r}, which no path in a fusion may hold)"
            raise ConfigError(msg) from error
    return FusionStage(parts)
