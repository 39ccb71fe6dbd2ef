"""Strict readers of JSON Lines: a corpus into Arrow, queries into a mapping.

One JSON object a line; blank lines are passed over.  The first fault ends the reading with file, line, what was found
and what to do.  Ids that are whole numbers become their digits; other numbers, booleans and null are no ids.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from rerank_bench.data.checks import describe_bad_id, find_repeat
from rerank_bench.data.manifests import TEXT_ONLY, TITLE_AND_TEXT
from rerank_bench.errors import ParseError
from rerank_bench.progress import track
from rerank_bench.records import Collection
from rerank_bench.storage import read_lines

CHUNK_DOCS = 65_536
"""Documents held as Python strings at a time, before they go to Arrow."""


def document_text(title: str | None, text: str) -> str:
    """Return a document's text by the rule ``"{title} {text}"``; without a title it is the text, untouched."""
    return f"{title} {text}".strip() if title else text


def read_corpus(path: Path, *, text_rule: str = TITLE_AND_TEXT) -> Collection:
    """Return the documents of a ``corpus.jsonl``: ``_id``, ``text`` and, optionally, ``title``.

    Args:
        path: The file, plain or gzip.
        text_rule: ``TITLE_AND_TEXT``, or ``TEXT_ONLY`` to leave titles out.

    Raises:
        DataError: The file does not exist.
        ParseError: A line cannot be read, or repeats an id.
    """
    id_chunks: list[pa.Array] = []
    text_chunks: list[pa.Array] = []
    doc_ids: list[str] = []
    texts: list[str] = []

    def flush() -> None:
        id_chunks.append(pa.array(doc_ids, type=pa.large_string()))
        text_chunks.append(pa.array(texts, type=pa.large_string()))
        doc_ids.clear()
        texts.clear()

    with track(f"read {path.name}", unit="documents") as advance:
        for number, record in iter_records(path):
            doc_ids.append(record_id(path, number, record))
            title = None if text_rule == TEXT_ONLY else _text(path, number, record, "title")
            texts.append(document_text(title, _required_text(path, number, record)))
            if len(doc_ids) == CHUNK_DOCS:
                flush()
                advance(CHUNK_DOCS)
        flush()
    ids = pa.chunked_array(id_chunks, type=pa.large_string()).combine_chunks()
    check_unique(path, ids)
    return Collection(ids, pa.chunked_array(text_chunks, type=pa.large_string()))


def read_queries(path: Path) -> dict[str, str]:
    """Return query_id -> text of a ``queries.jsonl`` (``_id``, ``text``), in the file's order.

    Raises:
        DataError: The file does not exist.
        ParseError: A line cannot be read, or repeats an id.
    """
    queries: dict[str, str] = {}
    line_by_id: dict[str, int] = {}
    for number, record in iter_records(path):
        query_id = record_id(path, number, record)
        if query_id in line_by_id:
            raise ParseError(path, number, f"id {query_id!r} stands already in line {line_by_id[query_id]}; remove one")
        line_by_id[query_id] = number
        queries[query_id] = _required_text(path, number, record)
    return queries


def iter_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) of a JSON Lines file.

    Raises:
        DataError: The file does not exist.
        ParseError: A line is not UTF-8, not JSON, or not an object.
    """
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ParseError(path, number, f"is not JSON: {error.msg} at character {error.colno}") from error
        except RecursionError as error:
            raise ParseError(path, number, "nests too deeply to be read; expected one flat object") from error
        if not isinstance(record, dict):
            problem = f"holds {type(record).__name__} {str(record)[:60]!r}, expected one object with '_id' and 'text'"
            raise ParseError(path, number, problem)
        yield number, record


def record_id(path: Path, number: int, record: dict[str, Any]) -> str:
    """Return a record's ``_id`` as a string.

    Raises:
        ParseError: It is missing, neither string nor whole number, empty, or holds white space.
    """
    value = _field(path, number, record, "_id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        problem = f"'_id' is {value!r}, expected a string or a whole number; write it in quotes"
        raise ParseError(path, number, problem)
    problem_of_id = describe_bad_id(value)
    if problem_of_id:
        raise ParseError(path, number, f"id {problem_of_id}; replace it in the corpus, queries and qrels")
    return _encodable(path, number, "_id", value)


def check_unique(path: Path, ids: pa.Array) -> None:
    """Raise if an id stands twice; the file is read again to find both lines.

    Raises:
        ParseError: Names both lines.
    """
    repeat = find_repeat(ids)
    if repeat:
        lines = [number for number, line in read_lines(path) if line.strip()]
        first, again = lines[repeat[0]], lines[repeat[1]]
        problem = f"id {ids[repeat[0]].as_py()!r} stands already in line {first}; ids must be unique, remove one"
        raise ParseError(path, again, problem)


def _required_text(path: Path, number: int, record: dict[str, Any]) -> str:
    _field(path, number, record, "text")
    text = _text(path, number, record, "text")
    if text is None:
        raise ParseError(path, number, "'text' is null, expected a string; an empty document is \"\"")
    return text


def _text(path: Path, number: int, record: dict[str, Any], name: str) -> str | None:
    value = record.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise ParseError(path, number, f"{name!r} is {type(value).__name__} {str(value)[:60]!r}, expected a string")
    return _encodable(path, number, name, value)


def _encodable(path: Path, number: int, name: str, value: str) -> str:
    r"""Refuse half a surrogate pair, which JSON can spell (``\ud83d``) and UTF-8 cannot."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            problem = f"{name!r} holds half a surrogate pair at character {error.start + 1}; UTF-8 cannot carry it"
            raise ParseError(path, number, problem) from error
    return value


def _field(path: Path, number: int, record: dict[str, Any], name: str) -> Any:
    if name in record:
        return record[name]
    near = difflib.get_close_matches(name, list(record), n=1, cutoff=0.5)
    hint = f"; rename {near[0]!r}?" if near else ""
    problem = f"has no field {name!r}, found {', '.join(repr(key) for key in record) or 'none'}{hint}"
    raise ParseError(path, number, problem)
