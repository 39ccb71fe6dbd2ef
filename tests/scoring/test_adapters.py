"""PEFT adapters against PEFT's own forward pass, one unpadded pair at a time, with the adapter unmerged."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from peft import AutoPeftModelForSequenceClassification, LoraConfig, PromptTuningConfig, TaskType, get_peft_model
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder
from tiny_models import MAX_POSITIONS, write_encoder
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rerank_bench.errors import EnvironmentMissingError, ScoringError
from rerank_bench.scoring.loaded_scorer import load_scorer

Pairs = list[tuple[str, str]]

# PEFT 0.21 asks transformers for an attribute that is going to be renamed, whenever an adapter is made or read.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def write_adapter(folder: Path, base: Path, *, num_labels: int = 1, seed: int = 3) -> Path:
    """A LoRA adapter with random weights, as PEFT saves it, and no tokenizer beside it."""
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=num_labels)
    settings = LoraConfig(
        task_type=TaskType.SEQ_CLS, r=4, lora_alpha=16, target_modules="all-linear", init_lora_weights=False
    )
    adapted = get_peft_model(model, settings)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "modules_to_save" in name:
                parameter.normal_(0.0, 0.3)
    adapted.save_pretrained(folder)
    return folder


def forward_one_by_one(folder: Path, base: Path, pairs: Pairs, num_labels: int = 1) -> NDArray[np.float32]:
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoPeftModelForSequenceClassification.from_pretrained(folder, num_labels=num_labels).eval()
    rows = []
    with torch.inference_mode():
        for query, doc in pairs:
            inputs = tokenizer([query], [doc], truncation=True, max_length=MAX_POSITIONS, return_tensors="pt")
            rows.append(model(**inputs).logits[0].float().numpy())
    return np.stack(rows)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transformer that has no classification head."""
    folder = tmp_path_factory.mktemp("base") / "bert"
    write_encoder(folder, "bert")
    return folder.with_name("bert-trunk")


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(tmp_path_factory.mktemp("adapter") / "lora", base)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_adapter_that_brings_the_head(adapter: Path, base: Path, text_pairs: Pairs) -> None:
    expected = forward_one_by_one(adapter, base, text_pairs)[:, 0]
    loaded = load_scorer(str(adapter), device="cpu")
    np.testing.assert_allclose(loaded.score(text_pairs), expected, rtol=0, atol=1e-4)
    assert np.std(expected) > 0.02, "scores that hardly differ would prove nothing"
    described = loaded.describe()
    assert (described["family"], described["adapter_base"]) == ("sequence-classifier", str(base))
    assert described["architecture"] == "BertForSequenceClassification"


@pytest.mark.parametrize("architecture", ["roberta", "modernbert", "deberta-v2"])
def test_an_adapter_of_a_classifier_with_other_labels(
    architecture: str, classifier: Any, text_pairs: Pairs, tmp_path: Path
) -> None:
    base = classifier(architecture, num_labels=1)
    trunk = shutil.copytree(base, tmp_path / "base")
    weights = {k: v for k, v in load_file(trunk / "model.safetensors").items() if not k.startswith("classifier")}
    save_file(weights, trunk / "model.safetensors", metadata={"format": "pt"})
    folder = write_adapter(tmp_path / "lora", trunk, num_labels=2)
    logits = forward_one_by_one(folder, trunk, text_pairs, num_labels=2)
    scores = load_scorer(str(folder), device="cpu").score(text_pairs)
    np.testing.assert_allclose(scores, logits[:, 1] - logits[:, 0], rtol=0, atol=1e-4)


def test_an_adapter_that_sentence_transformers_saved(classifier: Any, text_pairs: Pairs, tmp_path: Path) -> None:
    model = CrossEncoder(str(classifier("bert")), device="cpu", prompts={"web": "search "}, default_prompt_name="web")
    model.add_adapter(
        LoraConfig(task_type=TaskType.SEQ_CLS, target_modules=["query", "value"], init_lora_weights=False)
    )
    model.save_pretrained(str(tmp_path / "lora"), create_model_card=False)
    assert not (tmp_path / "lora" / "config.json").exists()
    expected = CrossEncoder(str(tmp_path / "lora"), device="cpu").predict(text_pairs, activation_fn=torch.nn.Identity())
    loaded = load_scorer(str(tmp_path / "lora"), device="cpu")
    np.testing.assert_allclose(loaded.score(text_pairs), expected, rtol=0, atol=1e-4)
    assert loaded.describe()["query_prompt"] == "search "


