"""Scores against the official classes' own forward pass, one unpadded pair at a time, and against the peer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_models import MAX_POSITIONS, SEQUENCE_CLASSIFIERS, make_tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rerank_bench import progress
from rerank_bench.errors import ConfigError, ScoringError
from rerank_bench.scoring.loaded_scorer import load_scorer
from rerank_bench.scoring.sequence_classifier import SequenceClassifierScorer

Pairs = list[tuple[str, str]]


def forward_one_by_one(folder: Path, pairs: Pairs, max_length: int = MAX_POSITIONS) -> NDArray[np.float32]:
    """(N, labels) float32 logits: tokenizer and model as anyone would call them, without any batching."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    rows = []
    with torch.inference_mode():
        for query, doc in pairs:
            inputs = tokenizer([query], [doc], truncation=True, max_length=max_length, return_tensors="pt")
            rows.append(model(**inputs).logits[0].numpy())
    return np.stack(rows)


def copied(folder: Path, target: Path, **config: Any) -> Path:
    """A copy of a checkpoint with changed fields in config.json; ``None`` removes a field."""
    shutil.copytree(folder, target)
    path = target / "config.json"
    values = json.loads(path.read_text()) | config
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    return target


@pytest.mark.parametrize("architecture", SEQUENCE_CLASSIFIERS)
@pytest.mark.parametrize("num_labels", [1, 2])
def test_scores_equal_a_plain_forward_pass(
    architecture: str, num_labels: int, classifier: Any, text_pairs: Pairs
) -> None:
    folder = classifier(architecture, num_labels=num_labels)
    logits = forward_one_by_one(folder, text_pairs)
    expected = logits[:, 0] if num_labels == 1 else logits[:, 1] - logits[:, 0]
    scorer = load_scorer(str(folder), device="cpu")
    scores = scorer.score(text_pairs)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)
    assert np.std(expected) > 0.02, "scores that hardly differ would prove nothing"
    assert scorer.describe()["pair_assembly"] == "pieces"


@pytest.mark.parametrize("architecture", SEQUENCE_CLASSIFIERS)
def test_scores_depend_neither_on_order_nor_on_the_budget(
    architecture: str, classifier: Any, text_pairs: Pairs
) -> None:
    folder = str(classifier(architecture))
    by_budget = [
        load_scorer(folder, device="cpu", batch_tokens=budget).score(text_pairs) for budget in (1, 200, 1_000_000)
    ]
    scale = np.abs(by_budget[0]).max()
    for scores in by_budget[1:]:
        np.testing.assert_allclose(scores, by_budget[0], rtol=0, atol=1e-6 * max(1.0, scale) * 5)
    order = np.random.default_rng(3).permutation(len(text_pairs))
    shuffled = load_scorer(folder, device="cpu").score([text_pairs[i] for i in order])
    in_order = load_scorer(folder, device="cpu").score(text_pairs)
    np.testing.assert_allclose(shuffled, in_order[order], rtol=0, atol=1e-6 * max(1.0, scale) * 5)


def test_no_pairs_is_legal(classifier: Any) -> None:
    loaded = load_scorer(str(classifier("bert")), device="cpu")
    assert loaded.score([]).shape == (0,)
    assert json.loads(json.dumps(loaded.describe())) == loaded.describe()


def test_equal_texts_get_equal_scores(classifier: Any, text_pairs: Pairs) -> None:
    pairs = text_pairs + text_pairs[::-1]
    scores = load_scorer(str(classifier("electra")), device="cpu", batch_tokens=150).score(pairs)
    assert (scores[: len(text_pairs)] == scores[len(text_pairs) :][::-1]).all()


@pytest.mark.parametrize("architecture", ["bert", "roberta", "modernbert", "deberta-v2"])
@pytest.mark.parametrize("num_labels", [1, 2])
def test_scores_equal_the_peers(architecture: str, num_labels: int, classifier: Any, text_pairs: Pairs) -> None:
    from sentence_transformers import CrossEncoder

    folder = classifier(architecture, num_labels=num_labels)
    peer = CrossEncoder(str(folder), device="cpu", max_length=MAX_POSITIONS)
    logits = peer.predict(text_pairs, activation_fn=torch.nn.Identity(), batch_size=8, show_progress_bar=False)
    expected = logits if num_labels == 1 else logits[:, 1] - logits[:, 0]
    np.testing.assert_allclose(load_scorer(str(folder), device="cpu").score(text_pairs), expected, rtol=0, atol=1e-5)


