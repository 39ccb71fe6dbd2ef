"""Every number of a comparison, against scipy, statsmodels and the runs' own results."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from run_folders import write_run_of
from scipy import stats
from statsmodels.stats.multitest import multipletests

import rerank_bench
from rerank_bench.comparison.compare import CompareConfig, compare_runs
from rerank_bench.comparison.opening import open_sources
from rerank_bench.comparison.paired import align_runs
from rerank_bench.comparison.records import Comparison, comparison_to_json
from rerank_bench.errors import ConfigError

BOTH = ("alpha", "beta")


def compare_folders(*folders: Path, **config: object) -> Comparison:
    return compare_runs(open_sources([str(folder) for folder in folders]), CompareConfig(**config))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def three(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    middle = write_run_of(
        tmp_path_factory.mktemp("three") / "middle",
        "middle",
        {"alpha": 30, "beta": 17},
        skill=2.0,
        seed=3,
        suite="both",
    )
    return [runs / "weak", middle, runs / "strong"]


def test_numbers_of_a_data_set_are_scipys(runs: Path) -> None:
    folders = [runs / "weak", runs / "strong"]
    comparison = compare_folders(*folders)
    aligned = align_runs(open_sources([str(folder) for folder in folders]), BOTH, measure="nDCG@10")
    for scope in comparison.scopes[:2]:
        (pair,) = scope.pairs
        before, after = aligned[scope.name].values.T
        differences = after - before
        assert (pair.run, pair.reference) == ("strong", "weak")
        assert (pair.value, pair.reference_value) == pytest.approx((after.mean(), before.mean()))
        assert pair.difference == pytest.approx(differences.mean())
        assert pair.p_t == pytest.approx(stats.ttest_rel(after, before).pvalue)
        exact = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(1)
        )
        assert pair.p == pytest.approx(exact.pvalue, abs=0.01)
        interval = stats.bootstrap(
            (differences,), np.mean, method="BCa", n_resamples=20_000, rng=np.random.default_rng(1)
        ).confidence_interval
        assert pair.ci == pytest.approx((interval.low, interval.high), abs=0.006)
        assert pair.sd == pytest.approx(differences.std(ddof=1))
        assert pair.mde == pytest.approx(2.80 * differences.std(ddof=1) / len(differences) ** 0.5)
        assert (pair.better, pair.worse) == ((differences > 0).sum(), (differences < 0).sum())
        assert pair.better + pair.equal + pair.worse == scope.num_queries == len(differences)


def test_a_suite_is_the_mean_of_its_data_sets(runs: Path) -> None:
    folders = [runs / "weak", runs / "strong"]
    alpha, beta, suite = compare_folders(*folders).scopes
    assert (suite.name, suite.kind, suite.datasets, suite.num_queries) == ("both", "suite", BOTH, 47)
    assert suite.pairs[0].difference == pytest.approx((alpha.pairs[0].difference + beta.pairs[0].difference) / 2)
    squares = [(scope.pairs[0].mde or 0) ** 2 for scope in (alpha, beta)]
    assert suite.pairs[0].mde == pytest.approx(sum(squares) ** 0.5 / 2)
    assert suite.pairs[0].better == alpha.pairs[0].better + beta.pairs[0].better


def test_holm_runs_over_everything_that_is_shown(three: list[Path]) -> None:
    comparison = compare_folders(*three)
    pairs = [pair for scope in comparison.scopes for pair in scope.pairs]
    assert comparison.num_pairs == len(pairs) == 9
    expected = multipletests([pair.p for pair in pairs], method="holm")[1]
    assert [pair.p_adjusted for pair in pairs] == pytest.approx(list(expected))


def test_runs_share_a_letter_if_and_only_if_holm_does_not_tell_them_apart(three: list[Path]) -> None:
    seen = set()
    for scope in compare_folders(*three).scopes:
        assert scope.groups is not None
        p_by_pair = {frozenset({pair.run, pair.reference}): pair.p_adjusted for pair in scope.pairs}
        for first, second in itertools.combinations(scope.values, 2):
            is_shared = bool(set(scope.groups[first]) & set(scope.groups[second]))
            assert is_shared == (p_by_pair[frozenset({first, second})] >= 0.05)
            seen.add(is_shared)
        assert "a" in scope.groups[max(scope.values, key=lambda label: scope.values[label])]
    assert seen == {True, False}


def test_against_the_first_stage_it_says_what_the_result_says(runs: Path, tmp_path: Path) -> None:
    """A run against a stored run of its own candidates' order gives the delta, interval and p of ``result.json``."""
    strong = runs / "strong"
    first_stage = tmp_path / "alpha.trec"
    (source,) = open_sources([str(strong)])
    assert source.result is not None
    queries = source.query_values("alpha", "nDCG@10", "end_to_end")
    lines = [f"{q} Q0 alpha-{q.removeprefix('alpha-q')}-d{doc} 1 {-doc} x\n" for q in queries for doc in range(12)]
    first_stage.write_text("".join(lines), encoding="utf-8")
    sources = open_sources([str(first_stage), str(strong)], datasets=["alpha"])
    (scope,) = compare_runs(sources, CompareConfig(datasets=("alpha",))).scopes
    stored = source.result["datasets"]["alpha"]["views"]["end_to_end"]["measures"]["nDCG@10"]
    (pair,) = scope.pairs
    assert pair.difference == pytest.approx(stored["delta"])
    assert pair.ci == pytest.approx(stored["ci"])
    assert pair.p == stored["p"]
    assert (pair.better, pair.equal, pair.worse) == (stored["better"], stored["equal"], stored["worse"])
    assert (pair.sd, pair.mde) == pytest.approx((stored["sd"], stored["mde"]))


