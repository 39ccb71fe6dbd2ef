"""The stages in order, on a tiny collection with every awkward case in it (tests/data/tiny)."""

from __future__ import annotations

import contextlib
import csv
import gzip
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import word_overlap

from rerank_bench.errors import ConfigError, DataError, EnvironmentMissingError, InvalidScoreError, ParseError
from rerank_bench.pipeline.candidates import summarise_candidates
from rerank_bench.pipeline.request import RunConfig
from rerank_bench.pipeline.run import RunReport, run
from rerank_bench.progress import Advance, use_reporter
from rerank_bench.reporting.leaderboard import read_leaderboard
from rerank_bench.reporting.run_folder import read_result, result_schema
from rerank_bench.reporting.stored_result import read_stored_result
from rerank_bench.trec_io import read_run

TINY = Path(__file__).parents[1] / "data" / "tiny"


def run_tiny(out: Path, *models: str, **options: Any) -> RunReport:
    return run(models, datasets=[TINY], out=out, **options)


def measures_of(report: RunReport, number: int = 0, view: str = "end_to_end") -> dict[str, Any]:
    measures: dict[str, Any] = report.outcomes[number].result["datasets"]["tiny"]["views"][view]["measures"]
    return measures


def test_the_first_stage_as_reranker_has_a_delta_of_exactly_zero(tmp_path: Path) -> None:
    measures = measures_of(run_tiny(tmp_path, "first-stage", extra_measures=("nDCG@3", "P@5")))
    assert {"nDCG@10", "RR@10", "AP", "R@100", "P@1", "Judged@10", "nDCG@3", "P@5"} == set(measures)
    for summary in measures.values():
        assert summary["delta"] == 0.0
        assert summary["ci"] == [0.0, 0.0]
        assert summary["p"] == 1.0
        assert summary["better"] == summary["worse"] == 0


def test_data_sets_whose_files_would_have_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("my data", "my-data", "法律", "医疗"):
        shutil.copytree(TINY, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError, match=r"the files of my data and my-data would both be called 'my-data'; rename a folder"
    ):
        run(["random"], ["my data", "my-data"])
    report = run(["random"], ["法律", "医疗"])
    stored = read_stored_result(report.outcomes[0].folder)
    assert stored.datasets == ("法律", "医疗")
    assert {path.name for path in stored.folder.glob("*.run.trec.gz")} == {"法律.run.trec.gz", "医疗.run.trec.gz"}
    for name in ("my data", "my-data"):
        (tmp_path / name).rename(tmp_path / name.replace("my", "our"))
    (tmp_path / "our-data").rename(tmp_path / "other")
    for name in ("our data", "other"):
        files = 'corpus = "corpus.jsonl"\nqueries = "queries.jsonl"\nqrels = {test = "qrels/test.tsv"}'
        (tmp_path / name / "dataset.toml").write_text(f'name = "support"\nkind = "beir"\n[files]\n{files}\n')
    with pytest.raises(ConfigError, match=r"the files of our data and other would both be called 'support'"):
        run(["random"], ["our data", "other"])


def test_the_oracle_reaches_the_ceiling(tmp_path: Path) -> None:
    report = run_tiny(tmp_path, "oracle", "first-stage")
    for name, summary in measures_of(report).items():
        assert summary["reranked"] == pytest.approx(summary["ceiling"]), name
    # q-nothing and q-blank have no candidate: the pool of the injected view holds their positives, the headline does not.
    assert measures_of(report, view="injected")["nDCG@10"]["reranked"] == pytest.approx(1.0)
    assert measures_of(report)["nDCG@10"]["reranked"] < 1.0


def test_queries_are_counted_by_fate(tmp_path: Path) -> None:
    counts = run_tiny(tmp_path, "first-stage").outcomes[0].result["datasets"]["tiny"]["counts"]
    assert counts["queries"] == 8
    assert counts["evaluated"] == 6
    assert counts["unjudged"] == 1  # q-unjudged
    assert counts["all_zero"] == 1  # q-zero
    assert counts["empty_candidates"] == 2  # q-nothing, q-blank
    assert counts["documents"] == 15
    assert counts["judgements"] == 12
    assert counts["missed_positives"] == 3  # 7 of q-nothing, empty of q-blank, and cocoa of q-dough


