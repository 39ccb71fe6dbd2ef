"""Operations counted from the model equal those that torch's own counter sees in the official forward pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rerank_bench.scoring import flops, packing
from rerank_bench.scoring.flops import forward_cost, matmul_peak
from rerank_bench.scoring.packing import PackedModel
from rerank_bench.scoring.tokenization import TokenBatch

Make = Callable[..., Path]

LENGTHS = np.asarray([1, 2, 9, 17, 40], dtype=np.int32)


def counted_by_torch(run: Callable[[], Any]) -> float:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def linear_flops(*modules: Any) -> int:
    import torch

    layers = [layer for module in modules for layer in module.modules() if isinstance(layer, torch.nn.Linear)]
    return sum(2 * layer.weight.numel() for layer in layers)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "xlm-roberta", "electra"])
def test_encoders_cost_what_torch_counts(architecture: str, classifier: Make) -> None:
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(classifier(architecture)).eval()
    cost = forward_cost(model)
    assert cost is not None
    pooler = linear_flops(model.pooler) if getattr(model, "pooler", None) is not None else 0
    for length in LENGTHS.tolist():
        ids = torch.full((1, length), 7)
        expected = counted_by_torch(lambda ids=ids: model(input_ids=ids)) - pooler  # type: ignore[misc]
        assert cost.flops(np.asarray([length], dtype=np.int32)) == expected
    alone = [cost.flops(LENGTHS[[row]]) for row in range(len(LENGTHS))]
    assert cost.flops(LENGTHS) == pytest.approx(sum(alone))


def test_what_a_packed_run_leaves_out_is_not_counted(classifier: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    monkeypatch.setattr(packing, "CPU_ROW_TOKENS", 1)  # tokens that only fill a row are no work of the items
    model = AutoModelForSequenceClassification.from_pretrained(classifier("bert")).eval()
    cost = forward_cost(model)
    assert cost is not None
    packed = PackedModel.install(model, "first", "runs")
    assert packed.skips_tail
    kept = np.arange(LENGTHS.max()) < LENGTHS[:, None]
    batch = TokenBatch(np.where(kept, 7, 0), kept.astype(np.int64), None)
    inputs = packed.prepare(batch, torch.device("cpu"))
    with torch.inference_mode():
        expected = counted_by_torch(lambda: packed.run(inputs))
    head = linear_flops(model.bert.pooler, model.classifier) * len(LENGTHS)
    assert cost.flops(LENGTHS, skips_tail=True) == expected - head
    assert cost.flops(LENGTHS) > expected


def test_a_window_counts_what_is_within_it(classifier: Make) -> None:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(classifier("modernbert"))
    cost = forward_cost(model)
    assert cost is not None
    assert set(cost.windows) == {None, 9}, "local_attention is 16: eight tokens on either side"
    assert (cost.linear_weights, cost.tail_weights) == (linear_flops(model.model) // 2, 0)
    n = 40
    position = np.arange(n)
    near = (np.abs(position[:, None] - position) <= 8).sum()
    attention = sum(4 * 32 * (n * n if window is None else near) for window in cost.windows)
    assert cost.flops(np.asarray([n], dtype=np.int32)) == 2 * cost.linear_weights * n + attention


def test_a_decoder_sees_earlier_tokens_only() -> None:
    import torch
    from transformers import AutoModelForCausalLM, Qwen3Config

    config = Qwen3Config(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        vocab_size=50,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    cost = forward_cost(model)
    assert cost is not None
    n = 12
    ids = torch.full((1, n), 7)
    seen = counted_by_torch(lambda: model(input_ids=ids, use_cache=False)) - linear_flops(model.lm_head) * n
    full = 4 * 4 * 16 * n * n * 2  # torch counts both halves of the square, in both layers
    assert cost.flops(np.asarray([n], dtype=np.int32)) == seen - full + full * (n + 1) / (2 * n)


def test_what_is_not_known_is_not_counted(classifier: Make) -> None:
    from transformers import AutoModelForSequenceClassification

    assert forward_cost(AutoModelForSequenceClassification.from_pretrained(classifier("deberta-v2"))) is None


def test_the_peak_is_measured_once_and_only_where_it_is_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    cpu = torch.device("cpu")
    monkeypatch.setattr(flops, "PEAK_SIZES", {"cpu": 64})
    flops._matmul_peak.cache_clear()
    peak = matmul_peak(cpu, torch.float32)
    assert peak > 1e6
    assert matmul_peak(cpu, torch.float32) == peak, "measured twice, two times would differ"
    flops._matmul_peak.cache_clear()
    cost = 6 * 2 * 64**3
    assert flops.is_peak_cheap(cpu, 101 * cost)
    assert not flops.is_peak_cheap(cpu, 99 * cost)
    assert not flops.is_peak_cheap(torch.device("mps"), 1e30)
