"""Runs of one model under several seeds: which runs belong together, and what their means differ by.

Two things vary: the queries and the seeds.  A resample draws queries within each data set, the same for all runs, and
runs within each group.  By itself that is wrong where it matters: two or three runs drawn from two or three vary too
little (17% of true null hypotheses rejected at 5%, three seeds a side that vary more than queries do), and what varies
by seed and query at once is counted three times.  So the resamples give the shape of the distribution, and its width is
that of the standard error from the variances of queries and seeds, times the ratio of the t quantile to the normal one
at Satterthwaite's degrees of freedom (4% to 6% in such simulations; docs/compare.md).

References:
    Owen, "The Pigeonhole Bootstrap", 2007, https://doi.org/10.1214/07-AOAS122, for resampling two crossed factors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rerank_bench.comparison.labels import distinct_labels, location_name
from rerank_bench.comparison.sources import RunSource
from rerank_bench.errors import ConfigError
from rerank_bench.evaluation.significance import (
    CONFIDENCE,
    RESAMPLES,
    TIE,
    Floats,
    Strata,
    bootstrap_means,
    mean_of_means,
)
from rerank_bench.evaluation.t_tests import satterthwaite, t_p_values

SEED_WORD = "seed"
SEED_PATTERN = r"seed[-_=.]?\d+"
"""What ``--group-by seed`` stands for: ``x-seed1``, ``x_seed=2``, ``x/seed3`` are runs of ``x``."""
_SEPARATORS = "-_=. "


def group_runs(sources: Sequence[RunSource], group_by: str) -> dict[str, tuple[int, ...]]:
    """Return group -> positions of its runs, both in the order of the runs.

    What the pattern matches is taken out of each run's place; runs whose places are then the same are one group.  A run
    that it does not match is a group of its own.

    Args:
        sources: The runs.
        group_by: ``seed``, or a regular expression for the part of a run's place that tells seeds apart.

    Raises:
        ConfigError: The expression is malformed, matches no run, or leaves a run without a name.
    """
    try:
        pattern = re.compile(SEED_PATTERN if group_by == SEED_WORD else group_by, re.IGNORECASE)
    except re.error as error:
        msg = f"--group-by {group_by!r} is not a regular expression: {error}; write 'seed', or an expression"
        raise ConfigError(msg) from error
    members: dict[str, list[int]] = {}
    for position, source in enumerate(sources):
        members.setdefault(_without(pattern, source), []).append(position)
    if not any(pattern.search(source.location) for source in sources):
        msg = (
            f"--group-by {group_by!r} ({pattern.pattern}) is in none of the places "
            f"{', '.join(source.location for source in sources[:3])}; call the runs of one model NAME-seed1, NAME-seed2, "
            f"…, or give an expression for what differs"
        )
        raise ConfigError(msg)
    names = [location_name(place) for place in members]
    return dict(zip(distinct_labels(names, list(members)), map(tuple, members.values()), strict=True))


def _without(pattern: re.Pattern[str], source: RunSource) -> str:
    """Return a run's place without what the pattern matches and the separators around it."""
    taken_out = re.compile(f"[{_SEPARATORS}]*(?:{pattern.pattern})", re.IGNORECASE)
    parts = [
        taken_out.sub("", part).lstrip(_SEPARATORS) if taken_out.search(part) else part
        for part in source.location.split("/")
    ]
    place = "/".join(part for part in parts if part)
    if not place or location_name(place) == "":
        msg = f"--group-by: nothing is left of {source.location!r} without {pattern.pattern}; call its folder otherwise"
        raise ConfigError(msg)
    return place


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeedDifferences:
    """Differences of group means, one per pair of groups: P pairs."""

    intervals: Floats | None
    """(P, 2): 95%; ``None`` where a data set has fewer than two queries."""
    p_values: Floats
    """(P,): two-sided, from the resamples."""
    p_t: Floats
    """(P,): two-sided, Student's t with the summed variances of queries and seeds; NaN as for the intervals."""
    errors: Floats
    """(P,): standard errors."""


