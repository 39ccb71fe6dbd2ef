"""A TREC collection: topics, qrels and a JSONL corpus.

Topics come in three forms, told apart by their content: JSON Lines (``_id``, ``text``), the classic SGML with
``<top>``, ``<num>`` and ``<title>`` (other parts, such as ``<desc>``, are not read), and lines ``id<TAB>text``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from rerank_bench.data.beir import choose_split, find_file
from rerank_bench.data.checks import check_qrels, describe_bad_id
from rerank_bench.data.jsonl import read_corpus, read_queries
from rerank_bench.data.manifests import TITLE_AND_TEXT, Manifest
from rerank_bench.errors import DataError, ParseError
from rerank_bench.records import Dataset
from rerank_bench.storage import read_lines
from rerank_bench.trec_io import read_qrels

_TAG = re.compile(r"<\s*(/?)\s*([a-z]+)\s*>", re.IGNORECASE)
_NUMBER_LABEL = re.compile(r"^\s*number\s*:", re.IGNORECASE)
_TITLE_LABEL = re.compile(r"^\s*topic\s*:", re.IGNORECASE)


def load_trec_folder(folder: Path, *, split: str = "test", manifest: Manifest | None = None) -> Dataset:
    """Return the data set in a folder of TREC files.

    Args:
        folder: Holds ``corpus.jsonl``, one ``topics.*`` and one ``qrels.*`` unless a manifest names the files.
        split: Chooses among the qrels that a manifest names; a folder without one has one qrels file for any split.
        manifest: The folder's own manifest.

    Raises:
        ConfigError: The manifest names no such split.
        DataError: A file is missing or ambiguous, or the qrels name unknown queries or documents.
        ParseError: A line of a file cannot be read.
    """
    if manifest is None:
        corpus_path = find_file(folder, "corpus.jsonl")
        if corpus_path is None:
            msg = f"{folder}: holds no corpus.jsonl (or corpus.jsonl.gz)"
            raise DataError(msg)
        topics_path, qrels_path = _only_file(folder, "topics.*"), _only_file(folder, "qrels.*")
    else:
        files = manifest.table["files"]
        corpus_path, topics_path = folder / files["corpus"], folder / files["queries"]
        qrels_path = choose_split(folder, {name: folder / file for name, file in files["qrels"].items()}, split)
    text_rule = (manifest and manifest.text_rule) or TITLE_AND_TEXT
    queries = read_topics(topics_path)
    qrels = read_qrels(qrels_path)
    collection = read_corpus(corpus_path, text_rule=text_rule)
    check_qrels(str(qrels_path), qrels, queries, collection)
    return Dataset(
        name=manifest.name if manifest else folder.resolve().name,
        queries=queries,
        collection=collection,
        qrels=qrels,
        drops_self_match=manifest.drops_self_match if manifest else False,
        source={"kind": "trec", "folder": str(folder), "qrels": qrels_path.name, "text_rule": text_rule},
    )


def _only_file(folder: Path, pattern: str) -> Path:
    """Return the one file that a pattern matches.

    Raises:
        DataError: None or several do.
    """
    found = sorted(path for path in folder.glob(pattern) if path.is_file())
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} files ({', '.join(path.name for path in found[:3])})" if found else "no file"
    msg = f'{folder}: {pattern} matches {what}, expected one; name the files in a dataset.toml with kind = "trec"'
    raise DataError(msg)


def read_topics(path: Path) -> dict[str, str]:
    """Return query_id -> text of a topics file, in the file's order.

    Raises:
        DataError: The file does not exist.
        ParseError: A line or topic cannot be read, an id is repeated, or there is no topic.
    """
    first = next((line for _, line in read_lines(path) if line.strip()), None)
    if first is None:
        raise ParseError(path, None, "holds no topic")
    if first.lstrip().startswith("{"):
        return read_queries(path)
    topics = _iter_sgml_topics(path) if _TAG.match(first.lstrip()) else _iter_tsv_topics(path)
    queries: dict[str, str] = {}
    line_by_id: dict[str, int] = {}
    for number, query_id, text in topics:
        problem = describe_bad_id(query_id)
        if problem:
            raise ParseError(path, number, f"topic id {problem}")
        if query_id in line_by_id:
            raise ParseError(
                path, number, f"topic {query_id!r} stands already in line {line_by_id[query_id]}; remove one"
            )
        line_by_id[query_id] = number
        queries[query_id] = text
    return queries


def _iter_tsv_topics(path: Path) -> Iterator[tuple[int, str, str]]:
    for number, line in read_lines(path):
        if not line.strip():
            continue
        query_id, tab, text = line.partition("\t")
        if not tab:
            raise ParseError(path, number, f"expected topic id, tab, text; found no tab: {line[:80]!r}")
        yield number, query_id.strip(), text.strip()


def _iter_sgml_topics(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield (line of ``<top>``, id, title); a part runs to the next tag, as these files often leave out end tags."""
    start = 0
    part: str | None = None
    parts: dict[str, str] = {}
    for number, line in read_lines(path):
        rest = line
        while rest:
            tag = _TAG.search(rest)
            if part is not None:
                parts[part] = f"{parts.get(part, '')} {rest[: tag.start()] if tag else rest}"
            if tag is None:
                break
            rest = rest[tag.end() :]
            is_end, name = bool(tag[1]), tag[2].lower()
            if name == "top" and not is_end:
                if start:
                    raise ParseError(
                        path, number, f"<top> opens inside the topic of line {start}; expected </top> before"
                    )
                start, parts, part = number, {}, None
            elif name == "top":
                yield _finish_topic(path, number, start, parts)
                start, part = 0, None
            else:
                part = None if is_end else name
    if start:
        raise ParseError(path, start, "<top> is never closed; expected </top>, the file may be cut short")


def _finish_topic(path: Path, number: int, start: int, parts: dict[str, str]) -> tuple[int, str, str]:
    if not start:
        raise ParseError(path, number, "</top> without <top>")
    missing = [name for name in ("num", "title") if name not in parts]
    if missing:
        raise ParseError(
            path, start, f"topic has no <{'> and no <'.join(missing)}>, found {', '.join(parts) or 'nothing'}"
        )
    query_id = _NUMBER_LABEL.sub("", parts["num"]).strip()
    return start, query_id, " ".join(_TITLE_LABEL.sub("", parts["title"]).split())
