"""Runs compared, data set by data set and over suites: every number of ``rerank-bench compare``."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rerank_bench.comparison.comparability import check_comparable, choose_datasets, shared_suites
from rerank_bench.comparison.groups import letter_groups
from rerank_bench.comparison.opening import open_sources
from rerank_bench.comparison.paired import align_runs
from rerank_bench.comparison.records import ComparedRun, Comparison, PairedDifference, Scope
from rerank_bench.comparison.seeds import compare_groups, group_runs
from rerank_bench.comparison.sources import RunSource
from rerank_bench.errors import ConfigError, describe_unknown
from rerank_bench.evaluation.measures import PRIMARY_MEASURE, parse_measures
from rerank_bench.evaluation.significance import (
    DEFAULT_SEED,
    MDE_TWO_SIDED,
    RESAMPLES,
    Floats,
    Strata,
    holm_adjust,
    mean_of_means,
)
from rerank_bench.evaluation.summaries import interval_of, summarise_columns
from rerank_bench.evaluation.t_tests import paired_t_p_values
from rerank_bench.progress import track
from rerank_bench.records import MeasureSummary, View

DEFAULT_ALPHA = 0.05
FLIPS_PER_THRESHOLD = 20
"""The smallest p-value that flips can give, times the number of pairs, must lie this far below alpha."""
MAX_FLIPS = 200_000

Pairs = Sequence[tuple[int, int]]
"""(reference, run): positions among the compared runs."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig:
    """What is compared, and how."""

    measure: str = PRIMARY_MEASURE
    view: View = "end_to_end"
    datasets: tuple[str, ...] = ()
    """Empty for all, which every run must then have."""
    baseline: str | None = None
    """Label or place of the run that the others are compared with; ``None`` compares every pair."""
    group_by: str | None = None
    """``seed`` or a regular expression: see ``seeds.group_runs``."""
    alpha: float = DEFAULT_ALPHA
    resamples: int = RESAMPLES
    seed: int = DEFAULT_SEED

    def __post_init__(self) -> None:
        """Check what the command line cannot.

        Raises:
            ConfigError: alpha is not a probability.
        """
        if not 0 < self.alpha < 1:
            msg = f"alpha is {self.alpha}, expected a number between 0 and 1, such as {DEFAULT_ALPHA}"
            raise ConfigError(msg)


def compare(
    runs: Sequence[str | Path],
    *,
    qrels: str | Path | None = None,
    allow_missing_queries: bool = False,
    **options: Any,
) -> Comparison:
    """Compare stored runs, paired by query.

    Args:
        runs: Run folders, ``result.json`` files, ``FILE.csv:MODEL`` rows of a leaderboard, or TREC runs.
        qrels: Judgements of the TREC runs.
        allow_missing_queries: Judged queries that a TREC run lacks count 0.
        **options: Fields of ``CompareConfig``.

    Raises:
        RerankBenchError: What ``open_sources`` and ``compare_runs`` raise.
    """
    if "datasets" in options:
        options["datasets"] = tuple(options["datasets"])
    config = CompareConfig(**options)
    sources = open_sources(
        [str(run) for run in runs],
        qrels=None if qrels is None else Path(qrels),
        datasets=config.datasets,
        allow_missing_queries=allow_missing_queries,
    )
    return compare_runs(sources, config)


