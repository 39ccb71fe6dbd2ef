"""``mine``: hard negatives for queries with positives, from BM25 or a bi-encoder, written as training data.

Memory: the corpus in Arrow buffers (twice while equal texts are found), BM25's index or the vectors of the queries and
of one chunk of documents, and Q · K candidates of 9 bytes each; the texts of negatives only while they are written.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import ConfigError, describe_unknown
from rerank_bench.jobs.mining_candidates import BM25, ScoreScale, find_excluded, find_positives, rescore, retrieve
from rerank_bench.jobs.mining_sources import Source, SourceRequest, load_source
from rerank_bench.progress import note
from rerank_bench.provenance import describe_invocation, peak_memory_bytes
from rerank_bench.storage import check_writable, remove_file, write_json
from rerank_bench.training.mined import Mined, OutputForm, check_any, write_mined
from rerank_bench.training.negatives import NOTHING, Candidates, NegativeChoice, Negatives, choose_negatives


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningRequest:
    """Everything that one ``mine`` is asked to do.

    Raises:
        ConfigError: Options that contradict each other.
    """

    source: SourceRequest
    form: OutputForm
    choice: NegativeChoice = field(default_factory=NegativeChoice)
    retriever: str = BM25
    """``bm25``, or a bi-encoder: folder, hub id or ``demo``."""
    rescorer: str | None = None
    """A model whose scores take the place of the retriever's, in order, margins and output."""
    score_scale: ScoreScale = "auto"
    """Of the rescorer: its logit, or the sigmoid of it; ``auto``: as its files ask Sentence Transformers to do."""
    scorer: dict[str, Any] = field(default_factory=dict)
    """Fields of ``ScorerConfig`` for both models."""

    def __post_init__(self) -> None:
        if self.score_scale not in get_args(ScoreScale):
            raise ConfigError(describe_unknown("score scale", [self.score_scale], get_args(ScoreScale)))
        if self.score_scale != "auto" and self.rescorer is None:
            msg = f"--score-scale {self.score_scale} is for a rescorer's scores; name one with --rescorer"
            raise ConfigError(msg)
        if self.retriever == BM25 and self.rescorer is None:
            wanted = [f"--{name.replace('_', '-')}" for name in _SCORED if getattr(self.choice, name) is not None]
            wanted += ["--scores"] if self.form.with_scores else []
            if wanted:
                msg = (
                    f"{', '.join(wanted)}: BM25's scores have no common scale, so they are neither compared with limits nor "
                    "written; name a cross-encoder with --rescorer, or a bi-encoder with --retriever"
                )
                raise ConfigError(msg)
        if self.choice.include_positives and self.form.shape != "lists":
            msg = f"--include-positives keeps the ranking, which only the shape lists can hold; found {self.form.shape}"
            raise ConfigError(msg)


