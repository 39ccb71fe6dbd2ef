"""What is said before a cluster is used: no Ray, no cluster, other versions, no room; within seconds, with the remedy."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
from watcher import Watcher

from rerank_bench import progress
from rerank_bench.cli.termination import raise_when_terminated
from rerank_bench.errors import ConfigError, EnvironmentMissingError
from rerank_bench.scoring import ray_cluster
from rerank_bench.scoring.lazy_scorer import open_scorer
from rerank_bench.scoring.loaded_scorer import load_scorer
from rerank_bench.scoring.ray_cluster import WorkerShape, connect, place_on_ray, ray_session, worker_shape
from rerank_bench.scoring.ray_options import (
    RayOptions,
    check_kind_on_ray,
    describe_engine,
    parse_engine,
    split_address,
)
from rerank_bench.scoring.ray_versions import check_versions
from rerank_bench.scoring.ray_worker import RayWorker
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.specs import parse_model_spec

needs_ray = pytest.mark.usefixtures("_ray")


@pytest.fixture
def _ray(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@contextmanager
def server(answer: bytes | None) -> Iterator[int]:
    """Yield the port of a server that says the same to everybody, or nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        held = []

        def serve() -> None:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            held.append(connection)
            if answer is not None:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()
        for connection in held:
            connection.close()


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    for load in (load_scorer, lambda spec, ray: open_scorer(parse_model_spec(spec), config=ScorerConfig(ray=ray))):
        with pytest.raises(
            EnvironmentMissingError, match=r'which is not installed; run: pip install "rerank-bench\[ray\]"'
        ):
            load("demo", ray=RayOptions())


def test_nothing_of_ray_is_imported_without_need() -> None:
    with ray_session(None):
        assert ScorerConfig().ray is None
    assert describe_engine(None) == {}
    assert place_on_ray(ScorerConfig(device="cpu")) == ScorerConfig(device="cpu")


@needs_ray
def test_a_closed_port_is_told_with_address_and_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(
        EnvironmentMissingError, match=rf"no Ray cluster was reached at 127.0.0.1:{port} \(.*'ray start --head'"
    ):
        connect(RayOptions(address=f"127.0.0.1:{port}"))


@needs_ray
@pytest.mark.parametrize(
    ("answer", "reason"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "what answers there is no Ray head node"), (None, "timed out")],
    ids=["another-service", "silence"],
)
def test_what_is_no_cluster_is_waited_for_within_bounds(
    answer: bytes | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "ANSWER_SECONDS", 0.2)
    with server(answer) as port, pytest.raises(EnvironmentMissingError, match=reason):
        connect(RayOptions(address=f"127.0.0.1:{port}"))


@needs_ray
def test_the_address_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "nowhere.invalid:6379")
    with pytest.raises(EnvironmentMissingError, match=r"no Ray cluster was reached at nowhere\.invalid:6379"):
        connect(RayOptions())


@needs_ray
def test_a_cluster_with_another_ray_is_told_with_both_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_options: Any) -> None:
        msg = "Version mismatch: The cluster was started with:\n    Ray: 2.1\nThis process was started with:\n    Ray: 2.60"
        raise RuntimeError(msg)

    monkeypatch.setattr("ray.init", init)
    with pytest.raises(
        EnvironmentMissingError, match=r"Ray: 2.1 This process .*Ray: 2.60; install the same versions on"
    ):
        connect(RayOptions(address="auto"))


@needs_ray
def test_a_cluster_that_this_machine_is_no_node_of_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_options: Any) -> None:
        msg = "No node info found\nmatching this node's address."
        raise RuntimeError(msg)

    monkeypatch.setattr("ray.init", init)
    message = r"cluster at auto does not take this process in \(No node info found matching .*'ray job submit'"
    with pytest.raises(EnvironmentMissingError, match=message):
        connect(RayOptions(address="auto"))


@needs_ray
@pytest.mark.parametrize("fails", [False, True])
def test_the_command_keeps_its_own_way_to_end(*, fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_options: Any) -> None:
        signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(number))  # as Ray does
        if fails:
            raise RuntimeError

    monkeypatch.setattr("ray.init", init)
    with raise_when_terminated():
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(EnvironmentMissingError) if fails else nullcontext():
            connect(RayOptions(address="auto"))
        assert signal.getsignal(signal.SIGTERM) is before


@needs_ray
def test_a_ray_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(address: str | None = None, **_options: Any) -> None:
        if address == "auto":
            msg = "Could not find any running Ray instance."
            raise ConnectionError(msg)
        msg = "The current node timed out\nduring startup."
        raise Exception(msg)  # noqa: TRY002 - as Ray does

    monkeypatch.setattr("ray.init", init)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    watcher = Watcher()
    with (
        progress.use_reporter(watcher),
        pytest.raises(
            EnvironmentMissingError, match=r"could be started on this machine \(The current node timed out dur"
        ),
    ):
        connect(RayOptions())
    assert watcher.notes == [
        "no Ray cluster runs on this machine, so one is started for this run; --ray-address names another"
    ]
    with pytest.raises(EnvironmentMissingError, match=r"reached at auto \(Could not find any running Ray instance"):
        connect(RayOptions(address="auto"))


@pytest.mark.parametrize("address", ["10.0.0.1", "10.0.0.1:0", "10.0.0.1:99999", "http://a:1", "a b:1"])
def test_an_address_without_host_and_port_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=r"--ray-address is '.*', expected host:port of the head node"):
        RayOptions(address=address)


