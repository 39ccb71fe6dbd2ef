"""What language models that are asked about a pair have in common: the prompt, and the score read from one position.

``causal_lm.py`` and ``seq2seq.py`` load them and say where the answer stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from rerank_bench.scoring.answers import Question, answer_margin
from rerank_bench.scoring.launching import Launched
from rerank_bench.scoring.probing import check_padding
from rerank_bench.scoring.prompt_assembly import PromptTokenizer
from rerank_bench.scoring.prompt_items import LeftPadded
from rerank_bench.scoring.runtime import ModelRuntime
from rerank_bench.scoring.scorer import EncodedItems
from rerank_bench.scoring.tokenization import TokenBatch, check_vocabulary

if TYPE_CHECKING:
    import torch

_PROBE = (
    ["how to stop a program", "list"],
    ["text", "a query, a document and a score " * 3],
    np.asarray([[0, 0], [1, 1]]),
)
"""Two pairs of different length."""


@dataclass(frozen=True, slots=True, eq=False)
class PromptedScorer:
    """A loaded language model, its head reduced to the answers."""

    runtime: ModelRuntime
    tokenizer: PromptTokenizer
    question: Question
    num_parameters: int
    """Of the whole model, its head over the vocabulary included."""
    forward: Callable[..., Any]
    """The model, called with a batch's inputs by name."""
    position: int
    """Of the logits that the score is read from: 0, or −1 for the last, where batches are padded on the left."""

    @property
    def fingerprint(self) -> str:
        """SHA-256, hex, of all that decides a score."""
        return self.runtime.fingerprint(self.question.fingerprint(), self.tokenizer.max_length)

    @property
    def default_batch_tokens(self) -> int:
        """Budget when the user names none."""
        return self.runtime.default_batch_tokens

    def describe(self) -> dict[str, Any]:
        """Return what a result records of the model, JSON-able."""
        return (
            self.runtime.describe()
            | self.question.describe(self.tokenizer.tokenizer)
            | {
                "max_length": self.tokenizer.max_length,
                "prompt_assembly": "pieces" if self.tokenizer.is_pieced else "whole prompts",
                "num_parameters": self.num_parameters,
            }
        )

    def peak_device_bytes(self) -> int | None:
        """Return the highest device memory so far, in bytes."""
        return self.runtime.peak_device_bytes()

    def encode(self, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]) -> EncodedItems:
        """Tokenise pairs given as (N, 2) indices into the texts."""
        items = self.tokenizer.encode(queries, docs, pairs)
        check_vocabulary(self.runtime.name, items.flats, self.runtime.num_embeddings)
        return items if self.position == 0 else LeftPadded(items)

    def score_batch(self, batch: TokenBatch) -> Launched:
        """Launch a batch of (B,) float32 logit differences."""
        return self.runtime.launch(batch, self._margin, forward=self.forward)

    def _margin(self, outputs: Any, _mask: torch.Tensor) -> torch.Tensor:
        margin: torch.Tensor = answer_margin(outputs.logits[:, self.position])  # (B, T)
        return margin

    def checked(self) -> Self:
        """Return the scorer itself, once padding is known to change no score.

        In its own precision: a language model's weights in float32 as well may be more than the memory holds.

        Raises:
            ScoringError: It does.
        """
        is_exact = self.runtime.is_float32
        check_padding(self.runtime.name, self.encode(*_PROBE), self.score_batch, is_exact=is_exact)
        return self
