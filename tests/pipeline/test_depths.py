"""Several depths from one scoring pass: each is what a run at that depth alone would have been."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import word_overlap
from tiny_models import write_sequence_classifier
from typer.testing import CliRunner

from rerank_bench.cli.app import app
from rerank_bench.errors import ConfigError
from rerank_bench.pipeline.depths import parse_depth, parse_depths
from rerank_bench.pipeline.run import run
from rerank_bench.reporting.leaderboard import read_leaderboard
from rerank_bench.reporting.stored_result import read_stored_result

TINY = Path(__file__).parents[1] / "data" / "tiny"
DEPTHS = (1, 3, 100)


def without_times(block: dict[str, Any]) -> dict[str, Any]:
    return block | {"timing": {k: v for k, v in block["timing"].items() if not k.endswith("_seconds")}}


def test_every_depth_of_a_sweep_equals_a_run_at_that_depth(tmp_path: Path) -> None:
    models = ["first-stage", "random", "oracle", "word_overlap:score"]
    swept = run(models, datasets=[TINY], depth=[3, 100, 1], out=tmp_path / "sweep")
    assert [outcome.result["request"]["depth"] for outcome in swept.outcomes] == list(DEPTHS) * 4
    for depth in DEPTHS:
        alone = run(models, datasets=[TINY], depth=depth, out=tmp_path / f"{depth}")
        for single in alone.outcomes:
            folder = tmp_path / "sweep" / f"{single.folder.name}@{depth}"
            result = read_stored_result(folder).result
            assert without_times(result["datasets"]["tiny"]) == without_times(single.result["datasets"]["tiny"])
            assert result["request"] == single.result["request"] | {"depths": list(DEPTHS)}
            names = sorted(path.name for path in folder.iterdir())
            assert names == sorted(path.name for path in single.folder.iterdir())
            for name in set(names) - {"result.json"}:
                assert (folder / name).read_bytes() == (single.folder / name).read_bytes(), (depth, single.folder, name)


def test_a_sweep_scores_once_at_its_greatest_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []
    score = word_overlap.score

    def remembering(pairs: Sequence[tuple[str, str]]) -> list[float]:
        seen.extend(pairs)
        return score(pairs)

    monkeypatch.setattr(word_overlap, "score", remembering)
    report = run(["word_overlap:score"], datasets=[TINY], depth=DEPTHS, out=tmp_path)
    assert len(seen) == len(set(seen))
    for outcome in report.outcomes:
        assert outcome.result["scoring"]["depth"] == 100
        (job,) = outcome.result["scoring"]["jobs"]
        assert job["num_distinct_pairs"] == len(seen)
    numbers = [outcome.result["datasets"]["tiny"]["timing"]["num_pairs"] for outcome in report.outcomes]
    assert numbers == sorted(set(numbers)), "each depth counts its own pairs"
    assert numbers[-1] == job["num_pairs"]


def test_a_sweep_of_a_model_stands_in_the_leaderboard_and_costs_nothing_again(tmp_path: Path) -> None:
    model = str(write_sequence_classifier(tmp_path / "reranker", seed=2))
    options: dict[str, Any] = {"datasets": [TINY], "out": tmp_path / "out", "scorer": {"device": "cpu"}}
    run([model], depth=(1, 5), **options)
    frame = read_leaderboard(tmp_path / "out" / "leaderboard.csv")
    rows = frame[frame["view"] == "end_to_end"].set_index("depth")
    assert sorted(rows.index) == [1, 5]
    assert rows["pairs_per_second"].notna().all()
    assert rows["score_seconds"].isna().to_dict() == {1: True, 5: False}
    assert rows["candidates_fingerprint"].nunique() == 2
    again = run([model], depth=3, **(options | {"out": tmp_path / "again"})).outcomes[0].result
    (job,) = again["scoring"]["jobs"]
    assert job["num_pairs_from_store"] == job["num_pairs"]
    timing = again["datasets"]["tiny"]["timing"]
    assert timing["truncated_share"] is not None
    assert timing["num_tokens"] > timing["num_pairs"]


def test_a_sweep_on_the_command_line(tmp_path: Path) -> None:
    arguments = ["run", "-m", "oracle", "-d", str(TINY), "--depth", "100, 2", "--out", str(tmp_path / "out")]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    flat = " ".join(shown.stdout.split())
    assert flat.index("stage bm25, depth 2 ·") < flat.index("stage bm25, depth 100 ·")
    assert "Not comparable" not in flat
    records = json.loads(CliRunner().invoke(app, [*arguments, "--json", "--quiet"]).stdout)
    assert [record["request"]["depth"] for record in records] == [2, 100]
    assert sorted(path.name for path in (tmp_path / "out").glob("oracle*")) == ["oracle@100", "oracle@2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10,,20", r"--depth is '10,,20', which has an empty entry; expected whole numbers of at least 1"),
        ("", r"--depth is '', which has an empty entry"),
        ("abc", r"--depth is 'abc', and 'abc' is no whole number"),
        ("10,1.5", r"--depth is '10,1.5', and '1.5' is no whole number"),
        ("0", r"depth is 0, expected whole numbers of at least 1, such as 100 or 10,20,50,100"),
        ("5,-3", r"depth is -3, expected"),
        ("10,20,10", r"depth 10 is named twice; name every depth once"),
    ],
)
def test_a_wrong_list_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_depths(text)


@pytest.mark.parametrize(
    ("depth", "message"),
    [([], "an empty list"), ("10", "depth is '10', expected"), ([10, 2.5], "2.5"), (True, "True"), ([3, 3], "twice")],
)
def test_a_wrong_depth_in_python_is_named_before_anything_is_done(tmp_path: Path, depth: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(["oracle"], datasets=[TINY], depth=depth, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_commands_take_one_depth() -> None:
    assert parse_depth(" 7") == 7
    result = CliRunner().invoke(app, ["candidates", str(TINY), "--depth", "10,20"])
    assert result.exit_code == 2
    assert "--depth is '10,20', expected one number here: a list of depths is for `rerank-bench run`" in " ".join(
        result.stderr.split()
    )
