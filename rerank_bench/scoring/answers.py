"""Which words of a language model's vocabulary answer, how it is asked, and the head that is left of it.

Only two rows of the vocabulary's head decide a score.  They take the place of the whole head, in float32: the model's
own forward pass, with whatever it does to logits (scaling, soft caps), then yields two logits instead of 150,000.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from rerank_bench.errors import ConfigError, ScoringError
from rerank_bench.scoring.checkpoints import Checkpoint
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.st_layout import check_processing
from rerank_bench.scoring.templates import PAIR, RECIPES, PromptTemplate, Recipe, chat_template, explicit_template


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """How a checkpoint is asked about a pair, and what its answer is read from."""

    template: PromptTemplate
    source: str
    """Where template and tokens come from."""
    instruction: str | None
    positive_id: int
    negative_id: int | None
    """``None``: the score is the positive token's logit alone."""

    @property
    def token_ids(self) -> list[int]:
        """The rows of the head that are needed, the positive one first."""
        return [self.positive_id] if self.negative_id is None else [self.positive_id, self.negative_id]

    def describe(self, tokenizer: Any) -> dict[str, Any]:
        """Return what a result records, JSON-able."""
        tokens = tokenizer.convert_ids_to_tokens(self.token_ids)
        return {
            "recipe": self.source,
            "template": self.template.as_text(),
            "instruction": self.instruction,
            "positive_token": tokens[0],
            "negative_token": tokens[1] if len(tokens) > 1 else None,
        }

    def fingerprint(self) -> dict[str, Any]:
        """Return what of it decides a score, JSON-able; the instruction is part of the template's text."""
        return self.template.fingerprint() | {"token_ids": self.token_ids}


CHAT_TEMPLATE = "chat template"
"""What a result names as the origin of a prompt."""


class FoundPrompt(NamedTuple):
    """The prompt that a pair is put into, as far as it is known."""

    template: PromptTemplate | None
    recipe: Recipe | None
    """The published kind that it is."""
    source: str
    """Where it comes from."""
    instruction: str | None
    why: str = ""
    """Why there is no template."""
    is_expected: bool = False
    """Whether Sentence Transformers would put pairs into the chat template."""


def find_question(checkpoint: Checkpoint, config: ScorerConfig, tokenizer: Any, *, default: str | None) -> Question:
    """Return how to ask: by the configuration, else by the checkpoint's files, else by ``default``.

    Args:
        checkpoint: Its files.
        config: ``instruction``, ``template``, ``positive_token`` and ``negative_token`` override the files.
        tokenizer: The checkpoint's.
        default: Name of the recipe that the family stands for; ``None``: it stands for none.

    Raises:
        ConfigError: Neither files nor configuration determine it, or they contradict.
    """
    if config.template == PAIR:
        msg = (
            f"--template {PAIR} is for classifiers; {checkpoint.name!r} is asked in words, so name another one or none"
        )
        raise ConfigError(msg)
    check_processing(checkpoint, add_special_tokens=False)
    stated = _logit_score(checkpoint)
    found = find_prompt(checkpoint, config, tokenizer)
    if found.template is None and default is not None:
        template, recipe = explicit_template(default, found.instruction)
        found = FoundPrompt(template, recipe, f"template {default} (the family's default)", found.instruction)
    if found.template is None:
        msg = (
            f"model {checkpoint.name!r}: the files do not say how query and document are put to the model: {found.why}. "
            f"Pass --template with one of {', '.join(sorted(RECIPES))} if it is of that kind, or with the path of "
            "a text file that holds {query} and {document}, and --positive-token and --negative-token"
        )
        raise ConfigError(msg)
    positive_id, negative_id = _token_ids(checkpoint, config, tokenizer, found.recipe, stated)
    return Question(
        template=found.template,
        source=f"LogitScore and {found.source}" if stated and found.source == CHAT_TEMPLATE else found.source,
        instruction=found.instruction,
        positive_id=positive_id,
        negative_id=negative_id,
    )


def find_prompt(checkpoint: Checkpoint, config: ScorerConfig, tokenizer: Any) -> FoundPrompt:
    """Return the prompt that a pair is put into: by the configuration, else by the checkpoint's files.

    Raises:
        ConfigError: Template and instruction contradict.
    """
    if config.template == PAIR:
        return FoundPrompt(None, None, "", config.instruction)
    if config.template is not None:
        template, recipe = explicit_template(config.template, config.instruction)
        source = f"template {config.template}" if recipe else "explicit template"
        return FoundPrompt(template, recipe, source, config.instruction or (recipe.instruction if recipe else None))
    instruction = config.instruction or _default_prompt(checkpoint)
    if checkpoint.modules and "message" not in (checkpoint.st_transformer.get("modality_config") or {}):
        why = "modules.json and sentence_bert_config.json do without the chat template"
        return FoundPrompt(None, None, "", instruction, why)
    chat, why = chat_template(tokenizer, instruction, _chat_options(checkpoint))
    is_expected = bool(checkpoint.modules or getattr(tokenizer, "chat_template", None))
    return FoundPrompt(chat, None, CHAT_TEMPLATE, instruction, why, is_expected=is_expected)


