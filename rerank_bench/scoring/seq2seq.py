"""Family ``seq2seq``: an encoder-decoder reads the pair, and the score is read from its first decoded token.

Score: logit(true) − logit(false), float32.  monoT5 publishes the log-softmax over the two, log σ of this difference:
the same order, without its saturation.  Source: Nogueira et al., 2020, https://arxiv.org/abs/2003.06713.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rerank_bench.errors import ScoringError
from rerank_bench.scoring.answers import find_question, reduce_head
from rerank_bench.scoring.checkpoints import Checkpoint
from rerank_bench.scoring.lengths import resolve_max_length
from rerank_bench.scoring.loading import load_model, load_tokenizer, lower_trunk
from rerank_bench.scoring.prompt_assembly import PromptTokenizer
from rerank_bench.scoring.prompted_scorer import PromptedScorer
from rerank_bench.scoring.runtime import ModelRuntime
from rerank_bench.scoring.scorer import ScorerConfig

if TYPE_CHECKING:
    import torch

DEFAULT_RECIPE = "monot5"


class Seq2SeqScorer(PromptedScorer):
    """A loaded encoder-decoder."""

    __slots__ = ()

    @classmethod
    def load(cls, checkpoint: Checkpoint, config: ScorerConfig) -> Seq2SeqScorer:
        """Return the scorer of a checkpoint.

        Raises:
            ConfigError: Prompt or answers contradict the tokenizer.
            ScoringError: Weights or tokenizer are incomplete.
        """
        tokenizer = load_tokenizer(checkpoint, config)
        question = find_question(checkpoint, config, tokenizer, default=DEFAULT_RECIPE)
        model = load_model(checkpoint, config, "AutoModelForSeq2SeqLM")
        num_parameters = sum(parameter.numel() for parameter in model.parameters())
        start_id = _start_id(checkpoint, model)
        max_length = resolve_max_length(checkpoint, config, tokenizer, model)
        prompts = PromptTokenizer(checkpoint.name, tokenizer, question.template, max_length, closes=True)
        reduce_head(checkpoint.name, model, question.token_ids)
        runtime = ModelRuntime.place(checkpoint, config, model, _place)
        return cls(runtime, prompts, question, num_parameters, _forward_first(runtime.model, start_id), 0).checked()


def _forward_first(model: Any, start_id: int) -> Callable[..., Any]:
    """Return the model's forward for one decoded token, after the one that decoding starts with."""

    def forward(**inputs: torch.Tensor) -> Any:
        ids = inputs["input_ids"]
        start = ids.new_full((len(ids), 1), start_id)  # (B, 1)
        return model(**inputs, decoder_input_ids=start, use_cache=False)

    return forward


def _start_id(checkpoint: Checkpoint, model: Any) -> int:
    for settings in (model.config, model.generation_config):
        start_id = getattr(settings, "decoder_start_token_id", None)
        if start_id is not None:
            return int(start_id)
    msg = f"model {checkpoint.name!r}: config.json names no decoder_start_token_id, so nothing says how decoding starts"
    raise ScoringError(msg)


def _place(model: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Return the model on its device: encoder and decoder in ``dtype``, what the decoder hands on in float32."""
    import torch

    if dtype != torch.float32:
        for parameter in model.get_encoder().parameters():
            parameter.data = parameter.data.to(dtype)
        lower_trunk(model.get_decoder(), dtype)
    return model.to(device)
