"""All logits of pairs: one per label of a sequence classifier, the one score of any other model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import InvalidScoreError
from rerank_bench.scoring.batch_runner import BatchRunner
from rerank_bench.scoring.loaded_scorer import LoadedScorer, load_checkpoint, load_scorer
from rerank_bench.scoring.model_files import find_checkpoint
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.sequence_classifier import SequenceClassifierScorer
from rerank_bench.scoring.specs import parse_model_spec

if TYPE_CHECKING:
    import torch

CHECKPOINT_KINDS = ("demo", "local", "hub")


@dataclass(frozen=True, slots=True, eq=False)
class PairLogits:
    """What a model says of N pairs."""

    scores: NDArray[np.float32] | None
    """(N,) one score per pair; ``None`` with more than two labels of which none was named as positive."""
    logits: NDArray[np.float32] | None
    """(N, L) with two labels or more, else ``None``."""


@dataclass(frozen=True, slots=True, eq=False)
class PairClassifier:
    """A loaded model whose labels are all wanted."""

    loaded: LoadedScorer
    label_names: tuple[str, ...]
    """Of a sequence classifier with two labels or more; else empty."""
    has_score: bool
    positive: int | None
    """Index of the label that the score is of; ``None`` where there are no labels, or none was named."""

    def score(self, queries: Sequence[str], docs: Sequence[str], *, description: str) -> PairLogits:
        """Return the scores, and the logits where there are labels, of (query, document) pairs in their order.

        Raises:
            InvalidScoreError: A logit is NaN or infinite.
        """
        rows = np.repeat(np.arange(len(queries), dtype=np.int64)[:, None], 2, axis=1)  # (N, 2)
        if not self.label_names:
            scores = self.loaded.score_indexed(queries, docs, rows, description=description).scores
            return PairLogits(scores, None)
        scorer: Any = self.loaded.scorer
        budget = self.loaded.config.batch_tokens or scorer.default_batch_tokens
        is_packed = scorer.describe().get("batches") == "packed"
        runner = BatchRunner(scorer.encode(queries, docs, rows), budget, description, "pairs", is_packed=is_packed)
        logits = runner.run(partial(scorer.runtime.launch, head=_all_logits))  # (N, L)
        bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        if bad.size:
            row = int(bad[0])
            msg = (
                f"query {queries[row][:60]!r}, document {docs[row][:60]!r}: the logits are {logits[row].tolist()}, "
                f"expected finite numbers ({bad.size} of {len(logits)} pairs)"
            )
            raise InvalidScoreError(msg)
        return PairLogits(_log_odds(logits, scorer.labels.positive) if self.has_score else None, logits)


def load_pair_classifier(spec: str, config: ScorerConfig) -> PairClassifier:
    """Return a model with all its labels.

    Args:
        spec: As ``load_scorer`` takes it.
        config: ``positive_label`` names the label that gives the one score; with more than two labels and none named,
            there is no such score.

    Raises:
        ConfigError: The spec or an option is wrong.
        ScoringError: The checkpoint cannot be scored with.
        EnvironmentMissingError: A device, an extra or the network is absent.
    """
    model = parse_model_spec(spec)
    has_score = True
    if model.kind in CHECKPOINT_KINDS:
        checkpoint = find_checkpoint(model, config)
        # Of any other family the logits are not read one by one: its one label must be named.
        has_labels = checkpoint.family == "sequence-classifier" and len(checkpoint.config.get("id2label") or ()) > 2
        if has_labels and config.positive_label is None:
            has_score = False
            loaded = load_checkpoint(checkpoint, model, replace(config, positive_label="0"))  # any will do
        else:
            loaded = load_checkpoint(checkpoint, model, config)
    else:
        loaded = load_scorer(model, config=config)
    names: tuple[str, ...] = ()
    positive = None
    if isinstance(loaded.scorer, SequenceClassifierScorer) and len(loaded.scorer.labels.names) > 1:
        names = loaded.scorer.labels.names
        positive = loaded.scorer.labels.positive if has_score else None
    return PairClassifier(loaded, names, has_score, positive)


def _all_logits(outputs: Any, _mask: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = outputs.logits.float()
    return logits


def _log_odds(logits: NDArray[np.float32], positive: int) -> NDArray[np.float32]:
    """Return (N,): what ``labels.Labels.score`` makes of (N, L) logits."""
    from scipy.special import logsumexp

    others = np.delete(logits, positive, axis=1)
    return np.asarray(logits[:, positive] - logsumexp(others, axis=1), dtype=np.float32)
