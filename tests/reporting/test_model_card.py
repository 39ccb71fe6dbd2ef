"""Model cards: the hub's own parser reads what the results say; nothing unknown is stated; nobody's text is replaced."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from sample_results import NANOBEIR, make_result

from rerank_bench.errors import ConfigError
from rerank_bench.reporting.card_training import MAX_LOSS_ROWS, TrainingRecord, thin_rows
from rerank_bench.reporting.citations import _BIBTEX
from rerank_bench.reporting.model_card import CardFacts, is_untouched_card, render_card, write_card

NANO_3 = {name: NANOBEIR[name] for name in ("NanoMSMARCO", "NanoNFCorpus", "NanoNQ")}
MODEL = "tomaarsen/reranker-msmarco-v1.1-MiniLM-L12-H384-uncased-lambdaloss-hard-neg"


def result_of(**changes: Any) -> dict[str, Any]:
    return make_result(MODEL, NANO_3, suite="nanobeir-3") | changes


def record_of(**recipe: Any) -> TrainingRecord:
    """A training's record with every part that a card reads."""
    statistics = {
        "num_pairs": 40,
        "group_sizes": [4, 4],
        "labels": {"positive_share": 0.25, "counts": {"0": 30, "1": 10}},
        "tokens": {
            "sampled_pairs": 40,
            "p50": 9,
            "p90": 12,
            "p99": 14,
            "max": 15,
            "max_length": 96,
            "truncated_share": 0.0,
        },
        "shown": [{"query": "a|b", "documents": ["d1", "d2", "d3", "d4"], "labels": [1, 0, 0, 0]}],
    }
    record = {
        "job": {
            "recipe": {
                "model": "/somewhere/secret/base",
                "loss": {"name": "lambda", "weighting": "lambdarank", "sigma": 1.0},
                "batch_size": 32,
                "epochs": 1.0,
                "max_length": None,
                **recipe,
            },
            "data": {"examples": 10, "fingerprint": "f" * 64},
        },
        "about": {
            "shape": "lists",
            "columns": "query=q, documents=docs",
            "data": {"sources": ["/somewhere/secret/train.jsonl"], "split": "train"},
            "dropped": {"empty text": 2},
            "contamination": {"NanoNQ": {"queries": 3, "documents": 0, "examples": []}},
            "provenance": {
                "rerank_bench": "0.1.0",
                "versions": {"torch": "2.13.0", "peft": None},
                "machine": "A CPU, 2 cores, Linux",
                "command": "rerank-bench train --model /somewhere/secret/base",
            },
        },
        "outcome": {
            "steps": 8,
            "saved_step": 4,
            "best_by": "nDCG@10",
            "best_value": 0.5,
            "values": {"held-out loss": 0.25},
            "seconds": 90.0,
            "resumed_from": 0,
            "precision": "float32",
        },
        "statistics": statistics,
    }
    log = [
        {"step": "0", "epoch": "0", "loss": "", "nDCG@10": "0.3"},
        {"step": "4", "epoch": "0.5", "loss": "0.71", "nDCG@10": "0.5"},
        {"step": "8", "epoch": "1", "loss": "0.70", "nDCG@10": "0.4"},
    ]
    return TrainingRecord(
        record=record,
        log=log,
        defaults={"batch_size": 16, "epochs": 1.0, "max_length": None},
        base_hub_id=None,
        data_hub_id=None,
    )


