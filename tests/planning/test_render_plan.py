from __future__ import annotations

import io

import pytest
from rich.console import Console

from rerank_bench.cli.render_plan import render_plan
from rerank_bench.planning.records import DatasetPlan, ModelPlan, Plan


@pytest.mark.parametrize(("busy_share", "is_said"), [(0.05, False), (0.85, True), (None, False)])
def test_a_busy_machine_is_said(busy_share: float | None, *, is_said: bool) -> None:
    dataset = DatasetPlan(name="tiny", basis="lists", queries=8, documents=15, pairs=20)
    model = ModelPlan(
        spec="demo",
        pairs=20,
        stored_pairs=0,
        tokens=900,
        load_seconds=1.0,
        tokenise_seconds=0.1,
        score_seconds=300.0,
        calibration_seconds=3.0,
        processor_seconds=45.0,
        busy_share=busy_share,
        device="cpu",
    )
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    render_plan(console, Plan(first_stage="bm25", depth=100, datasets=[dataset], models=[model]))
    shown = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    said = "Other work took 85% of the cores meanwhile; scoring needs 45 s of processor time"
    assert (said in shown) is is_said
    assert "score 5.0 min" in shown
