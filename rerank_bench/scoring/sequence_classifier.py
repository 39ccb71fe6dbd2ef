"""Family ``sequence-classifier``: query and document through one encoder with a classification head.

What becomes of several labels is told in ``labels.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.scoring.acceleration import PROBE_PAIRS, accelerate
from rerank_bench.scoring.checkpoints import Checkpoint, Module
from rerank_bench.scoring.labels import Labels, read_labels
from rerank_bench.scoring.launching import Launched
from rerank_bench.scoring.lengths import resolve_max_length
from rerank_bench.scoring.loading import load_model, load_tokenizer, place_model
from rerank_bench.scoring.packing import head_reduction
from rerank_bench.scoring.pair_inputs import PairInputs, PromptInputs, read_inputs
from rerank_bench.scoring.probing import probe_padding
from rerank_bench.scoring.runtime import ModelRuntime, takes_type_ids
from rerank_bench.scoring.scorer import EncodedItems, ScorerConfig
from rerank_bench.scoring.st_layout import head_modules, saved_activation
from rerank_bench.scoring.tokenization import TokenBatch, check_vocabulary

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, eq=False)
class SequenceClassifierScorer:
    """A loaded sequence classifier."""

    runtime: ModelRuntime
    inputs: PairInputs | PromptInputs
    labels: Labels

    @classmethod
    def load(cls, checkpoint: Checkpoint, config: ScorerConfig) -> SequenceClassifierScorer:
        """Return the scorer of a checkpoint.

        Raises:
            ConfigError: Labels of which none is known to mean relevant, or a contradiction with the configuration.
            ScoringError: Weights or tokenizer are incomplete.
        """
        head = head_modules(checkpoint)
        tokenizer = load_tokenizer(checkpoint, config)
        model, has_type_ids = _load_classifier(checkpoint, config, head)
        labels = read_labels(checkpoint.name, model.config, config.positive_label)
        max_length = resolve_max_length(checkpoint, config, tokenizer, model)
        inputs = read_inputs(checkpoint, config, tokenizer, max_length, has_type_ids=has_type_ids)
        runtime = ModelRuntime.place(checkpoint, config, model, place_model)
        scorer = cls(runtime, inputs, labels)
        probe_padding(runtime, scorer.encode(*_PROBE), scorer.score_batch)
        return accelerate(scorer, head_reduction(runtime.model), cls.score_batch, scorer.encode(*PROBE_PAIRS))

    @property
    def fingerprint(self) -> str:
        """SHA-256, hex, of all that decides a score."""
        return self.runtime.fingerprint(
            self.inputs.fingerprint() | {"positive_label": self.labels.positive}, self.inputs.max_length
        )

    @property
    def default_batch_tokens(self) -> int:
        """Budget when the user names none."""
        return self.runtime.default_batch_tokens

    def describe(self) -> dict[str, Any]:
        """Return what a result records of the model, JSON-able."""
        return self.runtime.describe() | {
            "max_length": self.inputs.max_length,
            **self.inputs.describe(),
            "head": self._head(),
            "saved_activation": saved_activation(self.runtime.checkpoint),
            "num_labels": len(self.labels.names),
            "labels": list(self.labels.names),
            "positive_label": self.labels.positive,
        }

    def peak_device_bytes(self) -> int | None:
        """Return the highest device memory so far, in bytes."""
        return self.runtime.peak_device_bytes()

    def encode(self, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]) -> EncodedItems:
        """Tokenise pairs given as (N, 2) indices into the texts."""
        tokens = self.inputs.encode(queries, docs, pairs)
        check_vocabulary(self.runtime.name, tokens.flats, self.runtime.num_embeddings)
        return tokens

    def score_batch(self, batch: TokenBatch) -> Launched:
        """Launch a batch of (B,) float32 logits."""
        return self.runtime.launch(batch, self._logit)

    def _logit(self, outputs: Any, _mask: torch.Tensor) -> torch.Tensor:
        return self.labels.score(outputs.logits)

    def _head(self) -> str:
        """Return the modules that make the head, or the class that has it built in."""
        kinds = [module.kind for module in head_modules(self.runtime.checkpoint)]
        return " → ".join(kinds) if kinds else f"of {type(self.runtime.model).__name__}"


_PROBE = (
    ["how to stop a program", "list"],
    ["text", "a query, a document and a score " * 3],
    np.asarray([[0, 0], [1, 1]]),
)
"""Two pairs of different length."""


def _load_classifier(checkpoint: Checkpoint, config: ScorerConfig, head: Sequence[Module]) -> tuple[Any, bool]:
    """Return (the model, whether it takes segment ids): with the head that transformers has, or one of modules."""
    if not head:
        model = load_model(checkpoint, config, "AutoModelForSequenceClassification")
        return model, takes_type_ids(model)
    from rerank_bench.scoring.st_head import build_classifier

    trunk = load_model(checkpoint, config, "AutoModel", unused=("pooler.",))
    return build_classifier(checkpoint, trunk, head), takes_type_ids(trunk)
