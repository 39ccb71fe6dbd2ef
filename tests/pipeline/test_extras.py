"""What a run measures beside its scores: the latency of a query, and how far two precisions rank alike."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from loopback_endpoint import LoopbackEndpoint
from rich.console import Console
from tiny_models import write_sequence_classifier
from watcher import Watcher

from rerank_bench.cli.render_extras import print_agreements, print_latencies
from rerank_bench.errors import ConfigError
from rerank_bench.evaluation.agreement import rank_agreement
from rerank_bench.pipeline.run import RunReport, run
from rerank_bench.progress import use_reporter
from rerank_bench.reporting.run_folder import result_schema
from rerank_bench.scoring.latency import WARM_UP_QUERIES
from rerank_bench.trec_io import read_qrels, read_run

TINY = Path(__file__).parents[1] / "data" / "tiny"
CPU = {"device": "cpu"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sequence_classifier(tmp_path_factory.mktemp("models") / "reranker", seed=2)


def blocks_of(report: RunReport, name: str) -> list[Any]:
    for outcome in report.outcomes:
        jsonschema.Draft202012Validator(result_schema()).validate(outcome.result)
    return [outcome.result["datasets"]["tiny"].get(name, "absent") for outcome in report.outcomes]


def test_latency_is_measured_at_every_depth_for_what_reads_texts(tmp_path: Path, model: Path) -> None:
    watcher = Watcher()
    with use_reporter(watcher):
        report = run(
            [str(model), "word_overlap:score", "first-stage"],
            datasets=[TINY],
            out=tmp_path / "out",
            depth=(2, 10),
            measure_latency=True,
            scorer=CPU,
        )
    blocks = blocks_of(report, "latency")
    assert blocks[4:] == ["absent", "absent"], "a baseline reads no text"
    for depth_2, depth_10 in (blocks[:2], blocks[2:4]):
        assert depth_2["num_queries"] == depth_10["num_queries"] == 6  # q-nothing and q-blank have no candidates
        assert depth_2["warm_up_queries"] == WARM_UP_QUERIES
        assert depth_2["docs_per_query"] <= 2 < depth_10["docs_per_query"]
        for block in (depth_2, depth_10):
            assert 0 < block["p50_seconds"] <= block["p95_seconds"] <= block["p99_seconds"]
    assert [task for task in watcher.tasks if task[0].startswith("latency")] == [
        (f"latency of tiny, depth {depth}", 6, "queries") for depth in (2, 10)
    ] * 2
    again = run([str(model)], datasets=[TINY], out=tmp_path / "out", depth=10, scorer=CPU)
    assert blocks_of(again, "latency") == ["absent"]
    assert again.outcomes[0].result["scoring"]["model_load_seconds"] is None, "without the option nothing is loaded"


def test_latency_of_an_endpoint_counts_its_requests(tmp_path: Path) -> None:
    with LoopbackEndpoint("documents") as endpoint:
        run([endpoint.url], datasets=[TINY], out=tmp_path / "out")
        num_requests = len(endpoint.bodies)
        report = run([endpoint.url], datasets=[TINY], out=tmp_path / "out", measure_latency=True)
        (block,) = blocks_of(report, "latency")
        assert len(endpoint.bodies) == 2 * num_requests + block["num_queries"] + WARM_UP_QUERIES


def test_the_agreement_is_that_of_two_runs(tmp_path: Path, model: Path) -> None:
    lower = run(
        [str(model)],
        datasets=[TINY],
        out=tmp_path / "lower",
        depth=(3, 10),
        check_dtype="float32",
        scorer=CPU | {"dtype": "bfloat16"},
    )
    exact = run([str(model)], datasets=[TINY], out=tmp_path / "exact", depth=(3, 10), scorer=CPU)
    qrels = read_qrels(lower.outcomes[0].folder / "tiny.qrels.gz")
    for block, own, other in zip(blocks_of(lower, "rank_agreement"), lower.outcomes, exact.outcomes, strict=True):
        own_run, other_run = (read_run(outcome.folder / "tiny.run.trec.gz") for outcome in (own, other))
        expected = rank_agreement(own_run, other_run, qrels).as_dict()
        assert (block.pop("dtype"), block.pop("reference_dtype")) == ("bfloat16", "float32")
        assert block == pytest.approx(expected, rel=1e-6)
        assert block["largest_score_difference"] > 0
    timing = exact.outcomes[-1].result["datasets"]["tiny"]["timing"]
    assert timing["num_pairs_from_store"] > 0, "what the check scored is not scored again"


def test_nothing_to_check_is_said(tmp_path: Path, model: Path) -> None:
    watcher = Watcher()
    with use_reporter(watcher):
        report = run(
            [str(model), "word_overlap:score", "random"],
            datasets=[TINY],
            out=tmp_path,
            check_dtype="float32",
            scorer=CPU,
        )
    assert blocks_of(report, "rank_agreement") == ["absent"] * 3
    assert f"--check-dtype leaves out {model}: the run is in float32 itself" in watcher.notes
    assert "--check-dtype leaves out word_overlap:score: it chooses its precision itself" in watcher.notes


@pytest.mark.parametrize(
    ("dtype", "check_dtype", "message"),
    [
        ("bfloat16", "bfloat16", "the run is in bfloat16, and would be checked against bfloat16; name another"),
        ("auto", "auto", "unknown dtype to check against 'auto'"),
        ("auto", "float23", "unknown dtype to check against 'float23'; did you mean 'float32'"),
    ],
)
def test_a_wrong_check_is_refused(tmp_path: Path, dtype: str, check_dtype: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(["random"], datasets=[TINY], out=tmp_path, check_dtype=check_dtype, scorer={"dtype": dtype})


def test_both_are_printed_in_80_columns() -> None:
    latency = {
        "p50_seconds": 0.0412,
        "p95_seconds": 0.9,
        "p99_seconds": 1.25,
        "docs_per_query": 98.7,
        "num_queries": 50,
    }
    agreement = {
        "dtype": "bfloat16",
        "reference_dtype": "float32",
        "kendall_tau": 0.99321,
        "top10_overlap": 0.991,
        "top10_changed": 0.32,
        "spurious_ties": 12,
        "largest_score_difference": 0.02,
        "largest_score": 10.0,
        "ndcg10": 0.51,
        "ndcg10_reference": 0.512,
        "num_queries": 50,
    }
    undefined = agreement | {"kendall_tau": None, "ndcg10": None, "ndcg10_reference": None, "largest_score": 0.0}
    datasets = {
        "NanoClimateFEVER": {"latency": latency, "rank_agreement": agreement},
        "tiny": {"latency": None, "rank_agreement": undefined},
    }
    results: list[dict[str, Any]] = [
        {"model": {"name": "cross-encoder/ms-marco-MiniLM-L6-v2"}, "request": {"depth": depth}, "datasets": found}
        for depth, found in ((10, datasets), (100, datasets), (100, {"tiny": {}}))
    ]
    console = Console(file=io.StringIO(), width=80)
    print_latencies(console, results)
    print_agreements(console, results)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("cross-encoder/ms-marco-MiniLM-L6-v2, depth 10\n") == 1
    assert text.count("cross-encoder/ms-marco-MiniLM-L6-v2, bfloat16 against float32, depth 100\n") == 1
    rows = [line.split() for line in text.splitlines()]
    assert rows.count(["NanoClimateFEVER", "41.2", "ms", "900.0", "ms", "1.25", "s", "99", "50"]) == 2
    assert rows.count(["NanoClimateFEVER", "0.9932", "99.1%", "32%", "-0.0020", "0.002", "12", "50"]) == 2
    assert rows.count(["tiny", "–", "99.1%", "32%", "–", "–", "12", "50"]) == 2
    nothing = Console(file=io.StringIO())
    print_latencies(nothing, results[2:])
    print_agreements(nothing, results[2:])
    assert nothing.file.getvalue() == ""  # type: ignore[attr-defined]