def table_row(card: str, name: str, heading: str) -> list[str]:
    """The cells of the first row of that name below a heading."""
    part = card[card.index(heading) :]
    line = next(line for line in part.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_hub_reads_the_values_of_the_result() -> None:
    result = result_of()
    card = ModelCard(render_card(CardFacts(name="mine", results=[result], hub_id=MODEL)), ignore_metadata_errors=False)
    name, values = model_index_to_eval_results(card.data.to_dict()["model-index"])
    assert name == "mine"
    assert card.data.pipeline_tag == "text-ranking"
    found = {(v.dataset_name, v.metric_args["view"], v.metric_type): v for v in values}
    assert len(found) == len(values) == (3 + 1) * (3 + 4)
    blocks = {**result["datasets"], "nanobeir-3 (mean of 3 data sets)": result["suites"]["nanobeir-3"]}
    for (dataset, view, metric), value in found.items():
        measure = {"map": "AP", "mrr@10": "RR@10", "ndcg@10": "nDCG@10", "precision@1": "P@1"}[metric]
        summary = blocks[dataset]["views"][view]["measures"][measure]
        assert value.metric_value == pytest.approx(summary["reranked"], abs=1e-6)
        assert value.metric_args["gain"] == pytest.approx(summary["delta"], abs=1e-6)
        assert value.metric_args["gain_95_percent"] == pytest.approx(summary["ci"], abs=1e-6)
        assert (value.metric_args["depth"], value.metric_args["protocol"]) == (100, result["protocol_version"])
        assert view in value.metric_name


def test_the_front_matter_survives_the_hub_s_round_trip(tmp_path: Path) -> None:
    text = render_card(CardFacts(name="mine", results=[result_of()], training=record_of()))
    path = tmp_path / "README.md"
    path.write_text(text, encoding="utf-8")
    card = ModelCard.load(path)
    assert card.data.library_name == "transformers"
    assert "loss:lambda" in card.data.tags
    card.save(tmp_path / "again.md")
    again = ModelCard.load(tmp_path / "again.md")
    assert again.data.to_dict() == card.data.to_dict()
    assert again.text == card.text


def test_tables_have_the_published_form() -> None:
    result = result_of()
    card = render_card(CardFacts(name="mine", results=[result]))
    for view, name in (("injected", "ndcg@10"), ("end_to_end", "nDCG@10")):
        summaries = [block["views"][view]["measures"]["nDCG@10"] for block in result["datasets"].values()]
        expected = [f"**{s['reranked']:.4f} ({s['delta']:+.4f})**" for s in summaries]
        assert table_row(card, rf"**{name}**", f"### View `{view}`") == expected
        intervals = [f"{s['ci'][0]:+.4f} to {s['ci'][1]:+.4f}" for s in summaries]
        assert table_row(card, f"95% interval of the gain in {name}", f"### View `{view}`") == intervals
    assert card.index("### View `injected`") < card.index("### View `end_to_end`")
    assert "| measure | MSMARCO | NFCorpus | NQ |" in card
    assert "| measure | nanobeir-3, mean of 3 data sets |" in card
    assert f"depth 100 · protocol {result['protocol_version']}" in card


def test_results_under_other_conditions_stand_in_tables_of_their_own() -> None:
    other = make_result(MODEL, {"pydocs": 0.4}, depth=30)
    other["request"]["view"] = "retrieved"
    card = render_card(CardFacts(name="mine", results=[result_of(), other]))
    assert card.count("### View `injected`") == 1
    assert card.count("### View `retrieved`") == 1
    injected = card[card.index("### View `injected`") : card.index("### View `end_to_end`")]
    assert "| measure | pydocs |" in injected[injected.index("depth 30") :]
    assert "pydocs" not in injected[: injected.index("depth 30")]


def test_a_limited_run_says_so_and_stays_out_of_the_model_index() -> None:
    result = result_of(comparable=False)
    result["request"]["limit"] = 7
    text = render_card(CardFacts(name="mine", results=[result]))
    assert "Only the first 7 queries of each data set were measured" in text
    assert "model-index" not in ModelCard(text).data.to_dict()


def test_a_training_is_described_without_the_places_of_its_machine() -> None:
    card = render_card(CardFacts(name="mine", results=[result_of()], training=record_of()))
    assert "secret" not in card
    assert "somewhere" not in card
    assert "It was trained with rerank-bench from base." in card
    changed = card[card.index("### Hyper-parameters") : card.index("<details>")]
    assert "- `batch_size`: 32" in changed
    assert "epochs" not in changed
    assert "| **0.5000** | **4** | **0.7100** | **0.5000** |" in card
    assert "| 1.0000 | 8 | 0.7000 | 0.4000 |" in card
    assert "| labels | 30 of 0, 10 of 1 (25.0% above 0) |" in card
    assert r"| a\|b | d1 | 1 |" in card
    assert "| texts of NanoNQ in it | 3 examples with one of its queries, 0 with one of its documents |" in card
    assert "| left out: empty text | 2 |" in card
    assert "chosen by their value on these very queries" in card
    assert "| torch | 2.13.0 |" in card
    assert "| peft |" not in card


def test_what_is_unknown_is_said_to_be_or_left_out() -> None:
    training = record_of()
    bare = TrainingRecord(
        record={name: value for name, value in training.record.items() if name != "statistics"},
        log=training.log,
        defaults=training.defaults,
        base_hub_id=None,
        data_hub_id=None,
    )
    card = render_card(CardFacts(name="mine", training=bare))
    assert "| statistics | unknown |" in card
    assert "| energy | unknown (no energy counter could be read on this machine) |" in card
    assert "Not measured on any ranking data set. The weights were chosen by their value on these examples" in card
    assert "| held-out loss | 0.2500 |" in card
    front = card.split("---")[1]
    for absent in ("license", "language", "base_model", "datasets", "model-index"):
        assert absent not in front
    assert "accelerator" not in card


def test_what_is_on_the_hub_is_linked() -> None:
    local = record_of()
    training = TrainingRecord(
        record=local.record,
        log=local.log,
        defaults=local.defaults,
        base_hub_id="owner/base",
        data_hub_id="owner/data",
    )
    data = ModelCard(render_card(CardFacts(name="mine", training=training))).data
    assert data.base_model == "owner/base"
    assert data.datasets == ["owner/data"]


def test_energy_is_stated_by_its_counters() -> None:
    training = record_of()
    record = {**training.record, "energy": {"joules": {"GPU 0": 7200.0, "CPU package-0": 1800.0}}}
    measured = TrainingRecord(record=record, log=training.log, defaults={}, base_hub_id=None, data_hub_id=None)
    assert "GPU 0 2.00 Wh, CPU package-0 0.50 Wh" in render_card(CardFacts(name="mine", training=measured))


@pytest.mark.parametrize(
    ("family", "loss", "expected"),
    [
        ("bi-encoder", None, {"sentence-bert", "bm25"}),
        ("sequence-classifier", {"name": "bce"}, {"cross-encoder", "bm25"}),
        (
            "sequence-classifier",
            {"name": "lambda", "weighting": "none"},
            {"cross-encoder", "lambda", "ranknet", "bm25"},
        ),
        ("sequence-classifier", {"name": "margin-mse"}, {"cross-encoder", "margin-mse", "bm25"}),
        ("sequence-classifier", {"name": "pairwise-mse"}, {"cross-encoder", "margin-mse", "bm25"}),
    ],
)
def test_only_what_was_used_is_cited(family: str, loss: dict[str, Any] | None, expected: set[str]) -> None:
    result = make_result("demo", {"pydocs": 0.4})
    result["model"]["family"] = family
    training = None if loss is None else record_of(loss=loss)
    card = render_card(CardFacts(name="mine", results=[result], training=training))
    assert {key for key, text in _BIBTEX.items() if text in card} == expected


def test_long_logs_are_thinned_but_never_lose_an_evaluation_or_the_saved_row() -> None:
    rows = [{"step": str(step), "loss": "1", "nDCG@10": "0.5" if step % 100 == 0 else ""} for step in range(1, 1001)]
    kept = thin_rows(rows, ["nDCG@10"], "333")
    steps = [int(row["step"]) for row in kept]
    assert steps == sorted(steps)
    assert {333, *range(100, 1001, 100)} <= set(steps)
    assert len(kept) <= MAX_LOSS_ROWS + 11
    assert thin_rows(rows[:5], ["nDCG@10"], "3") == rows[:5]


def test_a_file_that_somebody_wrote_or_changed_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    card = render_card(CardFacts(name="mine", results=[result_of()]))
    write_card(path, card)
    assert is_untouched_card(path.read_text(encoding="utf-8"))
    write_card(path, render_card(CardFacts(name="other", results=[result_of()])))  # ours: replaced
    assert "# other" in path.read_text(encoding="utf-8")
    for text in (card.replace("# mine", "# Mine, with love"), card + "\nPS.\n", "My own words.\n", ""):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=r"is no card of rerank-bench, or was changed by hand; it is left alone"):
            write_card(path, card)
        assert path.read_text(encoding="utf-8") == text
    write_card(path, card, overwrite=True)
    assert path.read_text(encoding="utf-8") == card


def test_every_bibtex_entry_is_balanced_and_has_a_key_of_its_own() -> None:
    keys = [re.match(r"@\w+\{(\w+),", text) for text in _BIBTEX.values()]
    assert all(keys)
    assert len({key.group(1) for key in keys if key}) == len(_BIBTEX)
    for text in _BIBTEX.values():
        assert text.count("{") == text.count("}")
