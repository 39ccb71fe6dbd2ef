"""What is tried with a checkpoint when it is loaded: whether padding changes a score, for encoders in float32.

Lower precisions round by the shape of a batch, so that a wrong position or padding token may hide behind what they allow.
The same rounded weights in float32 leave nothing to hide behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from rerank_bench.errors import ScoringError
from rerank_bench.scoring.batching import BatchTooLargeError
from rerank_bench.scoring.device_launch import out_of_memory_as_too_large
from rerank_bench.scoring.launching import LaunchResult, settle
from rerank_bench.scoring.runtime import ModelRuntime
from rerank_bench.scoring.scorer import EncodedItems


@contextmanager
def in_float32(model: Any) -> Iterator[None]:
    """Run a model with its rounded weights in float32 inside the block.

    Raises:
        BatchTooLargeError: The device's memory does not hold both; the model is as it was.
    """
    import torch

    kept = [
        (parameter, parameter.data)
        for parameter in model.parameters()
        if parameter.is_floating_point() and parameter.dtype != torch.float32
    ]
    try:
        with out_of_memory_as_too_large():
            for parameter, data in kept:
                parameter.data = data.float()
        yield
    finally:
        for parameter, data in kept:
            parameter.data = data


def probe_padding(runtime: ModelRuntime, items: EncodedItems, launch: Callable[[Any], LaunchResult]) -> None:
    """Raise if padding changes an item's result, seen in float32 where the memory allows it.

    Args:
        runtime: The model.
        items: Two items of different length.
        launch: Runs a batch.

    Raises:
        ScoringError: It does, or the model refuses a padded batch.
    """
    try:
        with in_float32(runtime.model):
            check_padding(runtime.name, items, launch, is_exact=True)
    except BatchTooLargeError:
        check_padding(runtime.name, items, launch, is_exact=runtime.is_float32)


def check_padding(
    name: str,
    items: EncodedItems,
    launch: Callable[[Any], LaunchResult],
    *,
    is_exact: bool,
) -> None:
    """Raise if padding changes an item's result: a wrong padding token or position rule would do that in silence.

    Args:
        name: The model.
        items: Two items of different length.
        launch: Runs a batch.
        is_exact: Whether the model runs in float32; lower precisions differ by shape, so more is allowed there.

    Raises:
        ScoringError: It does, or the model refuses a padded batch.
    """
    try:
        together = settle(launch(items.batch(np.asarray([0, 1]))))
    except ValueError as error:
        msg = f"model {name!r} cannot score a padded batch: {error}; config.json must name pad_token_id"
        raise ScoringError(msg) from error
    alone = np.concatenate([settle(launch(items.batch(np.asarray([row])))) for row in (0, 1)])
    if not np.isfinite(alone).all():
        return  # no difference can be taken; the pair is named when it is scored
    tolerance = 1e-3 if is_exact else 0.1
    scale = max(1.0, float(np.abs(alone).max(initial=0.0)))
    worst = float(np.abs(together - alone).max(initial=0.0))
    if not worst <= tolerance * scale:
        msg = (
            f"model {name!r}: a pair's score changes by {worst:.3g} when it is padded beside a longer one; "
            "check pad_token_id in config.json against the tokenizer"
        )
        raise ScoringError(msg)
