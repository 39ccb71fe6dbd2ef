from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rerank_bench.first_stage.compilation import compiled


def doubled(number: int) -> int:
    return 2 * number


def test_a_kernel_computes_what_its_source_says() -> None:
    kernel: Any = compiled(doubled)
    assert kernel(21) == 42
    assert kernel.stats.cache_path  # kept for the next process


def test_where_nothing_can_be_kept_a_kernel_still_works() -> None:
    # A function without a file is as impossible to keep as one in a folder that cannot be written.
    namespace: dict[str, Callable[[int], int]] = {}
    exec("def tripled(number): return 3 * number", namespace)  # noqa: S102  the text above
    assert compiled(namespace["tripled"])(14) == 42