def test_ray_client_is_refused_with_the_way_to_do_it() -> None:
    with pytest.raises(
        ConfigError, match="a run cannot be driven through Ray Client: start it on a node of the cluster"
    ):
        RayOptions(address="ray://10.0.0.1:10001")


def test_addresses_of_both_kinds_are_read() -> None:
    assert split_address("[fe80::1]:6379") == ("fe80::1", 6379)
    assert split_address("head.example:6379") == ("head.example", 6379)


def test_options_of_ray_without_ray_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="--ray-address and --ray-cores: no effect with --engine local; pass --engine ray"
    ):
        parse_engine("local", address="a:1", cores=2)
    with pytest.raises(ConfigError, match="--ray-cores is 0, expected at least 1 core for each worker"):
        parse_engine("ray", cores=0)
    assert parse_engine("local") is None
    assert parse_engine("ray", cores=2) == RayOptions(cores=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"devices": ("cuda:0", "cuda:1")},
            "--devices cuda:0,cuda:1 names devices of this machine, --engine ray takes",
        ),
        (
            {"device": "cuda:1"},
            "--device cuda:1 names a device of this machine; with --engine ray name auto, cpu or cuda",
        ),
        ({"device": "mps"}, "--device mps names a device of this machine"),
    ],
)
def test_devices_of_this_machine_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ScorerConfig(ray=RayOptions(), **options)


@pytest.mark.parametrize(
    ("spec", "what"), [("math:hypot", "a Python function"), ("http://a.invalid/rerank", "a service")]
)
def test_models_that_run_where_they_are_are_refused(spec: str, what: str) -> None:
    with pytest.raises(ConfigError, match=rf"is {what} and runs where it is; drop --engine ray"):
        check_kind_on_ray(parse_model_spec(spec), RayOptions())


@dataclass
class Cluster:
    """Nodes by their resources."""

    resources: list[dict[str, float]]

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": found} for found in self.resources] + [
            {"Alive": False, "Resources": {"CPU": 100.0, "GPU": 100.0}}
        ]


def shape_of(device: str, cores: int, *nodes: dict[str, float]) -> WorkerShape:
    return worker_shape(Cluster(list(nodes)), ScorerConfig(device=device, ray=RayOptions(cores=cores)))


def test_workers_are_as_many_as_fit_the_nodes_that_are_alive() -> None:
    nodes = {"CPU": 9.0}, {"CPU": 3.0, "GPU": 8.0}, {"CPU": 16.0, "GPU": 2.0}
    assert shape_of("cpu", 4, *nodes) == WorkerShape("cpu", 2 + 0 + 4, 4)
    assert shape_of("cuda", 1, *nodes) == WorkerShape("cuda", 3 + 2, 1), "a GPU without a core is none"
    assert shape_of("cuda", 1, *nodes).options() == {"num_cpus": 1, "num_gpus": 1}
    assert shape_of("cpu", 4, *nodes).options() == {"num_cpus": 4, "num_gpus": 0}


def test_a_cluster_without_room_says_what_it_has() -> None:
    with pytest.raises(
        EnvironmentMissingError, match=r"has 16 cores for a worker \(found: 8 cores and 0 GPUs\); pass a low"
    ):
        shape_of("cpu", 16, {"CPU": 8.0})
    nodes = [{"CPU": 8.0} for _ in range(5)]
    with pytest.raises(EnvironmentMissingError, match=r"has 1 cores and a GPU .* and 2 more nodes\)"):
        shape_of("cuda", 1, *nodes)


def test_the_kind_of_device_is_that_of_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "connect", lambda _options: Cluster([{"CPU": 8.0, "GPU": 1.0}]))
    placed = place_on_ray(ScorerConfig(ray=RayOptions()))
    assert (placed.device, placed.ray) == ("cuda", RayOptions(cores=1))
    import torch

    monkeypatch.setattr(ray_cluster, "connect", lambda _options: Cluster([{"CPU": 512.0}]))
    placed = place_on_ray(ScorerConfig(ray=RayOptions()))
    assert (placed.device, placed.ray) == ("cpu", RayOptions(cores=torch.get_num_threads()))
    assert describe_engine(placed.ray) == {"engine": "ray", "threads_per_worker": torch.get_num_threads()}


def test_versions_that_differ_are_named_the_most_telling_first() -> None:
    here = RayWorker().introduce()
    check_versions(here, "b (process 7)")
    there = here | {"versions": here["versions"] | {"transformers": None, "torch": "2.5.1", "numpy": "1.0"}}
    with pytest.raises(EnvironmentMissingError) as raised:
        check_versions(there, "b (process 7)")
    versions = here["versions"]
    assert str(raised.value).startswith(
        "the worker on b (process 7) runs other versions than the process that started the run: torch 2.5.1 there, "
        f"{versions['torch']} here; transformers is not installed there, {versions['transformers']} here; numpy 1.0 there, "
        f"{versions['numpy']} here. "
    )


def test_other_code_of_the_same_version_is_refused() -> None:
    with pytest.raises(
        EnvironmentMissingError, match=r"the worker on b runs other code of rerank-bench than .* the same comm"
    ):
        check_versions(RayWorker().introduce() | {"code": "0" * 64}, "b")
