from __future__ import annotations

import csv
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from sample_results import BASELINES, NANOBEIR, make_rows

from rerank_bench.errors import ConfigError, DataError, EnvironmentMissingError, ParseError
from rerank_bench.reporting.columns import HEADER, KEY_COLUMNS, TIMED_COLUMNS
from rerank_bench.reporting.leaderboard import (
    LeaderboardUpdate,
    frame_from_rows,
    read_leaderboard,
    read_rows,
    row_key,
    rows_from_frame,
    select_rows,
    update_leaderboard,
)

DATASETS = {"pydocs": 0.45, "NanoTouche2020": 0.6938}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.csv"


def test_rows_read_back_as_they_were_written(path: Path) -> None:
    rows = make_rows(["demo", *BASELINES], DATASETS, suite="both")
    assert update_leaderboard(path, rows) == LeaderboardUpdate(num_added=len(rows), num_replaced=0)
    read = read_rows(path)
    assert sorted(read, key=row_key) == sorted(rows, key=row_key)


def test_printed_digits_and_deltas_survive_the_file(path: Path) -> None:
    rows = make_rows(["demo"], {"pydocs": 0.6561499999999999})
    update_leaderboard(path, rows)
    by_view = {row["view"]: row for row in read_rows(path)}
    for row in rows:
        read = by_view[row["view"]]
        assert read["ndcg_at_10"] == row["ndcg_at_10"]
        assert read["delta"] == pytest.approx(read["ndcg_at_10"] - read["ndcg_at_10_first_stage"], abs=1e-15)


def test_the_frame_has_typed_columns_and_gives_its_rows_back(path: Path) -> None:
    rows = make_rows(["demo", "oracle"], DATASETS)
    frame = frame_from_rows(rows)
    assert tuple(frame.columns) == HEADER
    assert frame["ndcg_at_10"].dtype == "float64"
    assert frame["max_length"].dtype == "Int64"
    assert frame["max_length"].isna().tolist() == [row["max_length"] is None for row in rows]
    assert rows_from_frame(frame) == rows
    update_leaderboard(path, rows)
    assert sorted(rows_from_frame(read_leaderboard(path)), key=row_key) == sorted(rows, key=row_key)


def test_the_same_key_replaces_its_row_and_nothing_else(path: Path) -> None:
    rows = make_rows(["demo", "oracle"], DATASETS)
    update_leaderboard(path, rows)
    changed = [row | {"pairs_per_second": 1.5} for row in rows if row["model"] == "demo" and row["dataset"] == "pydocs"]
    assert update_leaderboard(path, changed) == LeaderboardUpdate(num_added=0, num_replaced=3)
    expected = {row_key(row): row for row in rows} | {row_key(row): row for row in changed}
    assert {row_key(row): row for row in read_rows(path)} == expected


@pytest.mark.parametrize("column", [name for name in KEY_COLUMNS if name not in {"kind", "view"}])
def test_every_part_of_the_key_makes_another_row(path: Path, column: str) -> None:
    (row,) = make_rows(["demo"], {"pydocs": 0.45})[:1]
    update_leaderboard(path, [row])
    other = row | {column: row[column] + 1 if isinstance(row[column], int) else "other"}
    assert update_leaderboard(path, [other]) == LeaderboardUpdate(num_added=1, num_replaced=0)


def test_the_bytes_depend_on_the_rows_alone(path: Path, tmp_path: Path) -> None:
    rows = make_rows(["demo", "a/b", *BASELINES], DATASETS, suite="both")
    update_leaderboard(path, rows)
    shuffled = random.Random(5).sample(rows, len(rows))
    other = tmp_path / "other.csv"
    for start in range(0, len(shuffled), 4):
        update_leaderboard(other, shuffled[start : start + 4])
    assert other.read_bytes() == path.read_bytes()
    assert update_leaderboard(path, []) == LeaderboardUpdate(0, 0)
    assert other.read_bytes() == path.read_bytes()


