"""The JSON of summaries."""

from __future__ import annotations

import json

from rerank_bench.evaluation.summaries import ties_to_json, view_to_json
from rerank_bench.records import MeasureSummary, TieReport, ViewEvaluation

SUMMARY = MeasureSummary(
    first_stage=0.5,
    reranked=0.625,
    delta=0.125,
    ci=(0.0625, 0.1875),
    p=0.01,
    ceiling=1.0,
    headroom_used=0.25,
    better=3,
    equal=2,
    worse=1,
    sd=0.1,
    mde=0.2,
)
NOTHING_KNOWN = MeasureSummary(
    first_stage=0.5, reranked=0.5, delta=0.0, ci=None, p=1.0, ceiling=None, headroom_used=None, better=0, equal=1, worse=0, sd=None, mde=None
)  # fmt: skip


def test_a_view_as_json() -> None:
    view = ViewEvaluation(
        measures={"nDCG@10": SUMMARY, "AP": NOTHING_KNOWN}, per_query={"nDCG@10": {"q": (0.5, 0.625)}}
    )
    assert json.loads(json.dumps(view_to_json(view), allow_nan=False)) == {
        "measures": {
            "nDCG@10": {
                "first_stage": 0.5,
                "reranked": 0.625,
                "delta": 0.125,
                "ci": [0.0625, 0.1875],
                "p": 0.01,
                "ceiling": 1.0,
                "headroom_used": 0.25,
                "better": 3,
                "equal": 2,
                "worse": 1,
                "sd": 0.1,
                "mde": 0.2,
            },
            "AP": {
                "first_stage": 0.5,
                "reranked": 0.5,
                "delta": 0.0,
                "ci": None,
                "p": 1.0,
                "ceiling": None,
                "headroom_used": None,
                "better": 0,
                "equal": 1,
                "worse": 0,
                "sd": None,
                "mde": None,
            },
        }
    }


def test_ties_as_json() -> None:
    ties = TieReport(cutoff=10, share_crossing=0.1, share_tied=0.2, lowest=0.3, highest=0.4)
    assert ties_to_json(ties) == {
        "cutoff": 10,
        "share_crossing": 0.1,
        "share_tied": 0.2,
        "lowest": 0.3,
        "highest": 0.4,
    }
