"""LambdaLoss: pairwise logistic losses weighted by what a swap would change in NDCG.

Wang et al., 2018, https://doi.org/10.1145/3269206.3271784, equations of section 4 to 6.  With the documents of a query in
the order of their scores, i and j their ranks from 1, and::

    D(r) = log2(1 + r)          discount
    G(i) = (2^y(i) − 1) / Z     gain; Z the highest DCG@k that the labels allow, at least ``eps``

    none (RankNet)   w = 1
    ndcg1            w = G(i) / D(i)
    lambdarank       w = |1/D(i) − 1/D(j)| · |G(i) − G(j)|
    ndcg2            w = |1/D(|i − j|) − 1/D(|i − j| + 1)| · |G(i) − G(j)|
    ndcg2++          w = 10 · w(ndcg2) + w(lambdarank)

    loss = −mean over pairs (i, j) of w · log σ(sigma · (s(i) − s(j)))

The pairs are those with y(i) > y(j), for ``ndcg1`` all of them, i = j included; with ``k`` only those in which one of the
two ranks is at most k.  The mean runs over the pairs of the whole batch.  Equal scores keep the order of the group.

RankNet: Burges et al., 2005, https://doi.org/10.1145/1102351.1102363.  LambdaRank: Burges et al., 2006,
https://papers.nips.cc/paper/2971.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

Weighting = Literal["ndcg2++", "ndcg2", "ndcg1", "lambdarank", "none"]
LogBase = Literal["binary", "natural"]

PLUS_PLUS_MU = 10.0
"""What ``ndcg2++`` multiplies the weights of ``ndcg2`` by: the published recipes' value."""
MAX_DIFFERENCE = 1e8
"""Differences of scores are cut here, so that no infinity arises from finite scores."""


def lambda_loss(
    scores: Tensor,
    labels: Tensor,
    mask: Tensor,
    *,
    weighting: Weighting = "ndcg2++",
    sigma: float = 1.0,
    eps: float = 1e-10,
    k: int | None = None,
    log_base: LogBase = "binary",
) -> Tensor:
    """Return the loss of the module's docstring; 0, with zero gradients, where no pair of labels differs.

    Args:
        scores: (B, G) logits.
        labels: (B, G) relevance; below 0 counts as 0 in gains, not in the choice of pairs.
        mask: (B, G) bool.
        weighting: One of ``Weighting``.
        sigma: Steepness of the logistic function, above 0.
        eps: Lower bound of the highest DCG, for groups without a positive.
        k: Pairs with neither document in the best k are left out; ``None`` takes all.
        log_base: Bits (``binary``) or nats (``natural``).

    Returns:
        () float32.

    Raises:
        ValueError: No document is left, or the weighting is unknown.
    """
    if not mask.any():
        msg = "no document is left: every place of the batch is masked"
        raise ValueError(msg)
    if weighting not in get_args(Weighting):
        msg = f"weighting is {weighting!r}, expected one of {', '.join(get_args(Weighting))}"
        raise ValueError(msg)
    scores = scores.float().masked_fill(~mask, -math.inf)  # (B, G)
    labels = labels.float().masked_fill(~mask, -math.inf)
    order = scores.detach().argsort(dim=1, descending=True, stable=True)  # (B, G): padding last
    scores, labels, mask = scores.gather(1, order), labels.gather(1, order), mask.gather(1, order)
    is_pair = _pairs(labels, mask, weighting=weighting, k=k)  # (B, G, G)
    weights = _weights(labels.clamp(min=0.0), weighting, eps=eps, k=k)  # (B, G, G) or ()
    scores = scores.masked_fill(~mask, 0.0)
    differences = (scores[:, :, None] - scores[:, None, :]).clamp(-MAX_DIFFERENCE, MAX_DIFFERENCE)
    losses = weights * functional.logsigmoid(sigma * differences)  # (B, G, G)
    if log_base == "binary":
        losses = losses / math.log(2)
    return -losses.masked_fill(~is_pair, 0.0).sum() / is_pair.sum().clamp(min=1)


def _pairs(labels: Tensor, mask: Tensor, *, weighting: Weighting, k: int | None) -> Tensor:
    """Return (B, G, G) bool: which pairs of ranks count."""
    is_pair = mask[:, :, None] & mask[:, None, :]
    if weighting != "ndcg1":
        is_pair = is_pair & (labels[:, :, None] > labels[:, None, :])
    if k is not None:
        is_top = torch.arange(labels.shape[1], device=labels.device) < k  # (G,)
        is_pair = is_pair & (is_top[:, None] | is_top[None, :])
    return is_pair


def _weights(labels: Tensor, weighting: Weighting, *, eps: float, k: int | None) -> Tensor:
    """Return (B, G, G) float32, or () for ``none``; labels, (B, G), are in the order of the scores and at least 0."""
    if weighting == "none":
        return torch.ones((), device=labels.device)
    ranks = torch.arange(1, labels.shape[1] + 1, device=labels.device)  # (G,)
    discounts = torch.log2(1.0 + ranks)  # (G,)
    ideal = labels.sort(dim=1, descending=True).values
    ideal_dcg = ((torch.exp2(ideal) - 1) / discounts)[:, :k].sum(dim=1, keepdim=True).clamp(min=eps)  # (B, 1)
    gains = (torch.exp2(labels) - 1) / ideal_dcg  # (B, G)
    if weighting == "ndcg1":
        return (gains / discounts)[:, :, None]
    gain_differences = (gains[:, :, None] - gains[:, None, :]).abs()  # (B, G, G)
    by_rank = (1 / discounts[:, None] - 1 / discounts[None, :]).abs()  # (G, G)
    if weighting == "lambdarank":
        return by_rank * gain_differences
    by_distance = _distance_weights(ranks)
    if weighting == "ndcg2":
        return by_distance * gain_differences
    return (PLUS_PLUS_MU * by_distance + by_rank) * gain_differences


def _distance_weights(ranks: Tensor) -> Tensor:
    """Return (G, G) float32: 1/D(d) − 1/D(d + 1) for ranks d apart; 0 on the diagonal."""
    distance = (ranks[:, None] - ranks[None, :]).abs()
    weights = 1 / torch.log2(1.0 + distance.clamp(min=1)) - 1 / torch.log2(2.0 + distance)
    return weights.masked_fill(distance == 0, 0.0)
