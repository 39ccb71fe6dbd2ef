from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from sample_results import NANOBEIR, make_result

from rerank_bench.errors import ConfigError, DataError
from rerank_bench.records import VIEWS
from rerank_bench.reporting.columns import HEADER
from rerank_bench.reporting.rows import rows_from_result
from rerank_bench.reporting.run_folder import result_schema

TWO_DATASETS = {"pydocs": 0.45, "NanoTouche2020": 0.6938}


def by_view(result: dict[str, Any], **options: Any) -> dict[tuple[str, str, str], dict[str, Any]]:
    rows = rows_from_result(result, "runs/one", **options)
    return {(row["kind"], row["dataset"], row["view"]): row for row in rows}


def test_the_samples_of_these_tests_are_results_as_the_schema_wants_them() -> None:
    for model in ("demo", "oracle"):
        jsonschema.validate(make_result(model, NANOBEIR, suite="nanobeir"), result_schema())


def test_one_complete_row_per_dataset_suite_and_view() -> None:
    rows = by_view(make_result("demo", TWO_DATASETS, suite="both"))
    assert set(rows) == {
        (kind, name, view)
        for kind, name in (("dataset", "pydocs"), ("dataset", "NanoTouche2020"), ("suite", "both"))
        for view in VIEWS
    }
    assert all(tuple(row) == HEADER for row in rows.values())


def test_values_come_from_the_dataset_and_the_view_that_the_row_names() -> None:
    result = make_result("demo", TWO_DATASETS)
    for (_, dataset, view), row in by_view(result).items():
        source = result["datasets"][dataset]
        measures = source["views"][view]["measures"]
        primary = measures["nDCG@10"]
        assert (row["ndcg_at_10"], row["ndcg_at_10_first_stage"]) == (primary["reranked"], primary["first_stage"])
        assert (row["ap"], row["ap_first_stage"]) == (measures["AP"]["reranked"], measures["AP"]["first_stage"])
        assert [row["ci_low"], row["ci_high"]] == primary["ci"]
        names = ("delta", "p", "ceiling", "headroom_used", "mde")
        assert [row[name] for name in names] == [primary[name] for name in names]
        assert row["corpus_fingerprint"] == source["fingerprints"]["corpus"]
        assert row["candidates_fingerprint"] == source["fingerprints"]["candidates"]
        assert (row["num_queries"], row["num_pairs"]) == (source["counts"]["evaluated"], source["counts"]["pairs"])
        assert row["ties_share"] == source["ties"]["share_crossing"]
        assert row["truncated_share"] == source["timing"]["truncated_share"]


def test_measures_that_a_view_lacks_are_empty() -> None:
    rows = by_view(make_result("demo", TWO_DATASETS))
    assert rows["dataset", "pydocs", "end_to_end"]["r_at_100"] == pytest.approx(0.45 * 1.08, abs=0.2)
    assert rows["dataset", "pydocs", "injected"]["r_at_100"] is None


def test_a_suite_row_sums_counts_and_weights_shares() -> None:
    rows = by_view(make_result("demo", TWO_DATASETS, suite="both"))
    suite = rows["suite", "both", "end_to_end"]
    members = [rows["dataset", name, "end_to_end"] for name in TWO_DATASETS]
    assert suite["datasets"] == "pydocs;NanoTouche2020"
    assert suite["num_queries"] == 90 + 49
    assert suite["num_pairs"] == sum(m["num_pairs"] for m in members)
    cut = sum(m["truncated_share"] * m["num_pairs"] for m in members)
    assert suite["truncated_share"] == pytest.approx(cut / suite["num_pairs"])
    assert len({row["corpus_fingerprint"] for row in [suite, *members]}) == 3


def test_seconds_and_speeds_are_those_of_the_jobs_that_scored_a_data_set() -> None:
    result = make_result("demo", TWO_DATASETS, suite="both")
    (job,) = result["scoring"]["jobs"]
    for row in by_view(result).values():
        assert row["score_seconds"] == pytest.approx(job["tokenise_seconds"] + job["score_seconds"], abs=5e-4)
        assert row["pairs_per_second"] == pytest.approx(job["pairs_per_second"], abs=5e-4)
        assert row["tokens_per_second"] == pytest.approx(job["tokens_per_second"], abs=5e-4)


def test_a_suite_of_two_jobs_has_the_seconds_of_both() -> None:
    result = make_result("demo", TWO_DATASETS, suite="both")
    fast = {"tokenise_seconds": 1.0, "score_seconds": 3.0, "pairs_per_second": 1000.0, "tokens_per_second": 5.0}
    slow = {"tokenise_seconds": 2.0, "score_seconds": 10.0, "pairs_per_second": 200.0, "tokens_per_second": 3.0}
    stored = {"tokenise_seconds": 0.0, "score_seconds": 0.0, "pairs_per_second": None, "tokens_per_second": None}
    first, second = TWO_DATASETS
    result["scoring"]["jobs"] = [fast | {"datasets": [first]}, slow | {"datasets": [second, "another"]}]
    rows = by_view(result)
    names = ("score_seconds", "pairs_per_second", "tokens_per_second")
    assert [rows["dataset", first, "injected"][name] for name in names] == [4.0, 1000.0, 5.0]
    assert [rows["dataset", second, "injected"][name] for name in names] == [12.0, 200.0, 3.0]
    assert [rows["suite", "both", "injected"][name] for name in names] == [16.0, (4000 + 2400) / 16, (20 + 36) / 16]
    result["scoring"]["jobs"][0] = stored | {"datasets": [first]}
    rows = by_view(result)
    assert [rows["dataset", first, "injected"][name] for name in names] == [0.0, None, None]
    assert [rows["suite", "both", "injected"][name] for name in names] == [12.0, 200.0, 3.0]