def test_a_layout_of_the_peer_loads(classifier: Any, text_pairs: Pairs, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    peer = CrossEncoder(str(classifier("bert")), device="cpu")
    peer.save_pretrained(str(tmp_path / "saved"))
    assert (tmp_path / "saved" / "modules.json").is_file()
    scores = load_scorer(str(tmp_path / "saved"), device="cpu").score(text_pairs)
    expected = forward_one_by_one(classifier("bert"), text_pairs)[:, 0]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("architecture", SEQUENCE_CLASSIFIERS)
def test_half_precision_keeps_head_and_score_in_float32(architecture: str, classifier: Any, text_pairs: Pairs) -> None:
    folder = str(classifier(architecture))
    loaded = load_scorer(folder, device="cpu", dtype="bfloat16")
    scorer = loaded.scorer
    assert isinstance(scorer, SequenceClassifierScorer)
    model = scorer.runtime.model
    trunk_ids = {id(p) for p in model.base_model.parameters()}
    pooler = getattr(model.base_model, "pooler", None)
    head_ids = {id(p) for p in pooler.parameters()} if pooler is not None else set()
    for name, parameter in model.named_parameters():
        is_trunk = id(parameter) in trunk_ids and id(parameter) not in head_ids
        assert parameter.dtype == (torch.bfloat16 if is_trunk else torch.float32), name
    distinct = list(dict.fromkeys(text_pairs))
    scores, exact = loaded.score(distinct), load_scorer(folder, device="cpu").score(distinct)
    assert len(set(scores.tolist())) == len(set(exact.tolist())), "no ties that float32 has not"
    rounded = torch.from_numpy(scores).bfloat16().float().numpy()
    assert (rounded != scores).mean() > 0.9, "the scores are no bfloat16 numbers"
    assert np.corrcoef(scores, exact)[0, 1] > 0.99
    assert loaded.fingerprint != load_scorer(folder, device="cpu").fingerprint


@pytest.mark.parametrize(
    ("labels", "positive"),
    [
        ({"0": "LABEL_0", "1": "LABEL_1"}, 1),
        ({"0": "relevant", "1": "irrelevant"}, 0),
        ({"0": "not relevant", "1": "relevant"}, 1),
        ({"0": "entailment", "1": "other"}, 0),
        ({"0": "something", "1": "No"}, 0),
    ],
)
def test_the_positive_label_is_read_from_the_names(
    labels: dict[str, str], positive: int, classifier: Any, text_pairs: Pairs, tmp_path: Path
) -> None:
    label2id = {label: int(index) for index, label in labels.items()}
    folder = copied(classifier("bert", num_labels=2), tmp_path / "named", id2label=labels, label2id=label2id)
    scorer = load_scorer(str(folder), device="cpu")
    logits = forward_one_by_one(folder, text_pairs)
    np.testing.assert_allclose(
        scorer.score(text_pairs), logits[:, positive] - logits[:, 1 - positive], rtol=0, atol=1e-5
    )
    assert scorer.describe()["positive_label"] == positive


def test_more_labels_need_a_choice(classifier: Any) -> None:
    with pytest.raises(ConfigError, match=r"has 3 labels \(LABEL_0, LABEL_1, LABEL_2\).*--positive-label NAME"):
        load_scorer(str(classifier("bert", num_labels=3)), device="cpu")


@pytest.mark.parametrize("architecture", SEQUENCE_CLASSIFIERS)
def test_a_missing_head_is_refused(architecture: str, classifier: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = copied(classifier(architecture), tmp_path / "headless")
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith(("classifier", "head", "pooler"))}
    assert kept.keys() != weights.keys()
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ScoringError, match=r"the classification head is missing: .*would be random numbers"):
        load_scorer(str(folder), device="cpu")


