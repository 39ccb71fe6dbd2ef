from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny_training import examples_of, write_jsonl

from rerank_bench.errors import ConfigError, DataError
from rerank_bench.training.examples import Examples, Group
from rerank_bench.training.shapes import build_examples, find_columns, parse_columns
from rerank_bench.training.tables import read_files

SHAPES: dict[str, tuple[list[dict[str, Any]], str, list[Group]]] = {
    "published pairs": (
        [{"query": "q", "passage": "d", "score": 1}, {"query": "r", "passage": "e", "score": 0}],
        "pairs",
        [Group("q", ["d"], [1.0]), Group("r", ["e"], [0.0])],
    ),
    "question and answer": ([{"label": 0.5, "answer": "d", "question": "q"}], "pairs", [Group("q", ["d"], [0.5])]),
    "sentences": ([{"sentence_0": "q", "sentence_1": "d", "label": True}], "pairs", [Group("q", ["d"], [1.0])]),
    "lists": (
        [{"query": "q", "docs": ["a", "b"], "labels": [0, 1]}, {"query": "r", "docs": ["c"], "labels": [2]}],
        "lists",
        [Group("q", ["a", "b"], [0.0, 1.0]), Group("r", ["c"], [2.0])],
    ),
    "triplets": (
        [{"anchor": "q", "positive": "p", "negative": "n"}, {"anchor": "r", "positive": "s", "negative": "t"}],
        "triplets",
        [Group("q", ["p", "n"], [1.0, 0.0]), Group("r", ["s", "t"], [1.0, 0.0])],
    ),
    "tuples": (
        [{"query": "q", "positive": "p", "negative_10": "j", "negative_2": "b", "negative_1": "a"}],
        "tuples",
        [Group("q", ["p", "a", "b", "j"], [1.0, 0.0, 0.0, 0.0])],
    ),
    "tuples with a list": (
        [
            {"query": "q", "positive": "p", "negatives": ["a", "b"]},
            {"query": "r", "positive": "s", "negatives": ["c"]},
        ],
        "tuples",
        [Group("q", ["p", "a", "b"], [1.0, 0.0, 0.0]), Group("r", ["s", "c"], [1.0, 0.0])],
    ),
    "a teacher's scores": (
        [{"query": "q", "positive": "p", "negative_1": "a", "negative_2": "b", "scores": [9.0, 2.0, -1.0]}],
        "tuples",
        [Group("q", ["p", "a", "b"], [9.0, 2.0, -1.0])],
    ),
    "a teacher's margins": (
        [{"query": "q", "positive": "p", "negative_1": "a", "negative_2": "b", "score": [7.0, 10.0]}],
        "tuples",
        [Group("q", ["p", "a", "b"], [0.0, -7.0, -10.0])],
    ),
    "one margin": (
        [{"query": "q", "positive": "p", "negative": "n", "score": 3.5}],
        "triplets",
        [Group("q", ["p", "n"], [0.0, -3.5])],
    ),
}


def groups(examples: Examples) -> list[Group]:
    return [examples[i] for i in range(len(examples))]


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_found_by_their_columns(name: str, tmp_path: Path) -> None:
    rows, shape, expected = SHAPES[name]
    examples = examples_of(tmp_path, rows)
    assert examples.shape == shape
    assert groups(examples) == expected


def test_columns_can_be_named(tmp_path: Path) -> None:
    rows = [{"x": "q", "y": "d", "z": 1, "query": "other"}, {"x": "r", "y": "e", "z": 0, "query": "other"}]
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    examples = build_examples(read_files([path]), parse_columns(["query=x,document=y", "label=z"]))
    assert groups(examples) == [Group("q", ["d"], [1.0]), Group("r", ["e"], [0.0])]
    assert examples.columns == "query=x, document=y, label=z"
    triplets = parse_columns(["positive=y", "negative=query", "query=x", "label=z"])
    assert groups(build_examples(read_files([path]), triplets))[0] == Group("q", ["d", "other"], [0.0, -1.0])


