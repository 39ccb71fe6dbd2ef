"""The data set ``pydocs``: the running Python's own documentation, with queries and judgements that come with the tool.

The collection is made on the spot, so it needs no network, and its text differs between Python versions; the corpus
fingerprint says which one a result was measured on.  The walk over the standard library is ``pydocs_walk.py``, run in a
fresh interpreter.  Queries and judgements are files that the caller names.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rerank_bench.data.fingerprints import with_fingerprints
from rerank_bench.data.jsonl import read_queries
from rerank_bench.errors import DataError, EnvironmentMissingError
from rerank_bench.records import Collection, Dataset, Qrels
from rerank_bench.trec_io import read_qrels

WALK_SECONDS = 300.0
"""The walk takes about 0.6 s; this is for a machine that hangs."""
MAX_NAMED = 3

TEXT_RULE = "qualified name and signature, an empty line, the docstring; a class goes on with what its __init__ says"


def build_pydocs_collection() -> Collection:
    """Return the documentation of the running Python's standard library, in the order of the ids.

    An id is a qualified name, the shortest public one (``itertools.islice``, ``pathlib.Path.glob``, ``print``).  What is
    installed or imported, the environment and the hash seed have no influence: two builds by one Python are equal.

    Raises:
        EnvironmentMissingError: There is no interpreter to start, or it failed.
    """
    docs, _ = _walk()
    return Collection(list(docs), list(docs.values()))


def _walk() -> tuple[dict[str, str], dict[str, str]]:
    """Return id -> text, and module -> reason for those that this build of Python cannot import."""
    if not sys.executable:
        msg = "pydocs: sys.executable is empty, so the documentation cannot be collected; run under a normal python"
        raise EnvironmentMissingError(msg)
    # -I -S: neither environment variables nor installed packages count.  -B: nothing is written beside the library.
    flags = ["-I", "-S", "-B"]
    script = Path(__file__).with_name("pydocs_walk.py")
    try:
        done = subprocess.run(  # noqa: S603 - our own script, under the interpreter that runs us
            [sys.executable, *flags, str(script)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=WALK_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        stderr = getattr(error, "stderr", None) or b""
        last = stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        msg = f"pydocs: {sys.executable} could not collect the documentation of its standard library ({last or error})"
        raise EnvironmentMissingError(msg) from error
    found = json.loads(done.stdout)
    return dict(found["docs"]), found["failed"]


def load_pydocs(
    queries_path: str | Path, qrels_path: str | Path, *, missing: Sequence[str], name: str = "pydocs"
) -> Dataset:
    """Return the data set for the running Python.

    Args:
        queries_path: JSON Lines: ``{"_id": ..., "text": ...}`` a line.
        qrels_path: Judgements, in BEIR's TSV form or TREC's.
        missing: Judged ids that this Python is known to lack; their judgements are left out, and counted in
            ``source["missing_judgements"]``.
        name: The data set's name.

    Raises:
        DataError: A file does not exist; the judgements name a query or a document that is unknown and not listed in
            ``missing``; a query has no judgement.
        ParseError: A line cannot be read.
        EnvironmentMissingError: The documentation cannot be collected.
    """
    queries = read_queries(Path(queries_path))
    judged = read_qrels(qrels_path)
    _check_queries(queries, judged, queries_path, qrels_path)
    docs, failed = _walk()
    qrels, num_left_out = _known_judgements(judged, docs, set(missing), failed, qrels_path)
    dataset = Dataset(
        name=name,
        queries=queries,
        collection=Collection(list(docs), list(docs.values())),
        qrels=qrels,
        source={
            "kind": "pydocs",
            "python": _python_version(),
            "platform": sys.platform,
            "text_rule": TEXT_RULE,
            "missing_documents": sorted(set(missing) - docs.keys()),
            "missing_judgements": num_left_out,
            "modules_not_imported": sorted(failed),
        },
    )
    return with_fingerprints(dataset)


def _check_queries(queries: Mapping[str, str], judged: Qrels, queries_path: str | Path, qrels_path: str | Path) -> None:
    for ids, where, what in (
        (sorted(judged.keys() - queries.keys()), qrels_path, f"judged queries are not in {queries_path}"),
        (sorted(queries.keys() - judged.keys()), queries_path, f"queries have no judgement in {qrels_path}"),
    ):
        if ids:
            msg = f"{where}: {len(ids)} {what} (first: {_first(ids)}); add or remove them"
            raise DataError(msg)


def _known_judgements(
    judged: Qrels,
    docs: Mapping[str, str],
    missing: set[str],
    failed: Mapping[str, str],
    path: str | Path,
) -> tuple[dict[str, dict[str, int]], int]:
    """Return the judgements of documents that exist, and how many of the others are listed as missing."""
    absent = {doc_id for by_doc in judged.values() for doc_id in by_doc} - docs.keys()
    unknown = sorted(absent - missing)
    if unknown:
        hint = f"; modules that did not import: {', '.join(sorted(failed))}" if failed else ""
        msg = (
            f"{path}: {len(unknown)} judged documents are not in the documentation of Python {_python_version()} on "
            f"{sys.platform} (first: {_first(unknown)}{hint}); correct them, or list them as missing for this version"
        )
        raise DataError(msg)
    qrels = {q: {d: grade for d, grade in by_doc.items() if d not in absent} for q, by_doc in judged.items()}
    return qrels, sum(len(by_doc) for by_doc in judged.values()) - sum(map(len, qrels.values()))


def _python_version() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def _first(ids: Sequence[str]) -> str:
    return ", ".join(repr(i) for i in ids[:MAX_NAMED])