@pytest.mark.parametrize("model", ["first-stage", "random", "oracle", "word_overlap:score"])
def test_results_follow_the_published_schema(tmp_path: Path, model: str) -> None:
    result = run_tiny(tmp_path, model).outcomes[0].result
    jsonschema.Draft202012Validator(result_schema()).validate(result)
    assert read_result(next(tmp_path.glob("*/result.json")).parent) == result


def test_a_callable_ranks_by_its_scores(tmp_path: Path) -> None:
    report = run_tiny(tmp_path, "word_overlap:score")
    folder = report.outcomes[0].folder
    ranked = read_run(folder / "tiny.run.trec.gz")
    texts = {"tea": "Brewing tea Pour water just off the boil over the leaves and wait three minutes."}
    query = "how long should tea stand in hot water"
    scores = dict(zip(ranked["q-drink"].doc_ids, ranked["q-drink"].scores.tolist(), strict=True))
    assert scores["tea"] == word_overlap.score([(query, texts["tea"])])[0] == 2.0
    assert list(ranked["q-drink"].scores) == sorted(scores.values(), reverse=True)
    candidates = read_run(folder / "tiny.candidates.trec.gz")
    assert {q: set(docs.doc_ids) for q, docs in ranked.items()} == {q: set(d.doc_ids) for q, d in candidates.items()}
    missed = read_run(folder / "tiny.missed.trec.gz")
    assert {query_id: docs.doc_ids for query_id, docs in missed.items()} == {
        "q-dough": ("cocoa",),
        "q-nothing": ("7",),
        "q-blank": ("empty",),
    }


def test_equal_texts_of_one_query_have_equal_scores(tmp_path: Path) -> None:
    ranked = read_run(run_tiny(tmp_path, "word_overlap:score").outcomes[0].folder / "tiny.run.trec.gz")["q-chain"]
    assert ranked.doc_ids[:2] == ("twin-b", "twin-a")  # equal scores: the higher id first
    assert ranked.scores[0] == ranked.scores[1]
    ties = read_result(tmp_path / "word_overlap-score")["datasets"]["tiny"]["ties"]
    assert ties["highest"] > ties["lowest"]  # only twin-a is judged relevant


