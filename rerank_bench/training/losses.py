"""Losses over the documents of a query: pure functions of (scores, labels, mask), in float32.

B is the number of queries in a batch, G the number of documents of the longest group; ``mask`` is False where a shorter
group was padded.  Masked places may hold anything, NaN included: they get neither a value nor a gradient.  What the
functions are equal to is tested: the losses of Sentence Transformers' cross-encoders, values and gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def binary_cross_entropy(scores: Tensor, labels: Tensor, mask: Tensor, *, pos_weight: float | None = None) -> Tensor:
    """Return −mean(w · y · log σ(s) + (1 − y) · log(1 − σ(s))) over the documents, in nats.

    Args:
        scores: (B, G) logits s.
        labels: (B, G) relevance y, from 0 to 1.
        mask: (B, G) bool.
        pos_weight: w, what a positive counts relative to a negative; ``None`` is 1.

    Returns:
        () float32.

    Raises:
        ValueError: No document is left.

    References:
        Pointwise training of a cross-encoder: Nogueira and Cho, 2019, https://arxiv.org/abs/1901.04085
    """
    _check_any(mask)
    weight = None if pos_weight is None else torch.tensor(pos_weight, device=scores.device)
    return functional.binary_cross_entropy_with_logits(
        scores[mask].float(), labels[mask].float(), pos_weight=weight
    )  # (N,), (N,) -> ()


def mean_squared_error(scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Return mean((s − y)²) over the documents: pointwise distillation of a teacher's scores.

    Args:
        scores: (B, G) logits s.
        labels: (B, G) the teacher's scores y.
        mask: (B, G) bool.

    Returns:
        () float32.

    Raises:
        ValueError: No document is left.

    References:
        Hinton et al., 2015, section 2.1 (matching logits), https://arxiv.org/abs/1503.02531
    """
    _check_any(mask)
    return functional.mse_loss(scores[mask].float(), labels[mask].float())


def margin_mse(scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Return mean(((s₀ − sⱼ) − (y₀ − yⱼ))²) over the documents j ≥ 1; document 0 of a group is its positive.

    Args:
        scores: (B, G) logits s.
        labels: (B, G) the teacher's scores y; only differences within a group matter.
        mask: (B, G) bool.

    Returns:
        () float32.

    Raises:
        ValueError: No group holds a second document.

    References:
        Hofstätter et al., 2020, https://arxiv.org/abs/2010.02666
    """
    is_pair = mask[:, 1:] & mask[:, :1]  # (B, G − 1)
    _check_any(is_pair, "no group holds a positive and another document; margin-mse compares the two")
    scores, labels = _filled(scores, mask), _filled(labels, mask)
    margins = scores[:, :1] - scores[:, 1:]  # (B, G − 1)
    targets = labels[:, :1] - labels[:, 1:]
    return functional.mse_loss(margins[is_pair], targets[is_pair])


def pairwise_mse(scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Return mean(((sᵢ − sⱼ) − (yᵢ − yⱼ))²) over all pairs i < j of a group's documents, all pairs of a batch alike.

    ``margin_mse`` without a distinguished document: what the others differ in among themselves counts, too.

    Args:
        scores: (B, G) logits s.
        labels: (B, G) the teacher's scores y; only differences within a group matter.
        mask: (B, G) bool.

    Returns:
        () float32.

    Raises:
        ValueError: No group holds a second document.

    References:
        The margins of Hofstätter et al., 2020, https://arxiv.org/abs/2010.02666, between any two documents
    """
    is_pair = torch.triu(mask[:, :, None] & mask[:, None, :], diagonal=1)  # (B, G, G)
    _check_any(is_pair, "no group holds two documents; pairwise-mse compares them")
    scores, labels = _filled(scores, mask), _filled(labels, mask)
    margins = scores[:, :, None] - scores[:, None, :]  # (B, G, G)
    targets = labels[:, :, None] - labels[:, None, :]
    return functional.mse_loss(margins[is_pair], targets[is_pair])


def list_net(scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over queries of −Σ softmax(y)ᵢ · log softmax(s)ᵢ, in nats (the top-one form of ListNet).

    Args:
        scores: (B, G) logits s.
        labels: (B, G) relevance y, on the scale of logits: the target distribution is its softmax.
        mask: (B, G) bool.

    Returns:
        () float32.

    Raises:
        ValueError: A group holds no document.

    References:
        Cao et al., 2007, https://doi.org/10.1145/1273496.1273513
    """
    targets = _masked_log_softmax(labels, mask).exp()  # (B, G)
    return _cross_entropy(scores, targets, mask)


def group_cross_entropy(scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over queries of −Σ (yᵢ / Σ y) · log softmax(s)ᵢ, in nats.

    With one positive per group it is the log loss of choosing the positive among the group's documents.

    Args:
        scores: (B, G) logits s.
        labels: (B, G) relevance y, at least 0.
        mask: (B, G) bool.

    Returns:
        () float32.

    Raises:
        ValueError: A group holds no document, or none with a label above 0.

    References:
        Bruch et al., 2019 (softmax cross entropy), https://doi.org/10.1145/3341981.3344221
    """
    labels = _filled(labels, mask)
    totals = labels.sum(dim=1, keepdim=True)  # (B, 1)
    without = (totals <= 0).flatten().nonzero().flatten().tolist()
    if without:
        msg = f"groups {without[:3]} of the batch hold no document with a label above 0; cross-entropy needs one"
        raise ValueError(msg)
    return _cross_entropy(scores, labels / totals, mask)


def _cross_entropy(scores: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    log_probabilities = _masked_log_softmax(scores, mask)  # (B, G)
    return -(targets * log_probabilities).masked_fill(~mask, 0.0).sum(dim=1).mean()


def _masked_log_softmax(values: Tensor, mask: Tensor) -> Tensor:
    """Return (B, G) float32; masked places are the log of nearly nothing."""
    empty = (~mask.any(dim=1)).nonzero().flatten().tolist()
    if empty:
        msg = f"groups {empty[:3]} of the batch hold no document"
        raise ValueError(msg)
    low = torch.finfo(torch.float32).min
    return torch.log_softmax(values.float().masked_fill(~mask, low), dim=1)


def _filled(values: Tensor, mask: Tensor) -> Tensor:
    """Return (B, G) float32 with 0 in masked places."""
    return values.float().masked_fill(~mask, 0.0)


def _check_any(mask: Tensor, problem: str = "no document is left: every place of the batch is masked") -> None:
    if not mask.any():
        raise ValueError(problem)
