from __future__ import annotations

from pathlib import Path

from tiny_training import examples_of, list_rows
from transformers import AutoTokenizer

from rerank_bench.training.checks import report_data


def test_the_report_says_what_the_data_are(tiny_base: Path, tmp_path: Path) -> None:
    examples = examples_of(tmp_path, list_rows(4))
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    report = report_data(examples, tokenizer, 9, dropped={"empty text": 2}, contamination=[], seed=1).as_dict()
    assert (report["num_examples"], report["num_pairs"], report["group_sizes"]) == (4, 14, (3, 4))
    assert report["labels"] == {"positive_share": 4 / 14, "counts": {"0": 10, "1": 4}}
    lengths = sorted(len(tokenizer(examples[i].query, doc)["input_ids"]) for i in range(4) for doc in examples[i].docs)
    assert report["tokens"]["max"] == lengths[-1]
    assert report["tokens"]["sampled_pairs"] == 14
    assert report["tokens"]["truncated_share"] == sum(length > 9 for length in lengths) / 14
    assert [shown["query"] for shown in report["shown"]] == [examples[i].query for i in range(3)]
    assert report["shown"][1]["documents"] == examples[1].docs
    assert report["dropped"] == {"empty text": 2}


def test_many_labels_are_summed_up(tiny_base: Path, tmp_path: Path) -> None:
    rows = [{"query": "stop", "document": "python", "label": number / 10} for number in range(20)]
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    labels = report_data(examples_of(tmp_path, rows), tokenizer, 9, dropped={}, contamination=[], seed=1).labels
    assert labels["min"] == 0
    assert round(labels["max"], 5) == 1.9
    assert round(labels["mean"], 5) == 0.95
    assert labels["positive_share"] == 0.95
