"""Faster ways to run a model, each tried on a few items when the checkpoint is loaded and dropped if a score changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from rerank_bench import progress
from rerank_bench.scoring.batching import BatchTooLargeError
from rerank_bench.scoring.launching import LaunchResult, settle
from rerank_bench.scoring.packed_attention import Body, PackingError, choose_body, why_not_packed
from rerank_bench.scoring.packing import PackedModel, Reduction
from rerank_bench.scoring.prepacked import prepack_linears, restore
from rerank_bench.scoring.probing import in_float32
from rerank_bench.scoring.runtime import ModelRuntime
from rerank_bench.scoring.scorer import EncodedItems

PROBE_PAIRS = (
    ["how to stop a program", "list", "time", "a query about the document"],
    ["text", "a query, a document and a score " * 40, "an end", "text that is read, word by word " * 12],
    np.stack([np.arange(4), np.arange(4)], axis=1),
)
"""Pairs of different length, one longer than a usual attention window, two of nearly no length."""

EXACT_TOLERANCE = 1e-4
"""Of the scores' scale, in float32: padded and packed differ by about 5e-7."""
ROUNDED_TOLERANCE = 1e-2
"""Likewise in lower precision, on top of ``NOISE_FACTOR`` times what that precision itself costs the padded forward."""
NOISE_FACTOR = 3.0

_FORWARD_ERRORS = (
    PackingError,
    BatchTooLargeError,
    TypeError,
    ValueError,
    RuntimeError,
    KeyError,
    AttributeError,
    IndexError,
)
"""What the code of a model raises when it is run in a way that it was not written for."""


class _HasRuntime(Protocol):
    @property
    def runtime(self) -> ModelRuntime: ...


S = TypeVar("S", bound=_HasRuntime)


def accelerate(
    scorer: S, reduction: Reduction | None, launch: Callable[[S, Any], LaunchResult], items: EncodedItems
) -> S:
    """Return the scorer with a runtime that is as fast as the model allows, and gives the same results.

    Args:
        scorer: A frozen dataclass with a field ``runtime``.
        reduction: Which vector of an item is read behind the trunk; ``None`` if it is not one.
        launch: Runs a batch with a scorer: (B, …) float32.
        items: What is tried: a few items of different length.
    """

    def compute(scorer: S, batch: Any) -> NDArray[np.float32]:
        return settle(launch(scorer, batch))

    runtime = scorer.runtime
    batch = items.batch(np.arange(len(items.lengths)))
    try:
        with in_float32(runtime.model):  # the reference in any precision
            expected = compute(scorer, batch)
        tolerance = _tolerance(compute(scorer, batch), expected, is_exact=runtime.is_float32)
    except BatchTooLargeError:
        progress.note(f"{runtime.name}: batches are padded (no memory to try anything else)")
        return scorer
    reason = why_not_packed(runtime.device)
    if reduction is None:
        reason = reason or "the head reads more than one vector of an item"
    elif reason is None:
        # What one kernel refuses, such as a width of heads, the other body may still do.
        for body in dict.fromkeys((choose_body(runtime.device, runtime.dtype), "runs")):
            packed, reason = _try_packed(scorer, reduction, body, compute, batch, expected, tolerance)
            if packed is not None:
                scorer = packed
                break
    if scorer.runtime.packed is None:
        progress.note(f"{runtime.name}: batches are padded ({reason})")
    # Last: in_float32 does not reach weights in the processor's layout.
    return _with_prepacked_linears(scorer, compute, batch, expected, tolerance)


def _with_prepacked_linears(
    scorer: S,
    compute: Callable[[S, Any], NDArray[np.float32]],
    batch: Any,
    expected: NDArray[np.float32],
    tolerance: float,
) -> S:
    model = scorer.runtime.model
    replaced = prepack_linears(getattr(model, model.base_model_prefix or " ", model))
    if not replaced:
        return scorer
    if not _difference(compute(scorer, batch), expected) <= tolerance:
        restore(replaced)
        return scorer
    return _with_runtime(scorer, replace(scorer.runtime, linear="prepacked"))


def _try_packed(
    scorer: S,
    reduction: Reduction,
    body: Body,
    compute: Callable[[S, Any], NDArray[np.float32]],
    batch: Any,
    expected: NDArray[np.float32],
    tolerance: float,
) -> tuple[S | None, str]:
    """Return (the packed scorer or ``None``, why not)."""
    runtime = scorer.runtime
    try:
        packed_model = PackedModel.install(runtime.model, reduction, body)
    except _FORWARD_ERRORS as error:
        return None, _first_line(error)
    packed = _with_runtime(scorer, replace(runtime, packed=packed_model))
    try:
        found = exact = compute(packed, batch)
        if not runtime.is_float32:
            packed_model.body = "runs"  # the one that there is in float32
            with in_float32(runtime.model):
                exact = compute(packed, batch)
            packed_model.body = body
    except _FORWARD_ERRORS as error:
        packed_model.remove()
        return None, _first_line(error)
    allowed = EXACT_TOLERANCE * _scale(expected)
    for difference, limit in ((_difference(exact, expected), allowed), (_difference(found, expected), tolerance)):
        if not difference <= limit:
            packed_model.remove()
            return None, f"without padding a score would change by {difference:.2g}"
    return packed, ""


def _tolerance(padded: NDArray[np.float32], expected: NDArray[np.float32], *, is_exact: bool) -> float:
    """Return the largest difference from ``expected`` that is allowed."""
    if is_exact:
        return EXACT_TOLERANCE * _scale(expected)
    return ROUNDED_TOLERANCE * _scale(expected) + NOISE_FACTOR * _difference(padded, expected)


def _scale(expected: NDArray[np.float32]) -> float:
    return float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))


def _difference(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest difference; infinite where the shapes differ, or what is finite."""
    is_finite = np.isfinite(expected)
    if found.shape != expected.shape or not np.array_equal(np.isfinite(found), is_finite):
        return float("inf")
    return float(np.abs(found[is_finite] - expected[is_finite]).max(initial=0.0))


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


def _with_runtime(scorer: S, runtime: ModelRuntime) -> S:
    return cast("S", replace(cast("Any", scorer), runtime=runtime))
