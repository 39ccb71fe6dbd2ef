"""Which candidates become negatives: the very ones that ``mine_hard_negatives`` of Sentence Transformers takes."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import write_sequence_classifier
from tiny_pairs import some_pairs, some_texts, write_static_embedding

from rerank_bench.errors import ConfigError
from rerank_bench.jobs.mine import MiningRequest, mine
from rerank_bench.jobs.mining_sources import SourceRequest
from rerank_bench.training.mined import MinedShape, OutputForm
from rerank_bench.training.negatives import NOTHING, Candidates, NegativeChoice, choose_negatives
from rerank_bench.training.request import DataRequest

PAIRS = some_pairs(20)
CORPUS = some_texts(60, seed=9)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bi-encoder and a cross-encoder, whose activation is the peer's default, sigmoid."""
    folder = tmp_path_factory.mktemp("models")
    return write_static_embedding(folder / "static"), write_sequence_classifier(folder / "cross")


def peer_negatives(bi_encoder: Path, cross_encoder: Path | None, **options: Any) -> dict[str, list[str]]:
    """Query -> negatives, as the peer mines them."""
    import datasets
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    rows = datasets.Dataset.from_dict({"query": [q for q, _ in PAIRS], "positive": [d for _, d in PAIRS]})
    reranker = None if cross_encoder is None else CrossEncoder(str(cross_encoder), device="cpu")
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")  # a bar that looks for a notebook
        mined = mine_hard_negatives(
            rows,
            SentenceTransformer(str(bi_encoder), device="cpu"),
            corpus=list(CORPUS),
            cross_encoder=reranker,
            output_format=options.pop("output_format", "labeled-pair"),
            verbose=False,
            **options,
        )
    negatives: dict[str, list[str]] = defaultdict(list)
    for row in mined:
        if "label" not in row:
            names = sorted(name for name in row if name.startswith("negative_"))
            negatives[row["query"]] = [row[name] for name in sorted(names, key=lambda n: int(n.split("_")[1]))]
        elif row["label"] == 0:
            negatives[row["query"]].append(row["positive"])
    return negatives


def our_negatives(folder: Path, bi_encoder: str, cross_encoder: Path | None, **options: Any) -> dict[str, list[str]]:
    """Query -> negatives, as ours are mined."""
    data, corpus, out = folder / "pairs.jsonl", folder / "corpus.jsonl", folder / "mined.jsonl"
    data.write_text("".join(json.dumps({"query": q, "positive": d}) + "\n" for q, d in PAIRS))
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in CORPUS))
    shape: MinedShape = "lists" if options.get("include_positives") else "pairs"
    mine(
        MiningRequest(
            source=SourceRequest(data=DataRequest(sources=(str(data),)), corpus=str(corpus)),
            form=OutputForm(path=out, shape=shape),
            choice=NegativeChoice(**options),
            retriever=bi_encoder,
            rescorer=None if cross_encoder is None else str(cross_encoder),
            scorer={"device": "cpu"},
        )
    )
    negatives: dict[str, list[str]] = defaultdict(list)
    for row in map(json.loads, out.read_text().splitlines()):
        if shape == "lists":
            negatives[row["query"]] = row["documents"]
        elif row["label"] == 0:
            negatives[row["query"]].append(row["document"])
    return negatives


@pytest.mark.parametrize(
    "options",
    [
        {"num_negatives": 3},
        {"num_negatives": 5, "range_min": 0, "range_max": 100, "absolute_margin": 0.0},  # the recipe of GooAQ
        {"num_negatives": 4, "range_min": 2, "range_max": 9},
        {"num_negatives": 4, "range_min": 3, "range_max": 30, "relative_margin": 0.05},
        {"num_negatives": 4, "absolute_margin": 0.1},
        {"num_negatives": 4, "absolute_margin": -0.1, "range_max": 40},
        {"num_negatives": 6, "max_score": 0.5, "min_score": 0.2},
        {"num_negatives": 2, "sampling": "random", "range_min": 1, "range_max": 3},  # all that there are
        {"num_negatives": 6, "include_positives": True},
    ],
    ids=lambda options: ",".join(f"{k}={v}" for k, v in options.items()),
)
def test_negatives_are_the_peers(tmp_path: Path, models: tuple[Path, Path], options: dict[str, Any]) -> None:
    peer_options = dict(options)
    if "sampling" in options:
        peer_options["sampling_strategy"] = peer_options.pop("sampling")
    if "include_positives" in options:
        peer_options["output_format"] = "n-tuple"
    expected = peer_negatives(models[0], None, **peer_options)
    ours = our_negatives(tmp_path, str(models[0]), None, **options)
    assert ours == expected
    assert sum(map(len, ours.values())) > len(expected)