def compare_runs(sources: Sequence[RunSource], config: CompareConfig | None = None) -> Comparison:
    """Return everything that the comparison of two or more runs says.

    Args:
        sources: As ``opening.open_sources`` returns them.
        config: What is compared, and how.

    Raises:
        ComparisonError: The runs do not compare; the field is named.
        ConfigError: Fewer than two runs, an unknown measure or baseline, or a grouping that does not group.
        DataError: A file of a run is missing or broken.
    """
    config = config or CompareConfig()
    (measure,) = parse_measures([config.measure])
    groups = group_runs(sources, config.group_by) if config.group_by else None
    members = groups or {source.label: (position,) for position, source in enumerate(sources)}
    runs = tuple(
        ComparedRun(label=label, locations=tuple(sources[position].location for position in positions))
        for label, positions in members.items()
    )
    if len(runs) < 2:
        msg = f"a comparison needs at least two runs, found {', '.join(run.label for run in runs)}; name another one"
        raise ConfigError(msg)
    baseline = None if config.baseline is None else _find_baseline(config.baseline, runs)
    datasets = choose_datasets(sources, config.datasets)
    notes = [*check_comparable(sources, datasets), *_single_seeds(groups)]
    aligned = align_runs(sources, datasets, measure=measure, view=config.view)
    suites = shared_suites(sources, datasets)
    pairs = _choose_pairs(runs, baseline)
    num_pairs = len(pairs) * (len(datasets) + len(suites))
    flips = _num_flips(num_pairs, config)
    notes += _too_many_pairs(num_pairs, config.resamples if groups else flips, config.alpha)
    named = [*((name, (name,)) for name in datasets), *suites.items()]
    scopes = []
    with track("compare", total=len(named), unit="means") as advance:
        for name, names in named:
            # In the order of their names, as in a run's own intervals: the same data give the same digits.
            strata = [aligned[dataset].values for dataset in sorted(names)]
            scope = _compare_scope(name, names, strata, list(members.items()), pairs, config, flips)
            scopes.append(scope)
            advance(1)
    return Comparison(
        measure=measure,
        view=config.view,
        alpha=config.alpha,
        baseline=baseline,
        runs=runs,
        is_over_seeds=groups is not None,
        scopes=_adjust(scopes, config.alpha, has_groups=baseline is None and len(runs) > 2),
        notes=tuple(notes),
        resamples=config.resamples,
        flips=flips,
        seed=config.seed,
    )


def _find_baseline(name: str, runs: Sequence[ComparedRun]) -> str:
    found = [run.label for run in runs if name == run.label or name in run.locations]
    if not found:  # the name without what tells two runs of it apart
        found = [run.label for run in runs if run.label.startswith(f"{name} [")]
    if len(found) != 1:
        labels = [run.label for run in runs]
        problem = describe_unknown("baseline", [name], labels) if not found else f"{name!r} is {' and '.join(found)}"
        msg = f"--baseline: {problem}; name one of the runs by its label or as it was given"
        raise ConfigError(msg)
    return found[0]


def _single_seeds(groups: Mapping[str, Sequence[int]] | None) -> list[str]:
    single = [label for label, positions in (groups or {}).items() if len(positions) == 1]
    if not single:
        return []
    return [f"one run only of {', '.join(single)}: how much it would vary with another seed is not known"]


def _choose_pairs(runs: Sequence[ComparedRun], baseline: str | None) -> Pairs:
    """Return (reference, run) of all pairs, the earlier one as the reference, or of all against the baseline."""
    if baseline is None:
        return list(itertools.combinations(range(len(runs)), 2))
    labels = [run.label for run in runs]
    reference = labels.index(baseline)
    return [(reference, position) for position in range(len(runs)) if position != reference]


def _num_flips(num_pairs: int, config: CompareConfig) -> int:
    """Return how many flips it takes for the adjusted p-values to go well below alpha."""
    return max(config.resamples, min(MAX_FLIPS, math.ceil(FLIPS_PER_THRESHOLD * num_pairs / config.alpha)))


def _too_many_pairs(num_pairs: int, draws: int, alpha: float) -> list[str]:
    smallest = num_pairs / (draws + 1)
    if smallest < alpha:
        return []
    note = (
        f"{num_pairs:,} pairs are shown, so that no adjusted p can fall below {min(smallest, 1):.2g}; "
        f"compare fewer with --baseline or --dataset"
    )
    return [note]