def test_a_smaller_depth_of_a_sweep_has_a_speed_and_no_seconds_of_its_own() -> None:
    result = make_result("demo", {"pydocs": 0.45}, depth=50)
    result["scoring"]["depth"] = 100
    row = by_view(result)["dataset", "pydocs", "end_to_end"]
    assert (row["depth"], row["score_seconds"]) == (50, None)
    assert row["pairs_per_second"] == pytest.approx(result["scoring"]["jobs"][0]["pairs_per_second"], abs=5e-4)


def test_a_suite_fingerprint_follows_each_of_its_datasets() -> None:
    plain = by_view(make_result("demo", TWO_DATASETS, suite="both"))["suite", "both", "injected"]
    other = by_view(make_result("demo", TWO_DATASETS, suite="both", depth=50))["suite", "both", "injected"]
    assert other["candidates_fingerprint"] != plain["candidates_fingerprint"]
    assert other["corpus_fingerprint"] == plain["corpus_fingerprint"]


def test_a_suite_of_one_dataset_gives_no_row() -> None:
    rows = by_view(make_result("demo", {"pydocs": 0.45}, suite="default"))
    assert {kind for kind, _, _ in rows} == {"dataset"}


def test_a_baseline_has_neither_settings_nor_times() -> None:
    row = by_view(make_result("oracle", {"pydocs": 0.45}))["dataset", "pydocs", "end_to_end"]
    assert row["family"] == "baseline"
    empty = (
        "revision",
        "weights_fingerprint",
        "dtype",
        "device",
        "max_length",
        "pairs_per_second",
        "score_seconds",
        "ci_low",
    )
    assert [row[name] for name in empty] == ["", "", "", "", None, None, None, None]


def shared_columns(**model_fields: Any) -> dict[str, Any]:
    (row, *_) = rows_from_result(make_result("demo", {"pydocs": 0.45}, **model_fields), "runs/one")
    return row


def test_how_a_model_was_asked_stands_in_its_row() -> None:
    asked = {"template": "Rank: find it. {query} {document}", "instruction": "find it", "positive_token": "yes"}
    row = shared_columns(**asked)
    assert row["instruction"] == "find it"
    told_other = asked | {"instruction": "judge it", "template": asked["template"].replace("find it", "judge it")}
    assert shared_columns(**told_other)["prompt_fingerprint"] == row["prompt_fingerprint"]
    for other in ({"template": "{query} {document}"}, {"positive_token": "Yes"}):
        assert shared_columns(**(asked | other))["prompt_fingerprint"] != row["prompt_fingerprint"]
    assert shared_columns()["prompt_fingerprint"] == ""


def test_the_first_label_is_a_label_like_any_other() -> None:
    labels = ["entailment", "neutral"]
    assert shared_columns(labels=labels, positive_label=0)["positive_label"] == "entailment"
    assert shared_columns(labels=["LABEL_0"], positive_label=None)["positive_label"] == ""


@pytest.mark.parametrize("family", ["run", "callable", "external"])
def test_what_has_no_weights_is_told_by_its_fingerprint(family: str) -> None:
    row = shared_columns(family=family, weights_fingerprint=None, fingerprint="ab" * 32)
    assert row["weights_fingerprint"] == "ab" * 32


def test_versions_without_a_value_are_left_out() -> None:
    row = by_view(make_result("demo", {"pydocs": 0.45}))["dataset", "pydocs", "end_to_end"]
    assert row["versions"] == "rerank-bench=0.1.0;python=3.11.7;torch=2.13.0;transformers=5.23.0;ir-measures=0.4.3"


def test_a_limited_result_is_refused_unless_allowed() -> None:
    result = make_result("demo", {"pydocs": 0.45}, comparable=False)
    with pytest.raises(
        ConfigError, match=r"runs/one: the result of 'demo' covers only a part of the queries \(limit 5\)"
    ):
        rows_from_result(result, "runs/one")
    assert len(rows_from_result(result, "runs/one", allow_incomparable=True)) == len(VIEWS)


def test_another_schema_version_is_refused() -> None:
    result = make_result("demo", {"pydocs": 0.45}) | {"schema_version": 7}
    with pytest.raises(DataError, match=r"schema_version 7, expected 1"):
        rows_from_result(result, "runs/one")


def test_a_missing_field_is_named() -> None:
    result = make_result("demo", {"pydocs": 0.45})
    del result["datasets"]["pydocs"]["fingerprints"]["qrels"]
    with pytest.raises(DataError, match=r"datasets > pydocs > fingerprints > qrels is missing"):
        rows_from_result(result, "runs/one")


def test_a_suite_that_names_an_absent_dataset_is_refused() -> None:
    result = make_result("demo", TWO_DATASETS, suite="both")
    result["suites"]["both"]["datasets"].append("scifact")
    with pytest.raises(DataError, match=r"datasets > scifact is missing"):
        rows_from_result(result, "runs/one")


def test_a_suite_of_different_depths_is_refused() -> None:
    result = make_result("demo", TWO_DATASETS, suite="both")
    result["datasets"]["pydocs"]["depth"] = 50
    with pytest.raises(DataError, match=r"suite 'both' have different depths \(\[50, 100\]\)"):
        rows_from_result(result, "runs/one")