def test_a_partly_missing_head_or_trunk_is_refused(classifier: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for number, missing in enumerate(["bert.pooler.dense.bias", "bert.encoder.layer.1.output.dense.weight"]):
        folder = copied(classifier("bert"), tmp_path / str(number))
        weights = load_file(folder / "model.safetensors")
        del weights[missing]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ScoringError, match=rf"missing: 1 of the weights .*'{missing}'"):
            load_scorer(str(folder), device="cpu")


def test_weights_of_another_shape_are_refused(classifier: Any, tmp_path: Path) -> None:
    folder = copied(classifier("bert"), tmp_path / "misshapen", intermediate_size=40)
    with pytest.raises(ScoringError, match=r"weights have another shape .*is \(48,\), expected \(40,\)"):
        load_scorer(str(folder), device="cpu")


def test_a_folder_without_tokenizer_is_refused(classifier: Any, tmp_path: Path) -> None:
    folder = copied(classifier("bert"), tmp_path / "mute")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ScoringError, match=r"holds no tokenizer; expected one of tokenizer\.json"):
        load_scorer(str(folder), device="cpu")


def test_a_broken_tokenizer_is_refused(classifier: Any, tmp_path: Path) -> None:
    folder = copied(classifier("bert"), tmp_path / "broken")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ScoringError, match=r"the tokenizer in .* cannot be loaded"):
        load_scorer(str(folder), device="cpu")


def test_a_tokenizer_of_a_larger_vocabulary_is_refused(classifier: Any, tmp_path: Path) -> None:
    folder = copied(classifier("bert"), tmp_path / "larger")
    make_tokenizer("deberta-v2").save_pretrained(folder)
    with pytest.raises(ScoringError, match=r"token id \d+, but the model has 186 embeddings"):
        load_scorer(str(folder), device="cpu").score([("stop", "zebra quiz 99 ?!")])