def test_a_command_with_commas_quotes_and_line_ends_survives(path: Path) -> None:
    command = 'rerank-bench run --model "a,b" \\\n --dataset pydocs'
    rows = [row | {"command": command} for row in make_rows(["demo"], {"pydocs": 0.45})]
    update_leaderboard(path, rows)
    assert {row["command"] for row in read_rows(path)} == {command}


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from sample_results import make_rows
from rerank_bench.reporting.leaderboard import update_leaderboard
for number in range(int(sys.argv[4])):
    update_leaderboard(Path(sys.argv[2]), make_rows([f"writer-{sys.argv[3]}-model-{number}"], {"pydocs": 0.45}))
"""


def test_processes_that_write_at_once_lose_nothing(path: Path) -> None:
    tests, num_writers, num_models = str(Path(__file__).parents[1]), 4, 8
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, tests, str(path), str(writer), str(num_models)])
        for writer in range(num_writers)
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0] * num_writers
    expected = {f"writer-{w}-model-{m}" for w in range(num_writers) for m in range(num_models)}
    rows = read_rows(path)
    assert {row["model"] for row in rows} == expected
    assert len(rows) == 3 * len(expected)


def rewrite(path: Path, change: Callable[[list[list[str]]], object]) -> None:
    """Change the fields of a good leaderboard; the header is line 1."""
    update_leaderboard(path, make_rows(["demo"], {"pydocs": 0.45}))
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    change(lines)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)


def put(line: int, column: str, text: str) -> Callable[[list[list[str]]], object]:
    return lambda lines: lines[line - 1].__setitem__(HEADER.index(column), text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            put(1, "device", "devise"),
            r"line 1: .*unknown column 'devise'; did you mean 'device'.*missing columns: device",
        ),
        (lambda lines: [line.pop() for line in lines], r"line 1: .*missing columns: command\."),
        (put(1, "device", "dtype"), r"line 1: .*missing columns: device\. repeated columns: dtype\."),
        (
            lambda lines: lines[2].pop(),
            rf"line 3: expected {len(HEADER)} fields, found {len(HEADER) - 1}: 'dataset,pydocs",
        ),
        (
            lambda lines: lines.insert(2, ["<<<<<<< HEAD"]),
            rf"line 3: expected {len(HEADER)} fields, found 1: '<<<<<<< HEAD'",
        ),
        (put(3, "ndcg_at_10", "high"), r"line 3: column 'ndcg_at_10' is 'high', expected a finite number"),
        (put(4, "depth", "1e2"), r"line 4: column 'depth' is '1e2', expected a whole number"),
        (put(2, "model", ""), r"line 2: column 'model' is empty, expected a text"),
        (put(2, "view", "end_to_enb"), r"line 2: unknown view 'end_to_enb'; did you mean 'end_to_end'"),
        (put(2, "kind", "model"), r"line 2: unknown kind 'model'"),
        (put(2, "ndcg_at_10", "0.9"), r"line 2: delta is .*, expected 0\.45.* \(ndcg_at_10 minus its first stage\)"),
        (lambda lines: lines.append(lines[1]), r"line 5: repeats line 2 \('demo' on 'pydocs', view 'end_to_end'\)"),
    ],
)
def test_a_malformed_leaderboard_is_refused_and_left_alone(
    path: Path, change: Callable[[list[list[str]]], object], message: str
) -> None:
    rewrite(path, change)
    before = path.read_bytes()
    with pytest.raises(ParseError, match=f"results.csv, {message}"):
        read_rows(path)
    with pytest.raises(ParseError, match=message):
        update_leaderboard(path, make_rows(["oracle"], {"pydocs": 0.45}))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"results\.csv: is empty, expected a header line"),
        (b"model,dataset\n\xe9,pydocs\n", r"is not UTF-8 .* byte 0xe9"),
        ("model,datasét\n".encode("latin-1"), r"is not UTF-8"),
        (b'"model,dataset\n', r"line 1: is not CSV: unexpected end of data"),
    ],
)
def test_a_file_that_is_no_leaderboard_is_refused(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ParseError, match=message):
        read_leaderboard(path)


def test_a_header_of_another_kind_is_not_answered_with_all_columns(path: Path) -> None:
    path.write_text("model,score\nx,1\n", encoding="utf-8")
    with pytest.raises(ParseError, match=r"unknown column 'score'.*missing columns: .* and \d+ more\.") as caught:
        read_leaderboard(path)
    assert len(str(caught.value)) < 400


def test_columns_may_stand_in_another_order(path: Path) -> None:
    rewrite(path, lambda lines: lines.__setitem__(slice(None), [line[::-1] for line in lines]))
    assert path.read_text(encoding="utf-8").startswith("command,run_folder,")
    assert {row["model"] for row in read_rows(path)} == {"demo"}


def test_a_missing_leaderboard_is_said(path: Path) -> None:
    with pytest.raises(DataError, match=r"results\.csv: no such file"):
        read_leaderboard(path)


def test_rows_that_cannot_be_written_are_refused_before_the_file_is_touched(path: Path) -> None:
    (row,) = make_rows(["demo"], {"pydocs": 0.45})[:1]
    for wrong, message in (
        ({**row, "ndgc_at_10": 1.0}, r"unknown column 'ndgc_at_10'; did you mean 'ndcg_at_10'"),
        ({**row, "ndcg_at_10": float("nan")}, r"'demo' on 'pydocs', view 'end_to_end': column 'ndcg_at_10' is nan"),
        ({**row, "delta": 0.5}, r"delta is 0\.5, expected"),
        ({name: value for name, value in row.items() if name != "depth"}, r"column 'depth' is empty"),
    ):
        with pytest.raises(ConfigError, match=message):
            update_leaderboard(path, [wrong])
    assert not path.exists()


@pytest.fixture
def read_only_folder() -> Iterator[Path]:
    """A folder that this process may not write into, even when the tests run as root."""
    folder = Path(tempfile.mkdtemp())
    user = os.geteuid()
    folder.chmod(0o555)
    if user == 0:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if user == 0:
            os.seteuid(0)
        folder.chmod(0o755)
        folder.rmdir()


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_read_only_folder_is_said(read_only_folder: Path) -> None:
    with pytest.raises(
        EnvironmentMissingError, match=r"results\.csv: its folder cannot be written \(Permission denied\)"
    ):
        update_leaderboard(read_only_folder / "results.csv", make_rows(["demo"], {"pydocs": 0.45}))


def test_a_file_in_the_place_of_the_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(EnvironmentMissingError, match=r"its folder cannot be written"):
        update_leaderboard(tmp_path / "file" / "results.csv", make_rows(["demo"], {"pydocs": 0.45}))


def test_a_frame_without_the_columns_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the frame lacks the leaderboard's columns kind, dataset, view"):
        rows_from_frame(pd.DataFrame({"model": ["demo"]}))


def test_selecting_keeps_baselines_and_the_named_rows() -> None:
    frame = frame_from_rows(make_rows(["demo", "a/b", *BASELINES], NANOBEIR))
    chosen = select_rows(frame, models=["a/b"], datasets=["NanoNQ", "NanoFEVER"])
    assert set(chosen["model"]) == {"a/b", *BASELINES}
    assert set(chosen["dataset"]) == {"NanoNQ", "NanoFEVER"}
    assert len(select_rows(frame)) == len(frame)


def test_selecting_an_unknown_name_offers_the_nearest() -> None:
    frame = frame_from_rows(make_rows(["demo"], DATASETS))
    with pytest.raises(ConfigError, match=r"unknown model 'dmeo'; did you mean 'demo'"):
        select_rows(frame, models=["dmeo"])
    with pytest.raises(ConfigError, match=r"unknown data set 'pydoc'; did you mean 'pydocs'"):
        select_rows(frame, datasets=["pydoc"])


def test_selecting_from_nothing_is_said() -> None:
    with pytest.raises(DataError, match="holds no rows"):
        select_rows(frame_from_rows([]))


def test_what_was_timed_stays_when_the_scores_come_from_the_store(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    timed = make_rows(["demo"], {"pydocs": 0.45})
    untimed = [row | dict.fromkeys(TIMED_COLUMNS) for row in timed]
    update_leaderboard(path, timed)
    update_leaderboard(path, [row | {"command": "again"} for row in untimed])
    for row, old in zip(read_rows(path), timed, strict=True):
        assert row["command"] == "again"
        assert row["pairs_per_second"] == old["pairs_per_second"] is not None
    update_leaderboard(path, [row | {"machine": "another"} for row in untimed])
    assert {row["pairs_per_second"] for row in read_rows(path)} == {None}
