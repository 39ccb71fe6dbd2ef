"""Batches without padding give what the padded forward and one pair at a time give."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_models import SEQUENCE_CLASSIFIERS

from rerank_bench import progress
from rerank_bench.scoring import acceleration, packed_attention, packing
from rerank_bench.scoring.acceleration import accelerate
from rerank_bench.scoring.loaded_scorer import LoadedScorer, load_scorer
from rerank_bench.scoring.packing import head_reduction
from rerank_bench.scoring.prepacked import has_operators, prepack_linears, restore

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


@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_rows_have_few_lengths_and_what_fills_them_changes_nothing(
    architecture: str, classifier: Make, text_pairs: TextPairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """oneDNN keeps a kernel for every number of rows that it has met."""
    scorer, _ = load(classifier(architecture), batch_tokens=150)
    lengths = set()

    def note_rows(_module: Any, inputs: tuple[Any, ...]) -> None:
        lengths.add(inputs[0].numel() // inputs[0].shape[-1])

    linears = [m for m in scorer.scorer.runtime.model.modules() if type(m).__name__ == "PrepackedLinear"]  # type: ignore[union-attr]
    hooks = [linear.register_forward_pre_hook(note_rows) for linear in linears]
    filled = scorer.score(text_pairs)
    for hook in hooks:
        hook.remove()
    if not has_operators():
        pytest.skip("this build of torch makes no such kernels")
    assert len(linears) >= 8
    assert lengths <= set(range(32, 192, 32))
    monkeypatch.setattr(packing, "CPU_ROW_TOKENS", 1)
    np.testing.assert_allclose(filled, scorer.score(text_pairs), rtol=0, atol=1e-5)


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


def test_what_rounding_would_hide_is_seen_in_float32(classifier: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """In lower precision scores differ by the shape of a batch, so that a wrong position could pass for rounding."""
    monkeypatch.setattr(acceleration, "_tolerance", lambda *_measured, **_precision: np.inf)
    monkeypatch.setattr(packing, "_position_offset", lambda _model: 0)
    scorer, notes = load(classifier("roberta"), dtype="bfloat16")
    assert scorer.describe()["batches"] == "padded"
    assert [note for note in notes if "batches are padded (without padding a score would change by" in note]


def test_items_stand_one_behind_the_other() -> None:
    assert packed_attention.runs_of([3, 3, 2, 2, 2, 5]) == [(0, 2, 3), (6, 3, 2), (12, 1, 5)]
    assert packed_attention.bounds_of([3, 3, 2]).tolist() == [0, 3, 6, 8]


def whole_row_attention(
    query: Any,
    key: Any,
    value: Any,
    bounds: Any,
    key_bounds: Any,
    max_query: int,
    max_key: int,
    *,
    scale: float | None,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> Any:
    """What torch documents of ``varlen_attn``, token by token, on a CPU."""
    import torch

    assert bounds.dtype == key_bounds.dtype == torch.int32
    out = torch.empty_like(query)
    for start, stop in pairwise(bounds.tolist()):
        assert stop - start <= min(max_query, max_key)
        for at in range(start, stop):
            left, right = window_size
            first = start if left < 0 else max(start, at - left)
            last = stop if right < 0 else min(stop, at + right + 1)
            attended = torch.nn.functional.scaled_dot_product_attention(
                query[None, at : at + 1].transpose(1, 2),
                key[None, first:last].transpose(1, 2),
                value[None, first:last].transpose(1, 2),
                scale=scale,
                enable_gqa=enable_gqa,
            )
            out[at] = attended[0, :, 0]
    return out


@pytest.mark.parametrize(("window", "num_key_heads"), [(None, 4), (3, 4), (1, 2), (100, 2)])
def test_both_bodies_say_the_same(window: int | None, num_key_heads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    lengths = [5, 5, 3, 1]
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, 14, 8) for heads in (4, num_key_heads, num_key_heads))
    bounds = torch.from_numpy(packed_attention.bounds_of(lengths))
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", whole_row_attention)
    found = [
        packed_attention.packed_attention(
            None,
            query,
            key,
            value,
            None,
            packed_segments=packed_attention.Segments(bounds, 5, packed_attention.runs_of(lengths), body),
            scaling=0.4,
            sliding_window=window,
        )[0]
        for body in ("runs", "varlen")
    ]
    assert found[0].shape == (1, 14, 4, 8)
    torch.testing.assert_close(found[0], found[1])


def test_the_kernel_takes_what_it_is_given() -> None:
    """The real operator, without values: names, types and shapes are checked by torch."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    if packed_attention.choose_body(torch.device("cuda"), torch.bfloat16) == "runs":
        pytest.skip("this torch has no such kernel")
    with FakeTensorMode():
        states = torch.empty(1, 4, 14, 8, dtype=torch.bfloat16)
        segments = packed_attention.Segments(torch.zeros(5, dtype=torch.int64), 5, [], "varlen")
        attended, _ = packed_attention.packed_attention(
            None, states, states, states, None, packed_segments=segments, sliding_window=3
        )
    assert attended.shape == (1, 14, 4, 8)


def test_the_body_follows_device_and_precision() -> None:
    import torch

    cuda = torch.device("cuda")
    assert packed_attention.choose_body(torch.device("cpu"), torch.bfloat16) == "runs"
    assert packed_attention.choose_body(cuda, torch.float32) == "runs"
    assert packed_attention.why_not_packed(cuda) is None
    assert packed_attention.why_not_packed(torch.device("mps")) == "no packed attention for mps"


def test_what_one_body_refuses_the_other_does(classifier: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rerank_bench.scoring.acceleration.choose_body", lambda _device, _dtype: "varlen")
    scorer, notes = load(classifier("bert"))  # the kernel knows no CPU
    assert scorer.describe()["attention"] == "packed"
    assert notes == []


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", PACKED)
def test_packed_scores_on_cuda(architecture: str, dtype: str, classifier: Make, text_pairs: TextPairs) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    notes = Notes()
    with progress.use_reporter(notes):
        scorer = load_scorer(str(classifier(architecture)), device="cuda", dtype=dtype, batch_tokens=300)
    assert (scorer.describe()["batches"], notes.messages) == ("packed", [])
    expected = forward_alone(classifier(architecture), scorer, text_pairs)
    np.testing.assert_allclose(scorer.score(text_pairs), expected, atol=1e-3 if dtype == "float32" else 0.2)
