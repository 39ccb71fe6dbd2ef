"""The self-test finds what is wrong with broken models, and nothing wrong with a sound one."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from loopback_endpoint import LoopbackEndpoint
from rich.console import Console
from tiny_language_models import write_causal_lm, write_seq2seq
from tiny_late_interaction import write_pylate, write_stanford
from tiny_models import write_sequence_classifier
from typer.testing import CliRunner
from watcher import Watcher

from rerank_bench.cli.app import app
from rerank_bench.cli.render_doctor import render_examination
from rerank_bench.doctor.activations import activate, num_new_ties, to_bfloat16
from rerank_bench.doctor.examination import Examination, examine
from rerank_bench.doctor.sanity_pairs import SANITY_PAIRS
from rerank_bench.errors import ConfigError
from rerank_bench.progress import use_reporter

Pairs = list[tuple[str, str]]
IS_RELEVANT = {pair.relevant: True for pair in SANITY_PAIRS} | {pair.irrelevant: False for pair in SANITY_PAIRS}


@pytest.fixture
def callables() -> Iterator[ModuleType]:
    """A module whose functions are models."""
    module = ModuleType("doctors_patients")
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


def spread_out(pairs: Pairs, lowest: float = 1.0, gap: float = 10.0) -> list[float]:
    """The right order, every score another number, and the end of any document heard."""
    rank = {doc: i for i, doc in enumerate(sorted(IS_RELEVANT))}
    scores = []
    for _, doc in pairs:
        known = next((text for text in IS_RELEVANT if doc.endswith(text)), doc)
        scores.append(lowest + gap * IS_RELEVANT[known] + rank[known] / 16 + len(doc) / 65536)
    return scores


def status_of(found: Examination) -> dict[str, str]:
    return {check.name: check.status for check in found.checks}


def detail_of(found: Examination, name: str) -> str:
    return next(check.detail for check in found.checks if check.name == name)


def test_the_demo_encoder_is_sound() -> None:
    found = examine("demo", device="cpu")
    assert found.relevant_above is not None
    assert found.relevant_above >= found.num_queries - 1
    assert not found.has_failed
    assert status_of(found)["invariance"] == "ok"
    assert "max length 256 tokens" in detail_of(found, "truncation")


def test_a_sound_callable(callables: ModuleType) -> None:
    callables.score = spread_out  # type: ignore[attr-defined]
    watcher = Watcher()
    with use_reporter(watcher):
        found = examine("doctors_patients:score", max_length=9)
    assert watcher.notes == ["--max-length: no effect on doctors_patients:score"]
    assert found.relevant_above == found.num_queries == len(SANITY_PAIRS)
    expected = {"finite": "ok", "invariance": "ok", "sanity": "ok", "truncation": "ok", "saturation": "ok"}
    assert {name: status for name, status in status_of(found).items() if name != "precision"} == expected


def test_scores_that_depend_on_the_batch_are_a_failure(callables: ModuleType) -> None:
    def centred(pairs: Pairs) -> Any:
        scores = np.asarray(spread_out(pairs))
        return scores - scores.mean()

    callables.score = centred  # type: ignore[attr-defined]
    found = examine("doctors_patients:score")
    assert found.has_failed
    assert status_of(found)["invariance"] == "failure"
    assert "depends on more than its query and document" in detail_of(found, "invariance")


def test_scores_that_depend_on_the_call_are_a_failure(callables: ModuleType) -> None:
    calls = count()
    callables.score = lambda pairs: [score + next(calls) for score in spread_out(pairs)]  # type: ignore[attr-defined]
    assert status_of(examine("doctors_patients:score"))["invariance"] == "failure"


def test_nan_is_a_failure_that_names_the_pair(callables: ModuleType) -> None:
    callables.score = lambda pairs: [float("nan")] * len(pairs)  # type: ignore[attr-defined]
    found = examine("doctors_patients:score")
    assert status_of(found) == {"finite": "failure"}
    assert any(repr(pair.query) in detail_of(found, "finite") for pair in SANITY_PAIRS)
    assert json.loads(json.dumps(found.as_dict()))["failed"] is True


def test_the_wrong_way_round_is_said(callables: ModuleType) -> None:
    callables.score = lambda pairs: [-score for score in spread_out(pairs)]  # type: ignore[attr-defined]
    found = examine("doctors_patients:score")
    assert found.relevant_above == 0
    assert status_of(found)["sanity"] == "warning"
    assert "the wrong way round: check --positive-label" in detail_of(found, "sanity")


def test_one_score_for_all_is_said(callables: ModuleType) -> None:
    callables.score = lambda pairs: [0.25] * len(pairs)  # type: ignore[attr-defined]
    assert "every pair has the score 0.25" in detail_of(examine("doctors_patients:score"), "sanity")


def test_a_checkpoint_whose_activation_saturates(tmp_path: Path) -> None:
    folder = write_sequence_classifier(tmp_path / "model")
    sound = examine(str(folder), device="cpu")
    assert status_of(sound)["saturation"] == "ok"
    assert "Sentence Transformers takes it for one label" in detail_of(sound, "saturation")
    assert status_of(sound)["truncation"] == "note"
    assert (sound.model["family"], sound.model["max_length"]) == ("sequence-classifier", 64)
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"] += 30
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["sentence_transformers"] = {"activation_fn": "torch.nn.modules.activation.Sigmoid"}
    (folder / "config.json").write_text(json.dumps(config))
    found = examine(str(folder), device="cpu")
    assert status_of(found)["saturation"] == "warning"
    assert "makes 24 of 24 different scores equal" in detail_of(found, "saturation")
    assert not found.has_failed


def test_activations_and_roundings_are_those_of_torch() -> None:
    scores = np.random.default_rng(0).normal(0, 12, 1000).astype(np.float32)
    tensor = torch.from_numpy(scores)
    np.testing.assert_array_equal(to_bfloat16(scores), tensor.bfloat16().float().numpy())
    for name, function in {"torch.nn.Sigmoid": torch.sigmoid, "torch.nn.Tanh": torch.tanh}.items():
        activated = activate(name, scores)
        assert activated is not None
        np.testing.assert_allclose(activated, function(tensor).numpy(), rtol=1e-5, atol=0)
    assert activate("torch.nn.modules.linear.Identity", scores) is None
    assert activate("torch.nn.Sigmoid", np.asarray([16.7], dtype=np.float32)) == np.float32(1.0)


def test_only_new_ties_count() -> None:
    before = np.asarray([1.0, 1.0, 2.0, 3.0, 4.0], dtype=np.float32)
    after = np.asarray([0.0, 0.0, 7.0, 7.0, 9.0], dtype=np.float32)
    assert num_new_ties(before, after) == 2


def test_the_pairs_are_all_different_texts() -> None:
    assert len(IS_RELEVANT) == 2 * len(SANITY_PAIRS)
    assert len({pair.query for pair in SANITY_PAIRS}) == len(SANITY_PAIRS) >= 12


def test_a_baseline_cannot_be_examined() -> None:
    with pytest.raises(ConfigError, match="ranks documents by id"):
        examine("random")


@pytest.mark.parametrize(("sign", "code"), [(1.0, 0), (float("nan"), 2)])
def test_the_exit_code(sign: float, code: int, callables: ModuleType) -> None:
    callables.score = lambda pairs: [sign * score for score in spread_out(pairs)]  # type: ignore[attr-defined]
    shown = CliRunner().invoke(app, ["doctor", "--model", "doctors_patients:score"])
    assert shown.exit_code == code
    assert "doctors_patients:score" in shown.stdout
    assert ("failure" in shown.stdout) == (code == 2)
    printed = CliRunner().invoke(app, ["doctor", "-m", "doctors_patients:score", "--json"])
    assert printed.exit_code == code
    assert json.loads(printed.stdout)["failed"] is (code == 2)


def test_a_language_model_is_examined_with_the_prompt_that_is_given(tmp_path: Path) -> None:
    folder = write_causal_lm(tmp_path / "lm")
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("question {query} text {document} answer", encoding="utf-8")
    asked = [
        "doctor",
        "-m",
        str(folder),
        "--template",
        str(prompt),
        "--positive-token",
        "yes",
        "--negative-token",
        "no",
    ]
    shown = CliRunner().invoke(app, [*asked, "--json"])
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["model"]["family"] == "causal-lm"
    refused = CliRunner().invoke(app, ["doctor", "-m", str(folder)])
    assert refused.exit_code == 2
    assert "--template" in refused.stderr


def facts_shown(found: Examination) -> dict[str, str]:
    """What a terminal shows above the checks: label -> value."""
    console = Console(file=io.StringIO(), width=300)
    render_examination(console, found)
    above, _, _ = console.file.getvalue().partition("\n\n")  # type: ignore[attr-defined]
    lines = [line.strip().partition("  ") for line in above.splitlines()]
    return {label: value.strip() for label, _, value in lines}


def test_a_language_models_facts_are_shown(tmp_path: Path) -> None:
    folder = write_causal_lm(tmp_path / "lm")
    answers = {"positive_token": "yes", "negative_token": "no"}
    template = "question {query} text {document} answer"
    found = examine(str(folder), device="cpu", template=template, max_length=200, **answers)
    assert not found.has_failed
    assert facts_shown(found) | {"loaded in": ""} == {
        "model": "lm",
        "family": "causal-lm",
        "architecture": "Qwen3ForCausalLM",
        "template": "question {query} text {document} answer",
        "positive token": "yes",
        "negative token": "no",
        "max length": "200",
        "dtype": "float32",
        "attention": "sdpa",
        "device": "cpu",
        "parameters": f"{found.model['num_parameters']:,}",
        "loaded in": "",
    }
    assert "a document of 220 words is cut (max length 200 tokens)" in detail_of(found, "truncation")


def test_an_encoder_decoders_facts_are_shown(tmp_path: Path) -> None:
    found = examine(str(write_seq2seq(tmp_path / "t5")), device="cpu", max_length=100)
    assert not found.has_failed
    shown = facts_shown(found)
    assert (shown["family"], shown["architecture"]) == ("seq2seq", "T5ForConditionalGeneration")
    assert shown["template"] == "Query: {query} Document: {document} Relevant:"
    assert (shown["positive token"], shown["negative token"]) == ("▁true", "▁false")
    assert status_of(found)["truncation"] == "note"


def test_an_endpoints_facts_are_shown_and_nothing_that_it_does_not_tell() -> None:
    with LoopbackEndpoint("documents") as endpoint:
        found = examine(f"{endpoint.url}/rerank#tiny")
    shown = facts_shown(found) | {"loaded in": ""}
    assert shown == {"model": "tiny", "address": f"{endpoint.url}/rerank", "family": "external", "loaded in": ""}
    assert not found.has_failed
    assert status_of(found)["truncation"] == "ok"


@pytest.mark.parametrize("write", [write_pylate, write_stanford])
def test_a_late_interaction_model_is_examined(write: Any, tmp_path: Path) -> None:
    found = examine(str(write(tmp_path / "late")), device="cpu", max_length=30)
    assert not found.has_failed
    shown = facts_shown(found)
    assert (shown["family"], shown["architecture"]) == ("late-interaction", "BertModel")
    assert (shown["query length"], shown["max length"], shown["queries filled up to"]) == ("16", "30", "16")
    assert shown["document marker"] == {write_pylate: "[D]", write_stanford: "[unused1]"}[write]
    assert shown["similarity"] == "sum of maxima"
    assert "max length 30 tokens" in detail_of(found, "truncation")
