from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from rerank_bench.errors import ConfigError, EnvironmentMissingError
from rerank_bench.scoring import devices
from rerank_bench.scoring.scorer import ScorerConfig


def test_cpu_and_auto() -> None:
    assert devices.resolve_device("cpu") == torch.device("cpu")
    has_accelerator = torch.cuda.is_available() or torch.backends.mps.is_available()
    assert (devices.resolve_device("auto").type == "cpu") == (not has_accelerator)


@pytest.mark.parametrize(("dtype", "expected"), [("auto", torch.float32), ("bfloat16", torch.bfloat16)])
def test_dtype_on_the_cpu(dtype: str, expected: torch.dtype) -> None:
    assert devices.resolve_dtype(dtype, torch.device("cpu")) == expected


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown device 'coda'; did you mean 'cuda'"):
        devices.resolve_device("coda")
    with pytest.raises(ConfigError, match=r"unknown dtype 'float'; did you mean .*'float16'"):
        devices.resolve_dtype("float", torch.device("cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_cuda_that_is_absent_is_an_error(name: str) -> None:
    with pytest.raises(EnvironmentMissingError, match=rf"device '{name}' was asked for, but torch .* no CUDA device"):
        devices.resolve_device(name)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="needs a machine without MPS")
def test_mps_that_is_absent_is_an_error() -> None:
    with pytest.raises(EnvironmentMissingError, match="device 'mps' was asked for"):
        devices.resolve_device("mps")


@pytest.mark.gpu
def test_a_cuda_index_beyond_the_last_is_an_error() -> None:
    with pytest.raises(EnvironmentMissingError, match="device 'cuda:99' was asked for, but there are"):
        devices.resolve_device("cuda:99")


def test_half_precision_takes_larger_batches_on_the_cpu() -> None:
    cpu = torch.device("cpu")
    half = devices.default_batch_tokens(cpu, torch.bfloat16)
    assert half > devices.default_batch_tokens(cpu, torch.float32)
    assert devices.trial_batch_tokens(cpu, torch.bfloat16) == (), "all budgets are about as fast there"


@pytest.mark.parametrize(
    ("gibibytes", "default", "trials"),
    [(141, 65_536, (32_768, 65_536, 131_072, 262_144)), (8, 32_768, (16_384, 32_768, 65_536, 131_072))],
)
def test_budgets_on_cuda_follow_its_memory(
    gibibytes: int, default: int, trials: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = SimpleNamespace(total_memory=gibibytes * 2**30 - 10**8)  # a driver keeps some for itself
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: size)
    cuda = torch.device("cuda")
    assert devices.default_batch_tokens(cuda, torch.bfloat16) == default
    assert devices.trial_batch_tokens(cuda, torch.bfloat16) == trials


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu0"}, "unknown device 'gpu0'"),
        ({"device": "cuda:x"}, "unknown device 'cuda:x'"),
        ({"dtype": "fp8"}, "unknown dtype 'fp8'"),
        ({"family": "cross-encoder"}, "unknown family 'cross-encoder'.*Known: bi-encoder, .*sequence-classifier"),
        ({"max_length": 0}, "max_length is 0, expected at least 1 token"),
        ({"batch_tokens": 0}, "batch_tokens is 0, expected at least 1"),
    ],
)
def test_a_wrong_configuration_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ScorerConfig(**options)  # type: ignore[arg-type]  # wrong values are what is tested
