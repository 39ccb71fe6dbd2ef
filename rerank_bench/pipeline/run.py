"""``run``: every model over every data set, then the leaderboard and the plots; ``evaluate_run``: a stored run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_bench.evaluation.measures import STANDARD_MEASURES, parse_measures
from rerank_bench.evaluation.stored_run import StoredRunEvaluation, evaluate_stored_run
from rerank_bench.pipeline.candidates import prepare_datasets
from rerank_bench.pipeline.request import Request, RunConfig, resolve_request
from rerank_bench.pipeline.results import RunOutcome, run_model
from rerank_bench.progress import note
from rerank_bench.records import Qrels, Run, View
from rerank_bench.reporting.leaderboard import read_rows, update_leaderboard
from rerank_bench.reporting.rows import rows_from_result
from rerank_bench.reporting.run_folder import RESULT_FILE
from rerank_bench.scoring.ray_cluster import ray_session
from rerank_bench.scoring.unused_options import note_unused_options
from rerank_bench.storage import check_writable
from rerank_bench.trec_io import read_qrels, read_run

if TYPE_CHECKING:
    from rerank_bench.scoring.lazy_scorer import LazyScorer

LOCAL_LEADERBOARD = Path("leaderboards/results.csv")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What one ``run`` made."""

    outcomes: Sequence[RunOutcome]
    folder: Path
    leaderboard: Path | None
    """``None`` when nothing comparable was measured (``limit``)."""
    plots: Sequence[Path]
    view: View


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
    options |= {name: Path(options[name]) for name in ("out", "leaderboard") if options.get(name) is not None}
    config = RunConfig(
        models=tuple(models), datasets=tuple(str(name) for name in datasets), suites=tuple(suites), **options
    )
    return run_models(config)


def run_models(config: RunConfig) -> RunReport:
    """Do what ``config`` says; see ``run``."""
    request = resolve_request(config)
    with ray_session(request.scorer.ray):  # one connection for all models
        return _run_request(request)


def _run_request(request: Request) -> RunReport:
    config = request.config
    leaderboard = find_leaderboard(request)
    for path in (request.out / RESULT_FILE, *([] if leaderboard is None else [leaderboard])):
        check_writable(path)  # not after hours of scoring
    note_unused_options(request.models, request.scorer, allow_missing_queries=config.allow_missing_queries)
    scorers = open_scorers(request)  # before the data: a model that is not there is told at once
    prepared = prepare_datasets(request)
    outcomes = (
        outcome
        for model in request.models
        for outcome in run_model(model, scorers.pop(0), prepared, request)  # popped: one model's weights at a time
    )
    return report_outcomes(outcomes, request, leaderboard)


def report_outcomes(outcomes: Iterable[RunOutcome], request: Request, leaderboard: Path | None) -> RunReport:
    """Add the outcomes to the leaderboard as they come, draw them, and return what was made."""
    found = []
    for outcome in outcomes:
        if leaderboard is not None:  # at once: what fails or is interrupted later takes nothing back
            update_leaderboard(leaderboard, rows_from_result(outcome.result, run_folder=str(outcome.folder)))
        found.append(outcome)
    plots = _draw(found, request) if leaderboard is not None else ()
    return RunReport(outcomes=found, folder=request.out, leaderboard=leaderboard, plots=plots, view=request.config.view)


def open_scorers(request: Request) -> list[LazyScorer | None]:
    """Return each model's scorer, its weights not loaded yet; ``None`` for what ranks ids."""
    from rerank_bench.scoring.lazy_scorer import open_scorer

    scorers: list[LazyScorer | None] = []
    for model in request.models:
        scorer = None
        if model.scores_texts:
            scorer = open_scorer(model, config=request.scorer, use_store=request.config.use_cache)
            if model.kind == "callable":
                scorer.loaded  # noqa: B018  imports the function: there is nothing to save by waiting
        scorers.append(scorer)
    return scorers


def find_leaderboard(request: Request) -> Path | None:
    """Return the leaderboard that the results go to, found to be one before any work is done; ``None`` with a limit."""
    if request.config.limit is not None:
        note("--limit: these results compare with nothing, and stay out of the leaderboard")
        return None
    local = LOCAL_LEADERBOARD if LOCAL_LEADERBOARD.exists() else request.out / "leaderboard.csv"
    leaderboard = request.config.leaderboard or local
    if leaderboard.exists():
        read_rows(leaderboard)
    return leaderboard


def _draw(outcomes: Sequence[RunOutcome], request: Request) -> Sequence[Path]:
    """Draw the results of the greatest depth."""
    from rerank_bench.reporting.leaderboard import frame_from_rows
    from rerank_bench.reporting.plots import write_plots

    deepest = [outcome for outcome in outcomes if outcome.result["request"]["depth"] == request.depths[-1]]
    rows = [row for outcome in deepest for row in rows_from_result(outcome.result, run_folder=str(outcome.folder))]
    return write_plots(frame_from_rows(rows), request.out / "plots", view=request.config.view)


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
