"""The values of every query come back from CSV and from Parquet to the last digit, and every command reads both."""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable
from pathlib import Path

import gated_runs
import pyarrow as pa
import pytest
import run_builder
from pyarrow import parquet
from sample_worlds import random_scores, random_world
from typer.testing import CliRunner

from rerank_bench.cli.app import app
from rerank_bench.errors import DataError, ParseError
from rerank_bench.records import VIEWS, Evaluation, TieReport, ViewEvaluation
from rerank_bench.reporting.query_values import (
    PARQUET_QUERIES,
    find_query_values,
    read_query_values,
    write_query_values,
)
from rerank_bench.reporting.stored_result import read_stored_result


def make_evaluation(num_queries: int) -> Evaluation:
    """Values that no short decimal holds; one measure is in one view only; ids that CSV must quote."""
    ids = ['q,"1"', "é 東京", *(f"q{number}" for number in range(num_queries))][:num_queries]
    both = {query_id: (1 / (number + 3), 2 / (number + 7)) for number, query_id in enumerate(ids)}
    swapped = {query_id: pair[::-1] for query_id, pair in both.items()}
    views = {
        view: ViewEvaluation(
            measures={}, per_query={"nDCG@10": swapped, **({"AP": both} if view != "injected" else {})}
        )
        for view in VIEWS
    }
    ties = TieReport(cutoff=10, share_crossing=0.0, share_tied=0.0, lowest=0.0, highest=0.0)
    return Evaluation(views=views, ties=ties, counts={})


@pytest.mark.parametrize(("parquet_queries", "suffix"), [(5, ".parquet"), (6, ".csv")])
def test_what_is_written_comes_back(tmp_path: Path, parquet_queries: int, suffix: str) -> None:
    evaluation = make_evaluation(5)
    path = write_query_values(tmp_path, "set", evaluation, parquet_queries=parquet_queries)
    assert path == find_query_values(tmp_path, "set") == tmp_path / f"set.queries{suffix}"
    for view in VIEWS:
        found = read_query_values(path, view)
        assert found == evaluation.views[view].per_query
        for name, values in found.items():
            assert list(values) == list(evaluation.views[view].per_query[name])


def test_the_form_follows_the_number_of_queries_and_replaces_the_other(tmp_path: Path) -> None:
    for num_queries, name in ((PARQUET_QUERIES, "set.queries.parquet"), (PARQUET_QUERIES - 1, "set.queries.csv")):
        write_query_values(tmp_path, "set", make_evaluation(num_queries))
        assert [path.name for path in tmp_path.iterdir()] == [name]


def test_both_forms_hold_the_same_table(tmp_path: Path) -> None:
    evaluation = make_evaluation(4)
    table = parquet.read_table(write_query_values(tmp_path, "p", evaluation, parquet_queries=1))
    with write_query_values(tmp_path, "c", evaluation).open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert table.column_names == rows[0]
    cells = [["" if value is None else str(value) for value in row.values()] for row in table.to_pylist()]
    assert cells == rows[1:]


def test_no_file_of_either_form_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"set\.queries\.csv: no such file, nor set\.queries\.parquet.*run the command"):
        find_query_values(tmp_path, "set")


def write_other_columns(path: Path) -> None:
    parquet.write_table(pa.table({"view": ["end_to_end"], "query_id": ["1"], "AP first_stage": [0.5]}), path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b"view,query_id\n"), "cannot be read as Parquet"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "cannot be read as Parquet"),
        (lambda path: parquet.write_table(pa.table({"a": [1]}), path), "cannot be read as Parquet .*view"),
        (write_other_columns, "the header is 'view,query_id,AP first_stage', expected view,query_id, then"),
    ],
    ids=["csv", "cut short", "another table", "other columns"],
)
def test_a_broken_file_is_named(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    path = write_query_values(tmp_path, "set", make_evaluation(3), parquet_queries=1)
    damage(path)
    with pytest.raises(ParseError, match=rf"set\.queries\.parquet: {message}"):
        read_query_values(path, "end_to_end")


COMMANDS = {
    "compare": ["compare", "old", "new"],
    "gate": ["gate", "--baseline", "old", "--run", "new", "--margin", "0.2"],
    "diff": ["diff", "one", "two", "--no-texts"],
    "inspect": ["inspect", "two", "--no-texts"],
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two folders with the same runs: their values as CSV, and as Parquet."""
    world = random_world(tmp_path_factory.mktemp("worlds") / "small", 1, 20)
    made = []
    for queries in (PARQUET_QUERIES, 1):
        folder = tmp_path_factory.mktemp("runs")
        with pytest.MonkeyPatch.context() as patch:
            write = functools.partial(write_query_values, parquet_queries=queries)
            patch.setattr("rerank_bench.reporting.run_folder.write_query_values", write)
            for name, seed in (("old", 1), ("new", 2)):
                gated_runs.write_run(folder / name, seed=seed)
            for name, seed in (("one", 1), ("two", 2)):
                run_builder.write_run(folder / name, {"small": world}, {"small": random_scores(world, seed)})
        made.append(folder)
    return made


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_reads_both(folders: list[Path], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for variable in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(variable, raising=False)
    shown = []
    for folder, suffix in zip(folders, (".csv", ".parquet"), strict=True):
        for stored in map(read_stored_result, folder.iterdir()):
            assert {find_query_values(stored.folder, dataset).suffix for dataset in stored.datasets} == {suffix}
        monkeypatch.chdir(folder)
        result = CliRunner().invoke(app, COMMANDS[name])
        assert result.exit_code in {0, 1}, result.output
        assert "nDCG@10" in result.stdout
        shown.append((result.exit_code, result.stdout))
    assert shown[0] == shown[1]
