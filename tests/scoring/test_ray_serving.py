"""What a worker of a cluster does with its own copy of a model: the very files that the run was started with, or none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import write_sequence_classifier

from rerank_bench.errors import EnvironmentMissingError, ScoringError
from rerank_bench.scoring import ray_serving
from rerank_bench.scoring.device_worker import Failed, load_model
from rerank_bench.scoring.launching import Computed
from rerank_bench.scoring.loaded_scorer import load_scorer
from rerank_bench.scoring.model_files import find_checkpoint
from rerank_bench.scoring.ray_engine import _start_of
from rerank_bench.scoring.ray_options import RayOptions
from rerank_bench.scoring.ray_serving import (
    ChunkResult,
    DeviceLost,
    Encoded,
    ItemFailure,
    Loaded,
    ModelServer,
    RayStart,
)
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.specs import parse_model_spec


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RayStart:
    """What a worker is sent for a model that was named by a relative path."""
    write_sequence_classifier(tmp_path / "model", seed=3)
    monkeypatch.chdir(tmp_path)
    model, config = parse_model_spec("./model"), ScorerConfig(device="cpu", ray=RayOptions(cores=1))
    message = _start_of(find_checkpoint(model, config), model, config, 1)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return message


def failure_of(message: RayStart) -> str:
    answer = ModelServer(message).load()
    assert isinstance(answer, Failed)
    assert isinstance(answer.error, ScoringError)
    return answer.text


def test_a_worker_finds_the_model_wherever_it_is_started_and_scores_alike(start: RayStart) -> None:
    server = ModelServer(start)
    loaded = server.load()
    assert isinstance(loaded, Loaded)
    here = load_scorer(start.start.model.value, device="cpu")
    assert loaded.ready.fingerprint == here.fingerprint
    queries, docs = ["how to sort", "how to sort a list"], ["sort", "a list", "a list of words to sort"]
    pairs = np.asarray([(0, 0), (1, 1), (0, 2), (1, 2)])
    encoded = server.encode(queries, docs, pairs)
    assert isinstance(encoded, Encoded)
    server._items, server._items_key = encoded.items, "job"
    batches = [np.asarray([2, 3], dtype=np.int32), np.asarray([1], dtype=np.int32), np.asarray([0], dtype=np.int32)]
    chunk = server.run("job", batches)
    assert isinstance(chunk, ChunkResult)
    alone = here.score_indexed(queries, docs, pairs).scores
    outcomes = [outcome for outcome in chunk.outcomes if isinstance(outcome, np.ndarray)]
    assert np.allclose(np.concatenate(outcomes), alone[[2, 3, 1, 0]], atol=1e-6)


def test_a_folder_that_is_not_there_is_told_with_both_remedies(start: RayStart) -> None:
    folder = Path(start.start.model.value)
    folder.rename(folder.with_name("moved"))
    assert failure_of(start) == (
        f"there is no {folder}; a local model must lie under the same path on every machine of the cluster (a shared file "
        "system, or a copy), or be named by its hub id: each machine fetches that itself"
    )


def test_another_model_under_the_same_path_is_refused(start: RayStart) -> None:
    folder = Path(start.start.model.value)
    write_sequence_classifier(folder, seed=4)
    assert failure_of(start) == (
        f"the files in {folder} are not those of the machine that the run was started on; copy them again"
    )


def test_a_hub_model_is_looked_for_at_the_commit_that_was_found(
    start: RayStart, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def hub_folder(repository: str, revision: str | None, **_options: object) -> tuple[Path, str]:
        asked.append((repository, revision))
        return Path(start.start.model.value), "a" * 40

    monkeypatch.setattr("rerank_bench.scoring.model_files.hub_folder", hub_folder)
    model = parse_model_spec("owner/name@main")
    checkpoint = replace(start.start.checkpoint, revision="a" * 40)
    message = _start_of(checkpoint, model, ScorerConfig(device="cpu", ray=RayOptions(cores=1)), 1)
    assert message.contents is None
    assert isinstance(ModelServer(message).load(), Loaded)
    assert asked == [("owner/name", "a" * 40)]


class Batches:
    """Items that are their own batch."""

    def batch(self, items: Any) -> Any:
        return items


class Late:
    """A batch whose result is fetched later; item 3 fails then, item 5 already at its launch."""

    patience = 1

    def __init__(self, items: Any, reason: str) -> None:
        self.items, self.reason = items, reason

    def fetch(self) -> Computed:
        if 3 in self.items:
            raise RuntimeError(self.reason)
        return Computed(self.items.astype(np.float32), 0.0, 0.0)


class LateScorer:
    def __init__(self, reason: str) -> None:
        self.reason = reason

    def score_batch(self, items: Any) -> Late:
        if 5 in items:
            raise RuntimeError(self.reason)
        return Late(items, self.reason)


def run_late(reason: str, *batches: list[int]) -> Any:
    nothing: Any = None
    server = ModelServer(nothing, scorer=LateScorer(reason))
    server._items, server._items_key = Batches(), "job"
    return server.run("job", [np.asarray(batch, dtype=np.int32) for batch in batches])


@pytest.mark.parametrize("item", [3, 5])
def test_an_exception_is_about_the_batch_that_raises_it_at_its_launch_or_when_it_is_fetched(item: int) -> None:
    answer = run_late("index out of range", [0, 1], [2, item], [4, 6], [7])
    assert isinstance(answer, ItemFailure)
    assert answer.items.tolist() == [item]
    assert "index out of range" in answer.text
    sound = run_late("", [0, 1], [2], [4, 6], [7])
    assert isinstance(sound, ChunkResult)
    assert [outcome.tolist() for outcome in sound.outcomes if isinstance(outcome, np.ndarray)] == [
        [0, 1],
        [2],
        [4, 6],
        [7],
    ]


@pytest.mark.parametrize("item", [3, 5])
def test_a_device_that_is_lost_is_no_matter_of_the_pair(item: int) -> None:
    answer = run_late("CUDA error: an illegal memory access was encountered", [0, 1], [2, item])
    assert isinstance(answer, DeviceLost)
    assert "illegal memory access" in answer.text
    passing = run_late("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate", [0, 1], [2, item])
    assert isinstance(passing, ItemFailure)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: the model would load")
def test_the_gpu_of_a_worker_has_no_number(start: RayStart) -> None:
    """Ray shows a worker one GPU; ``torch.cuda.set_device`` takes no device without an index."""
    config = replace(start.start.config, device="cuda", ray=None)
    message = start.start._replace(checkpoint=ray_serving._find_here(start), config=config)
    with pytest.raises(EnvironmentMissingError, match=r"CUDA|cuda"):
        load_model(message)
