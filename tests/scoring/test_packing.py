"""Batches without padding give what the padded forward and one pair at a time give."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_models import SEQUENCE_CLASSIFIERS

from rerank_bench import progress
from rerank_bench.scoring import packed_attention, packing
from rerank_bench.scoring.acceleration import accelerate
from rerank_bench.scoring.loaded_scorer import LoadedScorer, load_scorer
from rerank_bench.scoring.packing import head_reduction
from rerank_bench.scoring.prepacked import prepack_linears, restore

Make = Callable[..., Path]
TextPairs = list[tuple[str, str]]

PACKED = [*(name for name in SEQUENCE_CLASSIFIERS if name != "deberta-v2"), "distilbert"]


class Notes:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def note(self, message: str) -> None:
        self.messages.append(message)

    def task(self, _description: str, _total: int | None, _unit: str) -> AbstractContextManager[progress.Advance]:
        return nullcontext(lambda _units: None)


def load(folder: Path, **options: Any) -> tuple[LoadedScorer, list[str]]:
    notes = Notes()
    with progress.use_reporter(notes):
        scorer = load_scorer(str(folder), device="cpu", **options)
    return scorer, notes.messages


def forward_alone(folder: Path, scorer: LoadedScorer, pairs: TextPairs) -> NDArray[np.float32]:
    """The official class on one pair at a time, without any padding."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    scores = []
    with torch.inference_mode():
        for query, doc in pairs:
            max_length = scorer.describe()["max_length"]
            inputs = tokenizer([query], [doc], truncation=True, max_length=max_length, return_tensors="pt")
            scores.append(float(model(**inputs).logits[0, 0]))
    return np.asarray(scores, dtype=np.float32)


@pytest.mark.parametrize("architecture", PACKED)
def test_packed_scores_equal_one_pair_at_a_time(architecture: str, classifier: Make, text_pairs: TextPairs) -> None:
    folder = classifier(architecture)
    scorer, notes = load(folder, batch_tokens=300)
    assert scorer.describe()["batches"] == scorer.describe()["attention"] == "packed"
    assert notes == []
    rows = np.stack([np.arange(len(text_pairs))] * 2, axis=1)
    result = scorer.score_indexed([query for query, _ in text_pairs], [doc for _, doc in text_pairs], rows)
    found = result.scores
    assert result.stats.padding_share == 0.0
    assert np.unique(found).size > 40
    np.testing.assert_allclose(found, forward_alone(folder, scorer, text_pairs), atol=1e-5)


@pytest.mark.parametrize("architecture", PACKED)
def test_packed_scores_do_not_depend_on_the_batch(architecture: str, classifier: Make, text_pairs: TextPairs) -> None:
    folder = classifier(architecture)
    small, large = (load(folder, batch_tokens=tokens)[0].score(text_pairs) for tokens in (1, 5_000))
    np.testing.assert_allclose(small, large, atol=1e-5)


def test_a_mean_over_the_tokens_is_read_by_the_head(classifier: Make, text_pairs: TextPairs) -> None:
    folder = classifier("modernbert", classifier_pooling="mean")
    scorer, _ = load(folder)
    assert scorer.describe()["batches"] == "packed"
    np.testing.assert_allclose(scorer.score(text_pairs), forward_alone(folder, scorer, text_pairs), atol=1e-5)


