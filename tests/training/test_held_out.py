from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from tiny_training import examples_of, list_rows, pair_rows
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rerank_bench.evaluation.classification import average_precision, threshold_curve
from rerank_bench.training.collation import Collator
from rerank_bench.training.held_out import CHOOSING, DETAILS, held_out_values
from rerank_bench.training.losses import binary_cross_entropy


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=30))
def test_average_precision_is_scikit_learns_with_ties(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in pairs], dtype=np.float32)
    labels = np.array([label for _, label in pairs], dtype=np.int64)
    labels[0] = 1
    found = average_precision(threshold_curve(scores, labels))
    assert found == pytest.approx(average_precision_score(labels, scores), abs=1e-12)


def test_pair_classification_is_that_of_sentence_transformers(tiny_base: Path, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder.evaluation import CrossEncoderClassificationEvaluator

    pairs = examples_of(tmp_path, pair_rows(30))
    texts = [(pairs[i].query, pairs[i].docs[0]) for i in range(30)]
    model = CrossEncoder(str(tiny_base), device="cpu", activation_fn=torch.nn.Identity())
    peer = CrossEncoderClassificationEvaluator(texts, pairs.labels.astype(int).tolist(), write_csv=False)
    expected = peer(model)
    plain = AutoModelForSequenceClassification.from_pretrained(tiny_base)
    collator = Collator(AutoTokenizer.from_pretrained(tiny_base), 64, None)
    values = held_out_values(plain, pairs, collator, binary_cross_entropy, batch_size=7)
    for name in ("average_precision", "accuracy", "f1", "f1_precision", "f1_recall"):
        peers = name.removeprefix("f1_") if name.startswith("f1_") else name
        assert values[name] == pytest.approx(expected[peers], abs=1e-6), name


def test_values_do_not_depend_on_the_batches(tiny_base: Path, tmp_path: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny_base).train()
    collator = Collator(AutoTokenizer.from_pretrained(tiny_base), 32, None)
    pairs = examples_of(tmp_path, pair_rows(9))
    values = [held_out_values(model, pairs, collator, binary_cross_entropy, batch_size=size) for size in (9, 2)]
    assert values[0] == pytest.approx(values[1], abs=1e-6)
    assert values[0].keys() == {"loss", *CHOOSING, *DETAILS}
    assert model.training
    lists = examples_of(tmp_path, list_rows(4), "lists.jsonl")
    assert held_out_values(model, lists, collator, binary_cross_entropy, batch_size=2).keys() == {"loss"}
    assert torch.is_grad_enabled()
