"""Every tripwire trips on what it is for, keeps still on a sound run, and obeys its level and its limit."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gated_runs import SIZES, bury_relevant

from rerank_bench.errors import ConfigError, DataError, ParseError
from rerank_bench.gate.config import GateConfig, Tripwires
from rerank_bench.gate.tripwires import check_tripwires
from rerank_bench.gate.verdicts import Trip
from rerank_bench.reporting.stored_result import read_stored_result

MakeRun = Callable[..., Path]
REQUIRED = {dataset: [f"{dataset}-{number}" for number in range(size)] for dataset, size in SIZES.items()}


def trips_of(folder: Path, **tripwires: Any) -> list[Trip]:
    gate = GateConfig(tripwires=Tripwires(**tripwires))
    return check_tripwires(read_stored_result(folder), gate, REQUIRED)


def names_of(trips: list[Trip]) -> list[tuple[str, str | None]]:
    return [(trip.tripwire, trip.dataset) for trip in trips]


def edit_ranking(folder: Path, dataset: str, old: str, new: str) -> None:
    path = folder / f"{dataset}.run.trec.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    assert old in text
    path.write_bytes(gzip.compress(text.replace(old, new).encode()))


def test_a_sound_run_trips_nothing(make_run: MakeRun) -> None:
    assert trips_of(make_run()) == []


def test_a_score_that_is_not_finite(make_run: MakeRun) -> None:
    folder = make_run()
    first = gzip.decompress((folder / "beta.run.trec.gz").read_bytes()).decode().splitlines()[0].split()
    edit_ranking(folder, "beta", f"{first[2]} 1 {first[4]}", f"{first[2]} 1 nan")
    (trip,) = trips_of(folder)
    assert (trip.tripwire, trip.dataset, trip.level) == ("not_finite", "beta", "fail")
    assert f"nan for query 'beta-0', document '{first[2]}', line 1 of beta.run.trec.gz" in trip.message
    assert names_of(trips_of(folder, not_finite="warn")) == [("not_finite", "beta")]
    assert trips_of(folder, not_finite="off") == []


def test_a_ranking_that_is_broken_otherwise_is_an_error(make_run: MakeRun) -> None:
    folder = make_run()
    edit_ranking(folder, "alpha", "alpha-3 Q0", "alpha-3")
    with pytest.raises(ParseError, match="expected 6 fields"):
        trips_of(folder)
    (folder / "alpha.run.trec.gz").unlink()
    with pytest.raises(DataError, match=r"alpha\.run\.trec\.gz: no such file"):
        trips_of(folder)


def test_a_value_that_is_not_finite(make_run: MakeRun) -> None:
    folder = make_run()
    path = folder / "alpha.queries.csv"
    lines = path.read_text().splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("end_to_end,alpha-7,"))
    cells = lines[row].split(",")
    cells[3] = "nan"
    lines[row] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")
    assert ("not_finite", "alpha") in names_of(trips_of(folder))


def test_missing_queries(make_run: MakeRun) -> None:
    folder = make_run()
    path = folder / "beta.queries.csv"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if ",beta-4," not in line))
    text = gzip.decompress((folder / "beta.run.trec.gz").read_bytes()).decode()
    kept = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("beta-9 "))
    (folder / "beta.run.trec.gz").write_bytes(gzip.compress(kept.encode()))
    (trip,) = trips_of(folder)
    assert (trip.tripwire, trip.dataset) == ("missing_queries", "beta")
    assert "1 queries of the baseline have no value (first: 'beta-4')" in trip.message
    assert "1 judged queries have candidates but no ranking (first: 'beta-9')" in trip.message


def test_constant_scores(make_run: MakeRun) -> None:
    def spoil(dataset: str, number: int, scores: np.ndarray) -> np.ndarray:
        return np.zeros_like(scores) if dataset == "alpha" and number < 2 else scores

    folder = make_run(spoil=spoil)
    found = trips_of(folder, ties="off", below_random="off", below_first_stage="off")
    assert names_of(found) == [("constant_scores", "alpha")]
    assert "2 of 24 queries (8%, allowed are 5%)" in found[0].message
    assert trips_of(folder, max_constant_share=0.1, ties="off") == []


def test_ties_across_the_cutoff(make_run: MakeRun) -> None:
    def spoil(dataset: str, number: int, scores: np.ndarray) -> np.ndarray:
        """Let the middle of the list tie: from rank 9 to rank 12, or, in other queries, within the first ten."""
        order = np.argsort(-scores)
        tied = slice(8, 12) if dataset == "beta" and number in {1, 5} else slice(2, 10)
        scores[order[tied]] = scores[order[tied]].mean()
        return scores

    folder = make_run(spoil=spoil)
    (trip,) = trips_of(folder)
    assert (trip.tripwire, trip.dataset) == ("ties", "beta")
    assert "in 2 of 16 queries (12%, allowed are 5%)" in trip.message
    assert trips_of(folder, max_ties_share=0.125) == []


def test_below_the_first_stage_and_below_random(make_run: MakeRun) -> None:
    harmful = make_run("harmful", spoil=bury_relevant)
    assert names_of(trips_of(harmful)) == [
        ("below_random", "alpha"),
        ("below_random", "beta"),
        ("below_first_stage", None),
    ]
    assert [trip.level for trip in trips_of(harmful, below_random="off", below_first_stage="warn")] == ["warn"]

    def keep_first_stage(_dataset: str, _number: int, scores: np.ndarray) -> np.ndarray:
        return -np.arange(len(scores), dtype=float)

    assert ("below_first_stage", None) not in names_of(trips_of(make_run("same", spoil=keep_first_stage)))


def test_a_random_order_is_worth_its_expectation(make_run: MakeRun) -> None:
    """Of P@1 the expectation is known: 2 of 20 candidates are relevant."""
    found = check_tripwires(
        read_stored_result(make_run(spoil=bury_relevant)), GateConfig(measure="P@1"), {"alpha": REQUIRED["alpha"]}
    )
    message = next(trip.message for trip in found if trip.tripwire == "below_random")
    shown = float(message.split("in random order, ")[1].split(";")[0])
    # 24 queries in 5 orders: 120 draws of chance 0.1, so three standard errors are 0.082.
    assert shown == pytest.approx(0.1, abs=0.082)


def test_truncation(make_run: MakeRun) -> None:
    folder = make_run(truncated_share=0.6)
    assert {(t.tripwire, t.level) for t in trips_of(folder)} == {("truncation", "warn")}
    assert "60% of the model's inputs" in trips_of(folder)[0].message
    assert trips_of(folder, max_truncated_share=0.6) == []
    assert trips_of(make_run(truncated_share=None), max_truncated_share=0.0) == []


def test_a_measure_that_is_not_stored_is_computed(make_run: MakeRun) -> None:
    gate = GateConfig(measure="nDCG@5")
    run = read_stored_result(make_run(spoil=bury_relevant))
    assert "nDCG@5" in check_tripwires(run, gate, REQUIRED)[-1].message


def test_levels_and_limits_are_checked() -> None:
    with pytest.raises(
        ConfigError, match=r"tripwires\.ties is 'error', expected one of fail, warn, off; .*max_ties_share"
    ):
        replace(Tripwires(), ties="error", max_ties_share=5)  # type: ignore[arg-type]
