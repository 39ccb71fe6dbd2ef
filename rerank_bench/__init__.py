"""rerank-bench: measure cross-encoder rerankers exactly and fast.

The public Python API stands here, resolved on first use: importing the package imports nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rerank_bench.comparison.compare import compare
    from rerank_bench.data.datasets import load_dataset
    from rerank_bench.gate.gating import check_gate
    from rerank_bench.pipeline.candidates import build_candidates
    from rerank_bench.pipeline.run import evaluate_run, run
    from rerank_bench.scoring.loaded_scorer import load_scorer

_PUBLIC = {
    "build_candidates": "rerank_bench.pipeline.candidates",
    "check_gate": "rerank_bench.gate.gating",
    "compare": "rerank_bench.comparison.compare",
    "evaluate_run": "rerank_bench.pipeline.run",
    "load_dataset": "rerank_bench.data.datasets",
    "load_scorer": "rerank_bench.scoring.loaded_scorer",
    "run": "rerank_bench.pipeline.run",
}

__all__ = [
    "__version__",
    "build_candidates",
    "check_gate",
    "compare",
    "evaluate_run",
    "load_dataset",
    "load_scorer",
    "run",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first asked for (PEP 562)."""
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
