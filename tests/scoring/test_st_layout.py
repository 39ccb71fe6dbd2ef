"""Cross-encoders of Sentence Transformers' three generations, against that package's own raw predictions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Dropout,
    LayerNorm,
    Normalize,
    Pooling,
    Transformer,
)
from tiny_models import write_encoder
from torch import nn

from rerank_bench.errors import ConfigError, ScoringError
from rerank_bench.scoring.loaded_scorer import load_scorer

Pairs = list[tuple[str, str]]
SIZE = 32
SIGMOID, IDENTITY = "torch.nn.modules.activation.Sigmoid", "torch.nn.modules.linear.Identity"


def raw_predictions(folder: Path, pairs: Pairs) -> NDArray[np.float32]:
    model = CrossEncoder(str(folder), device="cpu")
    return np.asarray(model.predict(pairs, activation_fn=nn.Identity()), dtype=np.float32)


def spread(module: nn.Module, seed: int = 5) -> nn.Module:
    """Weights that tell texts apart."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.3 if parameter.dim() == 1 else 0.0, 0.4, generator=generator)
    return module


def ettin_head(pooling: str | list[str] = "cls", num_labels: int = 1) -> list[nn.Module]:
    """The modules of cross-encoder/ettin-reranker-*: a dense layer, its norm, and one dense layer to the score."""
    width = SIZE * (1 if isinstance(pooling, str) else len(pooling))
    return [
        Pooling(SIZE, pooling_mode=pooling),
        spread(Dense(width, SIZE, bias=False, activation_function=nn.GELU())),
        spread(LayerNorm(SIZE)),
        spread(Dense(SIZE, num_labels, activation_function=nn.Identity(), module_output_name="scores"), seed=6),
    ]


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return a function: architecture -> folder of a transformer without a head."""
    folders: dict[str, str] = {}

    def make(architecture: str) -> str:
        if architecture not in folders:
            folder = tmp_path_factory.mktemp("trunk") / architecture
            write_encoder(folder, architecture)
            folders[architecture] = str(folder.with_name(folder.name + "-trunk"))
        return folders[architecture]

    return make


def save_modular(folder: Path, trunk: str, head: list[nn.Module], **options: Any) -> Path:
    modules = [Transformer(trunk), *head]
    CrossEncoder(modules=modules, device="cpu", **options).save_pretrained(str(folder), create_model_card=False)
    return folder


def edit(path: Path, **changes: Any) -> None:
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


HEADS: dict[str, Callable[[], list[nn.Module]]] = {
    "ettin": ettin_head,
    "mean": lambda: ettin_head("mean"),
    "lasttoken": lambda: ettin_head("lasttoken"),
    "three poolings": lambda: ettin_head(["cls", "max", "weightedmean"]),
    "square root": lambda: ettin_head("mean_sqrt_len_tokens"),
    "residual": lambda: [
        Pooling(SIZE, pooling_mode="mean"),
        Dropout(0.5),
        spread(Dense(SIZE, 16, use_residual=True)),
        Normalize(),
        spread(Dense(16, 1, activation_function=nn.Identity(), module_output_name="scores"), seed=6),
    ],
}


PACKED_HEADS = {"ettin", "mean", "lasttoken", "residual"}
"""Those that read one vector of a pair, which is what a batch without padding can give them."""


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("architecture", ["modernbert", "bert"])
def test_heads_of_modules(
    head: str, architecture: str, trunk: Callable[[str], str], text_pairs: Pairs, tmp_path: Path
) -> None:
    folder = save_modular(tmp_path / "model", trunk(architecture), HEADS[head]())
    expected = raw_predictions(folder, text_pairs)
    loaded = load_scorer(str(folder), device="cpu")
    np.testing.assert_allclose(loaded.score(text_pairs), expected, rtol=0, atol=1e-4)
    assert np.std(expected) > 0.02, "scores that hardly differ would prove nothing"
    described = loaded.describe()
    assert described["family"] == "sequence-classifier"
    assert described["head"].startswith("Pooling → ")
    assert described["saved_activation"] == SIGMOID
    assert described["batches"] == ("packed" if head in PACKED_HEADS else "padded")


@pytest.mark.parametrize("head", sorted(PACKED_HEADS))
def test_heads_of_modules_score_packed_as_padded(
    head: str, trunk: Callable[[str], str], text_pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_modular(tmp_path / "model", trunk("bert"), HEADS[head]())
    packed = load_scorer(str(folder), device="cpu", batch_tokens=300)
    monkeypatch.setattr("rerank_bench.scoring.acceleration.why_not_packed", lambda _device: "not now")
    padded = load_scorer(str(folder), device="cpu", batch_tokens=300)
    assert (packed.describe()["batches"], padded.describe()["batches"]) == ("packed", "padded")
    np.testing.assert_allclose(packed.score(text_pairs), padded.score(text_pairs), rtol=0, atol=1e-5)


def test_a_head_with_three_labels(trunk: Callable[[str], str], text_pairs: Pairs, tmp_path: Path) -> None:
    folder = save_modular(tmp_path / "model", trunk("modernbert"), ettin_head(num_labels=3))
    logits = torch.from_numpy(raw_predictions(folder, text_pairs))  # (N, 3)
    expected = torch.logit(torch.softmax(logits.double(), dim=1)[:, 1]).numpy()
    scores = load_scorer(str(folder), device="cpu", positive_label="1").score(text_pairs)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4)


def test_a_head_stays_in_float32(trunk: Callable[[str], str], text_pairs: Pairs, tmp_path: Path) -> None:
    folder = str(save_modular(tmp_path / "model", trunk("modernbert"), ettin_head()))
    exact = load_scorer(folder, device="cpu").score(text_pairs)
    scores = load_scorer(folder, device="cpu", dtype="bfloat16").score(text_pairs)
    assert (torch.from_numpy(scores).bfloat16().float().numpy() != scores).mean() > 0.9
    assert np.corrcoef(scores, exact)[0, 1] > 0.99


def test_the_heads_weights_are_part_of_the_fingerprint(trunk: Callable[[str], str], tmp_path: Path) -> None:
    first = save_modular(tmp_path / "a" / "model", trunk("modernbert"), ettin_head())
    second = tmp_path / "b" / "model"
    shutil.copytree(first, second)
    same = [load_scorer(str(folder), device="cpu").fingerprint for folder in (first, second)]
    spread_again = spread(LayerNorm(SIZE), seed=9)
    assert isinstance(spread_again, LayerNorm)
    spread_again.save(str(second / "3_LayerNorm"))
    changed = load_scorer(str(second), device="cpu").fingerprint
    assert same[0] == same[1] != changed


@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta", "modernbert"])
def test_the_layout_of_5_4_and_later_with_a_built_in_head(
    architecture: str, classifier: Any, text_pairs: Pairs, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    prompts = {"web": "search the web: ", "none": ""}
    model = CrossEncoder(
        str(classifier(architecture)), device="cpu", prompts=prompts, default_prompt_name="web", activation_fn=nn.Tanh()
    )
    model.save_pretrained(str(folder), create_model_card=False)
    assert (folder / "modules.json").is_file()
    loaded = load_scorer(str(folder), device="cpu")
    np.testing.assert_allclose(loaded.score(text_pairs), raw_predictions(folder, text_pairs), rtol=0, atol=1e-4)
    assert loaded.describe()["query_prompt"] == "search the web: "
    assert loaded.describe()["saved_activation"] == "torch.nn.modules.activation.Tanh"
    edit(folder / "config_sentence_transformers.json", default_prompt_name="none")
    plain = load_scorer(str(folder), device="cpu")
    np.testing.assert_allclose(plain.score(text_pairs), raw_predictions(folder, text_pairs), rtol=0, atol=1e-4)
    assert np.abs(plain.score(text_pairs) - loaded.score(text_pairs)).max() > 0.01, "the prompt changes scores"
    assert plain.fingerprint != loaded.fingerprint


@pytest.mark.parametrize(
    ("settings", "activation"),
    [
        ({}, None),
        ({"sbert_ce_default_activation_function": IDENTITY}, IDENTITY),
        ({"sentence_transformers": {"activation_fn": SIGMOID, "version": "4.1.0"}}, SIGMOID),
    ],
    ids=["before 2.0", "before 4.0", "4.0 to 5.3"],
)
def test_older_layouts(
    settings: dict[str, Any], activation: str | None, classifier: Any, text_pairs: Pairs, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(classifier("bert"), folder)
    edit(folder / "config.json", **settings)
    loaded = load_scorer(str(folder), device="cpu")
    np.testing.assert_allclose(loaded.score(text_pairs), raw_predictions(folder, text_pairs), rtol=0, atol=1e-4)
    assert loaded.describe()["saved_activation"] == activation
    assert loaded.describe()["head"] == "of BertForSequenceClassification"


def test_prompts_of_another_kind_of_model_are_not_used(classifier: Any, text_pairs: Pairs, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(classifier("bert"), folder)
    settings = {"model_type": "SentenceTransformer", "prompts": {"web": "search: "}, "default_prompt_name": "web"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    loaded = load_scorer(str(folder), device="cpu")
    assert loaded.describe()["query_prompt"] == ""
    np.testing.assert_allclose(loaded.score(text_pairs), raw_predictions(folder, text_pairs), rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def modular(trunk: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_modular(tmp_path_factory.mktemp("modular") / "model", trunk("modernbert"), ettin_head())


def retyped(folder: Path, index: int, name: str) -> None:
    entries = json.loads((folder / "modules.json").read_text())
    entries[index]["type"] = name
    (folder / "modules.json").write_text(json.dumps(entries))


def without_its_prompt(folder: Path) -> None:
    edit(folder / "1_Pooling/config.json", include_prompt=False)
    edit(folder / "config_sentence_transformers.json", prompts={"w": "x "}, default_prompt_name="w")


@pytest.mark.parametrize(
    ("break_it", "error", "message"),
    [
        (
            lambda f: retyped(f, 3, "sentence_transformers.sentence_transformer.modules.LSTM"),
            ConfigError,
            r"modules\.json asks for sentence_transformers\.sentence_transformer\.modules\.LSTM",
        ),
        (lambda f: retyped(f, 2, "own_head.Dense"), ConfigError, r"asks for own_head\.Dense; .* of Sentence Transf"),
        (lambda f: (f / "2_Dense/model.safetensors").unlink(), ScoringError, r"2_Dense \(Dense\) holds no weights"),
        (
            lambda f: shutil.copy(f / "4_Dense/model.safetensors", f / "2_Dense/model.safetensors"),
            ScoringError,
            r"2_Dense \(Dense\): the weights do not fit",
        ),
        (
            lambda f: edit(f / "2_Dense/config.json", activation_function="own_head.Swish"),
            ConfigError,
            r"2_Dense/config\.json \(Dense\) names the activation 'own_head\.Swish'",
        ),
        (lambda f: edit(f / "2_Dense/config.json", gated=True), ConfigError, r"\(Dense\) sets unknown gated"),
        (lambda f: edit(f / "2_Dense/config.json", in_features=None), ScoringError, r"\(Dense\) lacks 'in_features'"),
        (
            lambda f: edit(f / "4_Dense/config.json", module_output_name=None),
            ConfigError,
            r"Transformer → Pooling → Dense → LayerNorm → Dense: no module writes 'scores'",
        ),
        (
            lambda f: edit(f / "1_Pooling/config.json", pooling_mode="median"),
            ConfigError,
            r"pooling median is not supported",
        ),
        (
            lambda f: edit(f / "sentence_bert_config.json", transformer_task="fill-mask"),
            ConfigError,
            r"transformer_task 'fill-mask', expected 'feature-extraction'",
        ),
        (
            lambda f: edit(f / "sentence_bert_config.json", modality_config={"image": {}}),
            ConfigError,
            r"reads image, expected text",
        ),
        (
            lambda f: edit(f / "sentence_bert_config.json", processing_kwargs={"text": {"stride": 8}}),
            ConfigError,
            r"sets text\.stride=8, which is not supported",
        ),
        (
            lambda f: edit(f / "config_sentence_transformers.json", default_prompt_name="web"),
            ConfigError,
            r"names the default prompt 'web', but has prompts only for nothing",
        ),
        (
            without_its_prompt,
            ConfigError,
            r"include_prompt false",
        ),
    ],
)
def test_what_is_not_understood_is_named(
    break_it: Callable[[Path], Any], error: type[Exception], message: str, modular: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(modular, folder)
    break_it(folder)
    with pytest.raises(error, match=message):
        load_scorer(str(folder), device="cpu")


def test_texts_are_lower_cased_as_the_settings_say_with_a_modules_file_only(classifier: Any, tmp_path: Path) -> None:
    pairs = [("HOW to STOP", "SORT a LIST of Words"), ("stop", "A B C")]
    plain = classifier("roberta")
    saved = tmp_path / "saved"
    CrossEncoder(str(plain), device="cpu").save_pretrained(str(saved))
    edit(saved / "sentence_bert_config.json", do_lower_case=True)
    bare = tmp_path / "bare"
    shutil.copytree(plain, bare)
    (bare / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    scores = {folder: load_scorer(str(folder), device="cpu").score(pairs) for folder in (plain, saved, bare)}
    for folder, own in scores.items():
        peer = CrossEncoder(str(folder), device="cpu")
        expected = peer.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)
        np.testing.assert_allclose(own, expected, rtol=0, atol=1e-5)
    assert np.abs(scores[saved] - scores[plain]).max() > 1e-3
    assert scores[bare].tolist() == scores[plain].tolist()
