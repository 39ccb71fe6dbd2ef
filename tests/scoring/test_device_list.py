from __future__ import annotations

import pytest
import torch

from rerank_bench.errors import ConfigError, EnvironmentMissingError
from rerank_bench.scoring import device_list
from rerank_bench.scoring.lazy_scorer import open_scorer
from rerank_bench.scoring.loaded_scorer import load_scorer
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.specs import parse_model_spec


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_list, "num_usable_cores", lambda: 4)


@pytest.mark.parametrize(
    ("text", "devices", "threads"),
    [
        ("0,1", ("cuda:0", "cuda:1"), 2),
        (" 3 , cuda:1,07", ("cuda:3", "cuda:1", "cuda:7"), 1),
        ("cpu,cpu", ("cpu", "cpu"), 2),
        ("cpu", ("cpu",), 4),
    ],
)
def test_lists(text: str, devices: tuple[str, ...], threads: int) -> None:
    assert device_list.parse_devices(text) == devices
    assert device_list.threads_per_process(devices) == threads
    assert ScorerConfig(devices=devices).devices == devices


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no device that can stand in a list; expected numbers of CUDA devices such as '0,1'"),
        ("0,", "'' is no device"),
        ("a", "'a' is no device"),
        ("auto", "'auto' is no device"),
        ("cuda", "'cuda' is no device"),
        ("mps,mps", "'mps' is no device"),
        ("-1", "'-1' is no device"),
        ("0,cuda:0", "names cuda:0 twice; two processes on one GPU only share it"),
        ("cpu,0", "--devices cpu,cuda:0: CPU and CUDA give scores of different last digits"),
        ("cpu,cpu,cpu,cpu,cpu", "names 5 times cpu, but there are 4 cores"),
    ],
)
def test_wrong_lists(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        device_list.parse_devices(text)


def test_a_device_beside_the_list_is_refused() -> None:
    with pytest.raises(ConfigError, match="device 'cpu' and devices cpu,cpu were named; name one or the other"):
        ScorerConfig(device="cpu", devices=("cpu", "cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_absent_is_told_before_anything_is_read() -> None:
    config = ScorerConfig(devices=("cuda:0", "cuda:1"))
    for use_store in (True, False):
        with pytest.raises(EnvironmentMissingError, match=r"device 'cuda:0' was asked for, but .* no CUDA device"):
            open_scorer(parse_model_spec("demo"), config=config, use_store=use_store)


@pytest.mark.parametrize(("spec", "what"), [("math:dist", "a Python function"), ("http://127.0.0.1:1", "a service")])
def test_a_model_that_places_itself_is_refused(spec: str, what: str) -> None:
    config = ScorerConfig(devices=("cpu", "cpu"))
    for opening in (
        lambda: open_scorer(parse_model_spec(spec), config=config),
        lambda: load_scorer(spec, config=config),
    ):
        with pytest.raises(ConfigError, match=f"model '{spec}' is {what} and chooses its devices itself"):
            opening()
