"""Strict readers and writers of TREC runs and qrels, plain or gzip.

A run's rank column and the order of its lines are ignored, as trec_eval ignores them: the score column decides
(``ranking.rank_docs``).  A duplicate document, a score that is not a finite number and a line with the wrong number of
fields are errors that name the line; nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from rerank_bench.errors import ParseError
from rerank_bench.ranking import rank_docs
from rerank_bench.records import Run, ScoredDocs
from rerank_bench.storage import atomic_writer, read_lines

FLOAT32_OVERFLOW = 2.0**128 - 2.0**103
"""The smallest double that rounds to infinity as float32: half a unit above the largest finite one."""


def read_run(path: str | Path, *, depth: int | None = None) -> dict[str, ScoredDocs]:
    """Return the run in a TREC file: ``query_id Q0 doc_id rank score tag`` a line.

    Args:
        path: The file.
        depth: Number of documents to keep per query; ``None`` keeps all.

    Raises:
        DataError: The file does not exist.
        ParseError: A line cannot be read, or names a document of a query a second time.
    """
    line_by_doc: dict[str, dict[str, int]] = {}
    scores: dict[str, list[float]] = {}
    for number, line in read_lines(path):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 6:
            problem = f"expected 6 fields (query_id Q0 doc_id rank score tag), found {len(fields)}: {_short(line)}"
            raise ParseError(path, number, problem)
        query_id, _, doc_id, _, score_text, _ = fields
        score = _parse_score(path, number, query_id, doc_id, score_text)
        seen = line_by_doc.setdefault(query_id, {})
        if doc_id in seen:
            problem = f"document {doc_id!r} of query {query_id!r} stands already in line {seen[doc_id]}; remove one"
            raise ParseError(path, number, problem)
        seen[doc_id] = number
        scores.setdefault(query_id, []).append(score)
    return {
        query_id: rank_docs(query_id, list(docs), np.asarray(scores[query_id]), depth=depth)
        for query_id, docs in line_by_doc.items()
    }


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
