"""MaxSim: for every token of a query the highest similarity to any token of the document, summed.

Khattab and Zaharia, 2020, https://arxiv.org/abs/2004.12832.  In float32, on the device that the vectors are on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

COMPARED_FLOATS = 1 << 22
"""Numbers that are held at once while vectors are compared: 16 MB."""


def max_sim(queries: Tensor, docs: Tensor, pairs: Tensor, *, is_mean: bool) -> Tensor:
    """Return (N,) float32: MaxSim of every pair.

    Args:
        queries: (Q, W, H) float32; vectors of zeros add nothing.
        docs: (D, V, H) float32.
        pairs: (N, 2) int64: indices of a query and a document.
        is_mean: Whether the sum is divided by the number of the query's vectors, those of zeros left out.
    """
    import torch

    width, length = queries.shape[1], docs.shape[1]
    step = max(1, COMPARED_FLOATS // ((width + length) * docs.shape[2] + width * length))
    sums = [queries.new_empty(0)]
    for rows in torch.split(pairs, step):
        chosen = queries[rows[:, 0]]  # (n, W, H)
        similarities = torch.bmm(chosen, docs[rows[:, 1]].transpose(1, 2))  # (n, W, V)
        found = similarities.amax(dim=2).sum(dim=1)
        sums.append(found / chosen.any(dim=2).sum(dim=1) if is_mean else found)
    return torch.cat(sums)
