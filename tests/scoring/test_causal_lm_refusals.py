"""What a causal language model could be asked in a wrong way, or lack, is refused and named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_language_models import CHAT_TEMPLATE, CONVERSATION_TEMPLATE, PLAIN, TOKENS, copied, write_seq2seq

from rerank_bench.errors import ConfigError, InvalidScoreError, ScoringError
from rerank_bench.scoring.loaded_scorer import load_scorer


def test_a_checkpoint_without_a_recipe_is_refused(decoder: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"the tokenizer has no chat template\. Pass --template with one of bge-.*mono"
    ):
        load_scorer(str(decoder("qwen3")), device="cpu")
    folder = decoder("qwen3", chat_template=CONVERSATION_TEMPLATE)
    with pytest.raises(ConfigError, match=r"does not put a message of role 'query' or 'document' into the prompt"):
        load_scorer(str(folder), device="cpu", **TOKENS)


def test_a_layout_that_does_without_its_chat_template_is_refused(logit_score: Path, tmp_path: Path) -> None:
    folder = copied(logit_score, tmp_path / "plain")
    path = folder / "sentence_bert_config.json"
    settings = json.loads(path.read_text())
    del settings["modality_config"]["message"]
    path.write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match=r"do without the chat template\. Pass --template"):
        load_scorer(str(folder), device="cpu")


def test_template_tokens_without_embeddings_are_refused(decoder: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = copied(decoder("qwen3"), tmp_path / "larger")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ScoringError, match=r"token id \d+, but the model has \d+ embeddings"):
        load_scorer(str(folder), device="cpu", template="<new>" + PLAIN, **TOKENS)


def test_a_chat_template_that_raises_is_refused(decoder: Any) -> None:
    folder = decoder("qwen3", chat_template="{{ raise_exception('roles must alternate') }}")
    with pytest.raises(ConfigError, match=r"its chat template raises TemplateError: roles must alternate"):
        load_scorer(str(folder), device="cpu", **TOKENS)


def test_a_chat_template_that_changes_the_texts_is_refused(decoder: Any) -> None:
    changing = CHAT_TEMPLATE.replace(
        "map(attribute='content') | first }}\n<Doc", "map(attribute='content') | first | upper }}\n<Doc"
    )
    marks_stay = changing.replace("| upper", "| replace('two', '2')")
    folder = decoder("qwen3", chat_template=marks_stay)
    with pytest.raises(ConfigError, match=r"its chat template changes the texts \(seen on query ' two words '"):
        load_scorer(str(folder), device="cpu", **TOKENS)


def test_missing_answers_are_refused(decoder: Any) -> None:
    folder = decoder("qwen3", chat_template=CHAT_TEMPLATE)
    with pytest.raises(ConfigError, match=r"nothing says which token means relevant .*pass --positive-token"):
        load_scorer(str(folder), device="cpu")


@pytest.mark.parametrize(
    ("architecture", "tokens", "match"),
    [
        ("qwen3", {"positive_token": "irrelevant", "negative_token": "no"}, r"answer 'irrelevant' is \d tokens \('"),
        ("qwen3", {"positive_token": "yes", "negative_token": "zebra"}, r"answer 'zebra' is \d tokens"),
        ("gemma", {"positive_token": "東京", "negative_token": "no"}, r"answer '東京' is .*expected a single token"),
        ("gemma", {"positive_token": "☃", "negative_token": "No"}, r"answer '☃' is not in the vocabulary"),
        ("qwen3", {"positive_token": "yes", "negative_token": "yes"}, r"positive and negative token are the same"),
    ],
)
def test_answers_that_are_no_single_tokens_are_refused(
    architecture: str, tokens: dict[str, Any], match: str, decoder: Any
) -> None:
    with pytest.raises(ConfigError, match=match):
        load_scorer(str(decoder(architecture)), device="cpu", template=PLAIN, **tokens)


def test_answers_beyond_the_head_are_refused(logit_score: Path, tmp_path: Path) -> None:
    folder = copied(logit_score, tmp_path / "beyond")
    path = folder / "1_LogitScore" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"true_token_id": 99_999}))
    with pytest.raises(ScoringError, match=r"answer tokens \[99999, \d+\], but the head has \d+ rows"):
        load_scorer(str(folder), device="cpu")


def test_an_instruction_without_a_place_is_refused(decoder: Any) -> None:
    folder = decoder("qwen3", chat_template=CHAT_TEMPLATE.replace("'system'", "'other'"))
    with pytest.raises(ConfigError, match=r"instruction 'Find it well' does not reach the prompt"):
        load_scorer(str(folder), device="cpu", instruction="Find it well", **TOKENS)


def test_a_length_below_the_template_is_refused(decoder: Any) -> None:
    options: dict[str, Any] = {"device": "cpu", "template": "qwen3-reranker"}
    with pytest.raises(
        ConfigError, match=r"max_length is 20, but the template of model .* alone takes (\d+) tokens"
    ) as e:
        load_scorer(str(decoder("qwen3")), max_length=20, **options)
    least = int(str(e.value).rpartition(" ")[2])
    assert np.isfinite(load_scorer(str(decoder("qwen3")), max_length=least, **options).score([("a b", "c d")])).all()
    with pytest.raises(ConfigError, match=rf"pass --max-length of at least {least}"):
        load_scorer(str(decoder("qwen3")), max_length=least - 1, **options)


def test_a_tokenizer_without_pad_and_end_token_is_refused(decoder: Any, tmp_path: Path) -> None:
    folder = copied(decoder("llama"), tmp_path / "endless")
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["eos_token"]
    path.write_text(json.dumps(settings))
    with pytest.raises(ScoringError, match=r"the tokenizer has no padding token"):
        load_scorer(str(folder), device="cpu", template=PLAIN, **TOKENS)


def test_a_missing_vocabulary_head_is_refused(decoder: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = copied(decoder("qwen3", tie_word_embeddings=False), tmp_path / "headless")
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ScoringError, match=r"head is missing: 1 of the weights .*'lm_head.weight'"):
        load_scorer(str(folder), device="cpu", template=PLAIN, **TOKENS)


def test_weights_of_another_shape_are_refused(decoder: Any, tmp_path: Path) -> None:
    folder = copied(decoder("qwen3"), tmp_path / "misshapen", intermediate_size=40)
    with pytest.raises(ScoringError, match=r"weights have another shape .*expected \(32, 40\)"):
        load_scorer(str(folder), device="cpu", template=PLAIN, **TOKENS)


def test_nan_logits_name_the_pair(decoder: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = copied(decoder("qwen3"), tmp_path / "nan")
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][:] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidScoreError, match=r"query 'stop', document 'a list': score is nan"):
        load_scorer(str(folder), device="cpu", template=PLAIN, **TOKENS).score([("stop", "a list")])


def test_options_for_prompts_are_refused_elsewhere(classifier: Any, encoder: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"--positive-token, --negative-token is for models of the families causal-lm and seq2seq; "
    ):
        load_scorer(str(classifier("bert")), device="cpu", **TOKENS)
    with pytest.raises(
        ConfigError,
        match=r"--instruction is for models of the families causal-lm, seq2seq and sequence-classifier; ",
    ):
        load_scorer(str(encoder("bert")), device="cpu", instruction="find")


def test_plain_pairs_are_for_classifiers(decoder: Any, tmp_path: Path) -> None:
    for folder in (decoder("qwen3"), write_seq2seq(tmp_path / "t5")):  # the latter has a prompt without being asked
        with pytest.raises(ConfigError, match=r"--template pair is for classifiers; .* is asked in words"):
            load_scorer(str(folder), device="cpu", template="pair")


def test_a_label_is_refused_where_there_are_none(decoder: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"--positive-label is for models of .* sequence-classifier and onnx; .*causal"
    ):
        load_scorer(str(decoder("qwen3")), device="cpu", template=PLAIN, positive_label="1", **TOKENS)
