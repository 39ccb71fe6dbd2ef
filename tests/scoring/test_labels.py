"""One score from several labels, against softmax; which label is meant."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rerank_bench.errors import ConfigError
from rerank_bench.scoring.labels import read_labels
from rerank_bench.scoring.loaded_scorer import load_scorer

NAMES = {0: "contradiction", 1: "entailment", 2: "neutral"}


def config(names: dict[int, str]) -> Any:
    return SimpleNamespace(num_labels=len(names), id2label=names)


@pytest.mark.parametrize(("requested", "index"), [("entailment", 1), ("Neutral", 2), ("0", 0), ("2", 2)])
def test_a_label_is_chosen_by_name_or_index(requested: str, index: int) -> None:
    assert read_labels("m", config(NAMES), requested).positive == index


def test_a_name_comes_before_an_index() -> None:
    assert read_labels("m", config({0: "1", 1: "0", 2: "2"}), "1").positive == 0


def test_a_choice_overrules_the_names_of_two_labels() -> None:
    assert read_labels("m", config({0: "no", 1: "yes"}), None).positive == 1
    assert read_labels("m", config({0: "no", 1: "yes"}), "no").positive == 0


@pytest.mark.parametrize(
    ("names", "requested", "message"),
    [
        (NAMES, None, r"has 3 labels \(contradiction, entailment, neutral\).*--positive-label"),
        (NAMES, "entailed", r"unknown label 'entailed'; did you mean 'entailment'.*an index, 0 to 2"),
        (NAMES, "3", r"unknown label '3'"),
        ({0: "relevance"}, "relevance", r"has one label only; drop it"),
        ({0: "Yes", 1: "yES", 2: "no"}, "yes", r"2 labels are called 'yes'; give the index, one of \[0, 1\]"),
    ],
)
def test_a_choice_that_cannot_be(names: dict[int, str], requested: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_labels("m", config(names), requested)


@pytest.mark.parametrize("positive", [0, 1, 2])
def test_the_score_orders_as_the_labels_probability_and_does_not_saturate(positive: int) -> None:
    labels = read_labels("m", config(NAMES), str(positive))
    logits = torch.from_numpy(np.random.default_rng(positive).normal(0, 3, (200, 3)).astype(np.float32))
    scores = labels.score(logits)
    probability = torch.softmax(logits.double(), dim=1)[:, positive]
    torch.testing.assert_close(scores.double(), torch.logit(probability), rtol=0, atol=1e-4)
    assert torch.equal(scores.argsort(), probability.argsort())
    far = torch.zeros(2, 3)
    far[:, positive] = torch.tensor([40.0, 41.0])
    assert torch.softmax(far, dim=1)[0, positive] == torch.softmax(far, dim=1)[1, positive]
    assert labels.score(far)[0] < labels.score(far)[1]


def test_three_labels_of_a_checkpoint(classifier: Any, text_pairs: list[tuple[str, str]]) -> None:
    folder: Path = classifier("bert", num_labels=3)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    expected = []
    with torch.inference_mode():
        for query, doc in text_pairs:
            inputs = tokenizer([query], [doc], truncation=True, max_length=64, return_tensors="pt")
            probability = torch.softmax(model(**inputs).logits.double(), dim=1)[0, 2]
            expected.append(float(torch.logit(probability)))
    scorers = [load_scorer(str(folder), device="cpu", positive_label=label) for label in ("LABEL_2", "1")]
    np.testing.assert_allclose(scorers[0].score(text_pairs), expected, rtol=0, atol=1e-5)
    assert scorers[0].describe()["positive_label"] == 2
    assert scorers[0].fingerprint != scorers[1].fingerprint
