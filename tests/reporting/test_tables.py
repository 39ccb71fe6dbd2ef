from __future__ import annotations

import json
import random
from typing import Any

import pytest
from sample_results import BASELINES, GAINS, NANOBEIR, make_rows

from rerank_bench.errors import ConfigError, DataError
from rerank_bench.reporting.formatting import describe_table, format_cell, format_delta, format_rate
from rerank_bench.reporting.leaderboard import frame_from_rows
from rerank_bench.reporting.summary import to_records
from rerank_bench.reporting.tables import Cell, Entry, Table, build_tables, pairs_per_second

MODELS = list(GAINS)


def build(rows: list[dict[str, Any]], **options: Any) -> Table:
    (table,) = build_tables(frame_from_rows(rows), **options)
    return table


def cell_of(table: Table, label: str, column: str) -> Cell | None:
    entry = next(entry for entry in (*table.models, *table.baselines) if entry.label == label)
    return entry.cells[[c.name for c in table.columns].index(column)]


def with_values(values: dict[str, tuple[float, float]], dataset: str = "pydocs") -> list[dict[str, Any]]:
    """Rows with a first stage of 0.4, by model: (gain, half width of its interval)."""
    rows = []
    for model, (gain, half_width) in values.items():
        for row in make_rows([model], {dataset: 0.4})[:1]:
            value = 0.4 + gain
            interval = {"ci_low": gain - half_width, "ci_high": gain + half_width}
            rows.append(row | {"ndcg_at_10": value, "ndcg_at_10_first_stage": 0.4, "delta": value - 0.4} | interval)
    return rows


def test_every_cell_is_the_row_of_its_model_and_dataset() -> None:
    rows = make_rows([*MODELS, *BASELINES], NANOBEIR, suite="nanobeir")
    table = build(rows)
    assert [column.title for column in table.columns] == [
        "nanobeir (mean)",
        *(name.removeprefix("Nano") for name in NANOBEIR),
    ]
    assert {entry.label for entry in table.models} == set(MODELS)
    assert {entry.label for entry in table.baselines} == set(BASELINES)
    for row in rows:
        if row["view"] == "end_to_end":
            cell = cell_of(table, row["model"], row["dataset"])
            assert cell is not None
            assert (cell.value, cell.delta) == (row["ndcg_at_10"], row["ndcg_at_10"] - row["ndcg_at_10_first_stage"])
            assert cell.row == row


def test_models_are_ordered_by_the_mean_over_the_datasets_that_all_have() -> None:
    rows = make_rows(MODELS, NANOBEIR)
    table = build(rows)
    means = {
        model: sum(r["ndcg_at_10"] for r in rows if r["model"] == model and r["view"] == "end_to_end") / 13
        for model in MODELS
    }
    assert [entry.label for entry in table.models] == sorted(MODELS, key=lambda model: -means[model])
    first = table.models[0].cells[0]
    assert table.columns[0].title == "mean of 13"
    assert first is not None
    assert first.value == pytest.approx(max(means.values()))
    assert first.interval is None


def test_a_dataset_that_one_model_lacks_does_not_order_them() -> None:
    rows = with_values({"good": (0.2, 0.1), "poor": (0.1, 0.1)})
    rows += with_values({"good": (-0.3, 0.1)}, dataset="scifact")
    table = build(rows)
    assert [entry.label for entry in table.models] == ["good", "poor"]
    assert [column.title for column in table.columns] == ["pydocs", "scifact"]
    assert cell_of(table, "poor", "scifact") is None


def test_models_that_share_nothing_are_ordered_by_their_own_means() -> None:
    rows = with_values({"low": (0.1, 0.1)}) + with_values({"high": (0.2, 0.1)}, dataset="scifact")
    assert [entry.label for entry in build(rows).models] == ["high", "low"]


def test_the_mean_covers_only_what_all_models_have() -> None:
    rows = make_rows(["a/b"], {"pydocs": 0.45, "scifact": 0.69, "nq": 0.5}) + make_rows(
        ["demo"], {"pydocs": 0.45, "scifact": 0.69}
    )
    table = build(rows)
    assert table.columns[0].title == "mean of 2"
    for entry in table.models:
        mean, members = entry.cells[0], [cell_of(table, entry.label, name) for name in ("pydocs", "scifact")]
        assert mean is not None
        assert mean.value == pytest.approx(sum(cell.value for cell in members if cell) / 2)


