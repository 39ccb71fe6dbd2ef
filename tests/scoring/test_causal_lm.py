"""Causal language models against an independent forward pass of the official class, one prompt at a time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_language_models import CHAT_TEMPLATE, DECODERS, PLAIN, TOKENS, token_ids, write_logit_score

from rerank_bench.scoring.causal_lm import CausalLmScorer
from rerank_bench.scoring.loaded_scorer import load_scorer
from rerank_bench.scoring.templates import RECIPES

Pairs = list[tuple[str, str]]
CAPITAL_TOKENS: dict[str, Any] = {"positive_token": "Yes", "negative_token": "No"}


def official_scores(folder: Path, prompts: Sequence[str], answers: Sequence[str], *, special: bool) -> np.ndarray:
    """Score by the official class, one prompt at a time, with all logits."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = [tokenizer.get_vocab()[answer] for answer in answers]
    scores = []
    with torch.inference_mode():
        for prompt in prompts:
            inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=special)
            logits = model(inputs["input_ids"]).logits[0, -1].float()
            scores.append(float(logits[ids[0]] - logits[ids[1]]) if len(ids) > 1 else float(logits[ids[0]]))
    return np.asarray(scores, dtype=np.float32)


def chat_prompts(folder: Path, pairs: Pairs, instruction: str | None = None) -> list[str]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    system = [{"role": "system", "content": instruction}] if instruction else []
    return [
        tokenizer.apply_chat_template(
            [*system, {"role": "query", "content": query}, {"role": "document", "content": doc}], tokenize=False
        )
        for query, doc in pairs
    ]


@pytest.mark.parametrize("architecture", DECODERS)
def test_scores_equal_the_official_class(architecture: str, decoder: Any, text_pairs: Pairs) -> None:
    folder = decoder(architecture)
    loaded = load_scorer(str(folder), device="cpu", template=PLAIN, **CAPITAL_TOKENS)
    prompts = [PLAIN.format(query=query, document=doc) for query, doc in text_pairs]
    expected = official_scores(folder, prompts, ["Yes", "No"], special=True)
    assert np.ptp(expected) > 0.5, "texts matter"
    np.testing.assert_allclose(loaded.score(text_pairs), expected, rtol=0, atol=1e-4)
    described = loaded.describe()
    assert described["family"] == "causal-lm"
    assert described["recipe"] == "explicit template"
    assert described["template"] == PLAIN
    assert json.loads(json.dumps(described)) == described


@pytest.mark.parametrize("name", ["qwen3-reranker", "mxbai-rerank-v2"])
@pytest.mark.parametrize("instruction", [None, "Find the function."])
def test_named_recipes_equal_their_published_prompts(
    name: str, instruction: str | None, decoder: Any, text_pairs: Pairs
) -> None:
    folder = decoder("qwen3")
    recipe = RECIPES[name]
    text = (instruction and recipe.text_with_instruction) or recipe.text
    said = instruction or recipe.instruction or ""
    prompts = [
        text.replace("{instruction}", said).replace("{query}", query).replace("{document}", doc)
        for query, doc in text_pairs
    ]
    assert recipe.negative_token is not None
    expected = official_scores(folder, prompts, [recipe.positive_token, recipe.negative_token], special=True)
    loaded = load_scorer(str(folder), device="cpu", template=name, instruction=instruction)
    np.testing.assert_allclose(loaded.score(text_pairs), expected, rtol=0, atol=1e-4)
    assert loaded.describe()["recipe"] == f"template {name}"
    assert loaded.describe()["prompt_assembly"] == "pieces"


def test_a_recipe_with_one_answer_scores_its_logit(decoder: Any, text_pairs: Pairs) -> None:
    folder = decoder("gemma")
    recipe = RECIPES["bge-reranker-v2-gemma"]
    prompts = [f"A: {query}\nB: {doc}\n{recipe.instruction}" for query, doc in text_pairs]
    loaded = load_scorer(str(folder), device="cpu", template="bge-reranker-v2-gemma")
    expected = official_scores(folder, prompts, ["Yes"], special=True)
    np.testing.assert_allclose(loaded.score(text_pairs), expected, rtol=0, atol=1e-4)
    assert loaded.describe()["negative_token"] is None


