"""A tiny base model, and one thread for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_job import tiny_request
from tiny_models import write_sequence_classifier

from rerank_bench.jobs.train import run_training


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT classifier with one label."""
    return write_sequence_classifier(tmp_path_factory.mktemp("base") / "tiny", initializer_range=0.1)


@pytest.fixture(scope="session")
def tiny_job(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished training with its checkpoints 2, 4 and 6; not to be changed."""
    folder = tmp_path_factory.mktemp("job")
    with pytest.MonkeyPatch.context() as patch:  # made before the fixture that keeps a test off the user's cache
        patch.setenv("RERANK_BENCH_CACHE", str(folder / "cache"))
        run_training(tiny_request(tiny_base, folder), folder / "tiny-reranker")
    return folder / "tiny-reranker"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny matrices are slower on several threads, and much slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
