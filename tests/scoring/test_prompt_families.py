"""Which files make a family that is asked in words, and the way from the command line to its scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loopback_hub import LoopbackHub, use_hub
from tiny_language_models import CHAT_TEMPLATE, write_causal_lm, write_seq2seq
from typer.testing import CliRunner

from rerank_bench.cli.app import app
from rerank_bench.errors import ScoringError
from rerank_bench.scoring.checkpoints import read_checkpoint
from rerank_bench.scoring.loaded_scorer import load_scorer

TOKENS: dict[str, Any] = {"positive_token": "yes", "negative_token": "no"}
TINY = Path(__file__).parents[1] / "data" / "tiny"


def family_of(folder: Path, config: dict[str, Any], modules: list[str] | None = None) -> str:
    """Return the family of a folder with these settings and no weights."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    if modules is not None:
        entries = [{"idx": i, "name": str(i), "path": "", "type": f"st.{kind}"} for i, kind in enumerate(modules)]
        (folder / "modules.json").write_text(json.dumps(entries))
    return read_checkpoint(folder, name="x", revision=None).family


@pytest.mark.parametrize(
    ("config", "modules", "family"),
    [
        ({"architectures": ["Qwen3ForCausalLM"]}, None, "causal-lm"),
        ({"architectures": ["GPT2LMHeadModel"]}, None, "causal-lm"),
        ({"architectures": ["Qwen3ForCausalLM"]}, ["Transformer", "LogitScore"], "causal-lm"),
        ({"architectures": ["Qwen3ForCausalLM"]}, ["Transformer", "Pooling", "Normalize"], "bi-encoder"),
        ({"architectures": ["Qwen3ForSequenceClassification"]}, None, "sequence-classifier"),
        ({"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True}, None, "seq2seq"),
        ({"architectures": ["MT5ForConditionalGeneration"], "is_encoder_decoder": True}, None, "seq2seq"),
    ],
)
def test_the_family_is_read_from_the_files(
    config: dict[str, Any], modules: list[str] | None, family: str, tmp_path: Path
) -> None:
    assert family_of(tmp_path / "bge-reranker-t5-causal-lm", config, modules) == family


def test_a_generator_without_an_encoder_is_not_taken_for_one(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match=r"an encoder-decoder \.\.\.ForConditionalGeneration \(seq2seq\)"):
        family_of(tmp_path / "images", {"architectures": ["Gemma3ForConditionalGeneration"]})


def test_the_family_can_be_overridden(tmp_path: Path) -> None:
    folder = write_seq2seq(tmp_path / "model")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"architectures": ["SomethingElse"]}))
    with pytest.raises(ScoringError, match=r"name it with --family"):
        load_scorer(str(folder), device="cpu")
    assert load_scorer(str(folder), device="cpu", family="seq2seq").describe()["family"] == "seq2seq"


def test_the_command_line_asks_as_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_causal_lm(tmp_path / "model", "qwen3", chat_template=CHAT_TEMPLATE)
    template = tmp_path / "prompt.txt"
    template.write_text("{instruction}\nA: {query}\nB: {document}\nRelevant?\n\n")
    arguments = ["run", "-m", str(folder), "-d", str(TINY), "--json", "--quiet", "--device", "cpu"]
    tokens = ["--positive-token", "yes", "--negative-token", "no"]
    told = ["--template", str(template), "--instruction", "Find it."]
    result = CliRunner().invoke(app, [*arguments, *tokens, *told])
    assert result.exit_code == 0, result.output
    model = json.loads(result.stdout)[0]["model"]
    assert model["template"] == "Find it.\nA: {query}\nB: {document}\nRelevant?\n"
    assert (model["instruction"], model["positive_token"], model["negative_token"]) == ("Find it.", "yes", "no")
    again = CliRunner().invoke(app, [*arguments, *tokens, "--out", "other"])
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)[0]["model"]["recipe"] == "chat template", "not the first run's stored scores"
    refused = CliRunner().invoke(app, [*arguments, "--out", "third"])
    assert refused.exit_code == 2
    assert "--positive-token" in refused.stderr


def test_equal_texts_get_equal_scores(tmp_path: Path, text_pairs: list[tuple[str, str]]) -> None:
    folder = write_causal_lm(tmp_path / "model", "qwen3", chat_template=CHAT_TEMPLATE)
    loaded = load_scorer(str(folder), device="cpu", batch_tokens=500, **TOKENS)
    scores = loaded.score(text_pairs + text_pairs[::-1])
    np.testing.assert_array_equal(scores[: len(text_pairs)], scores[len(text_pairs) :][::-1])


def test_a_chat_template_comes_from_the_hub_with_the_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = write_causal_lm(tmp_path / "model", "qwen3", chat_template=CHAT_TEMPLATE)
    assert (folder / "chat_template.jinja").is_file(), "as transformers 5 saves it"
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    pairs = [("stop", "a list"), ("how to", "sort the list")]
    expected = load_scorer(str(folder), device="cpu", **TOKENS).score(pairs)
    with LoopbackHub() as hub:
        use_hub(monkeypatch, hub, tmp_path / "home")
        hub.add_repository("owner/tiny", files, repository_type="model")
        loaded = load_scorer("owner/tiny", device="cpu", **TOKENS)
    assert loaded.describe()["recipe"] == "chat template"
    np.testing.assert_array_equal(loaded.score(pairs), expected)
