"""Which label of a classifier means relevant, and one score from all its logits.

One label: its logit.  More: the positive label's logit minus the logarithm of the summed exponentials of the others.
That is the log odds of the label's softmax probability, so it orders as that probability does but never saturates;
with two labels it is the difference of the two logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rerank_bench.errors import ConfigError, describe_unknown

if TYPE_CHECKING:
    import torch

POSITIVE_LABELS = {"yes", "true", "relevant", "positive", "pos", "entailment", "match", "duplicate"}
NEGATIVE_LABELS = {"no", "false", "irrelevant", "not_relevant", "non_relevant", "negative", "neg", "not_entailment"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The labels of a classifier."""

    names: tuple[str, ...]
    positive: int | None
    """Index of the label that means relevant; ``None`` with one label."""

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """Return (B,) float32, one score per pair, from (B, labels) logits."""
        import torch

        logits = logits.float()
        if self.positive is None:
            return logits[:, 0]
        others = [index for index in range(len(self.names)) if index != self.positive]
        return logits[:, self.positive] - torch.logsumexp(logits[:, others], dim=1)


def read_labels(model_name: str, config: Any, requested: str | None) -> Labels:
    """Return the labels of a checkpoint.

    Args:
        model_name: The model, for messages.
        config: The model's configuration: ``num_labels`` and ``id2label``.
        requested: Name or index of the positive label; ``None`` reads it from the names of two labels.

    Raises:
        ConfigError: More than two labels and none requested, an unknown label, or one label and one requested.
    """
    num_labels = int(config.num_labels)
    by_index = {int(index): str(label) for index, label in (config.id2label or {}).items()}
    names = tuple(by_index.get(index, f"LABEL_{index}") for index in range(num_labels))
    if num_labels == 1:
        if requested is not None:
            msg = f"positive label {requested!r} was given, but model {model_name!r} has one label only; drop it"
            raise ConfigError(msg)
        return Labels(names=names, positive=None)
    if requested is not None:
        return Labels(names=names, positive=_requested_label(model_name, names, requested))
    if num_labels > 2:
        msg = (
            f"model {model_name!r} has {num_labels} labels ({', '.join(names)}) and a reranker needs one score; "
            "say which label means relevant: --positive-label NAME or its index, counted from 0"
        )
        raise ConfigError(msg)
    return Labels(names=names, positive=_label_of_two(dict(enumerate(names))))


def _requested_label(model_name: str, names: tuple[str, ...], requested: str) -> int:
    """Return the index of a label given by name (case does not matter unless names differ by it) or by index."""
    exact = [index for index, name in enumerate(names) if name == requested]
    folded = [index for index, name in enumerate(names) if name.casefold() == requested.casefold()]
    found = exact or folded
    if len(found) == 1:
        return found[0]
    if not found and requested.isdecimal() and int(requested) < len(names):
        return int(requested)
    if len(found) > 1:
        msg = f"model {model_name!r}: {len(found)} labels are called {requested!r}; give the index, one of {found}"
        raise ConfigError(msg)
    indices = f"0 to {len(names) - 1}"
    msg = f"model {model_name!r}: {describe_unknown('label', [requested], names)} (or an index, {indices})"
    raise ConfigError(msg)


def _label_of_two(names: Mapping[int, str]) -> int:
    """Return the index of the label that means relevant: by the two labels' names, else 1."""
    folded = {index: name.casefold().replace(" ", "_").replace("-", "_") for index, name in names.items()}
    positive = [index for index, name in folded.items() if name in POSITIVE_LABELS]
    negative = [index for index, name in folded.items() if name in NEGATIVE_LABELS]
    if len(positive) == 1:
        return positive[0]
    return 1 - negative[0] if len(negative) == 1 else 1