def test_the_public_function_says_what_the_parts_say(runs: Path) -> None:
    places = [runs / "weak", runs / "strong"]
    config = CompareConfig(datasets=("alpha",), measure="RR@10")
    expected = compare_runs(open_sources([str(place) for place in places], datasets=("alpha",)), config)
    assert rerank_bench.compare(places, datasets=["alpha"], measure="RR@10") == expected


def test_identical_runs_differ_by_nothing(runs: Path) -> None:
    comparison = compare_folders(runs / "strong", runs / "again" / "strong")
    for scope in comparison.scopes:
        (pair,) = scope.pairs
        assert (pair.difference, pair.ci, pair.p, pair.p_t, pair.p_adjusted) == (0, (0, 0), 1, 1, 1)
        assert (pair.better, pair.equal, pair.worse) == (0, scope.num_queries, 0)
        assert (pair.sd, pair.mde) == (0, 0)


def test_one_query_has_a_difference_but_no_interval(tmp_path: Path) -> None:
    weak = write_run_of(tmp_path / "weak", "weak", {"one": 1}, skill=-3)
    strong = write_run_of(tmp_path / "strong", "strong", {"one": 1}, skill=3)
    (scope,) = compare_folders(weak, strong).scopes
    (pair,) = scope.pairs
    assert pair.difference > 0
    assert (pair.ci, pair.p_t, pair.sd, pair.mde) == (None, None, None, None)
    assert (pair.p, pair.better, pair.equal, pair.worse) == (1, 1, 0, 0)


def test_all_against_a_baseline(three: list[Path]) -> None:
    for name in ("middle", str(three[1])):
        comparison = compare_folders(*three, baseline=name)
        assert comparison.baseline == "middle"
        for scope in comparison.scopes:
            assert [(pair.run, pair.reference) for pair in scope.pairs] == [("weak", "middle"), ("strong", "middle")]
            assert scope.groups is None
    with pytest.raises(ConfigError, match="--baseline: unknown baseline 'midle'; did you mean 'middle'"):
        compare_folders(*three, baseline="midle")