def test_the_values_of_every_query_are_written(tmp_path: Path) -> None:
    report = run_tiny(tmp_path, "word_overlap:score")
    with (report.outcomes[0].folder / "tiny.queries.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["view"] == "end_to_end"]
    assert [row["query_id"] for row in rows] == ["q-drink", "q-moon", "q-dough", "q-chain", "q-nothing", "q-blank"]
    summary = measures_of(report)["nDCG@10"]
    assert np.mean([float(row["nDCG@10 reranked"]) for row in rows]) == pytest.approx(summary["reranked"])
    assert np.mean([float(row["nDCG@10 first_stage"]) for row in rows]) == pytest.approx(summary["first_stage"])


def test_a_run_of_ours_is_a_model_again(tmp_path: Path) -> None:
    first = run_tiny(tmp_path / "a", "word_overlap:score")
    again = run_tiny(tmp_path / "b", f"run:{first.outcomes[0].folder / 'tiny.run.trec.gz'}")
    for name, summary in measures_of(first).items():
        assert measures_of(again)[name]["reranked"] == summary["reranked"], name


def test_a_run_is_a_first_stage(tmp_path: Path) -> None:
    reranked = run_tiny(tmp_path / "a", "word_overlap:score").outcomes[0].folder / "tiny.run.trec.gz"
    measures = measures_of(run_tiny(tmp_path / "b", "word_overlap:score", first_stage=str(reranked)))
    assert measures["nDCG@10"]["delta"] == 0.0


def test_two_data_sets_are_not_mixed_up(tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(TINY, other)
    (other / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq-chain\ttwin-b\t1\nq-moon\tmoon\t1\n")
    report = run(["first-stage"], datasets=[TINY, other], out=tmp_path / "runs")
    result = report.outcomes[0].result
    alone = run(["first-stage"], datasets=[other], out=tmp_path / "alone").outcomes[0].result
    assert list(result["datasets"]) == ["tiny", "other"]
    assert result["datasets"]["other"]["views"] == alone["datasets"]["other"]["views"]
    assert result["datasets"]["other"]["fingerprints"] == alone["datasets"]["other"]["fingerprints"]
    assert result["datasets"]["other"]["counts"]["evaluated"] == 2


def test_the_leaderboard_keeps_every_model_and_replaces_its_own_row(tmp_path: Path) -> None:
    csv_file = tmp_path / "results.csv"
    run_tiny(tmp_path / "a", "first-stage", "oracle", leaderboard=csv_file)
    report = run_tiny(tmp_path / "b", "oracle", "word_overlap:score", leaderboard=csv_file)
    assert report.leaderboard == csv_file
    frame = read_leaderboard(csv_file)
    rows = frame[frame["view"] == "end_to_end"]
    assert sorted(rows["model"]) == ["first-stage", "oracle", "word_overlap:score"]
    assert set(rows[rows["model"] == "oracle"]["run_folder"]) == {str(tmp_path / "b" / "oracle")}


def test_two_stored_runs_of_one_name_are_two_models(tmp_path: Path) -> None:
    ranked = [outcome.folder / "tiny.run.trec.gz" for outcome in run_tiny(tmp_path / "a", "oracle", "random").outcomes]
    run_tiny(tmp_path / "b", *(f"run:{path}" for path in ranked))
    frame = read_leaderboard(tmp_path / "b" / "leaderboard.csv")
    rows = frame[frame["view"] == "end_to_end"]
    assert list(rows["model"]) == ["tiny.run.trec.gz", "tiny.run.trec.gz"]
    assert rows["ndcg_at_10"].nunique() == 2


def test_the_results_folder_is_called_after_what_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collection = tmp_path / "collection"
    shutil.copytree(TINY, collection)
    monkeypatch.chdir(collection)
    assert run(["first-stage"], datasets=["."]).folder == Path("runs/collection")
    assert run(["first-stage"], datasets=[".", collection]).folder == Path("runs/collection")
    assert run(["first-stage"], datasets=[".", TINY]).folder == Path("runs/collection-tiny")


def test_the_leaderboard_of_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_tiny(Path("runs/x"), "first-stage").leaderboard == Path("runs/x/leaderboard.csv")
    (tmp_path / "leaderboards").mkdir()
    shutil.move("runs/x/leaderboard.csv", "leaderboards/results.csv")
    assert run_tiny(Path("runs/x"), "oracle").leaderboard == Path("leaderboards/results.csv")
    assert sorted(set(read_leaderboard("leaderboards/results.csv")["model"])) == ["first-stage", "oracle"]


def test_a_limited_run_is_stamped_and_stays_out_of_the_leaderboard(tmp_path: Path) -> None:
    report = run_tiny(tmp_path, "oracle", limit=3)
    result = report.outcomes[0].result
    assert result["comparable"] is False
    assert result["datasets"]["tiny"]["counts"]["queries"] == 3
    assert report.leaderboard is None
    assert not list(tmp_path.rglob("*.csv.lock"))
    assert not (tmp_path / "leaderboard.csv").exists()


def test_a_score_that_is_nan_names_query_and_document_and_leaves_no_result(tmp_path: Path) -> None:
    with pytest.raises(InvalidScoreError, match=r"query 'q-\w+', document 'tides'"):
        run_tiny(tmp_path, "word_overlap:nan_on_tides")
    assert not list(tmp_path.rglob("result.json"))


def test_what_fails_later_takes_no_finished_model_off_the_leaderboard(tmp_path: Path) -> None:
    with pytest.raises(InvalidScoreError):
        run_tiny(tmp_path, "oracle", "word_overlap:nan_on_tides", "first-stage")
    assert set(read_leaderboard(tmp_path / "leaderboard.csv")["model"]) == {"oracle"}


def test_a_leaderboard_is_checked_before_any_work(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("model,score\nx,1\n", encoding="utf-8")
    with pytest.raises(ParseError, match=r"other\.csv, line 1"):
        run_tiny(tmp_path / "out", "oracle", leaderboard=other)
    assert not (tmp_path / "out").exists()


UNWRITABLE = Path("/proc/self/results")
"""Not even the superuser can make it."""


@pytest.mark.skipif(not UNWRITABLE.parent.is_dir(), reason="this system has no /proc")
@pytest.mark.parametrize("option", ["out", "leaderboard"])
def test_a_place_that_cannot_be_written_is_found_before_any_work(tmp_path: Path, option: str) -> None:
    options: dict[str, Any] = {"out": tmp_path / "out", option: UNWRITABLE / "results.csv"}
    with pytest.raises(
        EnvironmentMissingError, match=r"/proc/self/results/.*cannot be written .*Nothing has been done"
    ):
        run(["word_overlap:interrupt"], datasets=[TINY], **options)
    assert not (tmp_path / "out").exists()


def test_a_limited_run_has_fingerprints_and_candidates_of_its_own(tmp_path: Path) -> None:
    notes: list[str] = []

    class Notes:
        note = staticmethod(notes.append)

        @staticmethod
        def task(description: str, total: int | None, unit: str) -> contextlib.AbstractContextManager[Advance]:
            del description, total, unit
            return contextlib.nullcontext(lambda _: None)

    with use_reporter(Notes()):
        whole = run_tiny(tmp_path / "a", "oracle").outcomes[0].result["datasets"]["tiny"]["fingerprints"]
        part = run_tiny(tmp_path / "b", "oracle", limit=3).outcomes[0].result["datasets"]["tiny"]["fingerprints"]
        run_tiny(tmp_path / "c", "oracle")
    assert part["corpus"] == whole["corpus"]
    assert all(part[name] != whole[name] for name in ("queries", "qrels", "candidates"))
    assert not [message for message in notes if "built anew" in message]
    assert sum("taken from" in message for message in notes) == 2  # both are cut or taken from the whole list


def test_a_file_in_the_place_of_the_results_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(EnvironmentMissingError, match="Not a directory"):
        run_tiny(tmp_path / "out", "oracle")


def test_depth_one_and_a_depth_beyond_the_corpus(tmp_path: Path) -> None:
    shallow = run_tiny(tmp_path / "a", "oracle", depth=1).outcomes[0]
    assert {len(docs) for docs in read_run(shallow.folder / "tiny.candidates.trec.gz").values()} == {1}
    deep = run_tiny(tmp_path / "b", "oracle", depth=5000).outcomes[0]
    assert max(len(docs) for docs in read_run(deep.folder / "tiny.candidates.trec.gz").values()) <= 15


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"depth": 0}, "depth is 0"),
        ({"limit": 0}, "limit is 0"),
        ({"view": "sideways"}, "view is 'sideways', expected one of end_to_end, injected, retrieved"),
        ({"extra_measures": ("ndgc@10", "Foo@3")}, r"unknown measure 'ndgc@10'; did you mean 'nDCG@10'.*'Foo@3'"),
        ({"first_stage": "bm52"}, "unknown first stage 'bm52'; did you mean"),
        ({"first_stage": "published"}, "no first-stage lists are published for 'tiny'"),
        ({"scorer": {"device": "abacus"}}, "abacus"),
        ({"scorer": {"dtype": "float8"}}, "float8"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_wrong_request_is_named(tmp_path: Path, options: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        run_tiny(tmp_path, "first-stage", **options)
    assert not list(tmp_path.iterdir())


def test_unknown_names_are_told_all_at_once() -> None:
    with pytest.raises(ConfigError, match=r"'NanoMSMARC'; did you mean 'NanoMSMARCO'.*'nanobeer'"):
        run(["first-stage"], datasets=["NanoMSMARC"], suites=["nanobeer"])


def test_the_same_model_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="same run folder"):
        run_tiny(tmp_path, "oracle", "oracle")


def test_an_unfinished_folder_is_told_apart(tmp_path: Path) -> None:
    folder = run_tiny(tmp_path, "oracle").outcomes[0].folder
    (folder / "result.json").unlink()
    with pytest.raises(DataError, match="not finished"):
        read_result(folder)


def test_the_candidates_alone(tmp_path: Path) -> None:
    summary = summarise_candidates(str(TINY), out=tmp_path / "list.trec.gz")
    assert summary["queries"] == 8
    assert summary["empty_lists"] == 2
    lists = read_run(tmp_path / "list.trec.gz")
    assert summary["candidates"] == sum(len(docs) for docs in lists.values())
    okapi = summarise_candidates(str(TINY), first_stage="rank-bm25")
    assert okapi["first_stage"]["name"] == "rank-bm25"


def test_a_config_is_checked_when_it_is_made() -> None:
    with pytest.raises(ConfigError, match="depth"):
        RunConfig(depth=-1)


def test_a_limit_takes_the_first_lists_of_a_run_file(tmp_path: Path) -> None:
    whole = run_tiny(tmp_path / "a", "oracle").outcomes[0].folder / "tiny.candidates.trec.gz"
    limited = run_tiny(tmp_path / "b", "first-stage", first_stage=str(whole), limit=2)
    lists = read_run(limited.outcomes[0].folder / "tiny.candidates.trec.gz")
    assert {q: docs.doc_ids for q, docs in lists.items()} == {
        q: docs.doc_ids for q, docs in read_run(whole).items() if q in {"q-drink", "q-moon"}
    }


def test_a_limited_run_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["oracle"], datasets=[TINY]).folder == Path("runs/tiny")
    assert run(["oracle"], datasets=[TINY], limit=2).folder == Path("runs/tiny-limit2")


def test_several_data_sets_are_a_suite_with_an_interval(tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(TINY, other)
    result = run(["oracle"], datasets=[TINY, other], out=tmp_path / "runs").outcomes[0].result
    assert result["suites"]["tiny+other"]["datasets"] == ["tiny", "other"]
    summary = result["suites"]["tiny+other"]["views"]["end_to_end"]["measures"]["nDCG@10"]
    single = result["datasets"]["tiny"]["views"]["end_to_end"]["measures"]["nDCG@10"]
    assert summary["delta"] == pytest.approx(single["delta"])
    assert summary["ci"][0] < summary["delta"] < summary["ci"][1]
    jsonschema.Draft202012Validator(result_schema()).validate(result)


def test_what_a_stored_run_lacks_is_counted_per_data_set(tmp_path: Path) -> None:
    path = tmp_path / "part.trec"
    path.write_text(
        "q-drink Q0 tea 1 2 t\nq-moon Q0 tides 1 2 t\nq-dough Q0 yeast 1 1 t\nq-chain Q0 twin-a 1 1 t\nq-zero Q0 sun 1 1 t\n"
        "q-else Q0 sun 1 1 t\n"
    )
    result = run_tiny(tmp_path / "out", f"run:{path}").outcomes[0].result
    counts = result["datasets"]["tiny"]["counts"]
    assert counts["queries_outside_pool"] == 1
    assert counts["queries_with_unscored_docs"] == 5
    assert "unscored_docs" not in result["model"]


def test_queries_that_a_stored_run_lacks_count_0_where_that_is_allowed(tmp_path: Path) -> None:
    whole = run_tiny(tmp_path / "whole", "word_overlap:score")
    lines = (whole.outcomes[0].folder / "tiny.run.trec.gz").read_bytes()
    path = tmp_path / "part.trec"
    kept = [line for line in gzip.decompress(lines).decode().splitlines() if not line.startswith(("q-moon", "q-zero"))]
    path.write_text("\n".join(kept) + "\n")
    with pytest.raises(DataError, match=r"no results for 2 of \d judged queries .*pass --allow-missing-queries"):
        run_tiny(tmp_path / "out", f"run:{path}")
    report = run_tiny(tmp_path / "out", f"run:{path}", allow_missing_queries=True)
    result = report.outcomes[0].result
    jsonschema.Draft202012Validator(result_schema()).validate(result)
    assert result["request"]["allow_missing_queries"] is True
    counts = result["datasets"]["tiny"]["counts"]
    assert counts["missing"] == 1, "q-zero has no positive judgement, so no mean runs over it"
    stored = read_stored_result(report.outcomes[0].folder)
    before = read_stored_result(whole.outcomes[0].folder).query_values("tiny", "end_to_end")
    values = stored.query_values("tiny", "end_to_end")
    for measure, pairs in before.items():
        assert pairs["q-moon"][1] > 0 or measure == "P@1"
        expected = {query_id: (a, 0.0 if query_id == "q-moon" else b) for query_id, (a, b) in pairs.items()}
        assert values[measure] == expected, measure
    assert {"q-moon", "q-zero"}.isdisjoint(stored.reranked("tiny"))
    assert "q-moon" in stored.candidates("tiny")


def test_a_model_that_cannot_be_opened_is_told_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no_such_module"):
        run_tiny(tmp_path / "out", "first-stage", "no_such_module:score")
    assert not (tmp_path / "out").exists()
