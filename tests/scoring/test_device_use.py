"""Shares of time and use of the device, as the engine reports them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rerank_bench.scoring import flops
from rerank_bench.scoring.device_use import DeviceUse, measure_use
from rerank_bench.scoring.engine_result import EngineStats
from rerank_bench.scoring.loaded_scorer import LoadedScorer, load_scorer
from rerank_bench.scoring.run_clock import RunClock

Make = Callable[..., Path]
TextPairs = list[tuple[str, str]]


def stats_of(scorer: LoadedScorer, pairs: TextPairs) -> EngineStats:
    rows = np.stack([np.arange(len(pairs))] * 2, axis=1)
    return scorer.score_indexed([query for query, _ in pairs], [doc for _, doc in pairs], rows).stats


@pytest.mark.parametrize("family", ["classifier", "encoder"])
def test_times_and_operations_belong_together(
    family: str, request: pytest.FixtureRequest, text_pairs: TextPairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flops, "PEAK_SIZES", {"cpu": 16})
    scorer = load_scorer(str(request.getfixturevalue(family)("bert")), device="cpu", batch_tokens=200)
    stats = stats_of(scorer, text_pairs)
    use = stats.use
    assert use.compute_seconds is not None
    assert use.assemble_seconds is not None
    assert use.tflops_per_second is not None
    assert use.peak_tflops_per_second is not None
    total = stats.tokenise_seconds + stats.score_seconds
    assert use.tokenise_share == pytest.approx(stats.tokenise_seconds / total)
    assert use.assemble_share == pytest.approx(use.assemble_seconds / total)
    assert use.compute_share == pytest.approx(use.compute_seconds / total)
    assert 0 < use.compute_seconds + use.assemble_seconds < stats.score_seconds, "one after the other on a CPU"
    assert use.flop_utilisation == pytest.approx(use.tflops_per_second / use.peak_tflops_per_second)
    # Between the linear layers alone, without the skipped tail of the last one, and all of it at the longest item.
    cost = scorer.scorer.runtime.cost  # type: ignore[union-attr]
    operations = use.tflops_per_second * 1e12 * use.compute_seconds
    least = 2.0 * (cost.linear_weights - cost.tail_weights) * stats.num_tokens
    assert least < operations < 2.0 * cost.linear_weights * stats.num_tokens + 4 * 32 * 64 * 2 * stats.num_tokens
    fields = stats.as_dict()
    assert "use" not in fields
    assert fields["flop_utilisation"] == use.flop_utilisation


def test_operations_of_an_unknown_model_are_not_guessed(classifier: Make, text_pairs: TextPairs) -> None:
    use = stats_of(load_scorer(str(classifier("deberta-v2")), device="cpu"), text_pairs).use
    assert use.compute_seconds is not None
    assert (use.tflops_per_second, use.peak_tflops_per_second, use.flop_utilisation) == (None, None, None)


def test_nothing_is_said_of_what_other_processes_did() -> None:
    lengths = np.asarray([3], dtype=np.int32)
    seconds: dict[str, Any] = {"tokenise_seconds": 1.0, "score_seconds": 3.0}
    assert measure_use(RunClock(is_whole=False), None, lengths, **seconds) == DeviceUse()
    assert measure_use(RunClock(), None, lengths[:0], **seconds) == DeviceUse()
    use = measure_use(RunClock(0.5, 0.25, 2.0), None, lengths, **seconds)
    assert (use.tokenise_share, use.assemble_share, use.compute_share) == (0.25, 0.1875, 0.5)
