"""The record types that the stages share; plain values, frozen after construction.

The stages (``data``, ``first_stage``, ``scoring``, ``evaluation``, ``reporting``) never import one another: what goes
from one to the next is defined here.  Ids are ``str`` everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rerank_bench.errors import DataError

Qrels = Mapping[str, Mapping[str, int]]
"""query_id -> doc_id -> relevance grade."""

View = Literal["end_to_end", "injected", "retrieved"]
VIEWS: tuple[View, ...] = ("end_to_end", "injected", "retrieved")

PROTOCOL_VERSION = 1
"""Bumped by any change of a rule in docs/protocol.md; results of different versions do not compare."""

POSITIVE_GRADE = 1
"""The lowest grade that counts as positive (protocol, section 4)."""


class Collection:
    """The documents of a data set in Arrow arrays: ids and texts, in their original order.

    Three million answers stay in Arrow buffers; a Python string is made only for a document that is asked for.

    Args:
        doc_ids: N ids, unique (checked by the readers, which know the line).
        texts: N texts, possibly empty.
    """

    __slots__ = ("_doc_ids", "_texts")

    def __init__(self, doc_ids: Sequence[str] | pa.Array, texts: Sequence[str] | pa.Array | pa.ChunkedArray) -> None:
        self._doc_ids = _as_arrow(doc_ids)
        self._texts = _as_arrow(texts)
        if len(self._doc_ids) != len(self._texts):
            msg = f"a collection needs as many ids as texts, found {len(self._doc_ids)} and {len(self._texts)}"
            raise DataError(msg)

    def __len__(self) -> int:
        return len(self._doc_ids)

    @property
    def doc_ids(self) -> pa.Array:
        """(N,) large_string: the ids, in the collection's order."""
        return self._doc_ids

    @property
    def texts(self) -> pa.Array:
        """(N,) large_string: the texts, aligned with ``doc_ids``."""
        return self._texts

    def doc_id(self, position: int) -> str:
        """Return the id of the document at ``position`` (0 is the first)."""
        return str(self._doc_ids[position].as_py())

    def text(self, position: int) -> str:
        """Return the text of the document at ``position`` (0 is the first)."""
        return str(self._texts[position].as_py())

    def positions(self, doc_ids: Sequence[str] | pa.Array) -> NDArray[np.int64]:
        """Return each id's position, (len(doc_ids),) int64, −1 for an id that is not in the collection.

        One hash join over the whole collection: ask for all ids of a run at once, not one by one.
        """
        found = pc.index_in(_as_arrow(doc_ids), value_set=self._doc_ids)
        return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), dtype=np.int64)

    def texts_of(self, doc_ids: Sequence[str]) -> dict[str, str]:
        """Return doc_id -> text for the ids given.

        Raises:
            DataError: Ids that the collection lacks; at most three are named.
        """
        positions = self.positions(doc_ids)
        unknown = [doc_id for doc_id, position in zip(doc_ids, positions, strict=True) if position < 0]
        if unknown:
            msg = (
                f"{len(unknown)} document ids are not in the collection of {len(self)} documents "
                f"(first: {', '.join(repr(u) for u in unknown[:3])}); was the list made from another collection?"
            )
            raise DataError(msg)
        texts = self._texts.take(pa.array(positions)).to_pylist()
        return dict(zip(doc_ids, texts, strict=True))


def _as_arrow(values: Sequence[str] | pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.Array):
        return values if values.type == pa.large_string() else values.cast(pa.large_string())
    return pa.array(values, type=pa.large_string())


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Queries, documents and judgements, with what is needed to name them."""

    name: str
    queries: Mapping[str, str]
    """query_id -> query_text, in the source's order; texts may be empty."""
    collection: Collection
    qrels: Qrels
    """Judgements of known queries and known documents only (the readers check both)."""
    drops_self_match: bool = False
    """Whether a document whose id equals the query's is dropped from lists that we build (ArguAna)."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """``corpus``, ``queries``, ``qrels``: SHA-256 in hex."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """JSON-able: kind, repository and revision or folder, licence, text rule, meaning of grades."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoredDocs:
    """Scored documents of one query: ``doc_ids[i]`` has ``scores[i]``.

    In a ``Run`` or a ``CandidateSet`` they are ordered as ``ranking.rank_docs`` orders them, best first.
    """

    doc_ids: tuple[str, ...]
    scores: NDArray[np.float32]
    """(n,) float32."""

    def __len__(self) -> int:
        return len(self.doc_ids)


EMPTY_DOCS = ScoredDocs((), np.empty(0, dtype=np.float32))

Run = Mapping[str, ScoredDocs]
"""query_id -> ranked documents, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateSet:
    """What the first stage hands over: the ``depth`` best documents of every query."""

    dataset_name: str
    depth: int
    by_query: Run
    """Every query of the data set has an entry; it may be empty."""
    first_stage: Mapping[str, Any]
    """JSON-able: ``name`` (``bm25``, ``rank-bm25``, ``published``, ``trec-run``, ``dense:…``, ``fusion:…``) and its whole
    configuration."""
    fingerprint: str
    """SHA-256 in hex over the ordered ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureSummary:
    """One measure in one view: the means, and what is known of their difference (protocol, section 6)."""

    first_stage: float
    reranked: float
    delta: float
    ci: tuple[float, float] | None
    """95% BCa interval of the delta; ``None`` with fewer than two queries."""
    p: float | None
    """Two-sided sign-flip p-value of the delta."""
    ceiling: float | None
    """The value of the ideal reordering of the same candidates; ``None`` where a view has none."""
    headroom_used: float | None
    """delta / (ceiling − first_stage); ``None`` where there is no headroom."""
    better: int
    equal: int
    worse: int
    """Numbers of queries."""
    sd: float | None
    """Standard deviation of the per-query differences (n − 1); ``None`` with fewer than two queries."""
    mde: float | None
    """The smallest true delta that this many queries would show with 80% power, two-sided 5%."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewEvaluation:
    """One view of one data set."""

    measures: Mapping[str, MeasureSummary]
    per_query: Mapping[str, Mapping[str, tuple[float, float]]]
    """measure -> query_id -> (first stage, reranked), over the queries that the mean runs over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TieReport:
    """Ties of the reranked candidates (protocol, section 3)."""

    cutoff: int
    share_crossing: float
    """Share of queries in which documents of equal score stand on both sides of the cutoff."""
    share_tied: float
    """Share of the scored candidates that have the same score as another one of their query."""
    lowest: float
    highest: float
    """Mean nDCG@cutoff over the queries, over the worst and the best order of tied documents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Everything that is measured of one reranker on one data set."""

    views: Mapping[View, ViewEvaluation]
    ties: TieReport
    counts: Mapping[str, int]
    """Queries by fate: ``queries``, ``evaluated``, ``unjudged``, ``all_zero``, ``empty_candidates``, ``missing`` …"""
