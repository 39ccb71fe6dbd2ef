from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_training import pair_rows, write_jsonl

from rerank_bench.errors import DataError, ParseError
from rerank_bench.training.tables import read_files

ROWS = pair_rows(5)


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    jsonl = write_jsonl(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(jsonl.read_bytes()))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    for suffix, mark in ((".csv", ","), (".tsv", "\t")):
        lines = [mark.join(ROWS[0]), *(mark.join(map(str, row.values())) for row in ROWS)]
        (tmp_path / f"a{suffix}").write_text("\n".join(lines) + "\n")
    for name in ("a.jsonl", "a.jsonl.gz", "a.parquet", "a.csv", "a.tsv"):
        assert read_files([tmp_path / name]).table.to_pylist() == ROWS, name


def test_a_row_knows_its_file_and_line(tmp_path: Path) -> None:
    first = tmp_path / "first.jsonl"
    first.write_text('\n{"q": "a"}\n\n{"q": "b"}\n')
    second = tmp_path / "second.csv"
    second.write_text('q\n"two\nlines"\nlast\n')
    third = tmp_path / "third.parquet"
    pq.write_table(pa.table({"q": ["x"]}), third)
    rows = read_files([first, second, third])
    assert rows.table.column("q").to_pylist() == ["a", "b", "two\nlines", "last", "x"]
    places = ["first.jsonl, line 2", "first.jsonl, line 4", "second.csv, line 2", "second.csv, line 4"]
    assert [rows.locate(row) for row in range(5)] == [
        *(str(tmp_path / place) for place in places),
        f"{third}, row 1",
    ]
    with pytest.raises(IndexError, match="row 5"):
        rows.locate(5)


def test_files_are_joined_by_column_name_and_numbers_widen(tmp_path: Path) -> None:
    a = write_jsonl(tmp_path / "a.jsonl", [{"query": "x", "label": 1}])
    b = write_jsonl(tmp_path / "b.jsonl", [{"label": 0.5, "query": "y"}])
    table = read_files([a, b]).table
    assert table.to_pylist() == [{"query": "x", "label": 1.0}, {"query": "y", "label": 0.5}]


BAD = {
    "ends in mid-line": (
        "a.jsonl",
        '{"q": "a"}\n{"q": "b',
        r"a\.jsonl, line 2: is not JSON: .*one whole object a line",
    ),
    "no object": ("a.jsonl", '{"q": "a"}\n\n[1]\n', r"line 3: holds list, expected an object"),
    "mixed types": ("a.jsonl", '{"q": "a"}\n{"q": 3}\n', r"line 2: column 'q' is a number '3', but a string in line 1"),
    "csv, cut short": ("a.csv", "q,d\na,b\nc\n", r"a\.csv, line 3: has 1 columns, the header 2 \(q, d\)"),
    "nothing": ("a.jsonl", "", "holds no rows|Empty JSON"),
    "header only": ("a.csv", "q,d\n", "holds no rows"),
    "other ending": ("a.txt", "q", r"a\.txt: expected a file ending in \.jsonl"),
    "no parquet": ("a.parquet", "PAR1", r"a\.parquet: cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named(name: str, tmp_path: Path) -> None:
    file, text, message = BAD[name]
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError, match=message):
        read_files([tmp_path / file])


def test_absent_files_and_other_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jsonl: no such file"):
        read_files([tmp_path / "gone.jsonl"])
    a = write_jsonl(tmp_path / "a.jsonl", [{"query": "x"}])
    b = write_jsonl(tmp_path / "b.jsonl", [{"question": "x"}])
    with pytest.raises(DataError, match=r"b\.jsonl: has the columns question, but .*a\.jsonl has query"):
        read_files([a, b])


def test_a_gzip_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    whole = gzip.compress(b'{"q": "some words that do not repeat"}\n' * 50)
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises((DataError, ParseError), match=r"a\.jsonl\.gz"):
        read_files([tmp_path / "a.jsonl.gz"])
