"""What does not compare is refused, and the field is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_folders import write_run_of

from rerank_bench.comparison.comparability import check_comparable, choose_datasets, shared_suites
from rerank_bench.comparison.opening import open_sources
from rerank_bench.errors import ComparisonError


def open_pair(folder: Path, change: Callable[[dict[str, Any]], object], **options: Any) -> list[Any]:
    """Return two runs, ``a`` and ``b``, whose second result.json was changed."""
    write_run_of(folder / "a", "a", {"alpha": 6, "beta": 5}, seed=1)
    write_run_of(folder / "b", "b", {"alpha": 6, "beta": 5}, seed=2, **options)
    file = folder / "b" / "result.json"
    result = json.loads(file.read_text(encoding="utf-8"))
    change(result)
    file.write_text(json.dumps(result), encoding="utf-8")
    return open_sources([str(folder / "a"), str(folder / "b")])


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("protocol_version",), 2, "protocol of alpha: a has 1, b has 2; run both with the same version"),
        (("datasets", "beta", "fingerprints", "corpus"), "x", "corpus of beta: a has .*…, b has x"),
        (("datasets", "beta", "fingerprints", "queries"), "x", "queries of beta: a has"),
        (("datasets", "beta", "fingerprints", "qrels"), "x", "qrels of beta: a has .* the judgements differ"),
        (("datasets", "beta", "fingerprints", "candidates"), "x", "candidates of beta: a has .* reranked different"),
        (("datasets", "beta", "depth"), 50, "depth of beta: a has 100, b has 50; run both with the same --depth"),
        (("comparable",), False, r"queries: b \(.*\) was run over part of the queries \(--limit"),
    ],
)
def test_a_field_that_differs_is_named(tmp_path: Path, path: tuple[str, ...], value: object, message: str) -> None:
    def change(result: dict[str, Any]) -> None:
        block = result
        for key in path[:-1]:
            block = block[key]
        block[path[-1]] = value

    sources = open_pair(tmp_path, change)
    with pytest.raises(ComparisonError, match=message):
        check_comparable(sources, ("alpha", "beta"))


def test_runs_that_agree_compare_without_a_note(tmp_path: Path) -> None:
    assert check_comparable(open_pair(tmp_path, lambda _: None), ("alpha", "beta")) == ()


def test_a_trec_run_beside_a_folder_is_noted_and_its_judgements_are_checked(runs: Path, tmp_path: Path) -> None:
    places = [str(runs / "strong"), str(runs / "weak" / "alpha.run.trec.gz")]
    (note,) = check_comparable(open_sources(places, datasets=["alpha"]), ("alpha",))
    assert "alpha: a TREC run does not say which candidates" in note
    (tmp_path / "q").write_text("alpha-q1 0 d 1\n", encoding="utf-8")
    sources = open_sources(places, datasets=["alpha"], qrels=tmp_path / "q")
    with pytest.raises(ComparisonError, match="qrels of alpha: strong has"):
        check_comparable(sources, ("alpha",))


def test_data_sets_that_a_run_lacks_are_named(runs: Path, tmp_path: Path) -> None:
    other = write_run_of(tmp_path / "other", "other", {"beta": 17, "gamma": 4})
    sources = open_sources([str(runs / "strong"), str(other)])
    with pytest.raises(ComparisonError, match=r"data set: strong lacks gamma, it has alpha, beta;.*--dataset beta"):
        choose_datasets(sources)
    assert choose_datasets(sources, ["beta"]) == ("beta",)
    far = write_run_of(tmp_path / "far", "far", {"delta": 4})
    with pytest.raises(ComparisonError, match="they share none"):
        choose_datasets(open_sources([str(runs / "strong"), str(far)]))


def test_the_means_that_are_shown(runs: Path, tmp_path: Path) -> None:
    sources = open_sources([str(runs / "strong"), str(runs / "weak")])
    assert shared_suites(sources, ("alpha", "beta")) == {"both": ("alpha", "beta")}
    assert shared_suites(sources, ("alpha",)) == {}
    other = write_run_of(tmp_path / "other", "other", {"alpha": 30, "beta": 17}, suite="pair")
    unlike = [*sources, *open_sources([str(other)])]
    assert shared_suites(unlike, ("beta", "alpha")) == {"beta+alpha": ("beta", "alpha")}
