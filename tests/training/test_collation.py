"""Batches against one pair at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_training import examples_of, list_rows
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rerank_bench.training.collation import Collator, ExampleItems, score_batch


@pytest.mark.parametrize("mini_batch", [None, 1, 3])
def test_scores_of_a_batch_are_those_of_single_pairs(mini_batch: int | None, tiny_base: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_base).eval()
    items = ExampleItems(examples_of(tmp_path, list_rows(3, sizes=(4, 1, 2))))
    batch = Collator(tokenizer, 10, mini_batch)([items[i] for i in range(3)])
    assert batch["mask"].tolist() == [[True] * 4, [True, False, False, False], [True, True, False, False]]
    assert batch["targets"].tolist() == [[0, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    assert batch["indices"].tolist() == [0, 1, 2]
    assert len(batch["parts"]) == {None: 1, 1: 7, 3: 3}[mini_batch]
    with torch.inference_mode():
        scores = score_batch(model, batch)
        for row in range(3):
            for column, doc in enumerate(items[row].group.docs):
                one = tokenizer(items[row].group.query, doc, truncation=True, max_length=10, return_tensors="pt")
                assert scores[row, column].item() == pytest.approx(model(**one).logits.item(), abs=1e-5)


def test_mini_batches_hold_pairs_of_similar_length(tiny_base: Path, tmp_path: Path) -> None:
    items = ExampleItems(examples_of(tmp_path, list_rows(6)))
    batch = Collator(AutoTokenizer.from_pretrained(tiny_base), 64, 4)([items[i] for i in range(6)])
    widths = [part["input_ids"].shape[1] for part in batch["parts"]]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > widths[-1]
    assert sorted(batch["order"].tolist()) == list(range(21))
