"""Strict readers and writers of TREC runs and qrels, plain or gzip.

A run's rank column and the order of its lines are ignored, as trec_eval ignores them: the score column decides
(``ranking.rank_docs``).  A duplicate document, a score that is not a finite number and a line with the wrong number of
fields are errors that name the line; nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from rerank_bench.errors import ParseError
from rerank_bench.ranking import rank_docs
from rerank_bench.records import Run, ScoredDocs
from rerank_bench.storage import atomic_writer, read_lines

FLOAT32_OVERFLOW = 2.0**128 - 2.0**103
"""The smallest double that rounds to infinity as float32: half a unit above the largest finite one."""


Look = Callable[[str, tuple[str, ...]], None]
"""Called with a query and all its documents."""


class _MixedLinesError(Exception):
    """The lines of a query stand apart."""


def read_run(path: str | Path, *, depth: int | None = None, look: Look | None = None) -> dict[str, ScoredDocs]:
    """Return the run in a TREC file: ``query_id Q0 doc_id rank score tag`` a line.

    Where the lines stand together query by query, as engines write them, the file is read in a stream: in memory are the
    documents that are kept, and all those of one query.  Where a query's lines stand apart, the file is read again, and
    all of it is in memory until the end.

    Args:
        path: The file, plain or gzip.
        depth: Number of documents to keep per query; ``None`` keeps all.
        look: Shown every query's documents before the cut; a second time where the file is read again.

    Raises:
        DataError: The file does not exist.
        ParseError: A line cannot be read, or names a document of a query a second time.
    """
    try:
        return _collect(_grouped(path), depth, look)
    except _MixedLinesError:
        return _collect(_whole(path), depth, look)


def _collect(
    queries: Iterable[tuple[str, dict[str, int], list[float]]], depth: int | None, look: Look | None
) -> dict[str, ScoredDocs]:
    run: dict[str, ScoredDocs] = {}
    for query_id, line_by_doc, scores in queries:
        if query_id in run:
            raise _MixedLinesError
        run[query_id] = rank_docs(query_id, list(line_by_doc), np.asarray(scores), depth=depth)
        if look is not None:
            look(query_id, tuple(line_by_doc))
    return run


def _grouped(path: str | Path) -> Iterator[tuple[str, dict[str, int], list[float]]]:
    """Yield every stretch of lines of one query: the line of each document, and the scores in the same order."""
    current: str | None = None
    line_by_doc: dict[str, int] = {}
    scores: list[float] = []
    for number, query_id, doc_id, score in _run_lines(path):
        if query_id != current:
            if current is not None:
                yield current, line_by_doc, scores
            current, line_by_doc, scores = query_id, {}, []
        _add_doc(path, number, query_id, doc_id, line_by_doc)
        scores.append(score)
    if current is not None:
        yield current, line_by_doc, scores


def _whole(path: str | Path) -> Iterator[tuple[str, dict[str, int], list[float]]]:
    """Yield the same of every query, from the whole file."""
    found: dict[str, tuple[dict[str, int], list[float]]] = {}
    for number, query_id, doc_id, score in _run_lines(path):
        line_by_doc, scores = found.setdefault(query_id, ({}, []))
        _add_doc(path, number, query_id, doc_id, line_by_doc)
        scores.append(score)
    for query_id, (line_by_doc, scores) in found.items():
        yield query_id, line_by_doc, scores


def _add_doc(path: str | Path, number: int, query_id: str, doc_id: str, line_by_doc: dict[str, int]) -> None:
    if doc_id in line_by_doc:
        problem = f"document {doc_id!r} of query {query_id!r} stands already in line {line_by_doc[doc_id]}; remove one"
        raise ParseError(path, number, problem)
    line_by_doc[doc_id] = number


def _run_lines(path: str | Path) -> Iterator[tuple[int, str, str, float]]:
    """Yield (number, query_id, doc_id, score) of every line that is not blank."""
    for number, line in read_lines(path):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 6:
            problem = f"expected 6 fields (query_id Q0 doc_id rank score tag), found {len(fields)}: {_short(line)}"
            raise ParseError(path, number, problem)
        query_id, _, doc_id, _, score_text, _ = fields
        yield number, query_id, doc_id, _parse_score(path, number, query_id, doc_id, score_text)


def _parse_score(path: str | Path, number: int, query_id: str, doc_id: str, text: str) -> float:
    try:
        score = float(text)
    except ValueError as error:
        problem = f"score of query {query_id!r}, document {doc_id!r} is {text!r}, expected a number"
        raise ParseError(path, number, problem) from error
    if not abs(score) < FLOAT32_OVERFLOW:  # NaN too
        problem = f"score of query {query_id!r}, document {doc_id!r} is {text!r}, expected a finite float32 number"
        raise ParseError(path, number, problem)
    return score


def write_run(path: str | Path, run: Run, *, run_name: str) -> None:
    """Write a ranked run as a TREC file; nine significant digits give back the same float32.

    Args:
        path: The file; a name ending in ``.gz`` is compressed.
        run: Documents best first, as ``rank_docs`` returns them; the rank column counts from 1.
        run_name: The tag; white space in it becomes ``_``.
    """
    tag = "_".join(run_name.split()) or "run"
    with atomic_writer(path) as file:
        for query_id, docs in run.items():
            for rank, (doc_id, score) in enumerate(zip(docs.doc_ids, docs.scores.tolist(), strict=True), start=1):
                file.write(f"{query_id} Q0 {doc_id} {rank} {score:.9g} {tag}\n")


def read_qrels(path: str | Path) -> dict[str, dict[str, int]]:
    """Return the judgements of a qrels file.

    Two forms are read, told apart by the first line: TREC (``query_id iteration doc_id relevance``, white space) and
    BEIR's TSV (``query-id<TAB>corpus-id<TAB>score`` with a header line).

    Raises:
        DataError: The file does not exist.
        ParseError: A line cannot be read, or judges a document of a query a second time.
    """
    lines = ((number, line) for number, line in read_lines(path) if line.strip())
    first = next(lines, None)
    if first is None:
        raise ParseError(path, None, "holds no judgement")
    split = _beir_fields if _is_beir_header(first[1]) else _trec_fields
    qrels: dict[str, dict[str, int]] = {}
    if split is _trec_fields:
        _add_qrel(qrels, path, *first, split)
    for number, line in lines:
        _add_qrel(qrels, path, number, line, split)
    return qrels


Fields = tuple[str, str, str] | str
"""(query_id, doc_id, relevance), or what is wrong with the line."""


def _is_beir_header(line: str) -> bool:
    return [field.strip() for field in line.split("\t")][:2] == ["query-id", "corpus-id"]


def _trec_fields(line: str) -> Fields:
    fields = line.split()
    if len(fields) != 4:
        return f"expected 4 fields (query_id iteration doc_id relevance), found {len(fields)}: {_short(line)}"
    return fields[0], fields[2], fields[3]


def _beir_fields(line: str) -> Fields:
    fields = [field.strip() for field in line.split("\t")]
    if len(fields) != 3 or not all(fields):
        return f"expected 3 tab-separated fields (query-id corpus-id score), found {len(fields)}: {_short(line)}"
    return fields[0], fields[1], fields[2]


def _add_qrel(
    qrels: dict[str, dict[str, int]], path: str | Path, number: int, line: str, split: Callable[[str], Fields]
) -> None:
    fields = split(line)
    if isinstance(fields, str):
        raise ParseError(path, number, fields)
    query_id, doc_id, relevance_text = fields
    try:
        relevance = int(relevance_text)
    except ValueError as error:
        raise ParseError(path, number, f"relevance is {relevance_text!r}, expected a whole number") from error
    judged = qrels.setdefault(query_id, {})
    if doc_id in judged:
        problem = f"document {doc_id!r} of query {query_id!r} was judged before ({judged[doc_id]}); remove one"
        raise ParseError(path, number, problem)
    judged[doc_id] = relevance


def iter_qrels(qrels: Mapping[str, Mapping[str, int]]) -> Iterator[tuple[str, str, int]]:
    """Yield (query_id, doc_id, relevance) in the order of the mappings."""
    for query_id, judged in qrels.items():
        for doc_id, relevance in judged.items():
            yield query_id, doc_id, relevance


def write_qrels(path: str | Path, qrels: Mapping[str, Mapping[str, int]]) -> None:
    """Write judgements in the TREC form."""
    with atomic_writer(path) as file:
        for query_id, doc_id, relevance in iter_qrels(qrels):
            file.write(f"{query_id} 0 {doc_id} {relevance}\n")


def _short(line: str, max_chars: int = 80) -> str:
    return repr(line if len(line) <= max_chars else line[:max_chars] + "…")
