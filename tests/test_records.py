"""The collection in Arrow arrays."""

from __future__ import annotations

import pyarrow as pa
import pytest

from rerank_bench.errors import DataError
from rerank_bench.records import Collection


def test_texts_are_found_by_id_whatever_the_order() -> None:
    collection = Collection(["b", "a", "7"], ["two", "", "seven"])
    assert collection.texts_of(["7", "b", "7"]) == {"7": "seven", "b": "two"}
    assert collection.positions(["a", "x", "b"]).tolist() == [1, -1, 0]
    assert (collection.doc_id(1), collection.text(1), len(collection)) == ("a", "", 3)


def test_chunked_arrays_and_lists_are_the_same_collection() -> None:
    chunked = Collection(pa.array(["a", "b", "c"]), pa.chunked_array([["x"], ["y", "z"]]))
    assert chunked.texts.to_pylist() == ["x", "y", "z"]


def test_unknown_ids_are_named() -> None:
    with pytest.raises(DataError, match=r"2 document ids are not in the collection of 1 documents \(first: 'x', 'y'\)"):
        Collection(["a"], ["t"]).texts_of(["x", "a", "y"])


def test_ids_and_texts_must_align() -> None:
    with pytest.raises(DataError, match="as many ids as texts, found 2 and 1"):
        Collection(["a", "b"], ["t"])
