"""Losses against Sentence Transformers' cross-encoder losses, which run their own code on logits that we hand them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.cross_encoder import CrossEncoder, losses
from sentence_transformers.cross_encoder.losses import lambda_loss as st_lambda
from tiny_models import write_sequence_classifier
from torch import Tensor

from rerank_bench.training.lambda_loss import lambda_loss
from rerank_bench.training.losses import (
    binary_cross_entropy,
    group_cross_entropy,
    list_net,
    margin_mse,
    mean_squared_error,
    pairwise_mse,
)

Loss = Callable[..., Tensor]

SCHEMES: dict[str, Any] = {
    "none": st_lambda.NoWeightingScheme,
    "ndcg1": st_lambda.NDCGLoss1Scheme,
    "ndcg2": st_lambda.NDCGLoss2Scheme,
    "lambdarank": st_lambda.LambdaRankScheme,
    "ndcg2++": st_lambda.NDCGLoss2PPScheme,
}


class _LogitsOfPairs:
    """Answers a cross-encoder's two calls with logits that are looked up by (query, document)."""

    def __init__(self, encoder: CrossEncoder) -> None:
        self.encoder = encoder
        self.logits: dict[tuple[str, str], Tensor] = {}

    def preprocess(self, pairs: Sequence[tuple[str, str]], **_: object) -> dict[str, Tensor]:
        return {"scores": torch.stack([self.logits[query, doc] for query, doc in pairs])[:, None]}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> CrossEncoder:
    folder: Path = write_sequence_classifier(tmp_path_factory.mktemp("model") / "tiny")
    return CrossEncoder(str(folder), device="cpu")


@pytest.fixture
def oracle(encoder: CrossEncoder, monkeypatch: pytest.MonkeyPatch) -> _LogitsOfPairs:
    """A real CrossEncoder whose logits are the test's: tokenizer and network are passed over, the losses are not."""
    table = _LogitsOfPairs(encoder)
    monkeypatch.setattr(encoder, "preprocess", table.preprocess)
    monkeypatch.setattr(CrossEncoder, "forward", lambda _self, features, **_: features)
    return table


def groups(seed: int, sizes: Sequence[int], *, grades: Sequence[float]) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(sizes), max(sizes))
    scores = 3 * torch.randn(shape, generator=generator)
    labels = torch.tensor(list(grades))[torch.randint(len(grades), shape, generator=generator)]
    mask = torch.arange(shape[1])[None, :] < torch.tensor(sizes)[:, None]
    return scores, labels, mask


