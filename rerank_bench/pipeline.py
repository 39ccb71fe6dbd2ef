"""The order of the stages: data set → candidates → scores → values → run folder and leaderboard.

The only module that knows several stages.  The public Python API is here too; the command line is thin over it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.data.datasets import load_dataset
from rerank_bench.data.suites import Selection, resolve_datasets
from rerank_bench.errors import ConfigError
from rerank_bench.evaluation.evaluate import evaluate_reranker, evaluate_suite
from rerank_bench.evaluation.measures import STANDARD_MEASURES, parse_measures
from rerank_bench.evaluation.stored_run import StoredRunEvaluation, evaluate_stored_run
from rerank_bench.evaluation.summaries import measure_to_json, ties_to_json, view_to_json
from rerank_bench.evaluation.views import build_pool
from rerank_bench.first_stage.bm25 import BM25Config
from rerank_bench.first_stage.candidate_store import cached_candidates
from rerank_bench.first_stage.candidates import (
    PUBLISHED,
    candidates_from_lists,
    candidates_from_run,
    parse_first_stage,
)
from rerank_bench.progress import note
from rerank_bench.provenance import describe_invocation
from rerank_bench.ranking import rank_docs, scores_from_ranks
from rerank_bench.records import PROTOCOL_VERSION, VIEWS, CandidateSet, Dataset, Evaluation, Qrels, Run, View
from rerank_bench.reporting.run_folder import SCHEMA_VERSION, DatasetArtifacts, file_stem, write_run_folder
from rerank_bench.scoring.baselines import rank_baseline
from rerank_bench.scoring.scorer import LoadedScorer, ScorerConfig, load_scorer
from rerank_bench.scoring.specs import DEMO, ModelSpec, parse_model_spec
from rerank_bench.trec_io import read_qrels, read_run, write_run

DEFAULT_MODELS = ("first-stage", "random", DEMO, "oracle")
DEFAULT_DEPTH = 100
MODEL_FIELDS = (
    "spec",
    "name",
    "family",
    "revision",
    "fingerprint",
    "weights_fingerprint",
    "max_length",
    "dtype",
    "attention",
    "device",
    "batch_tokens",
    "num_parameters",
)
"""What result.json says of every model; None where it does not apply."""
LOCAL_LEADERBOARD = Path("leaderboards/results.csv")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What one ``run`` does; checked before any data are read."""

    models: tuple[str, ...] = ()
    """Model specs; none means the embedded demo encoder and the baselines."""
    datasets: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    """With no data set and no suite: the suite ``default``."""
    first_stage: str = "bm25"
    depth: int = DEFAULT_DEPTH
    extra_measures: tuple[str, ...] = ()
    """ir-measures names beside the standard set, for the ``end_to_end`` view."""
    view: View = "end_to_end"
    out: Path | None = None
    """Folder of the run folders; ``None``: ``runs/<suite or data sets>``."""
    leaderboard: Path | None = None
    """``None``: ``leaderboards/results.csv`` where it stands in the working directory, else inside ``out``."""
    split: str = "test"
    limit: int | None = None
    """Only the first N queries of each data set; the result is stamped as not comparable."""
    scorer: Mapping[str, Any] = field(default_factory=dict)
    """Fields of ``ScorerConfig``."""

    def __post_init__(self) -> None:
        if self.depth < 1:
            msg = f"depth is {self.depth}, expected at least 1"
            raise ConfigError(msg)
        if self.limit is not None and self.limit < 1:
            msg = f"limit is {self.limit}, expected at least 1 query"
            raise ConfigError(msg)
        if self.view not in VIEWS:
            msg = f"view is {self.view!r}, expected one of {', '.join(VIEWS)}"
            raise ConfigError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """One model's result and where it stands."""

    result: Mapping[str, Any]
    """The content of ``result.json``."""
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What one ``run`` made."""

    outcomes: Sequence[RunOutcome]
    folder: Path
    leaderboard: Path | None
    """``None`` when nothing comparable was measured (``limit``)."""
    plots: Sequence[Path]
    view: View


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """A ``RunConfig`` with every name resolved."""

    config: RunConfig
    selection: Selection
    models: Sequence[ModelSpec]
    measures: tuple[str, ...]
    scorer: ScorerConfig
    out: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """A data set with its candidates, ready for every model."""

    dataset: Dataset
    candidates: CandidateSet
    pool: Mapping[str, tuple[str, ...]]
    """query_id -> candidates in first-stage order, then the positives that it missed."""
    load_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """What one model makes of one data set's pools."""

    by_query: Mapping[str, NDArray[np.float32]]
    """query_id -> one score per document of its pool."""
    description: Mapping[str, Any]
    timing: Mapping[str, Any]


