"""How a rerank endpoint is spoken to; kept apart so that parsing a request loads no client."""

from __future__ import annotations

from dataclasses import dataclass

from rerank_bench.errors import ConfigError, describe_unknown

SHAPES = ("auto", "documents", "texts")
"""``documents``: Cohere, Jina, vLLM, llama.cpp; ``texts``: Hugging Face Text Embeddings Inference."""

KEY_VARIABLE = "RERANK_BENCH_API_KEY"  # the name of the variable, not a key
"""Environment variable with the key that is sent as ``Authorization: Bearer …``; there is no other way in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalOptions:
    """How a rerank endpoint is spoken to."""

    model: str | None = None
    """Name of the model in the request; also what follows ``#`` in the spec."""
    shape: str = "auto"
    """One of ``SHAPES``; ``auto`` sends one or two small requests when the model is loaded."""
    docs_per_request: int = 100
    concurrency: int = 8
    """Requests in flight."""
    timeout_seconds: float = 60.0
    """Of every step of a request: connecting, and each wait for bytes."""
    attempts: int = 6
    """Requests sent at most for one list, the first one included."""
    first_wait_seconds: float = 0.5
    """Wait before the second attempt, at most; doubled for each further one."""

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ConfigError(describe_unknown("shape of a rerank endpoint", [self.shape], SHAPES))
        for name, least in (("docs_per_request", 1), ("concurrency", 1), ("attempts", 1), ("first_wait_seconds", 0)):
            if getattr(self, name) < least:
                msg = f"{name} of a rerank endpoint is {getattr(self, name)}, expected at least {least}"
                raise ConfigError(msg)
        if not self.timeout_seconds > 0:
            msg = f"timeout_seconds of a rerank endpoint is {self.timeout_seconds}, expected more than 0"
            raise ConfigError(msg)