def test_a_baseline_that_two_runs_are_called_is_not_clear(runs: Path) -> None:
    folders = [runs / "strong", runs / "again" / "strong", runs / "weak"]
    with pytest.raises(ConfigError, match=r"--baseline: 'strong' is strong \[.*\] and strong \[again\]; name one"):
        compare_folders(*folders, baseline="strong")


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 5])
def test_a_level_that_is_no_probability(alpha: float) -> None:
    with pytest.raises(ConfigError, match=r"alpha is .*, expected a number between 0 and 1"):
        CompareConfig(alpha=alpha)


def test_a_run_alone_compares_with_nothing(runs: Path) -> None:
    with pytest.raises(ConfigError, match="at least two runs, found weak; name another one"):
        compare_folders(runs / "weak")


def test_p_values_can_fall_below_alpha_however_many_pairs_there_are(three: list[Path]) -> None:
    comparison = compare_folders(*three, alpha=0.0005)
    assert comparison.flips == 200_000
    assert comparison.num_pairs / (comparison.flips + 1) < 0.0005
    assert comparison.notes == ()


def test_a_level_that_no_p_value_can_reach_is_said(three: list[Path]) -> None:
    (note,) = compare_folders(*three, alpha=0.00001).notes
    assert note.startswith("9 pairs are shown, so that no adjusted p can fall below 4.5e-05; compare fewer")


def test_another_measure_and_another_view(runs: Path) -> None:
    folders = [runs / "weak", runs / "strong"]
    by_measure = {name: compare_folders(*folders, measure=name).scopes[0].pairs[0] for name in ("P@5", "MRR@10")}
    sources = open_sources([str(folder) for folder in folders])
    for name, pair in by_measure.items():
        values = align_runs(sources, ("alpha",), measure=name)["alpha"].values
        assert pair.difference == pytest.approx(values[:, 1].mean() - values[:, 0].mean())
    injected = compare_folders(*folders, view="injected")
    stored = sources[1].result
    assert stored is not None
    expected = stored["datasets"]["beta"]["views"]["injected"]["measures"]["nDCG@10"]["reranked"]
    assert injected.scopes[1].values["strong"] == pytest.approx(expected)


def test_the_json_has_every_key_and_no_number_that_json_lacks(runs: Path) -> None:
    import json

    value = comparison_to_json(compare_folders(runs / "weak", runs / "strong"))
    assert json.loads(json.dumps(value, allow_nan=False))["scopes"][2]["name"] == "both"
    assert set(value) == {
        *("schema_version", "protocol_version", "measure", "view", "alpha", "baseline", "runs", "is_over_seeds"),
        *("scopes", "notes", "resamples", "flips", "seed", "num_pairs"),
    }


def test_comparing_loads_neither_torch_nor_pandas(runs: Path) -> None:
    code = (
        "import sys; from rerank_bench.cli.app import app; "
        f"app(['compare', {str(runs / 'weak')!r}, {str(runs / 'strong')!r}], standalone_mode=False); "
        "heavy = ('torch', 'transformers', 'pandas', 'matplotlib', 'numba', 'scipy.stats', 'datasets'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_published_runs_of_trec_dl_2019(shared_data: Path) -> None:
    """Values from the overview of the track and its runs: a cross-encoder against the BM25 list that it reranked."""
    folder = shared_data / "trec_dl_2019"
    names = ("BM25.2019.res.gz", "bm25_VBERT.2019.res.gz")
    sources = open_sources([str(folder / name) for name in names], qrels=folder / "qrels.dl19-passage.txt")
    (scope,) = compare_runs(sources).scopes
    (pair,) = scope.pairs
    assert (pair.reference_value, pair.value) == pytest.approx((0.4795, 0.6855), abs=5e-5)
    assert scope.num_queries == 43
    assert pair.p_adjusted < 0.001
    assert pair.better > pair.worse