def run(
    models: Sequence[str] = (), datasets: Sequence[str | Path] = (), suites: Sequence[str] = (), **options: Any
) -> RunReport:
    """Rerank the first stage's candidates with each model, and measure.

    Args:
        models: Model specs: hub ids, folders, ``demo``, ``module:callable``, ``run:FILE``, baselines.
        datasets: Names or folders.
        suites: Names of suites.
        **options: Other fields of ``RunConfig``.

    Raises:
        RerankBenchError: One of its kinds; see ``errors``.
    """
    config = RunConfig(
        models=tuple(models), datasets=tuple(str(name) for name in datasets), suites=tuple(suites), **options
    )
    return run_models(config)


def run_models(config: RunConfig) -> RunReport:
    """Do what ``config`` says; see ``run``."""
    request = _resolve(config)
    prepared = [_prepare(name, request) for name in request.selection.datasets]
    outcomes = [_run_model(model, prepared, request) for model in request.models]
    return _publish(outcomes, request)


def _resolve(config: RunConfig) -> _Request:
    """Return the request with all names looked up; whatever is wrong with it is said before any work is done."""
    selection = resolve_datasets(config.datasets, config.suites)
    models = [parse_model_spec(text) for text in config.models or DEFAULT_MODELS]
    folders = [file_stem(model.text) for model in models]
    repeated = {name for name in folders if folders.count(name) > 1}
    if repeated:
        msg = f"two models would write the same run folder ({', '.join(sorted(repeated))}); run them apart with --out"
        raise ConfigError(msg)
    parse_first_stage(config.first_stage)
    measures = parse_measures([*STANDARD_MEASURES, *config.extra_measures])
    label = "+".join([*selection.suites, *(Path(name).name for name in config.datasets)])
    label = label or "+".join(Path(name).name for name in selection.datasets)
    return _Request(
        config=config,
        selection=selection,
        models=models,
        measures=measures,
        scorer=ScorerConfig(**config.scorer),
        out=config.out or Path("runs") / file_stem(label),
    )


def _prepare(name: str, request: _Request) -> _Prepared:
    started = time.perf_counter()
    config = request.config
    dataset = load_dataset(name, split=config.split)
    if config.limit is not None:
        dataset = _first_queries(dataset, config.limit)
    candidates = build_candidates(dataset, first_stage=config.first_stage, depth=config.depth)
    pool = build_pool(candidates, dataset.qrels)
    seconds = time.perf_counter() - started
    num_candidates = sum(len(docs) for docs in candidates.by_query.values())
    note(
        f"{dataset.name}: {len(dataset.queries):,} queries, {len(dataset.collection):,} documents; "
        f"{candidates.first_stage['name']} kept {num_candidates:,} candidates ({seconds:.1f} s)"
    )
    return _Prepared(dataset=dataset, candidates=candidates, pool=pool, load_seconds=seconds)


def _first_queries(dataset: Dataset, limit: int) -> Dataset:
    queries = dict(list(dataset.queries.items())[:limit])
    qrels = {query_id: judged for query_id, judged in dataset.qrels.items() if query_id in queries}
    return replace(dataset, queries=queries, qrels=qrels)


def build_candidates(dataset: Dataset, *, first_stage: str = "bm25", depth: int = DEFAULT_DEPTH) -> CandidateSet:
    """Return the first stage's candidates of a data set, from the cache when nothing changed.

    Args:
        dataset: As ``load_dataset`` returns it.
        first_stage: ``bm25``, ``rank-bm25``, ``published``, or the path of a TREC run file.
        depth: Documents to keep per query.

    Raises:
        ConfigError: The first stage is unknown, or the data set has no published list.
        DataError: A list names unknown queries or documents.
    """
    chosen = parse_first_stage(first_stage)
    if isinstance(chosen, BM25Config):
        return cached_candidates(dataset, chosen, depth=depth)
    if isinstance(chosen, Path):
        return candidates_from_run(dataset, chosen, depth=depth)
    from rerank_bench.data.hub import load_published_lists
    from rerank_bench.data.manifests import load_manifest

    if dataset.source.get("kind") != "hub":  # a folder may be called like a shipped data set
        msg = f"no first-stage lists are published for {dataset.name!r}; use --first-stage bm25, or a run file"
        raise ConfigError(msg)
    published = load_published_lists(load_manifest(dataset.name))
    stage = {"name": PUBLISHED, **published.source}
    return candidates_from_lists(dataset, published.by_query, depth=depth, first_stage=stage)


