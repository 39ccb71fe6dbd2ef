from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_bench.data import jsonl
from rerank_bench.data.jsonl import document_text, read_corpus, read_queries
from rerank_bench.data.manifests import TEXT_ONLY
from rerank_bench.errors import DataError, ParseError


def write_corpus(path: Path, records: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def as_dict(path: Path, **options: str) -> dict[str, str]:
    collection = read_corpus(path, **options)
    return dict(zip(collection.doc_ids.to_pylist(), collection.texts.to_pylist(), strict=True))


def test_texts_and_titles(tmp_path: Path) -> None:
    path = write_corpus(
        tmp_path / "corpus.jsonl",
        [
            {"_id": "b", "title": "A title", "text": "and a text"},
            {"_id": "a", "title": "", "text": " untouched "},
            {"_id": "c", "title": None, "text": "no title"},
            {"_id": "d", "title": "Only a title", "text": "", "metadata": {"url": "x"}},
            {"_id": "e", "text": ""},
        ],
    )
    expected = {"b": "A title and a text", "a": " untouched ", "c": "no title", "d": "Only a title", "e": ""}
    assert as_dict(path) == expected
    assert list(as_dict(path)) == list("bacde")
    assert as_dict(path, text_rule=TEXT_ONLY) == {**expected, "b": "and a text", "d": ""}


def test_whole_numbers_are_ids(tmp_path: Path) -> None:
    path = write_corpus(
        tmp_path / "corpus.jsonl", [{"_id": 7, "text": "x"}, {"_id": "08", "text": "y"}, {"_id": -1, "text": "z"}]
    )
    assert list(as_dict(path)) == ["7", "08", "-1"]
    assert list(read_queries(path)) == ["7", "08", "-1"]


def test_gzip_and_byte_order_mark_and_blank_lines(tmp_path: Path) -> None:
    content = '\ufeff{"_id": "a", "text": "süß 😀"}\r\n\r\n{"_id": "b", "text": "line\\u2028separator"}\r\n'.encode()
    (tmp_path / "corpus.jsonl.gz").write_bytes(gzip.compress(content))
    assert as_dict(tmp_path / "corpus.jsonl.gz") == {"a": "süß 😀", "b": "line\u2028separator"}


def test_empty_corpus_is_a_collection_of_none(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_bytes(b"")
    assert len(read_corpus(tmp_path / "corpus.jsonl")) == 0


@given(
    texts=st.lists(st.tuples(st.text(alphabet=st.characters(codec="utf-8"), max_size=20), st.booleans()), max_size=9),
    chunk_docs=st.integers(1, 4),
)
def test_chunks_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, bool]], chunk_docs: int
) -> None:
    records: list[dict[str, object]] = [
        {"_id": f"d{i}", "text": text, **({"title": text[::-1]} if has_title else {})}
        for i, (text, has_title) in enumerate(texts)
    ]
    path = write_corpus(tmp_path_factory.mktemp("corpus") / "corpus.jsonl", records)
    expected = {
        f"d{i}": (text[::-1] + " " + text).strip() if has_title and text else text
        for i, (text, has_title) in enumerate(texts)
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl, "CHUNK_DOCS", chunk_docs)
        assert as_dict(path) == expected


def test_document_text_strips_only_what_it_joins() -> None:
    assert document_text(" t", "x ") == "t x"
    assert document_text("", " x ") == " x "
    assert document_text(None, "") == ""


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("corpus_malformed.jsonl", r"corpus_malformed\.jsonl, line 2: is not JSON: .* at character"),
        ("corpus_array.jsonl", r"line 2: holds list .*, expected one object with '_id' and 'text'"),
        ("corpus_no_id.jsonl", r"line 1: has no field '_id', found 'id', 'text'; rename 'id'\?"),
        ("corpus_no_text.jsonl", r"line 1: has no field 'text', found '_id', 'txt'; rename 'txt'\?"),
        ("corpus_null_text.jsonl", "line 1: 'text' is null, expected a string; an empty document is \"\""),
        ("corpus_number_text.jsonl", "line 1: 'text' is int '7', expected a string"),
        ("corpus_list_title.jsonl", "line 1: 'title' is list .*, expected a string"),
        ("corpus_float_id.jsonl", "line 1: '_id' is 1.5, expected a string or a whole number"),
        ("corpus_bool_id.jsonl", "line 1: '_id' is True, expected a string or a whole number"),
        ("corpus_empty_id.jsonl", "line 1: id '' is empty or holds white space"),
        ("corpus_space_in_id.jsonl", "line 1: id 'd 1' is empty or holds white space"),
        ("corpus_repeated_id.jsonl", "line 4: id '7' stands already in line 1; ids must be unique"),
        ("corpus_latin1.jsonl", "line 2: is not UTF-8 .*byte 0xe9"),
        ("corpus_surrogate.jsonl", "line 1: 'text' holds half a surrogate pair at character 14"),
    ],
)
def test_bad_corpus(bad_files: Path, file: str, message: str) -> None:
    with pytest.raises(ParseError, match=message):
        read_corpus(bad_files / file)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("queries_repeated_id.jsonl", "line 2: id 'q1' stands already in line 1; remove one"),
        ("corpus_no_text.jsonl", "has no field 'text'"),
    ],
)
def test_bad_queries(bad_files: Path, file: str, message: str) -> None:
    with pytest.raises(ParseError, match=message):
        read_queries(bad_files / file)


def test_deep_nesting_is_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"_id": ' + "[" * 100_000 + "]" * 100_000 + "}", encoding="utf-8")
    with pytest.raises(ParseError, match=r"line 1: (nests too deeply|'_id' is)"):
        read_corpus(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"corpus\.jsonl: no such file"):
        read_corpus(tmp_path / "corpus.jsonl")