def test_the_fingerprint_covers_base_and_adapter(base: Path, tmp_path: Path) -> None:
    own_base = shutil.copytree(base, tmp_path / "base")
    folder = write_adapter(tmp_path / "lora", own_base)
    seen = [load_scorer(str(folder), device="cpu").fingerprint for _ in range(2)]
    assert seen[0] == seen[1]
    weights = load_file(own_base / "model.safetensors")
    weights["embeddings.LayerNorm.bias"] += 0.5
    save_file(weights, own_base / "model.safetensors", metadata={"format": "pt"})
    seen.append(load_scorer(str(folder), device="cpu").fingerprint)
    weights = load_file(folder / "adapter_model.safetensors")
    weights["base_model.model.classifier.bias"] += 0.5
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    seen.append(load_scorer(str(folder), device="cpu").fingerprint)
    assert len(set(seen)) == 3


def test_a_tokenizer_beside_the_adapter_is_the_one(adapter: Path, base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(adapter, tmp_path / "lora")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.model_max_length = 40
    tokenizer.save_pretrained(folder)
    assert load_scorer(str(folder), device="cpu").describe()["max_length"] == 40
    assert load_scorer(str(adapter), device="cpu").describe()["max_length"] == MAX_POSITIONS


def test_a_base_beside_the_adapter_is_found(adapter: Path, base: Path, text_pairs: Pairs, tmp_path: Path) -> None:
    folder = shutil.copytree(adapter, tmp_path / "lora")
    shutil.copytree(base, folder / "base-model")
    edit(folder / "adapter_config.json", base_model_name_or_path="base-model")
    scores = [load_scorer(str(path), device="cpu").score(text_pairs) for path in (folder, adapter)]
    np.testing.assert_array_equal(scores[0], scores[1])


def test_without_peft_the_error_names_the_extra(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(EnvironmentMissingError, match=r"is a PEFT adapter of .*rerank-bench\[peft\]"):
        load_scorer(str(adapter), device="cpu")


def without_weight(folder: Path, name: str) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    del weights[name]
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def with_another_weight(folder: Path) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    weights["base_model.model.bert.layer.7.lora_A.weight"] = torch.zeros(4, 32)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})


LORA_B = "base_model.model.bert.encoder.layer.1.attention.self.query.lora_B.weight"


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda f: edit(f / "adapter_config.json", base_model_name_or_path=None), r"names no base_model_name_or_path"),
        (
            lambda f: edit(f / "adapter_config.json", base_model_name_or_path="./elsewhere"),
            r"adapter of '\./elsewhere', and there is no such folder",
        ),
        (lambda f: (f / "adapter_model.safetensors").unlink(), r"but no adapter_model\.safetensors"),
        (lambda f: without_weight(f, LORA_B), r"1 weights are missing from the adapter \(first: 'base_model\.model\."),
        (lambda f: without_weight(f, "base_model.model.classifier.weight"), r"the classification head is missing"),
        (with_another_weight, r"1 weights without a place in the base \(first: 'base_model\.model\.bert\.layer\.7"),
    ],
)
def test_what_does_not_fit_is_refused(
    break_it: Callable[[Path], Any], message: str, adapter: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(adapter, tmp_path / "lora")
    break_it(folder)
    with pytest.raises(ScoringError, match=message):
        load_scorer(str(folder), device="cpu")


def test_a_base_of_another_size_is_refused(adapter: Path, classifier: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(adapter, tmp_path / "lora")
    other = classifier("bert", intermediate_size=40)
    edit(folder / "adapter_config.json", base_model_name_or_path=str(other))
    with pytest.raises(ScoringError, match=r"the adapter does not fit its base"):
        load_scorer(str(folder), device="cpu")


def test_an_adapter_that_cannot_be_merged_is_refused(classifier: Any, tmp_path: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(classifier("bert"))
    settings = PromptTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=2)
    get_peft_model(model, settings).save_pretrained(tmp_path / "prompt")
    with pytest.raises(ScoringError, match=r"adapter of the kind .*PROMPT_TUNING cannot be merged"):
        load_scorer(str(tmp_path / "prompt"), device="cpu")