def _compare_scope(
    name: str,
    datasets: Sequence[str],
    strata: Strata,
    members: Sequence[tuple[str, Sequence[int]]],
    pairs: Pairs,
    config: CompareConfig,
    flips: int,
) -> Scope:
    """Return one data set's or suite's comparison, p-values not yet adjusted.

    Args:
        name: Of the data set or the suite.
        datasets: Its data sets.
        strata: One (n_d, R) array of values per data set, one column per run.
        members: The compared runs or groups: label, and the columns that belong to it.
        pairs: Which of them are compared.
        config: Measure, seed, number of resamples.
        flips: Number of sign flips.
    """
    # One column per compared run: its values, or the means over its seeds.
    means = [np.stack([values[:, list(columns)].mean(axis=1) for _, columns in members], axis=1) for values in strata]
    references, runs = [ref for ref, _ in pairs], [run for _, run in pairs]
    before, after = [values[:, references] for values in means], [values[:, runs] for values in means]
    summaries = summarise_columns(
        before, after, [None] * len(pairs), seed=config.seed, resamples=config.resamples, flips=flips
    )
    t_tests = paired_t_p_values([b - a for a, b in zip(before, after, strict=True)])
    if config.group_by is not None:
        summaries, t_tests = _over_seeds(summaries, strata, [columns for _, columns in members], pairs, config)
    labels = [label for label, _ in members]
    return Scope(
        name=name,
        kind="dataset" if len(datasets) == 1 else "suite",
        datasets=tuple(datasets),
        num_queries=sum(map(len, strata)),
        values=dict(zip(labels, mean_of_means(means).tolist(), strict=True)),
        pairs=tuple(
            _paired_difference(labels[run], labels[ref], summary, p_t)
            for (ref, run), summary, p_t in zip(pairs, summaries, t_tests.tolist(), strict=True)
        ),
        groups=None,
    )


def _over_seeds(
    summaries: Sequence[MeasureSummary],
    strata: Strata,
    groups: Sequence[Sequence[int]],
    pairs: Pairs,
    config: CompareConfig,
) -> tuple[list[MeasureSummary], Floats]:
    """Return the summaries with what seeds add to their uncertainty, and (P,) p-values of the t-tests."""
    rng = np.random.default_rng(config.seed)
    found = compare_groups(strata, groups, pairs, rng=rng, resamples=config.resamples)
    widened = []
    for number, summary in enumerate(summaries):
        ci = None if found.intervals is None else interval_of(found.intervals[number])
        mde = None if summary.mde is None else float(MDE_TWO_SIDED * found.errors[number])
        widened.append(dataclasses.replace(summary, ci=ci, p=float(found.p_values[number]), mde=mde))
    return widened, found.p_t


def _paired_difference(run: str, reference: str, summary: MeasureSummary, p_t: float) -> PairedDifference:
    return PairedDifference(
        run=run,
        reference=reference,
        value=summary.reranked,
        reference_value=summary.first_stage,
        difference=summary.delta,
        ci=summary.ci,
        p=1.0 if summary.p is None else summary.p,
        p_t=None if math.isnan(p_t) else p_t,
        p_adjusted=1.0,  # filled in when all p-values are known
        better=summary.better,
        equal=summary.equal,
        worse=summary.worse,
        sd=summary.sd,
        mde=summary.mde,
    )


def _adjust(scopes: Sequence[Scope], alpha: float, *, has_groups: bool) -> tuple[Scope, ...]:
    """Return the scopes with p-values adjusted over all of them, and with letters where every pair is compared."""
    adjusted = iter(holm_adjust([pair.p for scope in scopes for pair in scope.pairs]).tolist())
    result = []
    for scope in scopes:
        pairs = tuple(dataclasses.replace(pair, p_adjusted=next(adjusted)) for pair in scope.pairs)
        different = [frozenset({pair.run, pair.reference}) for pair in pairs if pair.p_adjusted < alpha]
        ordered = sorted(scope.values, key=lambda label: -scope.values[label])
        letters = letter_groups(ordered, different) if has_groups else None
        groups = None if letters is None else {label: letters[label] for label in scope.values}
        result.append(dataclasses.replace(scope, pairs=pairs, groups=groups))
    return tuple(result)
