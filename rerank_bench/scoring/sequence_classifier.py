"""Family ``sequence-classifier``: query and document through one encoder with a classification head.

One label: its logit.  Two labels: logit of the positive one minus logit of the other, which ranks as softmax does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import ConfigError
from rerank_bench.scoring.checkpoints import Checkpoint
from rerank_bench.scoring.loading import load_model, load_tokenizer, place_model, resolve_max_length
from rerank_bench.scoring.pair_assembly import PairTokenizer
from rerank_bench.scoring.runtime import ModelRuntime, check_padding, takes_type_ids
from rerank_bench.scoring.scorer import EncodedItems, ScorerConfig
from rerank_bench.scoring.tokenization import TokenBatch, check_vocabulary

if TYPE_CHECKING:
    import torch

POSITIVE_LABELS = {"yes", "true", "relevant", "positive", "pos", "entailment", "match", "duplicate"}
NEGATIVE_LABELS = {"no", "false", "irrelevant", "not_relevant", "non_relevant", "negative", "neg", "not_entailment"}


@dataclass(frozen=True, slots=True, eq=False)
class SequenceClassifierScorer:
    """A loaded sequence classifier."""

    runtime: ModelRuntime
    tokenizer: PairTokenizer
    num_labels: int
    positive_label: int | None
    """Index of the label that means relevant; ``None`` with one label."""

    @classmethod
    def load(cls, checkpoint: Checkpoint, config: ScorerConfig) -> SequenceClassifierScorer:
        """Return the scorer of a checkpoint.

        Raises:
            ConfigError: More than two labels, or a contradiction with the configuration.
            ScoringError: Weights or tokenizer are incomplete.
        """
        _check_prompts(checkpoint)
        tokenizer = load_tokenizer(checkpoint, config)
        model = load_model(checkpoint, config, "AutoModelForSequenceClassification")
        num_labels, positive_label = _labels(checkpoint, model.config)
        max_length = resolve_max_length(checkpoint, config, tokenizer, model)
        pair_tokenizer = PairTokenizer(tokenizer, max_length, has_type_ids=takes_type_ids(model))
        runtime = ModelRuntime.place(checkpoint, config, model, place_model)
        scorer = cls(runtime, pair_tokenizer, num_labels, positive_label)
        check_padding(checkpoint.name, scorer.encode(*_PROBE), scorer.score_batch, is_exact=runtime.is_float32)
        return scorer

    @property
    def fingerprint(self) -> str:
        """SHA-256, hex, of all that decides a score."""
        return self.runtime.fingerprint(self._template(), self.tokenizer.max_length)

    @property
    def default_batch_tokens(self) -> int:
        """Budget when the user names none."""
        return self.runtime.default_batch_tokens

    def describe(self) -> dict[str, Any]:
        """Return what a result records of the model, JSON-able."""
        return self.runtime.describe() | {
            "max_length": self.tokenizer.max_length,
            "pair_assembly": "whole pairs" if self.tokenizer.template is None else "pieces",
            "num_labels": self.num_labels,
            "positive_label": self.positive_label,
        }

    def peak_device_bytes(self) -> int | None:
        """Return the highest device memory so far, in bytes."""
        return self.runtime.peak_device_bytes()

    def encode(self, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]) -> EncodedItems:
        """Tokenise pairs given as (N, 2) indices into the texts."""
        tokens = self.tokenizer.encode(queries, docs, pairs)
        check_vocabulary(self.runtime.name, tokens.flats, self.runtime.num_embeddings)
        return tokens

    def score_batch(self, batch: TokenBatch) -> NDArray[np.float32]:
        """Return (B,) float32 logits."""
        return self.runtime.compute(batch, self._logit)

    def _logit(self, outputs: Any, _mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = outputs.logits.float()  # (B, num_labels)
        if self.positive_label is None:
            return logits[:, 0]
        return logits[:, self.positive_label] - logits[:, 1 - self.positive_label]

    def _template(self) -> dict[str, Any]:
        return {"positive_label": self.positive_label, "pair": "query, document"}


_PROBE = (
    ["how to stop a program", "list"],
    ["text", "a query, a document and a score " * 3],
    np.asarray([[0, 0], [1, 1]]),
)
"""Two pairs of different length."""


def _labels(checkpoint: Checkpoint, config: Any) -> tuple[int, int | None]:
    """Return (number of labels, index of the positive one or ``None``).

    Raises:
        ConfigError: More than two labels.
    """
    num_labels = int(config.num_labels)
    if num_labels == 1:
        return 1, None
    names = {int(index): str(label) for index, label in config.id2label.items()}
    if num_labels > 2:
        msg = (
            f"model {checkpoint.name!r} has {num_labels} labels ({', '.join(names.values())}); "
            "expected 1, or 2 (relevant and not): a reranker needs one score"
        )
        raise ConfigError(msg)
    return 2, _positive_label(names)


def _positive_label(names: Mapping[int, str]) -> int:
    """Return the index of the label that means relevant: by the labels' names, else 1."""
    folded = {index: name.casefold().replace(" ", "_").replace("-", "_") for index, name in names.items()}
    positive = [index for index, name in folded.items() if name in POSITIVE_LABELS]
    negative = [index for index, name in folded.items() if name in NEGATIVE_LABELS]
    if len(positive) == 1:
        return positive[0]
    return 1 - negative[0] if len(negative) == 1 else 1


def _check_prompts(checkpoint: Checkpoint) -> None:
    """Raise where the checkpoint wants a prompt before each pair: it would be left out in silence.

    Raises:
        ConfigError: ``config_sentence_transformers.json`` names a default prompt that is not empty.
    """
    name = checkpoint.st_config.get("default_prompt_name")
    prompt = (checkpoint.st_config.get("prompts") or {}).get(name)
    if prompt:
        msg = (
            f"model {checkpoint.name!r}: config_sentence_transformers.json asks for the prompt {name!r} ({prompt!r}), "
            "which the family sequence-classifier does not support"
        )
        raise ConfigError(msg)