def test_examples_are_taken_in_any_order(tmp_path: Path) -> None:
    import numpy as np

    examples = examples_of(tmp_path, [{"query": f"q{i}", "docs": [f"d{i}"] * i, "labels": [i] * i} for i in (1, 2, 3)])
    some = examples.take(np.array([2, 0]))
    assert groups(some) == [examples[2], examples[0]]
    assert some.place(0).endswith("line 3")
    assert some.fingerprint() == examples.take(np.array([2, 0])).fingerprint()
    assert some.fingerprint() != examples.take(np.array([0, 2])).fingerprint()


Rows = Sequence[Mapping[str, Any]]
BAD: dict[str, tuple[Rows, str]] = {
    "no query": ([{"passage": "d", "score": 1}], "no column is the query; found the columns passage, score"),
    "no documents": ([{"query": "d", "score": 1}], "no column holds the documents; found the columns"),
    "two kinds": (
        [{"query": "q", "docs": ["d"], "positive": "p", "labels": [1]}],
        r"'docs' \(documents\) and 'positive' \(positive\) could both hold the documents",
    ),
    "no label": ([{"question": "q", "answer": "d"}], "no column is the label .*need mined negatives"),
    "no negative": ([{"query": "q", "positive": "d"}], "no column is a negative; mine hard negatives first"),
    "null query": (
        [{"query": "q", "text": "d", "label": 1}, {"query": None, "text": "d", "label": 1}],
        r"train\.jsonl, line 2: no 'query'; expected a text",
    ),
    "null document in a list": (
        [{"query": "q", "docs": ["d", None], "labels": [1, 0]}],
        r"line 1: no 'docs'; expected a text",
    ),
    "text label": ([{"query": "q", "text": "d", "label": "yes"}], "column 'label' holds string, expected numbers"),
    "null label": (
        [{"query": "q", "text": "d", "label": 1}, {"query": "q", "text": "d", "label": None}],
        r"line 2: no finite number in 'label'",
    ),
    "uneven lists": (
        [{"query": "q", "docs": ["d"], "labels": [1]}, {"query": "q", "docs": ["d", "e"], "labels": [1]}],
        r"line 2: 2 documents and 1 labels; expected one label per document",
    ),
    "empty list": (
        [{"query": "q", "docs": ["d"], "labels": [1]}, {"query": "q", "docs": [], "labels": []}],
        r"line 2: no document; expected at least one",
    ),
    "label list for pairs": ([{"query": "q", "text": "d", "labels": [1]}], "holds list<.*expected numbers"),
    "texts for a list": ([{"query": "q", "docs": "d", "labels": [1]}], "column 'docs' holds string, expected lists"),
    "numbers for a text": ([{"query": 3, "text": "d", "label": 1}], "column 'query' holds int64, expected texts"),
    "wrong number of scores": (
        [{"query": "q", "positive": "p", "negative_1": "a", "negative_2": "b", "scores": [9.0]}],
        "1 labels for a positive and 2 negatives; expected one score per document, or one margin per negative",
    ),
    "one margin for two": (
        [{"query": "q", "positive": "p", "negative_1": "a", "negative_2": "b", "score": 9.0}],
        "one label and 2 negatives; expected a list",
    ),
    "many": ([{"query": None, "text": "d", "label": 1}] * 5, r"line 3: no 'query' \(and 2 more rows\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_fits_no_shape_is_named_with_file_and_line(name: str, tmp_path: Path) -> None:
    rows, message = BAD[name]
    with pytest.raises(DataError, match=message):
        examples_of(tmp_path, rows)


def test_bad_names_of_columns() -> None:
    with pytest.raises(ConfigError, match="'query' is not ROLE=NAME"):
        parse_columns(["query"])
    with pytest.raises(ConfigError, match="unknown column role 'qury'; did you mean 'query'"):
        parse_columns(["qury=x"])
    with pytest.raises(ConfigError, match="role 'label' is named twice"):
        parse_columns(["label=x,label=y"])
    with pytest.raises(DataError, match="unknown column 'quer'; did you mean 'query'"):
        find_columns("data", ["query", "text", "label"], {"query": ["quer"]})
