from __future__ import annotations

import random
from typing import Any

import pytest
from sample_results import BASELINES, make_rows

from rerank_bench.reporting.comparability import ComparableRows, split_comparable

DATASETS = {"pydocs": 0.45, "scifact": 0.69}
Rows = list[dict[str, Any]]


def split(rows: Rows) -> list[ComparableRows]:
    return split_comparable([row for row in rows if row["view"] == "end_to_end"])


def models_of(group: ComparableRows) -> set[object]:
    return {row["model"] for row in group.rows}


def test_rows_that_agree_stand_together() -> None:
    rows = make_rows(["demo", "a/b", *BASELINES], DATASETS, suite="both")
    (group,) = split(rows)
    assert group.differences == ()
    assert set(group.variant_by_dataset) == set(DATASETS)
    assert set(group.variant_by_suite) == {"both"}
    assert len(group.rows) == 5 * 3


@pytest.mark.parametrize(
    ("options", "reasons"),
    [
        ({"depth": 50}, ["depth is 50, above 100"]),
        ({"protocol_version": 2}, ["protocol_version is 2, above 1"]),
        (
            {"corpus": "other"},
            [
                f"{name}: {field}_fingerprint is "
                for name in DATASETS
                for field in ("corpus", "queries", "qrels", "candidates")
            ],
        ),
    ],
)
def test_rows_that_disagree_stand_apart_and_the_field_is_named(options: dict[str, Any], reasons: list[str]) -> None:
    rows = make_rows(["demo", "a/b"], DATASETS) + make_rows(["demo"], DATASETS, **options)
    first, second = split(rows)
    assert (models_of(first), models_of(second)) == ({"demo", "a/b"}, {"demo"})
    assert first.differences == ()
    assert len(second.differences) == len(reasons)
    for sentence, reason in zip(second.differences, reasons, strict=True):
        assert sentence.startswith(reason)


def test_no_row_is_lost_and_no_column_mixes() -> None:
    rows = make_rows(["demo", "a/b", *BASELINES], DATASETS, suite="both")
    rows += make_rows(["demo", "c/d"], DATASETS, suite="both", corpus="x")
    rows += make_rows(["demo"], {"pydocs": 0.45}, corpus="y")
    rows += make_rows(["demo", "e/f"], DATASETS, suite="both", depth=20)
    chosen = [row for row in rows if row["view"] == "end_to_end"]
    groups = split(rows)
    assert sorted(map(str, (row for group in groups for row in group.rows))) == sorted(map(str, chosen))
    for group in groups:
        for variant in (*group.variant_by_dataset.values(), *group.variant_by_suite.values()):
            assert (
                len({(row["corpus_fingerprint"], row["candidates_fingerprint"], row["depth"]) for row in variant}) == 1
            )


def test_a_suite_stands_beside_its_own_datasets() -> None:
    rows = make_rows(["demo", "a/b"], DATASETS, suite="both") + make_rows(["demo"], DATASETS, suite="both", corpus="x")
    for group in split(rows):
        suite, pydocs = group.variant_by_suite["both"], group.variant_by_dataset["pydocs"]
        assert {row["model"] for row in suite} == {row["model"] for row in pydocs}


def test_a_suite_without_its_datasets_stands_alone() -> None:
    rows = make_rows(["demo"], DATASETS, suite="both")
    kept = [row for row in rows if row["dataset"] != "scifact"]
    first, second = split(kept)
    assert (set(first.variant_by_dataset), first.variant_by_suite) == ({"pydocs"}, {})
    assert set(second.variant_by_suite) == {"both"}
    assert second.differences == ("both: its data sets do not stand above with the same fingerprints",)


def test_the_commonest_first_stage_leads() -> None:
    rows = make_rows(["demo", "a/b"], DATASETS)
    published = make_rows(["demo", "a/b", "c/d"], {"pydocs": 0.45}, corpus="x")
    published = [row | {"first_stage": "published"} for row in published]
    first, second = split(rows + published)
    assert {row["first_stage"] for row in first.rows} == {"bm25"}
    assert second.differences[0] == "pydocs: first_stage is published, above bm25"


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows = make_rows(["demo", "a/b"], DATASETS, suite="both") + make_rows(["demo"], DATASETS, suite="both", corpus="x")
    shuffled = random.Random(1).sample(rows, len(rows))
    for one, other in zip(split(rows), split(shuffled), strict=True):
        assert one.differences == other.differences
        assert sorted(map(str, one.rows)) == sorted(map(str, other.rows))