def _logit_score(checkpoint: Checkpoint) -> Mapping[str, Any] | None:
    return next((module.config for module in checkpoint.modules if module.kind == "LogitScore"), None)


def _default_prompt(checkpoint: Checkpoint) -> str | None:
    name = checkpoint.st_config.get("default_prompt_name")
    return (checkpoint.st_config.get("prompts") or {}).get(name) or None


def _chat_options(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the arguments of ``apply_chat_template`` in the Sentence Transformers settings."""
    options = (checkpoint.st_transformer.get("processing_kwargs") or {}).get("chat_template") or {}
    # These concern tokenising, or are that library's own; truncation here never touches the template.
    ours = {"padding", "truncation", "max_length", "return_tensors", "restore_suffix", "tokenize", "return_dict"}
    return {name: value for name, value in options.items() if name not in ours}


def _token_ids(
    checkpoint: Checkpoint,
    config: ScorerConfig,
    tokenizer: Any,
    recipe: Recipe | None,
    stated: Mapping[str, Any] | None,
) -> tuple[int, int | None]:
    """Return the ids of the answers: those of the configuration, else of the recipe, else of the files."""
    positive: int | None = None
    negative: int | None = None
    if recipe is None and stated is not None:
        positive, negative = stated.get("true_token_id"), stated.get("false_token_id")
    positive_text = config.positive_token or (recipe.positive_token if recipe else None)
    negative_text = config.negative_token
    if negative_text is None and recipe is not None and config.positive_token is None:
        negative_text = recipe.negative_token
    if positive_text is not None:
        positive = token_id(checkpoint.name, tokenizer, positive_text)
    if negative_text is not None:
        negative = token_id(checkpoint.name, tokenizer, negative_text)
    if positive is None:
        msg = (
            f"model {checkpoint.name!r}: nothing says which token means relevant (no LogitScore module names one); "
            "pass --positive-token and --negative-token, such as yes and no"
        )
        raise ConfigError(msg)
    if positive == negative:
        msg = f"model {checkpoint.name!r}: positive and negative token are the same, id {positive}; name two"
        raise ConfigError(msg)
    return positive, negative


def token_id(name: str, tokenizer: Any, text: str) -> int:
    """Return the id of an answer: an entry of the vocabulary, or a text that becomes one token.

    Raises:
        ConfigError: It is several tokens, or unknown to the tokenizer.
    """
    vocabulary = tokenizer.get_vocab()
    if text in vocabulary:
        return int(vocabulary[text])
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    unknown = tokenizer.unk_token_id
    if len(ids) == 1 and ids[0] != unknown:
        return int(ids[0])
    if unknown is not None and unknown in ids:
        found = "is not in the vocabulary"
    else:
        found = f"is {len(ids)} tokens ({', '.join(map(repr, tokenizer.convert_ids_to_tokens(ids)[:6]))})"
    msg = (
        f"model {name!r}: the answer {text!r} {found}, expected a single token; "
        "pass --positive-token and --negative-token with tokens of this model's vocabulary"
    )
    raise ConfigError(msg)


def reduce_head(name: str, model: Any, token_ids: list[int]) -> None:
    """Replace the model's head over the vocabulary by the rows of some tokens, in float32.

    Raises:
        ScoringError: The head is no linear layer, or has no such rows.
    """
    import torch

    head = model.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear):
        msg = f"model {name!r}: {type(model).__name__} has no linear head over its vocabulary ({type(head).__name__})"
        raise ScoringError(msg)
    if max(token_ids) >= head.out_features or min(token_ids) < 0:
        msg = f"model {name!r}: answer tokens {token_ids}, but the head has {head.out_features} rows"
        raise ScoringError(msg)
    rows = torch.tensor(token_ids)
    reduced = torch.nn.Linear(head.in_features, len(token_ids), bias=head.bias is not None)
    with torch.no_grad():
        reduced.weight.copy_(head.weight[rows])  # (T, H)
        if head.bias is not None:
            reduced.bias.copy_(head.bias[rows])
    model.set_output_embeddings(reduced.eval())
    bias = getattr(model, "final_logits_bias", None)  # BART and its kin add one to the logits
    if bias is not None:
        model.final_logits_bias = bias[:, rows]


def answer_margin(logits: Any) -> Any:
    """Return (B,) float32: logit of the positive token minus that of the negative one, from (B, T) logits."""
    logits = logits.float()
    return logits[:, 0] if logits.shape[1] == 1 else logits[:, 0] - logits[:, 1]