def run_oracle(
    oracle: _LogitsOfPairs, make: Callable[..., Any], scores: Tensor, labels: Tensor, mask: Tensor, *, as_lists: bool
) -> tuple[Tensor, Tensor]:
    """Return (value, gradient by score) of a Sentence Transformers loss."""
    leaf = scores.clone().requires_grad_()
    queries = [f"q{b}" for b in range(len(scores))]
    docs = [[f"d{g}" for g in range(int(mask[b].sum()))] for b in range(len(scores))]
    oracle.logits = {(queries[b], f"d{g}"): leaf[b, g] for b in range(len(scores)) for g in range(scores.shape[1])}
    loss = make(oracle.encoder)
    if as_lists:
        value = loss([queries, docs], [labels[b][mask[b]] for b in range(len(scores))])
    else:
        pairs = [(b, g) for b in range(len(scores)) for g in range(len(docs[b]))]
        value = loss([[f"q{b}" for b, _ in pairs], [f"d{g}" for _, g in pairs]], labels[mask])
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def run_ours(loss: Loss, scores: Tensor, labels: Tensor, mask: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    leaf = scores.clone().requires_grad_()
    value = loss(leaf, labels, mask, **options)
    value.backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def assert_same(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.isfinite(mine).all()
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


SIZES = [(3, 5, 1, 4), (7,), (2, 2)]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("log_base", ["binary", "natural"])
@pytest.mark.parametrize("k", [None, 2, 50])
@pytest.mark.parametrize("weighting", list(SCHEMES))
def test_lambda_loss(
    oracle: _LogitsOfPairs, weighting: str, k: int | None, log_base: str, sizes: Sequence[int]
) -> None:
    for seed, grades in enumerate(([0.0, 1.0], [0.0, 1.0, 2.0, 3.0], [-1.0, 0.0, 0.3, 2.0])):
        scores, labels, mask = groups(seed, sizes, grades=grades)
        theirs = run_oracle(
            oracle,
            lambda model: st_lambda.LambdaLoss(
                model, weighting_scheme=SCHEMES[weighting](), k=k, sigma=0.7, reduction_log=log_base, mini_batch_size=-1
            ),
            scores,
            labels,
            mask,
            as_lists=True,
        )
        ours = run_ours(lambda_loss, scores, labels, mask, weighting=weighting, k=k, sigma=0.7, log_base=log_base)
        assert_same(ours, theirs)


def test_rank_net_is_the_loss_without_weights(oracle: _LogitsOfPairs) -> None:
    scores, labels, mask = groups(3, (4, 6), grades=[0.0, 1.0, 2.0])
    theirs = run_oracle(oracle, losses.RankNetLoss, scores, labels, mask, as_lists=True)
    assert_same(run_ours(lambda_loss, scores, labels, mask, weighting="none"), theirs)


@pytest.mark.parametrize("sizes", SIZES)
def test_list_net(oracle: _LogitsOfPairs, sizes: Sequence[int]) -> None:
    scores, labels, mask = groups(5, sizes, grades=[0.0, 1.0, 2.5])
    theirs = run_oracle(oracle, losses.ListNetLoss, scores, labels, mask, as_lists=True)
    assert_same(run_ours(list_net, scores, labels, mask), theirs)


@pytest.mark.parametrize("pos_weight", [None, 5.0])
def test_binary_cross_entropy(oracle: _LogitsOfPairs, pos_weight: float | None) -> None:
    weight = None if pos_weight is None else torch.tensor(pos_weight)
    scores, labels, mask = groups(7, (3, 1, 6), grades=[0.0, 0.25, 1.0])
    theirs = run_oracle(
        oracle,
        lambda model: losses.BinaryCrossEntropyLoss(model, pos_weight=weight),
        scores,
        labels,
        mask,
        as_lists=False,
    )
    assert_same(run_ours(binary_cross_entropy, scores, labels, mask, pos_weight=pos_weight), theirs)


def test_mean_squared_error(oracle: _LogitsOfPairs) -> None:
    scores, labels, mask = groups(8, (3, 1, 6), grades=[-4.5, 0.25, 7.0])
    theirs = run_oracle(oracle, losses.MSELoss, scores, labels, mask, as_lists=False)
    assert_same(run_ours(mean_squared_error, scores, labels, mask), theirs)


def test_margin_mse(oracle: _LogitsOfPairs) -> None:
    scores, labels, mask = groups(9, (4, 4, 4), grades=[-4.5, 0.25, 7.0])
    leaf = scores.clone().requires_grad_()
    columns = [[f"q{b}" for b in range(3)], *([f"d{g}"] * 3 for g in range(4))]
    oracle.logits = {(f"q{b}", f"d{g}"): leaf[b, g] for b in range(3) for g in range(4)}
    value = losses.MarginMSELoss(oracle.encoder)(columns, labels)
    value.backward()
    assert leaf.grad is not None
    assert_same(run_ours(margin_mse, scores, labels, mask), (value.detach(), leaf.grad))


def test_pairwise_mse_is_margin_mse_over_all_pairs(oracle: _LogitsOfPairs) -> None:
    scores, labels, mask = groups(10, (4, 1, 3), grades=[-4.5, 0.25, 7.0])
    leaf = scores.clone().requires_grad_()
    pairs = [(b, i, j) for b, size in enumerate((4, 1, 3)) for i in range(size) for j in range(i + 1, size)]
    columns = [[f"q{b}" for b, _, _ in pairs], [f"d{i}" for _, i, _ in pairs], [f"d{j}" for _, _, j in pairs]]
    oracle.logits = {(f"q{b}", f"d{g}"): leaf[b, g] for b in range(3) for g in range(4)}
    margins = torch.stack([labels[b, i] - labels[b, j] for b, i, j in pairs])
    value = losses.MarginMSELoss(oracle.encoder)(columns, margins)
    value.backward()
    assert leaf.grad is not None
    assert_same(run_ours(pairwise_mse, scores, labels, mask), (value.detach(), leaf.grad))


def test_cross_entropy_of_one_group_is_multiple_negatives_ranking(oracle: _LogitsOfPairs) -> None:
    scores = torch.tensor([[0.3, 2.0, -1.0, 4.0]])
    leaf = scores.clone().requires_grad_()
    oracle.logits = {("q", f"d{g}"): leaf[0, g] for g in range(4)}
    loss = losses.MultipleNegativesRankingLoss(
        oracle.encoder, num_negatives=None, scale=1.0, activation_fn=torch.nn.Identity()
    )
    value = loss([["q"], ["d0"], ["d1"], ["d2"], ["d3"]], torch.empty(0))
    value.backward()
    assert leaf.grad is not None
    labels = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    ours = run_ours(group_cross_entropy, scores, labels, torch.ones_like(labels, dtype=torch.bool))
    assert_same(ours, (value.detach(), leaf.grad))


LOSSES: dict[str, Loss] = {
    "bce": binary_cross_entropy,
    "mse": mean_squared_error,
    "margin-mse": margin_mse,
    "pairwise-mse": pairwise_mse,
    "listnet": list_net,
    "cross-entropy": group_cross_entropy,
    **{f"lambda {name}": lambda *a, _name=name: lambda_loss(*a, weighting=_name) for name in SCHEMES},
}


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**20), scale=st.sampled_from([0.0, 1.0, 1e4, 1e18]))
def test_padding_changes_nothing_and_all_stays_finite(name: str, seed: int, scale: float) -> None:
    scores, labels, mask = groups(seed, (2, 4, 3), grades=[0.0, 0.5, 1.0])
    labels[:, 0] = 1.0
    if name in {"mse", "margin-mse", "pairwise-mse"}:
        scale = min(scale, 1e4)  # a square of 1e18 is no float32
    scores = scores * scale
    value, gradient = run_ours(LOSSES[name], scores, labels, mask)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
    assert (gradient[~mask] == 0).all()
    poisoned = scores.masked_fill(~mask, math.nan), labels.masked_fill(~mask, math.nan)
    again, gradient_again = run_ours(LOSSES[name], *poisoned, mask)
    assert torch.equal(value, again)
    assert torch.equal(gradient, gradient_again)
    wider = [torch.nn.functional.pad(t, (0, 2)) for t in (scores, labels, mask)]
    assert run_ours(LOSSES[name], *wider)[0] == pytest.approx(value.item(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_bfloat16_scores_are_computed_in_float32(name: str) -> None:
    scores, labels, mask = groups(1, (4, 3), grades=[0.0, 1.0])
    labels[:, 0] = 1.0
    low = scores.to(torch.bfloat16)
    value = LOSSES[name](low, labels, mask)
    assert value.dtype == torch.float32
    assert value == LOSSES[name](low.float(), labels, mask)


@pytest.mark.parametrize("weighting", ["none", "ndcg2", "ndcg2++", "lambdarank"])
def test_lambda_loss_of_equal_labels_is_zero_with_zero_gradients(weighting: str) -> None:
    scores, _, mask = groups(2, (3, 5), grades=[0.0])
    for label in (0.0, 1.0):
        value, gradient = run_ours(lambda_loss, scores, torch.full_like(scores, label), mask, weighting=weighting)
        assert value == 0
        assert (gradient == 0).all()


def test_lambda_loss_of_one_document_is_zero() -> None:
    value, gradient = run_ours(lambda_loss, torch.tensor([[3.0]]), torch.tensor([[1.0]]), torch.tensor([[True]]))
    assert value == 0
    assert gradient.item() == 0


def test_lambda_loss_pulls_tied_documents_apart() -> None:
    scores, labels = torch.zeros(1, 3), torch.tensor([[0.0, 1.0, 0.0]])
    value, gradient = run_ours(lambda_loss, scores, labels, torch.ones(1, 3, dtype=torch.bool))
    assert value > 0
    assert gradient[0, 1] < 0 < gradient[0, 0]


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_without_documents_is_refused(name: str) -> None:
    nothing = torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"no document|no group"):
        LOSSES[name](*nothing)


def test_what_a_loss_cannot_use_is_refused() -> None:
    full = torch.ones(2, 2, dtype=torch.bool)
    one = torch.tensor([[True, False]])
    with pytest.raises(ValueError, match="hold no document with a label above 0"):
        group_cross_entropy(torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [0.0, 0.0]]), full)
    with pytest.raises(ValueError, match="no group holds a positive and another document"):
        margin_mse(torch.zeros(1, 2), torch.zeros(1, 2), one)
    with pytest.raises(ValueError, match="no group holds two documents"):
        pairwise_mse(torch.zeros(1, 2), torch.zeros(1, 2), one)
    with pytest.raises(ValueError, match=r"groups \[1\] of the batch hold no document"):
        list_net(torch.zeros(2, 2), torch.zeros(2, 2), torch.tensor([[True, True], [False, False]]))
    with pytest.raises(ValueError, match="weighting is 'ndcg3', expected one of"):
        lambda_loss(torch.zeros(2, 2), torch.zeros(2, 2), full, weighting="ndcg3")  # type: ignore[arg-type]