@pytest.mark.parametrize("instruction", [None, "Find the function."])
def test_a_logit_score_layout_needs_no_option(instruction: str | None, logit_score: Path, text_pairs: Pairs) -> None:
    loaded = load_scorer(str(logit_score), device="cpu", instruction=instruction)
    prompts = chat_prompts(logit_score, text_pairs, instruction)
    expected = official_scores(logit_score, prompts, ["yes", "no"], special=False)
    np.testing.assert_allclose(loaded.score(text_pairs), expected, rtol=0, atol=1e-4)
    described = loaded.describe()
    assert described["recipe"] == "LogitScore and chat template"
    assert (described["positive_token"], described["negative_token"]) == ("yes", "no")
    assert described["instruction"] == instruction


def test_settings_that_change_no_score_are_no_reason_to_refuse(
    logit_score: Path, tmp_path: Path, text_pairs: Pairs
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(logit_score, folder)
    path = folder / "sentence_bert_config.json"
    settings = json.loads(path.read_text())
    processing = settings.get("processing_kwargs") or {}
    processing |= {"common": {"return_tensors": "pt"}, "text": {"padding_side": "left", "add_special_tokens": False}}
    path.write_text(json.dumps(settings | {"processing_kwargs": processing}))
    expected = load_scorer(str(logit_score), device="cpu").score(text_pairs)
    assert load_scorer(str(folder), device="cpu").score(text_pairs).tolist() == expected.tolist()


@pytest.mark.parametrize("instruction", [None, "Find the function."])
def test_scores_equal_the_peers(instruction: str | None, logit_score: Path, text_pairs: Pairs) -> None:
    from sentence_transformers import CrossEncoder

    peer = CrossEncoder(str(logit_score), device="cpu")
    expected = peer.predict(
        text_pairs, prompt=instruction, activation_fn=torch.nn.Identity(), batch_size=8, show_progress_bar=False
    )
    loaded = load_scorer(str(logit_score), device="cpu", instruction=instruction)
    np.testing.assert_allclose(loaded.score(text_pairs), expected, rtol=0, atol=1e-4)


def test_truncated_scores_equal_the_peers(logit_score: Path) -> None:
    from sentence_transformers import CrossEncoder

    pairs = [("how to stop", "list of words " * count) for count in (30, 80, 200)]
    peer = CrossEncoder(str(logit_score), device="cpu", max_length=128)
    expected = peer.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    loaded = load_scorer(str(logit_score), device="cpu", max_length=128)
    np.testing.assert_allclose(loaded.score(pairs), expected, rtol=0, atol=1e-4)


def test_a_saved_prompt_is_the_instruction(logit_score: Path, text_pairs: Pairs, tmp_path: Path) -> None:
    yes, no = token_ids(logit_score, "yes", "no")
    settings = {"prompts": {"code": "Find the function."}, "default_prompt_name": "code"}
    folder = write_logit_score(
        tmp_path / "prompted", logit_score, settings=settings, true_token_id=yes, false_token_id=no
    )
    loaded = load_scorer(str(folder), device="cpu")
    assert loaded.describe()["instruction"] == "Find the function."
    expected = load_scorer(str(logit_score), device="cpu", instruction="Find the function.").score(text_pairs)
    np.testing.assert_allclose(loaded.score(text_pairs), expected, rtol=0, atol=1e-5)


def test_a_chat_template_with_named_tokens_is_enough(decoder: Any, text_pairs: Pairs) -> None:
    folder = decoder("qwen3", chat_template=CHAT_TEMPLATE)
    loaded = load_scorer(str(folder), device="cpu", **TOKENS)
    expected = official_scores(folder, chat_prompts(folder, text_pairs), ["yes", "no"], special=False)
    np.testing.assert_allclose(loaded.score(text_pairs), expected, rtol=0, atol=1e-4)
    assert loaded.describe()["recipe"] == "chat template"


@pytest.mark.parametrize("architecture", DECODERS)
@pytest.mark.parametrize("batch_tokens", [1, 700])
def test_scores_do_not_depend_on_the_batch(
    architecture: str, batch_tokens: int, decoder: Any, text_pairs: Pairs
) -> None:
    options: dict[str, Any] = {"device": "cpu", "template": PLAIN, **CAPITAL_TOKENS}
    folder = str(decoder(architecture))
    expected = load_scorer(folder, batch_tokens=100_000, **options).score(text_pairs)
    order = np.random.default_rng(3).permutation(len(text_pairs))
    shuffled = load_scorer(folder, batch_tokens=batch_tokens, **options).score([text_pairs[i] for i in order])
    np.testing.assert_allclose(shuffled, expected[order], rtol=0, atol=1e-4)


@pytest.mark.parametrize("architecture", ["qwen3", "gemma2", "gpt2"])
def test_half_precision_keeps_the_answers_rows_in_float32(architecture: str, decoder: Any, text_pairs: Pairs) -> None:
    folder = str(decoder(architecture))
    options: dict[str, Any] = {"device": "cpu", "template": PLAIN, **CAPITAL_TOKENS}
    loaded = load_scorer(folder, dtype="bfloat16", **options)
    exact = load_scorer(folder, **options)
    assert isinstance(loaded.scorer, CausalLmScorer)
    model = loaded.scorer.runtime.model
    head = model.get_output_embeddings()
    assert head.weight.shape == (2, 32)
    assert head.weight.dtype == torch.float32
    assert model.get_input_embeddings().weight.dtype == torch.bfloat16, "even where the head shared its weights"
    distinct = list(dict.fromkeys(text_pairs))
    scores, expected = loaded.score(distinct), exact.score(distinct)
    assert (torch.from_numpy(scores).bfloat16().float().numpy() != scores).mean() > 0.9
    assert np.corrcoef(scores, expected)[0, 1] > 0.98
    assert loaded.fingerprint != exact.fingerprint


def test_everything_that_decides_a_score_is_in_the_fingerprint(decoder: Any) -> None:
    folder = str(decoder("qwen3"))
    template = "{instruction} {query} {document}"
    options: dict[str, Any] = {"device": "cpu", "template": template, "instruction": "a", **TOKENS}
    changes: list[dict[str, Any]] = [
        {},
        {"instruction": "b"},
        {"template": template + "."},
        {"template": "{instruction} {document} {query}"},
        {"positive_token": "Yes"},
        {"negative_token": "No"},
        {"max_length": 100},
    ]
    fingerprints = [load_scorer(folder, **(options | change)).fingerprint for change in changes]
    assert len(set(fingerprints)) == len(changes)
    assert fingerprints[0] == load_scorer(folder, **options).fingerprint


def test_the_document_may_come_first(decoder: Any, text_pairs: Pairs) -> None:
    folder = decoder("qwen3")
    template = "Text: {document}\nQuestion: {query} Relevant?"
    prompts = [template.format(query=query, document=doc) for query, doc in text_pairs]
    loaded = load_scorer(str(folder), device="cpu", template=template, **TOKENS)
    np.testing.assert_allclose(
        loaded.score(text_pairs), official_scores(folder, prompts, ["yes", "no"], special=True), rtol=0, atol=1e-4
    )


def test_a_chat_template_that_trims_is_followed(decoder: Any, text_pairs: Pairs) -> None:
    folder = decoder("qwen3", chat_template=CHAT_TEMPLATE.replace("| first }}", "| first | trim }}"))
    loaded = load_scorer(str(folder), device="cpu", **TOKENS)
    expected = official_scores(folder, chat_prompts(folder, text_pairs), ["yes", "no"], special=False)
    np.testing.assert_allclose(loaded.score(text_pairs), expected, rtol=0, atol=1e-4)


def test_a_decoder_without_pad_token_pads_with_its_end_token(decoder: Any) -> None:
    loaded = load_scorer(str(decoder("llama")), device="cpu", template=PLAIN, **TOKENS)
    assert isinstance(loaded.scorer, CausalLmScorer)
    tokenizer = loaded.scorer.tokenizer.tokenizer
    assert tokenizer.pad_token == "</s>"  # noqa: S105 - a token, not a secret
    batch = loaded.scorer.encode(["a", "list the files"], ["b", "c"], np.asarray([[0, 0], [1, 1]])).batch(
        np.asarray([0, 1])
    )
    assert batch.attention_mask[:, -1].all(), "padded on the left"
    assert batch.attention_mask[0, 0] == 0
    assert batch.input_ids[0, 0] == tokenizer.eos_token_id


def test_a_head_that_shares_the_embeddings_is_not_missing(decoder: Any, text_pairs: Pairs) -> None:
    folder = decoder("qwen3", tie_word_embeddings=True)
    prompts = [PLAIN.format(query=query, document=doc) for query, doc in text_pairs]
    loaded = load_scorer(str(folder), device="cpu", template=PLAIN, **TOKENS)
    np.testing.assert_allclose(
        loaded.score(text_pairs), official_scores(folder, prompts, ["yes", "no"], special=True), rtol=0, atol=1e-4
    )