@pytest.mark.parametrize(
    "options",
    [
        {"num_negatives": 3, "absolute_margin": 0.05, "range_max": 25},
        {"num_negatives": 3, "relative_margin": 0.3, "range_min": 1, "range_max": 25},
        {"num_negatives": 3, "max_score": 0.6, "range_max": 25},
    ],
    ids=lambda options: next(iter(options.keys() - {"num_negatives", "range_max", "range_min"})),
)
def test_margins_by_a_cross_encoder_are_the_peers(
    tmp_path: Path, models: tuple[Path, Path], options: dict[str, Any]
) -> None:
    expected = peer_negatives(*models, **options)
    ours = our_negatives(tmp_path, str(models[0]), models[1], **options)
    assert ours == expected
    assert ours != our_negatives(tmp_path, str(models[0]), None, **options)


def test_random_negatives_come_from_the_window_and_the_seed_decides(tmp_path: Path, models: tuple[Path, Path]) -> None:
    window = {"range_min": 2, "range_max": 22}
    every = our_negatives(tmp_path, str(models[0]), None, num_negatives=20, **window)
    drawn = [
        our_negatives(tmp_path, str(models[0]), None, num_negatives=4, sampling="random", seed=seed, **window)
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    for query, texts in drawn[0].items():
        assert texts == [text for text in every[query] if text in texts]  # a part of it, in its order
        assert len(texts) == 4


def test_drawing_is_uniform() -> None:
    num_queries, width, wanted = 4_000, 10, 3
    scores = np.tile(-np.arange(width, dtype=np.float32), (num_queries, 1))
    positions = np.tile(np.arange(width, dtype=np.int32), (num_queries, 1))
    excluded = np.zeros_like(positions, dtype=bool)
    excluded[:, 0] = True
    choice = NegativeChoice(num_negatives=wanted, sampling="random", range_max=width)
    found = choose_negatives(choice, Candidates(positions, scores, excluded), None, range_max=width)
    counts = np.bincount(found.positions.ravel(), minlength=width)
    assert counts[0] == 0
    expected = num_queries * wanted / (width - 1)
    assert np.abs(counts[1:] - expected).max() < 5 * np.sqrt(expected)
    assert all(len(set(row)) == wanted for row in found.positions.tolist())


def test_what_is_missing_stays_missing_and_reasons_are_counted() -> None:
    positions = np.array([[4, 2, 7, NOTHING], [1, NOTHING, NOTHING, NOTHING]], dtype=np.int32)
    scores = np.array([[0.9, 0.8, 0.1, 5.0], [0.95, 5.0, 5.0, 5.0]], dtype=np.float32)
    excluded = np.array([[True, False, False, False], [False] * 4])
    choice = NegativeChoice(num_negatives=2, max_score=0.9, range_max=4)
    found = choose_negatives(choice, Candidates(positions, scores, excluded), None, range_max=4)
    assert found.positions.tolist() == [[2, 7], [NOTHING, NOTHING]]
    assert found.counts.tolist() == [2, 0]
    assert found.taken_out == {"positive": 1, "max_score": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_negatives": 0}, "num_negatives is 0, expected at least 1"),
        ({"range_min": -1}, "range_min is -1, expected at least 0"),
        ({"range_min": 8, "range_max": 10}, "leave 2 candidates, too few for 5 negatives"),
        ({"sampling": "best"}, "unknown sampling 'best'"),
        ({"absolute_margin": float("nan")}, "absolute_margin is nan, expected a finite number"),
    ],
)
def test_contradictions_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NegativeChoice(**options)