def _run_model(model: ModelSpec, prepared: Sequence[_Prepared], request: _Request) -> RunOutcome:
    scorer = load_scorer(model, config=request.scorer) if model.scores_texts else None
    description: dict[str, Any] = dict.fromkeys(MODEL_FIELDS)
    datasets: dict[str, dict[str, Any]] = {}
    artifacts: dict[str, DatasetArtifacts] = {}
    for ready in prepared:
        scored = _rank_ids(model, ready) if scorer is None else _score_texts(scorer, ready)
        description |= scored.description
        started = time.perf_counter()
        evaluation = evaluate_reranker(
            query_ids=list(ready.dataset.queries),
            qrels=ready.dataset.qrels,
            candidates=ready.candidates,
            scores=scored.by_query,
            measures=request.measures,
        )
        timing = {"load_seconds": ready.load_seconds, "evaluate_seconds": time.perf_counter() - started}
        name = ready.dataset.name
        datasets[name] = _dataset_block(ready, evaluation, timing | dict(scored.timing), request)
        artifacts[name] = _artifacts(ready, scored.by_query, evaluation)
    result = {
        "schema_version": SCHEMA_VERSION,
        "protocol_version": PROTOCOL_VERSION,
        "comparable": request.config.limit is None,
        "provenance": describe_invocation(),
        "model": description,
        "request": {
            "depth": request.config.depth,
            "first_stage": request.config.first_stage,
            "view": request.config.view,
            "limit": request.config.limit,
            "measures": list(request.measures),
        },
        "datasets": datasets,
        "suites": {
            suite: _suite_block(members, artifacts) for suite, members in _suites(request.selection, prepared).items()
        },
    }
    folder = request.out / file_stem(model.text)
    write_run_folder(folder, result, artifacts, run_name=description["name"])
    return RunOutcome(result=result, folder=folder)


def _suites(selection: Selection, prepared: Sequence[_Prepared]) -> dict[str, list[str]]:
    """Return suite -> names of its data sets as the results carry them."""
    name_of = {given: ready.dataset.name for given, ready in zip(selection.datasets, prepared, strict=True)}
    return {suite: [name_of[given] for given in members] for suite, members in selection.suites.items()}


def _rank_ids(model: ModelSpec, ready: _Prepared) -> _Scored:
    """Let a baseline or a stored run rank the pools by id."""
    pool = ready.pool
    if model.kind == "run":
        # A query without candidates has no line in anyone's run file, so none is missing there.
        pool = {query_id: doc_ids for query_id, doc_ids in pool.items() if len(ready.candidates.by_query[query_id])}
    ranked = rank_baseline(model, pool, qrels=ready.dataset.qrels)
    rest = {query_id: scores_from_ranks(len(ready.pool[query_id])) for query_id in ready.pool if query_id not in pool}
    return _Scored(by_query={**ranked.by_query, **rest}, description=ranked.description, timing={})


def _score_texts(scorer: LoadedScorer, ready: _Prepared) -> _Scored:
    """Score every (query, document) pair of the pools; each distinct text is handed over once."""
    dataset = ready.dataset
    query_ids = list(ready.pool)
    doc_ids = list(dict.fromkeys(doc_id for docs in ready.pool.values() for doc_id in docs))
    text_of = dataset.collection.texts_of(doc_ids)
    index_of = {doc_id: index for index, doc_id in enumerate(doc_ids)}
    pairs = np.array(
        [(q, index_of[doc_id]) for q, query_id in enumerate(query_ids) for doc_id in ready.pool[query_id]],
        dtype=np.int64,
    ).reshape(-1, 2)  # (N, 2)
    outcome = scorer.score_indexed(
        [dataset.queries[query_id] for query_id in query_ids],
        [text_of[doc_id] for doc_id in doc_ids],
        pairs,
        pair_name=lambda row: f"query {query_ids[pairs[row, 0]]!r}, document {doc_ids[pairs[row, 1]]!r}",
        description=f"score {dataset.name}",
    )
    ends = np.cumsum([len(ready.pool[query_id]) for query_id in query_ids])
    by_query = dict(zip(query_ids, np.split(outcome.scores, ends[:-1]), strict=True))
    timing = outcome.stats.as_dict()
    description = scorer.describe() | {"batch_tokens": timing["batch_tokens"]}
    return _Scored(by_query=by_query, description=description, timing=timing)


def _dataset_block(
    ready: _Prepared, evaluation: Evaluation, timing: Mapping[str, Any], request: _Request
) -> dict[str, Any]:
    dataset = ready.dataset
    num_pairs = sum(len(doc_ids) for doc_ids in ready.pool.values())
    num_candidates = sum(len(docs) for docs in ready.candidates.by_query.values())
    return {
        "source": dict(dataset.source),
        "fingerprints": {**dataset.fingerprints, "candidates": ready.candidates.fingerprint},
        "first_stage": dict(ready.candidates.first_stage),
        "depth": request.config.depth,
        "counts": {
            **evaluation.counts,
            "documents": len(dataset.collection),
            "judgements": sum(len(judged) for judged in dataset.qrels.values()),
            "pairs": num_pairs,
            "missed_positives": num_pairs - num_candidates,
        },
        "views": {view: view_to_json(evaluated) for view, evaluated in evaluation.views.items()},
        "ties": ties_to_json(evaluation.ties),
        "timing": dict(timing),
    }


