"""Family ``causal-lm``: a language model is asked about a pair, and the score is read from its next token.

Score: logit of the positive token minus logit of the negative one at the last position, float32, which orders as the
softmax over the two does.  Batches are padded on the left, so the last position is the prompt's last token.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.scoring.answers import Question, answer_margin, find_question, reduce_head
from rerank_bench.scoring.checkpoints import Checkpoint
from rerank_bench.scoring.launching import Launched
from rerank_bench.scoring.loading import load_model, load_tokenizer, place_model, resolve_max_length
from rerank_bench.scoring.prompt_assembly import LeftPadded, PromptTokenizer
from rerank_bench.scoring.runtime import ModelRuntime, check_padding
from rerank_bench.scoring.scorer import EncodedItems, ScorerConfig
from rerank_bench.scoring.tokenization import TokenBatch, check_vocabulary

if TYPE_CHECKING:
    import torch

PROBE = (
    ["how to stop a program", "list"],
    ["text", "a query, a document and a score " * 3],
    np.asarray([[0, 0], [1, 1]]),
)
"""Two pairs of different length."""


@dataclass(frozen=True, slots=True, eq=False)
class CausalLmScorer:
    """A loaded language model, its head reduced to the answers."""

    runtime: ModelRuntime
    tokenizer: PromptTokenizer
    question: Question
    num_parameters: int
    """Of the whole model, its head over the vocabulary included."""
    forward: Callable[..., Any]

    @classmethod
    def load(cls, checkpoint: Checkpoint, config: ScorerConfig) -> CausalLmScorer:
        """Return the scorer of a checkpoint.

        Raises:
            ConfigError: Prompt or answers are not determined, or contradict the tokenizer.
            ScoringError: Weights or tokenizer are incomplete.
        """
        tokenizer = load_tokenizer(checkpoint, config, pads_with_eos=True)
        question = find_question(checkpoint, config, tokenizer, default=None)
        model = load_model(checkpoint, config, "AutoModelForCausalLM")
        num_parameters = sum(parameter.numel() for parameter in model.parameters())
        max_length = resolve_max_length(checkpoint, config, tokenizer, model)
        prompts = PromptTokenizer(checkpoint.name, tokenizer, question.template, max_length)
        reduce_head(checkpoint.name, model, question.token_ids)
        runtime = ModelRuntime.place(checkpoint, config, model, place_model)
        scorer = cls(runtime, prompts, question, num_parameters, _forward_last(runtime.model))
        check_padding(checkpoint.name, scorer.encode(*PROBE), scorer.score_batch, is_exact=runtime.is_float32)
        return scorer

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
        return self.runtime.describe() | describe_prompts(self.question, self.tokenizer, self.num_parameters)

    def peak_device_bytes(self) -> int | None:
        """Return the highest device memory so far, in bytes."""
        return self.runtime.peak_device_bytes()

    def encode(self, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]) -> EncodedItems:
        """Tokenise pairs given as (N, 2) indices into the texts."""
        items = self.tokenizer.encode(queries, docs, pairs)
        check_vocabulary(self.runtime.name, items.flats, self.runtime.num_embeddings)
        return LeftPadded(items)

    def score_batch(self, batch: TokenBatch) -> Launched:
        """Launch a batch of (B,) float32 logit differences."""
        return self.runtime.launch(batch, _last_margin, forward=self.forward)


def describe_prompts(question: Question, tokenizer: PromptTokenizer, num_parameters: int) -> dict[str, Any]:
    """Return what a result records of how a language model is asked, JSON-able."""
    return question.describe(tokenizer.tokenizer) | {
        "max_length": tokenizer.max_length,
        "prompt_assembly": "pieces" if tokenizer.is_pieced else "whole prompts",
        "num_parameters": num_parameters,
    }


def _forward_last(model: Any) -> Callable[..., Any]:
    """Return the model's forward with each text's positions counted from its own first token, as if it stood alone."""
    parameters = inspect.signature(model.forward).parameters
    fixed: dict[str, Any] = {"use_cache": False} if "use_cache" in parameters else {}
    if "logits_to_keep" in parameters:
        fixed["logits_to_keep"] = 1
    counts_positions = "position_ids" in parameters

    def forward(**inputs: torch.Tensor) -> Any:
        if counts_positions:
            inputs["position_ids"] = (inputs["attention_mask"].cumsum(dim=1) - 1).clamp(min=0)  # (B, L)
        return model(**inputs, **fixed)

    return forward


def _last_margin(outputs: Any, _mask: torch.Tensor) -> torch.Tensor:
    margin: torch.Tensor = answer_margin(outputs.logits[:, -1])  # (B, T)
    return margin
