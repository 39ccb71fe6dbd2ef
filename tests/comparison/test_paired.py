"""Values of several runs meet by query id, whatever the order of the files."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from rerank_bench.comparison.opening import open_sources
from rerank_bench.comparison.paired import align_runs
from rerank_bench.errors import ComparisonError, ConfigError


def rewrite(path: Path, change: object) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *change(lines)])  # type: ignore[operator]


def test_values_meet_by_query_id(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "weak", tmp_path / "weak")
    rewrite(tmp_path / "weak" / "alpha.queries.csv", lambda lines: lines[::-1])
    sources = open_sources([str(runs / "strong"), str(tmp_path / "weak")])
    aligned = align_runs(sources, ("beta", "alpha"), measure="nDCG@10")
    assert list(aligned) == ["beta", "alpha"]
    for dataset, values in aligned.items():
        assert list(values.query_ids) == sorted(values.query_ids)
        for column, source in enumerate(sources):
            by_query = source.query_values(dataset, "nDCG@10", "end_to_end")
            assert values.values[:, column].tolist() == [by_query[q] for q in values.query_ids]
        assert np.array_equal(values.differences(1, 0), values.values[:, :1] - values.values[:, 1:])


@pytest.mark.parametrize("poorer", [0, 1])
def test_a_run_that_lacks_queries_is_named(runs: Path, tmp_path: Path, poorer: int) -> None:
    shutil.copytree(runs / "weak", tmp_path / "weak")
    rewrite(tmp_path / "weak" / "beta.queries.csv", lambda lines: [ln for ln in lines if ln[1] != "beta-q3"])
    places = [str(runs / "strong"), str(tmp_path / "weak")]
    sources = open_sources(places[::-1] if poorer == 0 else places)
    with pytest.raises(ComparisonError, match=r"queries of beta: weak lacks 1 of the 17 that strong has.*'beta-q3'"):
        align_runs(sources, ("beta",), measure="nDCG@10")


def test_views_and_measures_that_a_run_does_not_have(runs: Path) -> None:
    folder = str(runs / "strong")
    sources = open_sources([folder, str(runs / "weak" / "alpha.run.trec.gz")], datasets=["alpha"])
    with pytest.raises(ComparisonError, match="measure P@1: view injected has nDCG@10, RR@10, AP only"):
        align_runs(sources, ("alpha",), measure="P@1", view="injected")
    with pytest.raises(ComparisonError, match="view injected: alpha is a TREC run, which has the view end_to_end only"):
        align_runs(sources, ("alpha",), measure="AP", view="injected")
    with pytest.raises(ConfigError, match="unknown measure 'ndgc@10'"):
        align_runs(sources, ("alpha",), measure="ndgc@10")
    with pytest.raises(ComparisonError, match="strong: unknown data set 'alpa'; did you mean 'alpha'"):
        align_runs(sources, ("alpa",), measure="AP")