_SCORED = ("absolute_margin", "relative_margin", "max_score", "min_score")


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningReport:
    """What was mined."""

    path: Path
    source: str
    num_queries: int
    num_positives: int
    num_documents: int
    num_blank_documents: int
    num_without_positive: int
    """Queries that were left out."""
    num_rows: int
    num_negatives: int
    negatives_per_query: dict[int, int]
    """Negatives -> queries that have so many."""
    asked_negatives: int
    range_max: int
    taken_out: dict[str, int]
    """Reason -> candidates that are no negatives for it."""
    left_out_queries: int
    """Queries that the file has no row of, for want of negatives."""
    scores: dict[str, dict[str, float]]
    """``positives`` and ``negatives`` -> quantiles of their scores; empty where nothing scored the positives."""
    seconds: dict[str, float]
    peak_memory_bytes: int | None

    @property
    def num_short(self) -> int:
        """Queries with fewer negatives than asked for."""
        return sum(count for number, count in self.negatives_per_query.items() if number < self.asked_negatives)

    def as_dict(self) -> dict[str, Any]:
        """Return every field, JSON-able."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {
            "path": str(self.path),
            "negatives_per_query": {str(number): count for number, count in self.negatives_per_query.items()},
            "num_short": self.num_short,
        }


def mine(request: MiningRequest) -> MiningReport:
    """Find hard negatives and write them, with ``<file>.meta.json`` beside.

    Raises:
        RerankBenchError: What is wrong with the request, the data, a model or the output's folder.
    """
    check_writable(request.form.path)
    clock = _Clock()
    source = load_source(request.source)
    clock.lap("read")
    positions_of_positives = find_positives(source)
    range_max = request.choice.resolve_range_max(source.pairs.max_positives)
    depth = min(range_max + source.pairs.max_positives, len(source.corpus))
    found, models = retrieve(source, positions_of_positives, request.retriever, request.scorer, depth)
    clock.lap("search")
    excluded = find_excluded(source, positions_of_positives, found.positions)
    if request.rescorer is not None:
        found, models["rescorer"] = rescore(source, found, request.rescorer, request.scorer, request.score_scale)
        clock.lap("rescore")
    lowest = None
    if found.positive_scores is not None:
        lowest = np.minimum.reduceat(found.positive_scores, source.pairs.offsets[:-1])
    candidates = Candidates(found.positions, found.scores, excluded)
    negatives = choose_negatives(request.choice, candidates, lowest, range_max=range_max)
    mined = Mined(
        pairs=source.pairs,
        corpus=source.corpus,
        negatives=negatives,
        positive_scores=found.positive_scores,
        num_negatives=request.choice.num_negatives,
        has_positives=request.choice.include_positives,
    )
    check_any(mined, request.form)
    remove_file(_meta_path(request.form.path))  # written last: it says that the file beside it is whole
    num_rows = write_mined(mined, request.form)
    clock.lap("write")
    report = _report(request, source, mined, num_rows, range_max, clock.seconds)
    write_json(_meta_path(request.form.path), report.as_dict() | _about(request, models))
    if report.num_short:
        note(
            f"{report.num_short:,} of {report.num_queries:,} queries have fewer than {request.choice.num_negatives} "
            f"negatives; a greater --range-max or a larger corpus may find more"
        )
    return report


class _Clock:
    """Wall-clock seconds of the steps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Close a step."""
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now


# --- the report -------------------------------------------------------------------------------------------------


def _report(
    request: MiningRequest, source: Source, mined: Mined, num_rows: int, range_max: int, seconds: dict[str, float]
) -> MiningReport:
    counts = mined.negatives.counts
    numbers, queries = np.unique(counts, return_counts=True)
    needed = {"pairs": 0, "lists": 1, "triplets": 1, "tuples": request.choice.num_negatives}[request.form.shape]
    return MiningReport(
        path=request.form.path,
        source=source.name,
        num_queries=len(source.pairs),
        num_positives=len(source.pairs.positives),
        num_documents=len(source.corpus),
        num_blank_documents=source.num_blank,
        num_without_positive=source.pairs.num_without_positive,
        num_rows=num_rows,
        num_negatives=int(counts.sum()),
        negatives_per_query=dict(zip(numbers.tolist(), queries.tolist(), strict=True)),
        asked_negatives=request.choice.num_negatives,
        range_max=range_max,
        taken_out=mined.negatives.taken_out,
        left_out_queries=int((counts < needed).sum()),
        scores=_score_summary(mined.positive_scores, mined.negatives),
        seconds=seconds,
        peak_memory_bytes=peak_memory_bytes(),
    )


def _score_summary(positives: NDArray[np.float32] | None, negatives: Negatives) -> dict[str, dict[str, float]]:
    if positives is None:
        return {}
    parts = {"positives": positives, "negatives": negatives.scores[negatives.positions != NOTHING]}
    quantiles = {"p10": 0.1, "median": 0.5, "p90": 0.9}
    return {
        name: {"mean": float(values.mean(dtype=np.float64))}
        | {label: float(np.quantile(values, share)) for label, share in quantiles.items()}
        for name, values in parts.items()
        if len(values)
    }


def _meta_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.meta.json")


def _about(request: MiningRequest, models: dict[str, Any]) -> dict[str, Any]:
    source = request.source
    return {
        "request": {
            "data": None if source.data is None else source.data.describe(),
            "dataset": source.dataset,
            "split": source.split if source.dataset is not None else None,
            "corpus": source.corpus,
            "choice": request.choice.describe(),
            "shape": request.form.shape,
            "with_scores": request.form.with_scores,
        },
        "models": models,
        "provenance": describe_invocation(),
    }
