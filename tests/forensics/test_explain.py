"""What is refused, what is left out and said, and which queries are shown."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_builder import World, write_run
from sample_worlds import AFTER, BEFORE, CANDIDATES, random_scores, random_world

import rerank_bench
from rerank_bench.errors import ComparisonError, ConfigError, DataError, ParseError, RerankBenchError
from rerank_bench.forensics.explain import ExplainOptions, explain_pair, explain_run, select_queries
from rerank_bench.forensics.wording import describe_query


def change_result(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "result.json"
    result = json.loads(path.read_text())
    change(result)
    path.write_text(json.dumps(result))


@pytest.mark.parametrize("field", ["corpus", "queries", "qrels", "candidates"])
def test_runs_over_other_data_are_refused_by_field(before: Path, after: Path, field: str) -> None:
    change_result(after, lambda r: r["datasets"]["hand"]["fingerprints"].update({field: "0" * 64}))
    with pytest.raises(ComparisonError, match=rf"{field} of hand: before has .*, after has 000000000000…") as caught:
        explain_pair(before, after)
    assert caught.value.exit_code == 5


def test_another_candidate_list_is_refused(tmp_path: Path, world: World, before: Path) -> None:
    shorter = dataclasses.replace(world, candidates={**CANDIDATES, "q-same": ("d00", "d01")})
    other = write_run(tmp_path / "other", {"hand": shorter}, {"hand": AFTER})
    with pytest.raises(ComparisonError, match="candidates of hand"):
        explain_pair(before, other)


def test_part_of_the_queries_compares_with_nothing_but_is_explained_with_its_texts() -> None:
    tiny = Path(__file__).parents[1] / "data" / "tiny"
    report = rerank_bench.run(models=["first-stage", "random"], datasets=[str(tiny)], out="part", limit=3)
    first, second = (outcome.folder for outcome in report.outcomes)
    with pytest.raises(ComparisonError, match="part of the queries"):
        explain_pair(first, second)
    explanation = explain_run(second)
    assert explanation.notes == ["the run is over part of the queries (--limit): it compares with nothing"]
    assert explanation.texts["tiny"].queries["q-dough"] == "what makes dough rise"


@pytest.fixture
def two_and_one(tmp_path: Path) -> tuple[Path, Path]:
    """A run over the data sets a and b, and one over b alone."""
    worlds = {name: random_world(tmp_path / name, seed, 6) for seed, name in enumerate("ab")}
    both = write_run(tmp_path / "both", worlds, {name: random_scores(world, 1) for name, world in worlds.items()})
    only_b = {"b": worlds["b"]}
    return both, write_run(tmp_path / "one", only_b, {"b": random_scores(worlds["b"], 2)})


def test_a_data_set_of_one_run_alone_is_left_out_and_said(two_and_one: tuple[Path, Path]) -> None:
    explanation = explain_pair(*two_and_one)
    assert [entry.name for entry in explanation.datasets] == ["b"]
    assert explanation.notes == ["only 'both' has a: left out"]
    with pytest.raises(ComparisonError, match=r"one: unknown data set 'a'.*Known: b"):
        explain_pair(*two_and_one, ExplainOptions(datasets=("a",)))
    assert explain_pair(*two_and_one, ExplainOptions(datasets=("b",))).notes == []


def test_runs_that_share_no_data_set_are_refused(two_and_one: tuple[Path, Path], before: Path) -> None:
    with pytest.raises(ComparisonError, match=r"data set: the runs share none: .*hand.*b; run both on the same ones"):
        explain_pair(before, two_and_one[1])


def test_an_unknown_data_set_names_the_nearest(after: Path) -> None:
    with pytest.raises(ComparisonError, match="unknown data set 'hands'; did you mean 'hand'"):
        explain_run(after, ExplainOptions(datasets=("hands",)))


def test_an_unknown_measure_names_the_nearest(after: Path) -> None:
    with pytest.raises(ConfigError, match="unknown measure 'nDGC@10'; did you mean 'nDCG@10'"):
        explain_run(after, ExplainOptions(measure="nDGC@10"))


def test_a_trec_run_does_not_say_what_it_reranked(after: Path) -> None:
    with pytest.raises(ConfigError, match=r"hand\.run\.trec\.gz: a TREC run does not say which candidates"):
        explain_run(after / "hand.run.trec.gz")


@pytest.mark.parametrize(
    ("break_it", "error", "message"),
    [
        (lambda folder: (folder / "result.json").unlink(), DataError, r"result\.json: no such file.*not finished"),
        (lambda folder: (folder / "hand.run.trec.gz").unlink(), DataError, r"hand\.run\.trec\.gz: no such file"),
        (lambda folder: (folder / "hand.missed.trec.gz").unlink(), DataError, r"hand\.missed\.trec\.gz: no such file"),
        (lambda folder: (folder / "hand.queries.csv").write_text("x"), ParseError, r"queries\.csv, line 1: the header"),
        (
            lambda folder: (folder / "hand.run.trec.gz").write_text("q-fell Q0 best 1 1 m\n"),
            DataError,
            r"query 'q-fell': document '.*' is a candidate without a score; the files are not of one run",
        ),
        (
            lambda folder: (folder / "hand.missed.trec.gz").write_text("q-same Q0 stray 1 1 m\n"),
            DataError,
            r"document '.*' (is a candidate without a score|has a score but is no candidate)",
        ),
        (
            lambda folder: (folder / "hand.qrels.gz").write_text("q-rose 0 good 1\n"),
            DataError,
            "hand has values of query '.*', which has no positive judgement; the files are not of one run",
        ),
    ],
)
def test_an_incomplete_folder_is_named(
    after: Path, break_it: Callable[[Path], object], error: type[RerankBenchError], message: str
) -> None:
    break_it(after)
    with pytest.raises(error, match=message):
        explain_run(after)


def test_identical_runs_differ_in_nothing(before: Path) -> None:
    explanation = explain_pair(before, before)
    summary = explanation.overall.summary
    assert (summary.delta, summary.ci, summary.p) == (0.0, (0.0, 0.0), 1.0)
    assert explanation.settings == {}
    assert select_queries(explanation).queries == []


def test_one_query_has_no_interval(tmp_path: Path) -> None:
    world = random_world(tmp_path / "lone", 3, 1)
    run = write_run(tmp_path / "run", {"lone": world}, {"lone": random_scores(world, 1)})
    explanation = explain_run(run)
    assert explanation.overall.summary.ci is None
    assert {part.interval for slicing in explanation.slicings for part in slicing.slices.values()} == {None}


def test_what_differs_between_the_runs_is_said(before: Path, after: Path) -> None:
    assert explain_pair(before, after).settings == {"max_length": ("512", "8")}
    change_result(after, lambda r: r.update(provenance={"versions": {"torch": "2.12.0", "numpy": "2.4"}}))
    settings = explain_pair(before, after).settings
    assert settings == {"max_length": ("512", "8"), "torch": ("2.13.0", "2.12.0"), "numpy": ("–", "2.4")}


def test_the_worst_are_shown_unless_others_are_asked_for(before: Path, after: Path) -> None:
    explanation = explain_pair(before, after)

    def shown(**options: Any) -> list[str]:
        return [query.query_id for query in select_queries(explanation, **options).queries]

    assert shown() == ["q-fell"]
    assert shown(best=3) == ["q-rose"]
    assert shown(worst=0) == []
    assert shown(worst=1, best=1, query_ids=["q-missed", "q-fell"]) == ["q-fell", "q-missed", "q-rose"]
    with pytest.raises(ConfigError, match="unknown query 'q-feld'; did you mean 'q-fell'"):
        shown(query_ids=["q-feld"])


def test_why(before: Path, after: Path) -> None:
    explanation = explain_pair(before, after)
    why = {query.query_id: describe_query(explanation, query) for query in explanation.queries}
    assert why == {
        "q-fell": [
            "best (grade 2) fell from rank 1 to 15.",
            "B reads 8 tokens; the text is longer.",
            "twin, which stands above it, has the same text.",
            "2 documents stand above its first relevant one in B: 2 unjudged.",
        ],
        "q-rose": ["good (grade 1) rose from rank 13 to 1."],
        "q-missed": [
            "None of its 1 relevant document is among the candidates.",
            "missed is no candidate; its score would have put it at rank 2.",
        ],
        "q-same": [],
        "q-long": ["missed is no candidate; its score would have put it at rank 1."],
    }


def test_a_tie_is_named(tmp_path: Path, world: World, before: Path) -> None:
    scores = {**BEFORE, "q-same": {"d00": 1.0, "d01": 1.0}, "q-fell": {"best": 5.0, "good": 9.0, "twin": 5.0}}
    tied = write_run(tmp_path / "tied", {"hand": world}, {"hand": scores})
    explanation = explain_pair(before, tied)
    query = next(query for query in explanation.queries if query.query_id == "q-fell")
    assert "Its score equals another document's, so their ids decide the order." in describe_query(explanation, query)
