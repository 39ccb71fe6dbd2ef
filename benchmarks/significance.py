"""How often rules and tests speak up, when nothing changed and when something did: simulated comparisons.

    python benchmarks/significance.py

Per-query differences of two runs have a standard deviation of 0.25, as between two different rerankers: in 40% of the
queries nothing changes, in the others the difference is normal.  Every row is a true change of the mean, every column a
number of queries; ``13 x 50`` is a suite of thirteen data sets of 50 queries.  A rule's share says in how many
comparisons it fails the second run: for a true change of 0 that is the rate of false alarms, else the power.
Prints a table and writes ``benchmarks/results/significance.csv``; 2,000 comparisons a cell take a minute or two.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rerank_bench.evaluation.significance import Floats, Strata, bca_intervals, mean_of_means, sign_flip_p_values
from rerank_bench.evaluation.t_tests import paired_t_p_values

RESULTS = Path(__file__).parent / "results" / "significance.csv"
STANDARD_DEVIATION = 0.25
SHARE_EQUAL = 0.4
SIZES: dict[str, tuple[int, ...]] = {"50": (50,), "649": (649,), "13 x 50": (50,) * 13, "2000": (2000,)}
CHANGES = (0.0, -0.025, -0.047, -0.118)
LEVEL = 0.05
RULES = (
    "drop > 0.01",
    "one-sided p < 0.05 and drop > 0.005",
    "one-sided p < 0.05",
    "two-sided p < 0.05",
    "paired t p < 0.05",
    "95% interval without 0",
)
TRIALS_AT_ONCE = 500
"""Comparisons that share their sign patterns and resamples: columns of one call."""


def simulate(
    sizes: Sequence[int],
    changes: Sequence[float],
    *,
    trials: int,
    rng: np.random.Generator,
    resamples: int = 10_000,
) -> dict[float, dict[str, float]]:
    """Return change -> rule -> share of the comparisons in which the rule fails the second run.

    Args:
        sizes: Number of queries of each data set.
        changes: True changes of the mean over data sets.
        trials: Number of comparisons for each change.
        rng: The source of differences, resamples and signs.
        resamples: Resamples of the interval, and sign patterns.
    """
    outcomes: dict[float, list[Floats]] = {change: [] for change in changes}
    for start in range(0, trials, TRIALS_AT_ONCE):
        num_trials = min(TRIALS_AT_ONCE, trials - start)
        unchanged = [draw_differences(size, num_trials, rng) for size in sizes]
        for change in changes:
            strata = [values + change for values in unchanged]
            outcomes[change].append(apply_rules(strata, rng=rng, resamples=resamples))
    return {
        change: dict(zip(RULES, np.concatenate(parts, axis=1).mean(axis=1).tolist(), strict=True))
        for change, parts in outcomes.items()
    }


def draw_differences(num_queries: int, num_trials: int, rng: np.random.Generator) -> Floats:
    """Return (num_queries, num_trials): differences with mean 0, standard deviation 0.25 and many zeros."""
    changed = rng.random((num_queries, num_trials)) >= SHARE_EQUAL
    return np.asarray(changed * rng.normal(0, STANDARD_DEVIATION / (1 - SHARE_EQUAL) ** 0.5, changed.shape))


def apply_rules(strata: Strata, *, rng: np.random.Generator, resamples: int) -> Floats:
    """Return (len(RULES), M): 1.0 where a rule fails a comparison, one column of the strata each."""
    drops = -mean_of_means(strata)
    one_sided = sign_flip_p_values(strata, rng=rng, flips=resamples, alternative="less")
    two_sided = sign_flip_p_values(strata, rng=rng, flips=resamples)
    intervals = bca_intervals(strata, rng=rng, resamples=resamples)
    assert intervals is not None  # noqa: S101  there are no data sets of one query here
    return np.array(
        [
            drops > 0.01,
            (one_sided < LEVEL) & (drops > 0.005),
            one_sided < LEVEL,
            two_sided < LEVEL,
            paired_t_p_values(strata) < LEVEL,
            (intervals[:, 0] > 0) | (intervals[:, 1] < 0),
        ],
        dtype=np.float64,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000, help="comparisons per cell")
    parser.add_argument("--seed", type=int, default=12)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    shares = {name: simulate(sizes, CHANGES, trials=arguments.trials, rng=rng) for name, sizes in SIZES.items()}
    print(f"{'change':>7}  {'rule':<36}" + "".join(f"{name:>9}" for name in SIZES))
    for change in CHANGES:
        for rule in RULES:
            print(f"{change:>7}  {rule:<36}" + "".join(f"{shares[name][change][rule]:>9.1%}" for name in SIZES))
    with RESULTS.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["num_queries", "true_change", "rule", "share_failed", "trials", "seed"])
        for name in SIZES:
            for change in CHANGES:
                for rule in RULES:
                    writer.writerow([name, change, rule, shares[name][change][rule], arguments.trials, arguments.seed])


if __name__ == "__main__":
    main()
