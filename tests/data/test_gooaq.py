"""GooAQ from a generated repository on the loopback hub, against a plain-Python reading of the same rows."""

from __future__ import annotations

import random
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback_hub import LoopbackHub, data_set_files
from manifest_changes import repoint

from rerank_bench.data.datasets import load_from_manifest
from rerank_bench.data.gooaq import distinct_texts, held_out_rows, load_gooaq_dataset, split_rows
from rerank_bench.errors import ManifestError

NUM_ROWS = 3000
TEST_SIZE = 100


@pytest.fixture(scope="module")
def rows() -> dict[str, list[str]]:
    """Questions, some of them equal; answers, a third of them equal to another, one of them empty."""
    chooser = random.Random(7)
    answers = [f"answer {chooser.randrange(NUM_ROWS)}" for _ in range(NUM_ROWS)]
    answers[17] = ""
    return {"question": [f"what about {chooser.randrange(NUM_ROWS * 5)}?" for _ in range(NUM_ROWS)], "answer": answers}


def reference(
    rows: dict[str, list[str]], num_rows: int
) -> tuple[dict[str, str], dict[str, str], dict[str, dict[str, int]]]:
    """Queries, documents and judgements by the rule, row by row, with the split of the library's own table of texts."""
    questions, answers = rows["question"][:num_rows], rows["answer"][:num_rows]
    table = datasets.Dataset.from_dict({"question": questions, "answer": answers, "row": list(range(num_rows))})
    held_out = table.train_test_split(test_size=TEST_SIZE, seed=12)["test"]
    documents: dict[str, str] = {}
    for row, answer in enumerate(answers):
        if answer not in documents.values():
            documents[str(row)] = answer
    id_by_text = {text: doc_id for doc_id, text in documents.items()}
    queries = {str(example["row"]): example["question"] for example in held_out}
    qrels = {str(example["row"]): {id_by_text[example["answer"]]: 1} for example in held_out}
    return queries, documents, qrels


@pytest.mark.parametrize(("name", "num_rows"), [("gooaq-dev", NUM_ROWS), ("gooaq-dev-st", 1000)])
def test_equals_a_plain_reading(hub: LoopbackHub, rows: dict[str, list[str]], name: str, num_rows: int) -> None:
    commit = hub.add_repository("org/GooAQ", data_set_files({"pair": rows}))
    limits: dict[str, Any] = {"first_rows": num_rows} if num_rows < NUM_ROWS else {}
    manifest = repoint(name, "gooaq", "org/GooAQ", commit, rows=NUM_ROWS, test_size=TEST_SIZE, **limits)
    dataset = load_from_manifest(manifest)
    queries, documents, qrels = reference(rows, num_rows)
    assert dataset.name == name
    assert list(dataset.queries.items()) == list(queries.items())
    assert dataset.collection.doc_ids.to_pylist() == list(documents)
    assert dataset.collection.texts.to_pylist() == list(documents.values())
    assert dataset.qrels == qrels
    assert len(documents) < num_rows - num_rows // 8  # there were answers to merge
    assert (dataset.source["rows"], dataset.source["commit"]) == (num_rows, commit)


def test_another_number_of_rows_is_another_split(hub: LoopbackHub, rows: dict[str, list[str]]) -> None:
    commit = hub.add_repository("org/GooAQ", data_set_files({"pair": rows}))
    manifest = repoint("gooaq-dev", "gooaq", "org/GooAQ", commit, rows=NUM_ROWS + 1)
    with pytest.raises(
        ManifestError, match="holds 3,000 rows, the manifest says 3,001; the split would be another one"
    ):
        load_gooaq_dataset(manifest)


def test_the_published_split() -> None:
    """The rule behind ``train_test_split``, written out a second time, for the 100,000 rows of ``gooaq-dev-st``.

    The same was checked once for all 3,012,496 rows; they begin with 157503, 2519032, 1813676, 1020914, 1122579.
    """
    rows = held_out_rows(100_000, test_size=1000, seed=12)
    assert rows.tolist() == np.random.default_rng(12).permutation(100_000)[:1000].tolist()
    assert rows[:5].tolist() == [59161, 10844, 12155, 34727, 93926]


@given(st.lists(st.lists(st.text(alphabet="abc", max_size=2), max_size=6), max_size=5))
def test_distinct_texts(chunks: list[list[str]]) -> None:
    texts = [text for chunk in chunks for text in chunk]
    first_rows, document_of_row, distinct = distinct_texts(pa.chunked_array(chunks, type=pa.large_string()))
    assert distinct.to_pylist() == list(dict.fromkeys(texts))
    assert first_rows.tolist() == [texts.index(text) for text in distinct.to_pylist()]
    assert [distinct[int(number)].as_py() for number in document_of_row] == texts


def test_the_split_leaves_no_row_out() -> None:
    train, test = split_rows(500, test_size=50, seed=3)
    assert test.tolist() == held_out_rows(500, test_size=50, seed=3).tolist()
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(500))
