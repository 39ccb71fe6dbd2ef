"""Family ``seq2seq``: an encoder-decoder reads the pair, and the score is read from its first decoded token.

Score: logit(true) − logit(false), float32.  monoT5 publishes the log-softmax over the two, log σ of this difference:
the same order, without its saturation.  Source: Nogueira et al., 2020, https://arxiv.org/abs/2003.06713.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import ScoringError
from rerank_bench.scoring.answers import Question, answer_margin, find_question, reduce_head
from rerank_bench.scoring.causal_lm import PROBE, describe_prompts
from rerank_bench.scoring.checkpoints import Checkpoint
from rerank_bench.scoring.launching import Launched
from rerank_bench.scoring.loading import load_model, load_tokenizer, lower_trunk, resolve_max_length
from rerank_bench.scoring.prompt_assembly import PromptTokenizer
from rerank_bench.scoring.runtime import ModelRuntime, check_padding
from rerank_bench.scoring.scorer import EncodedItems, ScorerConfig
from rerank_bench.scoring.tokenization import TokenBatch, check_vocabulary

if TYPE_CHECKING:
    import torch

DEFAULT_RECIPE = "monot5"


@dataclass(frozen=True, slots=True, eq=False)
class Seq2SeqScorer:
    """A loaded encoder-decoder, its head reduced to the answers."""

    runtime: ModelRuntime
    tokenizer: PromptTokenizer
    question: Question
    num_parameters: int
    """Of the whole model, its head over the vocabulary included."""
    start_id: int
    """The token that decoding starts with."""

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
        scorer = cls(runtime, prompts, question, num_parameters, start_id)
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
        return items

    def score_batch(self, batch: TokenBatch) -> Launched:
        """Launch a batch of (B,) float32 logit differences."""
        return self.runtime.launch(batch, _first_margin, forward=self._forward)

    def _forward(self, **inputs: torch.Tensor) -> Any:
        ids = inputs["input_ids"]
        start = ids.new_full((len(ids), 1), self.start_id)  # (B, 1)
        return self.runtime.model(**inputs, decoder_input_ids=start, use_cache=False)


def _first_margin(outputs: Any, _mask: torch.Tensor) -> torch.Tensor:
    margin: torch.Tensor = answer_margin(outputs.logits[:, 0])  # (B, T)
    return margin


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
