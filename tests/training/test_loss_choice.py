from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_training import examples_of, list_rows, pair_rows

from rerank_bench.errors import ConfigError, DataError
from rerank_bench.training.loss_choice import (
    check_examples,
    check_held_out,
    check_texts,
    empty_texts,
    loss_function,
    unusable_groups,
)
from rerank_bench.training.recipe import LossRecipe, Recipe

LISTS = list_rows(4)
PAIRS = pair_rows(4)


def changed(rows: list[dict[str, Any]], number: int, **values: Any) -> list[dict[str, Any]]:
    return [row | values if place == number else row for place, row in enumerate(rows)]


def check(folder: Path, rows: list[dict[str, Any]], name: Any) -> None:
    examples = examples_of(folder, rows)
    check_texts(examples)
    check_examples(examples, LossRecipe(name=name))


BAD: dict[str, tuple[str, list[dict[str, Any]], str]] = {
    "label above 1": ("bce", changed(PAIRS, 2, label=3), r"line 3: labels 3; expected from 0 to 1 for the loss 'bce'"),
    "label below 0": (
        "cross-entropy",
        changed(LISTS, 1, labels=[0, -1, 1]),
        r"line 2: labels 0, -1, 1; expected at least 0 for",
    ),
    "grade too high": (
        "lambda",
        changed(LISTS, 1, labels=[0, 99, 1]),
        r"line 2: labels 0, 99, 1; expected at most 30",
    ),
    "all equal": ("bce", [row | {"label": 1} for row in PAIRS], "all 4 labels are 1; there is nothing to learn"),
    "pairs for lists": ("lambda", PAIRS, "every example has one document .* or choose bce or mse"),
    "no positive": (
        "cross-entropy",
        changed(LISTS, 3, labels=[0, 0, 0]),
        r"line 4: labels 0, 0, 0; a group with no label above 0 teaches the loss 'cross-entropy' nothing",
    ),
    "no difference": ("lambda", changed(LISTS, 0, labels=[1] * 4), r"line 1: labels 1, 1, 1, 1; a group with equal"),
    "one document": (
        "pairwise-mse",
        changed(LISTS, 1, docs=["a"], labels=[1]),
        r"line 2: labels 1; a group with fewer than two documents teaches the loss 'pairwise-mse' nothing",
    ),
    "empty query": ("bce", changed(PAIRS, 1, query="  "), r"line 2: an empty text; query and documents need words"),
    "empty document": ("lambda", changed(LISTS, 1, docs=["a", "", "b"]), r"line 2: an empty text"),
}


@pytest.mark.parametrize("name", BAD)
def test_data_that_do_not_suit_a_loss_are_named(name: str, tmp_path: Path) -> None:
    loss, rows, message = BAD[name]
    with pytest.raises(DataError, match=message):
        check(tmp_path, rows, loss)


@pytest.mark.parametrize("loss", ["bce", "mse", "margin-mse", "pairwise-mse", "lambda", "listnet", "cross-entropy"])
def test_lists_suit_every_loss(loss: Any, tmp_path: Path) -> None:
    check(tmp_path, LISTS, loss)
    assert callable(loss_function(LossRecipe(name=loss)))


@pytest.mark.parametrize(
    ("loss", "values", "message"),
    [
        (
            "cross-entropy",
            {"labels": [0, 0, 0]},
            r"line 2: labels 0, 0, 0; held out, but without a value under the loss",
        ),
        ("pairwise-mse", {"docs": ["a"], "labels": [1]}, r"line 2: labels 1; held out, but without a value"),
        ("margin-mse", {"docs": ["a"], "labels": [1]}, r"line 2: labels 1; held out, but without a value"),
    ],
)
def test_held_out_examples_without_a_value(loss: Any, values: dict[str, Any], message: str, tmp_path: Path) -> None:
    examples = examples_of(tmp_path, changed(LISTS, 1, **values))
    with pytest.raises(DataError, match=message):
        check_held_out(examples, LossRecipe(name=loss))
    check_held_out(examples, LossRecipe(name="lambda"))  # 0, and no error


def test_unusable_rows_can_be_found(tmp_path: Path) -> None:
    rows = changed(changed(LISTS, 1, labels=[0, 0, 0]), 2, docs=["a", "b", " ", "c"])
    examples = examples_of(tmp_path, rows)
    assert unusable_groups(examples, LossRecipe(name="lambda")).tolist() == [1]
    assert unusable_groups(examples, LossRecipe(name="bce")).tolist() == []
    assert empty_texts(examples).tolist() == [2]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "lamda"}, "unknown loss 'lamda'; did you mean 'lambda'"),
        ({"name": "lambda", "weighting": "ndcg3"}, "unknown weighting 'ndcg3'"),
        ({"name": "bce", "weighting": "ndcg1"}, "weighting: not an option of the loss 'bce' .but of 'lambda'"),
        ({"name": "lambda", "pos_weight": 2.0}, "pos_weight: not an option of the loss 'lambda'"),
        ({"name": "bce", "pos_weight": 0.0}, "pos_weight is 0.0, expected a number above 0"),
        ({"name": "lambda", "sigma": float("nan")}, "sigma is nan"),
    ],
)
def test_bad_losses(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LossRecipe(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learning_rate": float("inf")}, "learning_rate is inf"),
        ({"warmup": 1.0}, "warmup is 1.0, expected a share"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"dropout": 1.0}, "dropout is 1.0, expected a share"),
        ({"head_learning_rate": 0.0}, "head_learning_rate is 0.0, expected a number above 0"),
        ({"batch_size": 16, "accumulation": 3}, "accumulation is 3, which does not divide batch_size 16"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"schedule": "linea"}, "did you mean 'linear'"),
    ],
)
def test_bad_recipes(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recipe(model="demo", **values)
