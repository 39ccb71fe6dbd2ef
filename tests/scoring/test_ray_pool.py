"""Answers in any order, workers that die at any moment: every pair keeps its own score, and only the guilty is blamed."""

from __future__ import annotations

import random
import sys
from typing import Any

import numpy as np
import pytest
from fleet_models import FakeCheckpoint, overlap
from hypothesis import given, settings
from hypothesis import strategies as st
from in_process_ray import InProcessRay

from rerank_bench.errors import EnvironmentMissingError, ScoringError
from rerank_bench.scoring import ray_engine, ray_serving
from rerank_bench.scoring.device_worker import load_model
from rerank_bench.scoring.engine import score_indexed
from rerank_bench.scoring.fleet_scorers import FleetScorer
from rerank_bench.scoring.ray_engine import RayFleet
from rerank_bench.scoring.ray_options import RayOptions
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.specs import ModelSpec

SPEC = ModelSpec(kind="demo", value="demo", text="demo")


def open_fleet(ray: InProcessRay, patch: pytest.MonkeyPatch) -> FleetScorer:
    patch.setattr(ray_engine, "connect", lambda _options: ray)
    patch.setitem(sys.modules, "ray", ray)
    # Here the workers' process is this one.
    patch.setattr(ray_serving, "load_model", load_model)
    patch.setattr(ray_serving, "_find_here", ray_serving._find_here)
    checkpoint: Any = FakeCheckpoint()
    return FleetScorer(RayFleet(checkpoint, SPEC, ScorerConfig(device="cpu", ray=RayOptions(cores=1))))


def texts(num_docs: int, seed: int = 3) -> tuple[list[str], list[str], Any]:
    draw = random.Random(seed)
    docs = [" ".join(draw.choices("abcdefg", k=draw.randint(1, 9))) + f" d{n}" for n in range(num_docs)]
    return ["a b c", "d e"], docs, np.stack([np.arange(num_docs) % 2, np.arange(num_docs)], axis=1)


@settings(deadline=None, max_examples=60)
@given(
    num_docs=st.integers(1, 60),
    num_cores=st.integers(1, 4),
    num_deaths=st.integers(0, 3),
    budget=st.integers(1, 60),
    chunk_seconds=st.sampled_from([1e-9, 1e-4, 10.0]),
    seed=st.integers(0, 999),
    loses_device=st.booleans(),
)
def test_every_pair_keeps_its_score_whatever_the_order_and_whoever_dies(
    num_docs: int, num_cores: int, num_deaths: int, budget: int, chunk_seconds: float, seed: int, *, loses_device: bool
) -> None:
    queries, docs, pairs = texts(num_docs, seed)
    ray = InProcessRay(num_cores, random.Random(seed), num_deaths=num_deaths, loses_device=loses_device)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_engine, "CHUNK_SECONDS", chunk_seconds)
        scorer = open_fleet(ray, patch)
        try:
            scores = score_indexed(scorer, queries, docs, pairs, batch_tokens=budget).scores
        except ScoringError as raised:
            error = raised
            scores = None
    if scores is None:  # three deaths with the same batch by chance
        assert num_deaths == 3
        assert "every worker that was given this was lost" in str(error)
    else:
        assert scores.tolist() == [np.float32(overlap(queries[q], docs[d])) for q, d in pairs]


@settings(deadline=None, max_examples=40)
@given(num_docs=st.integers(1, 60), num_cores=st.integers(1, 4), budget=st.integers(1, 60), seed=st.integers(0, 999))
def test_only_the_deadly_pair_is_blamed_after_three_workers(
    num_docs: int, num_cores: int, budget: int, seed: int
) -> None:
    queries, docs, pairs = texts(num_docs, seed)
    deadly = random.Random(seed).randrange(num_docs)
    ray = InProcessRay(num_cores, random.Random(seed), deadly=deadly)
    with pytest.MonkeyPatch.context() as patch:
        scorer = open_fleet(ray, patch)
        with pytest.raises(ScoringError) as raised:
            score_indexed(scorer, queries, docs, pairs, batch_tokens=budget, pair_name=lambda row: f"pair {row}")
        distinct = np.lexsort((pairs[:, 1], pairs[:, 0]))  # items are sorted by query
        assert str(raised.value).startswith(f"pair {distinct[deadly]}: every worker that was given this was lost.")
        fleet = scorer.fleet
        assert isinstance(fleet, RayFleet)
        assert fleet.pool._num_replaced <= 4, "two with its batch, one to find it; one more where its chunk had others"


def test_a_cluster_that_eats_workers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = open_fleet(InProcessRay(num_deaths=99), monkeypatch)
    with pytest.raises((EnvironmentMissingError, ScoringError), match="what was scored is stored"):
        score_indexed(scorer, *texts(60), batch_tokens=1)
