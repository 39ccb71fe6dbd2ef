"""How a classifier is handed a pair: as the tokenizer joins two texts, or in the words of a prompt.

Classifiers over decoders (Qwen3-Reranker as a classifier, for one) were trained on a prompt, and their tokenizers put nothing
between two texts.  Sentence Transformers (from 5.4 on) renders the tokenizer's chat template wherever there is one; so
do we, and ``--template`` names another prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import ConfigError
from rerank_bench.progress import note
from rerank_bench.scoring.answers import find_prompt
from rerank_bench.scoring.checkpoints import Checkpoint
from rerank_bench.scoring.pair_assembly import EncodedPairs, PairTokenizer
from rerank_bench.scoring.prompt_assembly import PromptTokenizer
from rerank_bench.scoring.prompt_items import EncodedPrompts
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.st_layout import query_prompt
from rerank_bench.scoring.templates import PAIR, RECIPES
from rerank_bench.scoring.tokenization import FlatTokens


@dataclass(frozen=True, slots=True, eq=False)
class PairInputs:
    """Query and document as the tokenizer joins two texts."""

    tokenizer: PairTokenizer
    prompt: str
    """Goes before every query."""

    @property
    def max_length(self) -> int:
        """Tokens of a pair."""
        return self.tokenizer.max_length

    def encode(
        self, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]
    ) -> EncodedPairs | FlatTokens:
        """Tokenise pairs given as (N, 2) indices into the texts."""
        return self.tokenizer.encode([self.prompt + text for text in queries], docs, pairs)

    def describe(self) -> dict[str, Any]:
        """Return what a result records, JSON-able."""
        return {
            "pair_assembly": "whole pairs" if self.tokenizer.template is None else "pieces",
            "query_prompt": self.prompt,
        }

    def fingerprint(self) -> dict[str, Any]:
        """Return what of it decides a score, JSON-able."""
        return {"pair": "query, document", "query_prompt": self.prompt}


@dataclass(frozen=True, slots=True, eq=False)
class PromptInputs:
    """Query and document in a prompt."""

    tokenizer: PromptTokenizer
    source: str
    """Where the prompt comes from."""
    instruction: str | None

    @property
    def max_length(self) -> int:
        """Tokens of a prompt."""
        return self.tokenizer.max_length

    def encode(
        self, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]
    ) -> EncodedPrompts | FlatTokens:
        """Tokenise prompts given as (N, 2) indices into the texts."""
        return self.tokenizer.encode(queries, docs, pairs)

    def describe(self) -> dict[str, Any]:
        """Return what a result records, JSON-able."""
        return {
            "recipe": self.source,
            "template": self.tokenizer.template.as_text(),
            "instruction": self.instruction,
            "prompt_assembly": "pieces" if self.tokenizer.is_pieced else "whole prompts",
        }

    def fingerprint(self) -> dict[str, Any]:
        """Return what of it decides a score, JSON-able."""
        return self.tokenizer.template.fingerprint()


def read_inputs(
    checkpoint: Checkpoint, config: ScorerConfig, tokenizer: Any, max_length: int, *, has_type_ids: bool
) -> PairInputs | PromptInputs:
    """Return how a classifier is handed a pair.

    Raises:
        ConfigError: The chat template cannot carry a pair, or an instruction has no place.
        ScoringError: A prompt needs a fast tokenizer, and there is none.
    """
    found = find_prompt(checkpoint, config, tokenizer)
    if found.template is not None:
        prompts = PromptTokenizer(checkpoint.name, tokenizer, found.template, max_length, closes=True)
        return PromptInputs(prompts, found.source, found.instruction)
    if found.is_expected:
        msg = (
            f"model {checkpoint.name!r} would be handed its pairs in a prompt, but {found.why}; pass --template with one "
            f"of {', '.join(sorted(RECIPES))} if it was trained on it, {PAIR} if it was trained on pairs as its tokenizer "
            "joins them, or the path of a text file that holds {query} and {document}"
        )
        raise ConfigError(msg)
    if config.instruction is not None:
        msg = (
            f"model {checkpoint.name!r} is handed query and document alone, so there is no place for an instruction; drop "
            "it, or pass --template with the path of a text file that holds {instruction}, {query} and {document}"
        )
        raise ConfigError(msg)
    inputs = PairInputs(PairTokenizer(tokenizer, max_length, has_type_ids=has_type_ids), query_prompt(checkpoint))
    template = inputs.tokenizer.template
    if template is not None and not template.middle.size:
        note(
            f"{checkpoint.name}: its tokenizer puts nothing between query and document; if it was trained on a prompt, pass "
            "--template"
        )
    return inputs
