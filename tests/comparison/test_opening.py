"""Whatever a user names as a run opens as the same run; what does not open says why."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest
from run_folders import make_qrels, write_run_of

from rerank_bench.comparison.opening import open_sources
from rerank_bench.errors import ComparisonError, ConfigError, DataError
from rerank_bench.reporting.leaderboard import update_leaderboard
from rerank_bench.reporting.rows import rows_from_result
from rerank_bench.reporting.run_folder import read_result
from rerank_bench.trec_io import write_qrels


def make_leaderboard(path: Path, folders: dict[str, Path]) -> Path:
    for given, folder in folders.items():
        update_leaderboard(path, rows_from_result(read_result(folder), given))
    return path


def test_every_way_to_name_a_run_opens_the_same_values(runs: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(runs, project / "runs")
    csv = make_leaderboard(project / "leaderboards" / "results.csv", {"runs/strong": project / "runs" / "strong"})
    folder = project / "runs" / "strong"
    for location in (folder, folder / "result.json", f"{csv}:strong", f"{csv}:strong@both"):
        (source,) = open_sources([str(location)])
        assert source.label == "strong"
        assert source.datasets == ("alpha", "beta")
        assert source.suites == {"both": ("alpha", "beta")}
        values = source.query_values("beta", "nDCG@10", "end_to_end")
        assert list(values) == list(make_qrels("beta", 17))
    (beta,) = open_sources([f"{csv}:strong@beta"])
    assert (beta.datasets, beta.suites) == (("beta",), {})
    run_file = folder / "beta.run.trec.gz"
    (trec,) = open_sources([str(run_file)], qrels=folder / "beta.qrels.gz")
    assert (trec.label, trec.datasets) == ("beta", ("beta",))
    assert trec.query_values("beta", "nDCG@10", "end_to_end") == pytest.approx(values)


def test_a_measure_that_is_not_stored_is_computed(runs: Path) -> None:
    (source,) = open_sources([str(runs / "strong")])
    assert source.result is not None
    stored = source.query_values("alpha", "RR@10", "end_to_end")
    computed = source.query_values("alpha", "RR", "end_to_end")  # lists of 12: the same but for ranks 11 and 12
    assert all(computed[q] == pytest.approx(value) for q, value in stored.items() if value)
    assert source.query_values("alpha", "MRR@10", "end_to_end") == stored


def test_runs_of_one_name_are_told_apart_by_their_places(runs: Path) -> None:
    places = [str(runs / "strong"), str(runs / "again" / "strong" / "result.json"), str(runs / "weak")]
    assert [s.label for s in open_sources(places)] == [f"strong [{runs.name}]", "strong [again]", "weak"]
    assert [s.label for s in open_sources(places[:1] * 2)] == ["strong [#1]", "strong [#2]"]


def test_a_trec_run_beside_a_folder_takes_its_judgements(runs: Path) -> None:
    strong = runs / "strong"
    places = [str(strong), str(runs / "weak" / "alpha.run.trec.gz")]
    folder, trec = open_sources(places, datasets=["alpha"])
    assert trec.datasets == ("alpha",)
    assert trec.identity("alpha")["qrels"] == folder.identity("alpha")["qrels"]
    with pytest.raises(ConfigError, match="a TREC run is of one data set, found alpha, beta: name it with --dataset"):
        open_sources(places)


def test_a_trec_run_takes_the_judgements_of_a_named_data_set(tmp_path: Path) -> None:
    (tmp_path / "x.trec").write_text("q Q0 d 1 1.0 x\n", encoding="utf-8")
    (source,) = open_sources([str(tmp_path / "x.trec")], datasets=["pydocs"])
    assert source.datasets == ("pydocs",)
    with pytest.raises(
        ComparisonError, match=r"queries: x lacks 144 of 144 judged queries of pydocs .* it has 'q'; is"
    ):
        source.query_values("pydocs", "nDCG@10", "end_to_end")


def test_a_query_that_a_trec_run_lacks_is_an_error_or_counts_0(runs: Path, tmp_path: Path) -> None:
    qrels = make_qrels("alpha", 30)
    write_qrels(tmp_path / "q.txt", qrels | {"more": {"d": 1}})
    run = str(runs / "strong" / "alpha.run.trec.gz")
    (strict,) = open_sources([run], qrels=tmp_path / "q.txt")
    with pytest.raises(ComparisonError, match=r"lacks 1 of 31 judged queries of q \(first: 'more'\).*allow-missing"):
        strict.query_values("q", "nDCG@10", "end_to_end")
    (lenient,) = open_sources([run], qrels=tmp_path / "q.txt", allow_missing_queries=True)
    assert lenient.query_values("q", "nDCG@10", "end_to_end")["more"] == 0


@pytest.mark.parametrize(
    ("location", "error", "message"),
    [
        ("nowhere", DataError, "nowhere: no such run; expected a run folder"),
        ("results.csv", ConfigError, r"which of its models\? Write results.csv:MODEL; it has strong, weak"),
        ("results.csv:week", ConfigError, "unknown model 'week'; did you mean 'weak'"),
        ("results.csv:weak@gamma", ConfigError, "unknown model 'weak@gamma'; did you mean"),
        ("results.csv:strong", ConfigError, r"stands for several runs: strong@alpha \(here/strong\)"),
        ("results.csv:strong@alpha", DataError, "points at 'here/strong', which is neither"),
        ("gone.csv:weak", DataError, "gone.csv: no such file"),
        (".", DataError, "result.json: no such file; a run folder without it is not finished"),
    ],
)
def test_what_does_not_open_says_why(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str, error: type[Exception], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    csv = make_leaderboard(Path("results.csv"), {"here/strong": runs / "strong", "here/weak": runs / "weak"})
    other = write_run_of(tmp_path / "gamma" / "strong", "strong", {"gamma": 5})
    make_leaderboard(csv, {"gamma/strong": other})
    with pytest.raises(error, match=message):
        open_sources([location])


def test_a_folder_that_was_written_anew_is_not_what_the_row_says(tmp_path: Path) -> None:
    folder = write_run_of(tmp_path / "runs" / "m", "m", {"alpha": 9}, seed=1)
    csv = make_leaderboard(tmp_path / "results.csv", {"runs/m": folder})
    write_run_of(folder, "m", {"alpha": 9}, seed=2)
    with pytest.raises(DataError, match=r"the row of 'm' on 'alpha' is not that of .*; name the run folder itself"):
        open_sources([f"{csv}:m"])


def test_judgements_that_nothing_needs_are_refused(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is for TREC runs"):
        open_sources([str(runs / "weak")], qrels=tmp_path / "q.txt")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("beta.run.trec.gz", "beta"),
        ("BM25.2019.res.gz", "BM25.2019"),
        ("qrels.dl19-passage.txt", "dl19-passage"),
        ("beta.qrels.gz", "beta"),
        ("test.tsv", "test"),
        ("qrels", "qrels"),
        (".trec", ".trec"),
        ("a.b", "a.b"),
    ],
)
def test_a_file_gives_its_name(tmp_path: Path, file: str, name: str) -> None:
    (tmp_path / "q.txt").write_text("q 0 d 1\n", encoding="utf-8")
    text = "q Q0 d 1 1 x\n"
    if file.endswith(".gz"):
        with gzip.open(tmp_path / file, "wt", encoding="utf-8") as stream:
            stream.write(text)
    else:
        (tmp_path / file).write_text(text, encoding="utf-8")
    (source,) = open_sources([str(tmp_path / file)], qrels=tmp_path / "q.txt")
    assert (source.label, source.datasets) == (name, ("q",))