def write_decoder_classifier(folder: Path, **config: Any) -> Path:
    """A decoder with a score head on the last token: it must know what padding is."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    tokenizer = make_tokenizer("bert")
    torch.manual_seed(0)
    settings = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        num_labels=1,
        initializer_range=0.3,
        **config,
    )
    LlamaForSequenceClassification(settings).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_decoder_with_a_pad_token_scores_its_last_token(text_pairs: Pairs, tmp_path: Path) -> None:
    folder = write_decoder_classifier(tmp_path / "decoder", pad_token_id=0)
    expected = forward_one_by_one(folder, text_pairs)[:, 0]
    np.testing.assert_allclose(load_scorer(str(folder), device="cpu").score(text_pairs), expected, rtol=0, atol=1e-5)


def test_a_decoder_without_a_pad_token_is_refused(tmp_path: Path) -> None:
    folder = write_decoder_classifier(tmp_path / "decoder", pad_token_id=None)
    with pytest.raises(ScoringError, match=r"cannot score a padded batch: .*must name pad_token_id"):
        load_scorer(str(folder), device="cpu")


def test_a_wrong_pad_token_is_refused(tmp_path: Path) -> None:
    folder = write_decoder_classifier(tmp_path / "decoder", pad_token_id=5)
    with pytest.raises(ScoringError, match=r"score changes by .* when it is padded beside a longer one"):
        load_scorer(str(folder), device="cpu")


def test_a_tokenizer_without_a_pad_token_is_refused(classifier: Any, tmp_path: Path) -> None:
    folder = copied(classifier("modernbert"), tmp_path / "padless")
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["pad_token"]
    path.write_text(json.dumps(settings))
    with pytest.raises(ScoringError, match=r"the tokenizer has no padding token"):
        load_scorer(str(folder), device="cpu")


@pytest.mark.parametrize(
    ("architecture", "stated", "expected"),
    [
        ("bert", 48, 48),  # the tokenizer's length is below the positions
        ("bert", 512, MAX_POSITIONS),
        ("bert", int(1e30), MAX_POSITIONS),
        ("roberta", int(1e30), MAX_POSITIONS),  # its table holds two rows more than there are usable positions
        ("modernbert", int(1e30), MAX_POSITIONS),
        ("deberta-v2", 512, MAX_POSITIONS),
    ],
)
def test_the_length_comes_from_the_files(
    architecture: str, stated: int, expected: int, classifier: Any, tmp_path: Path
) -> None:
    folder = copied(classifier(architecture), tmp_path / "stated")
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": stated}))
    scorer = load_scorer(str(folder), device="cpu")
    assert scorer.describe()["max_length"] == expected
    # Every position is really usable: the longest pair goes through.
    assert np.isfinite(scorer.score([("stop " * 80, "list " * 80)])).all()


@pytest.mark.parametrize("architecture", ["bert", "roberta", "electra"])
def test_a_length_beyond_the_positions_is_refused(architecture: str, classifier: Any) -> None:
    folder = str(classifier(architecture))
    assert load_scorer(folder, device="cpu", max_length=MAX_POSITIONS).describe()["max_length"] == MAX_POSITIONS
    with pytest.raises(
        ConfigError, match=r"max_length is 65, but model .* has positions for 64 tokens; pass at most 64"
    ):
        load_scorer(folder, device="cpu", max_length=MAX_POSITIONS + 1)


def test_a_length_beyond_the_training_is_noted_where_positions_are_relative(classifier: Any) -> None:
    notes: list[str] = []

    class Notes:
        def note(self, message: str) -> None:
            notes.append(message)

        def task(self, *_: Any) -> Any:
            import contextlib

            return contextlib.nullcontext(lambda _done: None)

    with progress.use_reporter(Notes()):
        scorer = load_scorer(str(classifier("deberta-v2")), device="cpu", max_length=100)
    assert scorer.describe()["max_length"] == 100
    assert any("max_length 100 is more than the 64 tokens" in note for note in notes)


def test_a_shorter_length_cuts_as_the_tokenizer_does(classifier: Any, text_pairs: Pairs) -> None:
    folder = classifier("bert")
    expected = forward_one_by_one(folder, text_pairs, max_length=17)[:, 0]
    scorer = load_scorer(str(folder), device="cpu", max_length=17)
    np.testing.assert_allclose(scorer.score(text_pairs), expected, rtol=0, atol=1e-5)
    indices = np.repeat(np.arange(len(text_pairs))[:, None], 2, axis=1)
    result = scorer.score_indexed([q for q, _ in text_pairs], [d for _, d in text_pairs], indices)
    assert 0.5 < result.facts.summarise()["truncated_share"] < 1.0


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_logit_that_is_no_number_names_the_pair(value: str, classifier: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from rerank_bench.errors import InvalidScoreError

    folder = copied(classifier("bert"), tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"][:] = float(value)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidScoreError, match=rf"query 'stop', document 'a list': score is {value}, expected"):
        load_scorer(str(folder), device="cpu").score([("stop", "a list")])


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_running_out_of_memory_changes_the_batches_and_not_the_scores(
    error: Exception, classifier: Any, text_pairs: Pairs
) -> None:
    folder = str(classifier("bert"))
    expected = load_scorer(folder, device="cpu").score(text_pairs)
    loaded = load_scorer(folder, device="cpu", batch_tokens=100_000)
    assert isinstance(loaded.scorer, SequenceClassifierScorer)

    def small_memory(_module: Any, _args: Any, inputs: dict[str, torch.Tensor]) -> None:
        if inputs["input_ids"].numel() > 300:
            raise error

    loaded.scorer.runtime.model.register_forward_pre_hook(small_memory, with_kwargs=True)
    indices = np.repeat(np.arange(len(text_pairs))[:, None], 2, axis=1)
    result = loaded.score_indexed([q for q, _ in text_pairs], [d for _, d in text_pairs], indices)
    np.testing.assert_allclose(result.scores, expected, rtol=0, atol=1e-5)
    assert result.stats.batch_tokens is not None
    assert result.stats.batch_tokens <= 300


def test_another_error_of_the_model_is_not_taken_for_memory(classifier: Any) -> None:
    loaded = load_scorer(str(classifier("bert")), device="cpu")
    assert isinstance(loaded.scorer, SequenceClassifierScorer)

    def defect(_module: Any, _args: Any) -> None:
        msg = "a defect"
        raise RuntimeError(msg)

    loaded.scorer.runtime.model.register_forward_pre_hook(defect)
    with pytest.raises(RuntimeError, match=r"a defect"):
        loaded.score([("stop", "a list")])
