"""Family ``causal-lm``: a language model is asked about a pair, and the score is read from its next token.

Score: logit of the positive token minus logit of the negative one at the last position, float32, which orders as the
softmax over the two does.  Batches are padded on the left, so the last position is the prompt's last token.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rerank_bench.scoring.answers import find_question, reduce_head
from rerank_bench.scoring.checkpoints import Checkpoint
from rerank_bench.scoring.lengths import resolve_max_length
from rerank_bench.scoring.loading import load_model, load_tokenizer, place_model
from rerank_bench.scoring.prompt_assembly import PromptTokenizer
from rerank_bench.scoring.prompted_scorer import PromptedScorer
from rerank_bench.scoring.runtime import ModelRuntime
from rerank_bench.scoring.scorer import ScorerConfig

if TYPE_CHECKING:
    import torch


class CausalLmScorer(PromptedScorer):
    """A loaded decoder."""

    __slots__ = ()

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
        return cls(runtime, prompts, question, num_parameters, _forward_last(runtime.model), -1).checked()


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