def test_the_best_is_marked_and_those_whose_interval_touches_it() -> None:
    rows = with_values(
        {"best": (0.20, 0.05), "touching": (0.125, 0.0251), "apart": (0.12, 0.0299), "wide": (-0.1, 0.3)}
    )
    table = build(rows)
    marks = {entry.label: (entry.cells[0].is_best, entry.cells[0].is_close) for entry in table.models if entry.cells[0]}
    assert marks == {
        "best": (True, False),
        "touching": (False, True),  # 0.1501 reaches 0.15
        "apart": (False, False),  # 0.1499 does not
        "wide": (False, True),
    }


def test_equal_values_are_both_the_best() -> None:
    table = build(with_values({"one": (0.2, 0.05), "two": (0.2, 0.05)}))
    assert [entry.cells[0].is_best for entry in table.models if entry.cells[0]] == [True, True]


def test_a_single_model_is_not_the_best_of_anything() -> None:
    table = build(with_values({"one": (0.2, 0.05)}) + make_rows(["oracle"], {"scifact": 0.4}))
    assert not any(cell.is_best for entry in table.models for cell in entry.cells if cell)


def test_a_baseline_is_never_the_best() -> None:
    table = build(make_rows([*MODELS, *BASELINES], NANOBEIR))
    assert not any(cell.is_best or cell.is_close for entry in table.baselines for cell in entry.cells if cell)
    oracle, best = cell_of(table, "oracle", "NanoNQ"), max(cell.value for e in table.models if (cell := e.cells[9]))
    assert oracle is not None
    assert oracle.value > best


def test_a_measure_without_intervals_marks_nothing_as_close() -> None:
    table = build(make_rows(MODELS, NANOBEIR), measure="RR@10")
    assert not table.has_intervals
    assert not any(cell.is_close for entry in table.models for cell in entry.cells if cell)
    assert any(cell.is_best for entry in table.models for cell in entry.cells if cell)


def test_views_and_measures_do_not_mix() -> None:
    rows = make_rows(["demo"], {"pydocs": 0.45})
    for view in ("end_to_end", "injected", "retrieved"):
        for measure, column in (("nDCG@10", "ndcg_at_10"), ("AP", "ap")):
            cell = build(rows, view=view, measure=measure).models[0].cells[0]
            assert cell is not None
            assert [cell.value] == [row[column] for row in rows if row["view"] == view]


def test_a_suite_may_have_the_name_of_a_dataset() -> None:
    table = build(make_rows(["demo"], {"pydocs": 0.45, "scifact": 0.69}, suite="pydocs"))
    assert [column.title for column in table.columns] == ["pydocs (mean)", "pydocs", "scifact"]
    mean, single = table.models[0].cells[:2]
    assert mean is not None
    assert single is not None
    assert mean.value != single.value


def test_rows_that_do_not_compare_stand_in_another_table() -> None:
    rows = make_rows(MODELS, {"pydocs": 0.45}) + make_rows(["demo"], {"pydocs": 0.45}, depth=50)
    first, second = build_tables(frame_from_rows(rows))
    assert (first.depth, second.depth) == (100, 50)
    assert second.differences == ("depth is 50, above 100",)


def test_one_label_means_one_model_in_all_tables() -> None:
    rows = make_rows(["demo"], {"pydocs": 0.45}) + make_rows(["demo"], {"pydocs": 0.45}, depth=50, dtype="bfloat16")
    tables = build_tables(frame_from_rows(rows))
    assert sorted(table.models[0].label for table in tables) == ["demo [bfloat16]", "demo [float32]"]


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows = make_rows([*MODELS, *BASELINES], NANOBEIR, suite="nanobeir") + make_rows(["demo"], NANOBEIR, depth=50)
    shuffled = random.Random(3).sample(rows, len(rows))
    assert to_records(frame_from_rows(rows)) == to_records(frame_from_rows(shuffled))


