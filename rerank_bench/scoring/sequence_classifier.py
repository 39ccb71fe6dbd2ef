"""Family ``sequence-classifier``: query and document through one encoder with a classification head.

What becomes of several labels is told in ``labels.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import ConfigError
from rerank_bench.scoring.acceleration import PROBE_PAIRS, accelerate
from rerank_bench.scoring.checkpoints import Checkpoint
from rerank_bench.scoring.labels import Labels, read_labels
from rerank_bench.scoring.loading import load_model, load_tokenizer, place_model, resolve_max_length
from rerank_bench.scoring.packing import head_reduction
from rerank_bench.scoring.pair_assembly import PairTokenizer
from rerank_bench.scoring.runtime import ModelRuntime, check_padding, takes_type_ids
from rerank_bench.scoring.scorer import EncodedItems, ScorerConfig
from rerank_bench.scoring.tokenization import TokenBatch, check_vocabulary

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, eq=False)
class SequenceClassifierScorer:
    """A loaded sequence classifier."""

    runtime: ModelRuntime
    tokenizer: PairTokenizer
    labels: Labels

    @classmethod
    def load(cls, checkpoint: Checkpoint, config: ScorerConfig) -> SequenceClassifierScorer:
        """Return the scorer of a checkpoint.

        Raises:
            ConfigError: Labels of which none is known to mean relevant, or a contradiction with the configuration.
            ScoringError: Weights or tokenizer are incomplete.
        """
        _check_prompts(checkpoint)
        tokenizer = load_tokenizer(checkpoint, config)
        model = load_model(checkpoint, config, "AutoModelForSequenceClassification")
        labels = read_labels(checkpoint.name, model.config, config.positive_label)
        max_length = resolve_max_length(checkpoint, config, tokenizer, model)
        pair_tokenizer = PairTokenizer(tokenizer, max_length, has_type_ids=takes_type_ids(model))
        runtime = ModelRuntime.place(checkpoint, config, model, place_model)
        scorer = cls(runtime, pair_tokenizer, labels)
        check_padding(checkpoint.name, scorer.encode(*_PROBE), scorer.score_batch, is_exact=runtime.is_float32)
        return accelerate(scorer, head_reduction(runtime.model), cls.score_batch, scorer.encode(*PROBE_PAIRS))

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
            "num_labels": len(self.labels.names),
            "labels": list(self.labels.names),
            "positive_label": self.labels.positive,
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
        return self.labels.score(outputs.logits)

    def _template(self) -> dict[str, Any]:
        return {"positive_label": self.labels.positive, "pair": "query, document"}


_PROBE = (
    ["how to stop a program", "list"],
    ["text", "a query, a document and a score " * 3],
    np.asarray([[0, 0], [1, 1]]),
)
"""Two pairs of different length."""


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
