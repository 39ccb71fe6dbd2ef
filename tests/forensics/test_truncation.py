"""What is claimed of truncation is certain: a word is a token at least, a byte a token at most."""

from __future__ import annotations

from typing import Any

import pytest

from rerank_bench.forensics.truncation import FIRST_STAGE, Pair, Reader, describe_cut, reader_of
from rerank_bench.reporting.pair_tokens import ReadTokens


def reader(max_length: int | None, family: str = "sequence-classifier", **options: Any) -> Reader:
    return Reader(reads_texts=True, max_length=max_length, family=family, **options)


@pytest.mark.parametrize(
    ("found", "query", "doc", "label"),
    [
        (reader(8), "three short words", "and six more words of text", "cut"),
        (reader(9), "three short words", "and six more words of text", "unknown"),
        (reader(64), "three short words", "and six more words of text", "read whole"),
        (reader(50), "three short words", "and six more words of text", "unknown"),
        (reader(64, "causal-lm"), "three short words", "and six more words of text", "unknown"),
        (reader(8, "causal-lm"), "three short words", "and six more words of text", "cut"),
        (reader(8, "bi-encoder"), "three short words", "six more words of text", "unknown"),
        (reader(4, "bi-encoder"), "three short words", "six more words of text", "cut"),
        (reader(30, "bi-encoder"), "three short words", "six more words of text", "read whole"),
        (reader(30, "bi-encoder", prompt="passage: "), "three short words", "six more words of text", "unknown"),
        (reader(30), "", "ğğğğğğğğğğğğ", "unknown"),  # twelve letters, 24 bytes
        (reader(32), "", "ğğğğğğğğğğğğ", "read whole"),
        (reader(8, truncated_share=0.0), "three short words", "and six more words of text", "read whole"),
        (reader(8, truncated_share=1.0), "q", "d", "cut"),
        (reader(8, truncated_share=0.5), "q", "d", "unknown"),
        (reader(None), "q", "d", "unknown"),
        (reader(512), None, "d", "unknown"),
        (reader(512), "q", None, "unknown"),
        (FIRST_STAGE, None, None, "read whole"),
    ],
)
def test_what_is_claimed(found: Reader, query: str | None, doc: str | None, label: str) -> None:
    assert describe_cut(found, Pair("q1", "d1", query, doc)) == label


def test_what_the_run_wrote_of_the_pair_decides() -> None:
    tokens = {"q1": {"d1": ReadTokens(8, is_cut=True), "d2": ReadTokens(7, is_cut=False)}}
    found = reader(8, "causal-lm", truncated_share=0.5, tokens=tokens)
    pairs = [("q1", "d1"), ("q1", "d2"), ("q1", "d3"), ("q2", "d1")]
    labels = [describe_cut(found, Pair(query_id, doc_id, None, None)) for query_id, doc_id in pairs]
    assert labels == ["cut", "read whole", "unknown", "unknown"]


def test_what_the_run_counted_is_read_from_the_result() -> None:
    model = {"family": "sequence-classifier", "max_length": 8}
    assert reader_of(model, {"timing": {"truncated_share": 0.0}}).truncated_share == 0.0
    assert reader_of(model, {"timing": {}}).truncated_share is None
    assert not reader_of({"family": "baseline", "max_length": None}, {"timing": {}}).reads_texts


def test_the_prompt_before_the_document_is_read_from_the_result() -> None:
    model = {"family": "bi-encoder", "max_length": 8, "query_prompt": "query: ", "doc_prompt": "passage: "}
    assert reader_of(model, {"timing": {}}).prompt == "passage: "
    assert reader_of(model | {"family": "sequence-classifier"}, {"timing": {}}).prompt == "query: "
