"""Tiny training data over the words that the tiny models know."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tiny_models import WORDS

from rerank_bench.training.examples import Examples
from rerank_bench.training.shapes import build_examples
from rerank_bench.training.tables import read_files

PLAIN = [word for word in WORDS if word.isascii()]


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def words(rng: random.Random, count: int) -> str:
    return " ".join(rng.sample(PLAIN, count))


def pair_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Every third pair is positive; texts are drawn from the tiny vocabulary."""
    rng = random.Random(seed)
    return [
        {"query": words(rng, 3), "document": words(rng, rng.randint(2, 6)), "label": int(number % 3 == 0)}
        for number in range(count)
    ]


def list_rows(count: int, seed: int = 0, *, sizes: Sequence[int] = (4, 3)) -> list[dict[str, Any]]:
    """Lists of alternating sizes; the second document is the one positive."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        size = sizes[number % len(sizes)]
        docs = [words(rng, rng.randint(2, 6)) for _ in range(size)]
        rows.append({"query": words(rng, 3), "docs": docs, "labels": [int(place == 1) for place in range(size)]})
    return rows


def examples_of(folder: Path, rows: Iterable[Mapping[str, Any]], name: str = "train.jsonl") -> Examples:
    return build_examples(read_files([write_jsonl(folder / name, rows)]))