def test_attention_of_its_own_kind_runs_padded_and_is_noted(classifier: Make, text_pairs: TextPairs) -> None:
    folder = classifier("deberta-v2")
    scorer, notes = load(folder)
    assert scorer.describe()["batches"] == "padded"
    assert [note for note in notes if "batches are padded (DebertaV2Model has attention of its own kind)" in note]
    np.testing.assert_allclose(scorer.score(text_pairs), forward_alone(folder, scorer, text_pairs), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_wrong_body_is_found_out(
    dtype: str, classifier: Make, text_pairs: TextPairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def across_items(_segments: Any, query: Any, key: Any, value: Any, scaling: float, _window: Any) -> Any:
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=scaling).transpose(1, 2)

    folder = classifier("bert")
    monkeypatch.setattr(packed_attention, "_by_runs", across_items)
    scorer, notes = load(folder, dtype=dtype)
    assert scorer.describe()["batches"] == "padded"
    assert [note for note in notes if "without padding a score would change by" in note]
    atol = 1e-5 if dtype == "float32" else 0.1
    np.testing.assert_allclose(scorer.score(text_pairs), forward_alone(folder, scorer, text_pairs), atol=atol)


def test_a_body_that_is_never_called_is_found_out(classifier: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        packing.PackedModel,
        "install",
        classmethod(
            lambda cls, model, reduction, body: cls(
                model, model.base_model, reduction, 0, body, before=model.config._attn_implementation
            )
        ),
    )
    scorer, notes = load(classifier("bert"))
    assert scorer.describe()["batches"] == "padded"
    assert [note for note in notes if "batches are padded" in note]


def test_a_model_without_positions_runs_padded(classifier: Make) -> None:
    scorer, _ = load(classifier("bert"))
    packed = scorer.scorer.runtime.packed  # type: ignore[union-attr]
    assert packed is not None
    packed.remove()
    packed.trunk.forward = lambda input_ids: input_ids
    with pytest.raises(packed_attention.PackingError, match="BertModel takes no position_ids"):
        packing.PackedModel.install(packed.model, "first", "runs")


def test_removing_gives_the_models_own_attention_back(classifier: Make) -> None:
    scorer, _ = load(classifier("bert"))
    packed = scorer.scorer.runtime.packed  # type: ignore[union-attr]
    packed.remove()
    assert packed.trunk.config._attn_implementation == packed.before != packed_attention.ATTENTION_NAME
    assert not packed.trunk._forward_hooks
    assert not packed.trunk.pooler._forward_pre_hooks


def test_bfloat16_leaves_no_spurious_ties(classifier: Make, text_pairs: TextPairs) -> None:
    folder = classifier("bert")
    exact, _ = load(folder, dtype="float32")
    rounded, _ = load(folder, dtype="bfloat16")
    assert rounded.describe()["batches"] == "packed"
    expected, found = exact.score(text_pairs), rounded.score(text_pairs)
    assert np.unique(found).size == np.unique(expected).size
    np.testing.assert_allclose(found, expected, atol=0.1)


def test_prepacked_layers_give_the_same_and_can_be_put_back(classifier: Make) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(classifier("electra")).eval()
    inputs = {"input_ids": torch.arange(6, 18).reshape(2, 6)}
    names = [name for name, _ in model.named_modules()]
    with torch.inference_mode():
        expected = model(**inputs).logits
        replaced = prepack_linears(model.electra)
        assert replaced, "this build of torch has the operators"
        np.testing.assert_allclose(model(**inputs).logits, expected, atol=1e-6)
        restore(replaced)
        assert torch.equal(model(**inputs).logits, expected)
    assert [name for name, _ in model.named_modules()] == names


def test_a_head_that_reads_more_than_one_vector_runs_padded(classifier: Make) -> None:
    scorer, _ = load(classifier("deberta-v2"))
    inner: Any = scorer.scorer
    notes = Notes()
    with progress.use_reporter(notes):
        again = accelerate(
            inner, None, type(inner).score_batch, inner.encode(["stop"], ["list"], np.zeros((1, 2), int))
        )
    assert again.runtime.packed is None
    assert notes.messages == [
        f"{inner.runtime.name}: batches are padded (the head reads more than one vector of an item)"
    ]
    assert head_reduction(inner.runtime.model) == "first"


@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
def test_bi_encoders_run_packed_too(pooling: str, encoder: Make, text_pairs: TextPairs, monkeypatch: Any) -> None:
    folder = encoder("bert", pooling=pooling)
    packed, _ = load(folder)
    assert packed.describe()["batches"] == "packed"
    monkeypatch.setattr("rerank_bench.scoring.acceleration.why_not_packed", lambda _device: "not now")
    padded, notes = load(folder)
    assert padded.describe()["batches"] == "padded"
    assert [note for note in notes if "batches are padded (not now)" in note]
    np.testing.assert_allclose(packed.score(text_pairs), padded.score(text_pairs), atol=1e-5)


def test_items_stand_one_behind_the_other() -> None:
    assert packed_attention.runs_of([3, 3, 2, 2, 2, 5]) == [(0, 2, 3), (6, 3, 2), (12, 1, 5)]
    assert packed_attention.bounds_of([3, 3, 2]).tolist() == [0, 3, 6, 8]