def test_only_baselines_make_a_table_too() -> None:
    table = build(make_rows(BASELINES, NANOBEIR))
    assert table.models == ()
    assert [entry.label for entry in table.baselines] == ["oracle", "first-stage", "random"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"view": "end-to-end"}, r"unknown view 'end-to-end'; did you mean 'end_to_end'"),
        ({"measure": "ndgc@10"}, r"unknown measure 'ndgc@10'; did you mean 'nDCG@10'.* stand in result\.json"),
        ({"view": "injected", "measure": "R@100"}, r"has the measure 'R@100', only nDCG@10, RR@10, AP"),
    ],
)
def test_a_wrong_request_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_tables(frame_from_rows(make_rows(["demo"], {"pydocs": 0.45})), **options)


def test_an_empty_leaderboard_is_refused() -> None:
    with pytest.raises(DataError, match=r"no row has the view 'injected'"):
        build_tables(frame_from_rows([]), view="injected")


@pytest.mark.parametrize(
    ("delta", "text"),
    [
        (0.1157, "+0.1157"),
        (-0.0089, "-0.0089"),
        (0.0, "+0.0000"),
        (-0.0, "+0.0000"),
        (-1e-17, "+0.0000"),
        (-4e-5, "-0.0000"),
    ],
)
def test_a_difference_always_has_an_ascii_sign(delta: float, text: str) -> None:
    assert format_delta(delta) == text


def test_a_cell_shows_the_difference_of_unrounded_values() -> None:
    value, first_stage = 0.65614, 0.54036
    cell = Cell(value=value, delta=value - first_stage, interval=None, row=None)
    assert format_cell(cell) == "0.6561 (+0.1158)"  # 0.6561 − 0.5404 would be 0.1157
    assert format_cell(None) == "–"


def test_the_header_line_states_the_conditions() -> None:
    table = build(make_rows(["demo"], {"pydocs": 0.45}), view="injected")
    assert describe_table(table) == (
        "nDCG@10, linear gain · view injected (candidates and missed positives, binary judgements) · "
        "first stage bm25, depth 100 · protocol 1"
    )


def test_a_rate_covers_all_rows_or_none() -> None:
    entry: Entry = build(make_rows(["demo"], {"pydocs": 0.45, "scifact": 0.69})).models[0]
    speed = entry.rows[0]["pairs_per_second"]  # of the one job that scored both
    assert pairs_per_second(entry.rows) == pytest.approx(speed)
    stored = entry.rows[0] | {"score_seconds": 0.0, "pairs_per_second": None}
    assert pairs_per_second([*entry.rows, stored]) == pytest.approx(speed)
    assert pairs_per_second([stored]) is None
    fast, slow = ({"num_pairs": 1000, "score_seconds": 9.0, "pairs_per_second": speed} for speed in (500.0, 100.0))
    assert pairs_per_second([fast, slow]) == pytest.approx(2000 / (2 + 10))
    assert pairs_per_second([fast, fast | {"score_seconds": None}]) == pytest.approx(500)  # a depth of a sweep
    assert pairs_per_second([*entry.rows, stored | {"score_seconds": None}]) is None
    assert pairs_per_second([]) is None


@pytest.mark.parametrize(
    ("rate", "text"), [(None, "–"), (12345.6, "12,346"), (83.4, "83"), (8.34, "8.3"), (0.123, "0.12")]
)
def test_a_rate_has_no_false_precision(rate: float | None, text: str) -> None:
    assert format_rate(rate) == text


def test_records_are_json_with_one_cell_per_column() -> None:
    records = to_records(
        frame_from_rows(make_rows(["demo", "oracle"], {"pydocs": 0.45}) + make_rows(["a/b"], {"nq": 0.5}))
    )
    assert json.loads(json.dumps(records, allow_nan=False)) == records
    (record,) = records
    assert [column["name"] for column in record["columns"]] == ["nq", "pydocs"]
    entries = {entry["model"]: entry for entry in record["entries"]}
    assert entries["demo"]["cells"][0] is None
    assert set(entries["demo"]["cells"][1]) == {"value", "delta", "interval", "is_best", "is_close"}
    assert entries["oracle"]["is_baseline"]
