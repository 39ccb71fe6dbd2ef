from __future__ import annotations

import dataclasses
import hashlib
import struct
from collections.abc import Sequence

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from rerank_bench.data.fingerprints import fingerprint_columns, fingerprint_dataset, with_fingerprints
from rerank_bench.records import Collection, Dataset

TEXTS = st.lists(st.text(alphabet=st.characters(codec="utf-8"), max_size=8), max_size=10)

DATASET = Dataset(
    name="tiny",
    queries={"2": "zwei", "10": "zehn"},
    collection=Collection(["b", "a"], ["größe", ""]),
    qrels={"2": {"b": 1, "a": 0}, "10": {"a": 2}},
)


def by_hand(columns: Sequence[Sequence[str]]) -> str:
    """The layout of the module's documentation, one value at a time."""
    data = b""
    for column in columns:
        encoded = [value.encode() for value in column]
        data += (
            struct.pack("<q", len(encoded))
            + b"".join(struct.pack("<q", len(value)) for value in encoded)
            + b"".join(encoded)
        )
    return hashlib.sha256(data).hexdigest()


@given(first=TEXTS, second=TEXTS)
def test_layout(first: list[str], second: list[str]) -> None:
    columns = [pa.array(values, type=pa.large_string()) for values in (first, second)]
    assert fingerprint_columns(columns) == by_hand([first, second])


@given(values=TEXTS, cut=st.integers(0, 10))
def test_chunks_and_slices_do_not_count(values: list[str], cut: int) -> None:
    longer = pa.array(["before", *values, "after"], type=pa.large_string())
    assert fingerprint_columns([longer.slice(1, len(values))]) == by_hand([values])
    chunks = pa.chunked_array([values[:cut], values[cut:]], type=pa.string())
    ids = [str(i) for i in range(len(values))]
    dataset = dataclasses.replace(DATASET, collection=Collection(ids, chunks), qrels={})
    assert fingerprint_dataset(dataset)["corpus"] == by_hand([ids, values])


def test_the_three_fingerprints() -> None:
    assert fingerprint_dataset(DATASET) == {
        "corpus": by_hand([["b", "a"], ["größe", ""]]),
        "queries": by_hand([["10", "2"], ["zehn", "zwei"]]),
        "qrels": by_hand([["10", "2", "2"], ["a", "a", "b"], ["2", "0", "1"]]),
    }


def test_order_counts_in_the_corpus_alone() -> None:
    turned = Dataset(
        name="other name",
        queries={"10": "zehn", "2": "zwei"},
        collection=Collection(["a", "b"], ["", "größe"]),
        qrels={"10": {"a": 2}, "2": {"a": 0, "b": 1}},
    )
    first, second = fingerprint_dataset(DATASET), fingerprint_dataset(turned)
    assert {what for what in first if first[what] != second[what]} == {"corpus"}


def test_every_part_counts() -> None:
    reference = fingerprint_dataset(DATASET)
    changes: dict[str, dict[str, object]] = {
        "corpus": {"collection": Collection(["b", "a"], ["größ", "e"])},
        "queries": {"queries": {"2": "zwei", "10": "zehn."}},
        "qrels": {"qrels": {"2": {"b": 1, "a": 0}, "10": {"a": 1}}},
    }
    for part, change in changes.items():
        changed = fingerprint_dataset(dataclasses.replace(DATASET, **change))  # type: ignore[arg-type]  # fields by name
        assert {what for what in reference if reference[what] != changed[what]} == {part}


def test_filled_in_place_of_what_stood_there() -> None:
    stale = dataclasses.replace(DATASET, fingerprints={"corpus": "stale"})
    assert with_fingerprints(stale).fingerprints == fingerprint_dataset(DATASET)
    assert stale.fingerprints == {"corpus": "stale"}
