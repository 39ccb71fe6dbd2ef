"""Texts of the evaluation sets in the training data: found by hash, confirmed by comparison, reported and removable.

Two texts are the same when their normalised forms are: Unicode NFKC, case folded, single spaces.  Nothing fuzzy: what is
reported is certain, and what is not reported may still be a paraphrase.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.progress import track
from rerank_bench.training.examples import Examples

MAX_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationTexts:
    """The texts of one evaluation data set."""

    name: str
    queries: Iterable[str]
    docs: Iterable[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contamination:
    """What of one evaluation data set is in the training data."""

    name: str
    queries: NDArray[np.int64]
    """Numbers of the examples whose query is one of the data set's queries."""
    docs: NDArray[np.int64]
    """Numbers of the examples with a document of the data set's collection."""
    shown: Sequence[str]
    """Where some of them stand, and what they say."""

    def describe(self) -> dict[str, Any]:
        """Return the counts, JSON-able."""
        return {"queries": len(self.queries), "documents": len(self.docs), "examples": list(self.shown)}


def normalise(text: str) -> str:
    """Return the form in which texts are compared."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def find_contamination(examples: Examples, evaluations: Sequence[EvaluationTexts]) -> list[Contamination]:
    """Return what of each evaluation data set is in the examples.

    Hashes of 8 bytes are compared first; texts whose hashes meet are compared in full, so chance plays no part.

    Args:
        examples: N queries, M documents.
        evaluations: The data sets.
    """
    owners = np.repeat(np.arange(len(examples)), examples.sizes)  # (M,)
    query_hashes = _hashes((text.as_py() for text in examples.queries), len(examples), "hash training queries")
    doc_hashes = _hashes((text.as_py() for text in examples.docs), len(owners), "hash training documents")
    found = []
    for evaluation in evaluations:
        queries = _same_texts(examples.queries, query_hashes, list(evaluation.queries))
        docs = _same_texts(examples.docs, doc_hashes, list(evaluation.docs))
        shown = [f"{examples.place(int(i))}: query {examples[int(i)].query[:80]!r}" for i in queries[:MAX_SHOWN]]
        shown += [
            f"{examples.place(int(owners[m]))}: document {examples.docs[int(m)].as_py()[:80]!r}"
            for m in docs[:MAX_SHOWN]
        ]
        found.append(Contamination(name=evaluation.name, queries=queries, docs=np.unique(owners[docs]), shown=shown))
    return found


def contaminated(found: Sequence[Contamination], *, include_docs: bool) -> NDArray[np.int64]:
    """Return the numbers of the examples with a query, or also a document, of any data set."""
    parts = [c.queries for c in found] + ([c.docs for c in found] if include_docs else [])
    return np.unique(np.concatenate([np.empty(0, dtype=np.int64), *parts]))


def _hashes(texts: Iterable[str], count: int, what: str) -> NDArray[np.uint64]:
    """Return (count,) uint64."""
    values = np.empty(count, dtype=np.uint64)
    with track(what, total=count, unit="texts") as advance:
        for number, text in enumerate(texts):
            digest = hashlib.blake2b(normalise(text).encode(errors="surrogatepass"), digest_size=8).digest()
            values[number] = int.from_bytes(digest, "little")
            if number % 10_000 == 9_999:
                advance(10_000)
    return values


def _same_texts(column: Any, hashes: NDArray[np.uint64], texts: Sequence[str]) -> NDArray[np.int64]:
    """Return the positions in the column whose text is one of ``texts``; empty texts never count."""
    wanted: dict[int, set[str]] = {}
    for text, value in zip(texts, _hashes(texts, len(texts), "hash evaluation texts").tolist(), strict=True):
        form = normalise(text)
        if form:
            wanted.setdefault(value, set()).add(form)
    met = np.flatnonzero(np.isin(hashes, np.array(list(wanted), dtype=np.uint64)))
    same = [m for m in met.tolist() if normalise(column[m].as_py()) in wanted[int(hashes[m])]]
    return np.array(same, dtype=np.int64)