def compare_groups(
    strata: Strata,
    groups: Sequence[Sequence[int]],
    pairs: Sequence[tuple[int, int]],
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> SeedDifferences:
    """Return what is known of the differences between groups of runs.

    Args:
        strata: One (n_d, R) array of values per data set, one column per run.
        groups: Positions of the runs of each group.
        pairs: (reference, run): positions of groups.
        rng: The source of the resamples.
        resamples: Their number.
    """
    runs_rng, queries_rng = rng.spawn(2)
    means = mean_of_means(strata)  # (R,)
    weights = [_seed_weights(len(group), resamples, runs_rng) for group in groups]  # (B, S) each
    drawn = bootstrap_means(strata, resamples=resamples, rng=queries_rng)  # (B, R)
    group_draws = [(drawn[:, list(group)] * w).sum(axis=1) for group, w in zip(groups, weights, strict=True)]  # (B,)
    observed = np.array([means[list(groups[run])].mean() - means[list(groups[ref])].mean() for ref, run in pairs])
    errors, degrees = _errors(strata, means, groups, pairs)
    deviations = np.array([group_draws[run] - group_draws[ref] for ref, run in pairs]) - observed[:, None]  # (P, B)
    deviations *= _widths(errors, degrees, deviations)[:, None]
    extreme = (np.abs(deviations) >= np.abs(observed)[:, None] - TIE).sum(axis=1)
    tail = (1 - CONFIDENCE) / 2
    limits = np.quantile(deviations, [tail, 1 - tail], axis=1).T  # (P, 2)
    is_known = np.isfinite(errors).all()
    return SeedDifferences(
        intervals=observed[:, None] + limits if is_known else None,
        p_values=(extreme + 1) / (resamples + 1) if is_known else np.ones(len(pairs)),
        p_t=t_p_values(observed, errors, degrees),
        errors=errors,
    )


def _seed_weights(num_runs: int, resamples: int, rng: np.random.Generator) -> Floats:
    """Return (B, S): the weight of each run in each resample; rows sum to 1."""
    return np.asarray(rng.multinomial(num_runs, np.full(num_runs, 1 / num_runs), size=resamples) / num_runs)


def _errors(
    strata: Strata, means: Floats, groups: Sequence[Sequence[int]], pairs: Sequence[tuple[int, int]]
) -> tuple[Floats, Floats]:
    """Return (P,) standard errors and (P,) degrees of freedom; NaN where a data set has fewer than two queries."""
    errors, all_degrees = [], []
    for ref, run in pairs:
        differences = [
            (values[:, list(groups[run])].mean(axis=1) - values[:, list(groups[ref])].mean(axis=1))[:, None]
            for values in strata
        ]
        if any(len(values) < 2 for values in strata):
            errors.append(np.nan)
            all_degrees.append(np.nan)
            continue
        variances = [float(d.var(ddof=1)) / len(d) / len(strata) ** 2 for d in differences]
        degrees = [len(d) - 1 for d in differences]
        for group in (groups[ref], groups[run]):
            if len(group) > 1:
                variances.append(float(means[list(group)].var(ddof=1)) / len(group))
                degrees.append(len(group) - 1)
        errors.append(np.sqrt(sum(variances)))
        all_degrees.append(satterthwaite(variances, degrees))
    return np.array(errors), np.array(all_degrees)


def _widths(errors: Floats, degrees: Floats, deviations: Floats) -> Floats:
    """Return (P,): what brings the resamples' standard deviation to the standard error, and its tails to those of t."""
    from scipy.special import ndtri, stdtrit

    upper = (1 + CONFIDENCE) / 2
    spread = deviations.std(axis=1)
    to_error = np.divide(errors, spread, out=np.ones_like(spread), where=(spread > TIE) & np.isfinite(errors))
    is_finite = np.isfinite(degrees)
    to_t = np.where(is_finite, stdtrit(np.where(is_finite, degrees, 1.0), upper) / ndtri(upper), 1.0)
    return np.asarray(to_error * to_t)
