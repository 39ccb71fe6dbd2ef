"""Anyone's own scorer, named ``module:callable``: a function from (query, document) texts to numbers."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import ConfigError, ScoringError, describe_unknown
from rerank_bench.scoring.scorer import SCORING_CODE_VERSION, EncodedItems
from rerank_bench.storage import file_sha256, fingerprint_json

ScoreTexts = Callable[[list[tuple[str, str]]], Sequence[float]]

BATCH_WORDS = 100_000
"""White-space words per call; a callable batches as it likes inside."""


@dataclass(frozen=True, slots=True, eq=False)
class TextPairs:
    """N pairs of texts; their length is counted in white-space words."""

    queries: Sequence[str]
    docs: Sequence[str]
    pairs: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int32]:
        """(N,) int32."""
        query_words = np.asarray([len(text.split()) for text in self.queries], dtype=np.int32)
        doc_words = np.asarray([len(text.split()) for text in self.docs], dtype=np.int32)
        return np.asarray(query_words[self.pairs[:, 0]] + doc_words[self.pairs[:, 1]], dtype=np.int32)

    @property
    def is_truncated(self) -> NDArray[np.bool_]:
        """(N,): nothing is cut here; what a callable cuts is not known."""
        return np.zeros(len(self.pairs), dtype=np.bool_)

    def batch(self, indices: NDArray[np.int64]) -> list[tuple[str, str]]:
        """Return the pairs at ``indices`` as texts."""
        return [(self.queries[query], self.docs[doc]) for query, doc in self.pairs[indices].tolist()]


@dataclass(frozen=True, slots=True, eq=False)
class CallableScorer:
    """A function from a list of (query_text, doc_text) to as many numbers."""

    name: str
    """``module:callable``."""
    function: ScoreTexts
    source_fingerprint: str | None
    """SHA-256 of the module's file; ``None`` where it has none."""
    default_batch_tokens: int = BATCH_WORDS

    @classmethod
    def load(cls, name: str) -> CallableScorer:
        """Return the scorer behind ``module:callable``; the working directory is searched too.

        Raises:
            ConfigError: No such module or attribute, or it cannot be called.
        """
        module_name, _, attribute_path = name.partition(":")
        module, source_fingerprint = _import(name, module_name)
        found: Any = module
        for attribute in attribute_path.split("."):
            if not hasattr(found, attribute):
                public = [known for known in vars(found) if not known.startswith("_")]
                msg = f"model {name!r}: {describe_unknown('name', [attribute], public)}"
                raise ConfigError(msg)
            found = getattr(found, attribute)
        if not callable(found):
            msg = (
                f"model {name!r}: {attribute_path!r} is of type {type(found).__name__}, expected a function that takes a "
                "list of (query_text, doc_text) and returns as many numbers"
            )
            raise ConfigError(msg)
        return cls(name, found, source_fingerprint)

    @property
    def fingerprint(self) -> str:
        """SHA-256, hex, of the name and the module's source; what the module imports is not covered."""
        return fingerprint_json(
            {"code": SCORING_CODE_VERSION, "callable": self.name, "source": self.source_fingerprint}
        )

    def describe(self) -> dict[str, Any]:
        """Return what a result records, JSON-able."""
        return {
            "name": self.name,
            "family": "callable",
            "revision": None,
            "source_fingerprint": self.source_fingerprint,
            "signature": str(inspect.signature(self.function)) if inspect.isroutine(self.function) else None,
        }

    def peak_device_bytes(self) -> int | None:
        """Return ``None``: what a callable uses is not known."""
        return None

    def encode(self, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]) -> EncodedItems:
        """Return the pairs as texts."""
        return TextPairs(queries, docs, pairs)

    def score_batch(self, batch: list[tuple[str, str]]) -> NDArray[np.float32]:
        """Return (B,) float32.

        Raises:
            ScoringError: The callable did not return one number for each pair.
        """
        returned = self.function(batch)
        try:
            values = np.asarray(returned, dtype=np.float32)
        except (TypeError, ValueError) as error:
            msg = f"model {self.name!r} returned {type(returned).__name__}, expected {len(batch)} numbers: {error}"
            raise ScoringError(msg) from error
        if values.shape != (len(batch),):
            msg = f"model {self.name!r} returned shape {values.shape} for {len(batch)} pairs, expected ({len(batch)},)"
            raise ScoringError(msg)
        return values


_fingerprints: dict[str, str | None] = {}
"""Module -> SHA-256 of the source that was imported."""


def _import(name: str, module_name: str) -> tuple[Any, str | None]:
    """Return the module as its file is now, and the file's SHA-256: a notebook edits a function and runs again."""
    # As `python -m` does; a console script would not look where the user stands. Only for the time of the import.
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
        source = getattr(module, "__file__", None)
        fingerprint = file_sha256(source) if source else None
        if _fingerprints.setdefault(module_name, fingerprint) != fingerprint:
            module = importlib.reload(module)
            _fingerprints[module_name] = fingerprint
    except ImportError as error:
        msg = f"model {name!r}: module {module_name!r} cannot be imported ({error}); start where it lies, or install it"
        raise ConfigError(msg) from error
    finally:
        sys.path.remove(folder)
    return module, fingerprint
