"""Batches: groups of texts in, padded tokens, labels and mask out.

The pairs of a batch are cut into mini-batches of similar length, each padded to its own longest pair.  Their order in a
batch changes no loss, so this saves padding without changing a recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rerank_bench.training.examples import Examples, Group


class Item(NamedTuple):
    """One example with its number."""

    number: int
    group: Group


class ExampleItems(torch.utils.data.Dataset[Item]):
    """Examples by number, as a data loader wants them.

    Args:
        examples: N of them.
    """

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, number: int) -> Item:
        return Item(number, self.examples[number])


@dataclass(frozen=True, slots=True)
class Collator:
    """Turns B groups into one batch.

    Args:
        tokenizer: The base model's.
        max_length: Tokens per pair; longer pairs lose the end of the longer text first.
        mini_batch: Pairs per forward pass; ``None`` for all.
    """

    tokenizer: Any
    max_length: int
    mini_batch: int | None

    def __call__(self, items: Sequence[Item]) -> dict[str, Any]:
        """Return a batch of N pairs.

        ``parts``: padded tokens of (at most ``mini_batch``) pairs each; ``order``: (N,) which pair each of their rows
        is; ``targets``: (B, G) float32, the labels; ``mask``: (B, G) bool; ``indices``: (B,) numbers of the examples.
        """
        groups = [item.group for item in items]
        queries = [group.query for group in groups for _ in group.docs]
        docs = [doc for group in groups for doc in group.docs]
        encoded = self.tokenizer(queries, docs, truncation=True, max_length=self.max_length)
        lengths = np.array([len(ids) for ids in encoded["input_ids"]])  # (N,)
        order = np.argsort(-lengths, kind="stable")
        step = self.mini_batch or len(order)
        parts = [self._pad(encoded, order[start : start + step]) for start in range(0, len(order), step)]
        sizes = torch.tensor([len(group.docs) for group in groups])  # (B,)
        mask = torch.arange(int(sizes.max()))[None, :] < sizes[:, None]  # (B, G)
        labels = torch.zeros(mask.shape)
        labels[mask] = torch.tensor([label for group in groups for label in group.labels])
        return {
            "parts": parts,
            "order": torch.from_numpy(order),
            "targets": labels,
            "mask": mask,
            "indices": torch.tensor([item.number for item in items]),
        }

    def _pad(self, encoded: Any, rows: Any) -> dict[str, Tensor]:
        some = {name: [values[row] for row in rows] for name, values in encoded.items()}
        # The tokenizers' advice to pad while tokenising does not apply: which pairs stand together is known only now.
        self.tokenizer.deprecation_warnings["Asking-to-pad-a-fast-tokenizer"] = True
        return dict(self.tokenizer.pad(some, padding=True, return_tensors="pt"))


def score_batch(model: Any, batch: dict[str, Any]) -> Tensor:
    """Return (B, G) float32 logits of a batch, 0 in masked places; gradients flow to the model."""
    logits = torch.cat([model(**part).logits.float().view(-1) for part in batch["parts"]])  # (N,) in the parts' order
    flat = torch.empty_like(logits).index_copy(0, batch["order"], logits)  # (N,) in the groups' order
    scores = torch.zeros(batch["mask"].shape, device=logits.device)
    return scores.masked_scatter(batch["mask"], flat)  # (B, G)