def _suite_block(members: Sequence[str], artifacts: Mapping[str, DatasetArtifacts]) -> dict[str, Any]:
    summaries = evaluate_suite({name: artifacts[name].evaluation for name in members})
    views = {
        view: {"measures": {name: measure_to_json(summary) for name, summary in measures.items()}}
        for view, measures in summaries.items()
    }
    return {"datasets": list(members), "views": views}


def _artifacts(ready: _Prepared, scores: Mapping[str, NDArray[np.float32]], evaluation: Evaluation) -> DatasetArtifacts:
    reranked: dict[str, Any] = {}
    missed: dict[str, Any] = {}
    for query_id, doc_ids in ready.pool.items():
        num_candidates = len(ready.candidates.by_query[query_id])
        reranked[query_id] = rank_docs(query_id, doc_ids[:num_candidates], scores[query_id][:num_candidates])
        missed[query_id] = rank_docs(query_id, doc_ids[num_candidates:], scores[query_id][num_candidates:])
    return DatasetArtifacts(candidates=ready.candidates, reranked=reranked, missed=missed, evaluation=evaluation)


def _publish(outcomes: Sequence[RunOutcome], request: _Request) -> RunReport:
    """Add the results to the leaderboard and draw them."""
    from rerank_bench.reporting.leaderboard import frame_from_rows, update_leaderboard
    from rerank_bench.reporting.plots import write_plots
    from rerank_bench.reporting.rows import rows_from_result

    view = request.config.view
    if request.config.limit is not None:
        note("--limit: these results compare with nothing, and stay out of the leaderboard")
        return RunReport(outcomes=outcomes, folder=request.out, leaderboard=None, plots=(), view=view)
    local = LOCAL_LEADERBOARD if LOCAL_LEADERBOARD.exists() else request.out / "leaderboard.csv"
    leaderboard = request.config.leaderboard or local
    rows = [row for outcome in outcomes for row in rows_from_result(outcome.result, run_folder=str(outcome.folder))]
    update_leaderboard(leaderboard, rows)
    plots = write_plots(frame_from_rows(rows), request.out / "plots", view=view)
    return RunReport(outcomes=outcomes, folder=request.out, leaderboard=leaderboard, plots=plots, view=view)


def evaluate_run(
    run: str | Path | Run,
    qrels: str | Path | Qrels,
    *,
    measures: Sequence[str] = (),
    allow_missing_queries: bool = False,
) -> StoredRunEvaluation:
    """Evaluate a stored run: means with 95% intervals, values per query, ties.

    Args:
        run: A TREC run file, or a ranked run.
        qrels: A qrels file, or judgements.
        measures: ir-measures names beside the standard set.
        allow_missing_queries: Judged queries that the run lacks count 0; without it they are an error.

    Raises:
        DataError: A file is malformed, or judged queries are missing from the run.
        ConfigError: A measure is unknown.
    """
    names = parse_measures([*STANDARD_MEASURES, *measures])
    ranked = read_run(run) if isinstance(run, str | Path) else run
    judged = read_qrels(qrels) if isinstance(qrels, str | Path) else qrels
    return evaluate_stored_run(ranked, judged, names, allow_missing_queries=allow_missing_queries)


def summarise_candidates(
    name: str, *, first_stage: str = "bm25", depth: int = DEFAULT_DEPTH, split: str = "test", out: Path | None = None
) -> dict[str, Any]:
    """Build a data set's candidates and say how good they are; the content of ``rerank-bench candidates --json``."""
    parse_first_stage(first_stage)
    dataset = load_dataset(resolve_datasets([name], []).datasets[0], split=split)
    candidates = build_candidates(dataset, first_stage=first_stage, depth=depth)
    if out is not None:
        write_run(out, candidates.by_query, run_name=str(candidates.first_stage["name"]))
    evaluation = evaluate_stored_run(candidates.by_query, dataset.qrels, STANDARD_MEASURES, allow_missing_queries=True)
    lengths = [len(docs) for docs in candidates.by_query.values()]
    return {
        "dataset": dataset.name,
        "first_stage": dict(candidates.first_stage),
        "depth": depth,
        "queries": len(dataset.queries),
        "documents": len(dataset.collection),
        "candidates": sum(lengths),
        "shortest_list": min(lengths, default=0),
        "empty_lists": sum(length == 0 for length in lengths),
        "fingerprint": candidates.fingerprint,
        "measures": {measure: summary.mean for measure, summary in evaluation.measures.items()},
        "out": str(out) if out is not None else None,
    }
