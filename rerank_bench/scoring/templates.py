"""Prompts for families that answer in words: the text around query and document, and where it comes from.

A prompt is ``head + first text + middle + second text + tail``.  It comes from an explicit template (a name of
``RECIPES`` or a text with ``{query}`` and ``{document}``) or from the chat template in the checkpoint's files, if that
carries a message of role ``query`` and one of role ``document``, as Sentence Transformers 5.4 and later write it.  A
chat template for conversations does not say how a pair is put to the model, so it decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rerank_bench.errors import ConfigError, describe_unknown

PLACEHOLDERS = ("query", "document", "instruction")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTemplate:
    """The text around a pair, with the instruction filled in."""

    head: str
    middle: str
    tail: str
    query_first: bool = True
    """Whether the query stands before the document."""
    trims: bool = False
    """Whether query and document lose the white space around them."""
    adds_special_tokens: bool = True
    """Whether the tokenizer's own special tokens stand around the prompt; a chat template writes its own."""

    def fill(self, query: str, doc: str) -> str:
        """Return the prompt of one pair."""
        if self.trims:
            query, doc = query.strip(), doc.strip()
        first, second = (query, doc) if self.query_first else (doc, query)
        return f"{self.head}{first}{self.middle}{second}{self.tail}"

    def as_text(self) -> str:
        """Return the template with its placeholders."""
        return self.fill("{query}", "{document}")

    def fingerprint(self) -> dict[str, Any]:
        """Return what of it decides a score, JSON-able."""
        return {
            "parts": [self.head, self.middle, self.tail],
            "query_first": self.query_first,
            "trims": self.trims,
            "special_tokens": self.adds_special_tokens,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a published kind of reranker is asked, and which words answer."""

    text: str
    positive_token: str
    negative_token: str | None
    """``None``: the score is the positive token's logit alone."""
    instruction: str | None = None
    """What stands for ``{instruction}`` when the user gives none."""
    text_with_instruction: str | None = None
    """Takes the place of ``text`` when an instruction is given, where it is an addition."""


RECIPES: Mapping[str, Recipe] = {
    # Model card of Qwen3-Reranker (0.6B, 4B, 8B).
    "qwen3-reranker": Recipe(
        text="<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
        'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
        "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n",
        positive_token="yes",  # noqa: S106 - a word, not a secret
        negative_token="no",  # noqa: S106 - a word, not a secret
        instruction="Given a web search query, retrieve relevant passages that answer the query",
    ),
    # mixedbread-ai/mxbai-rerank, mxbai_rerank_v2.py.
    "mxbai-rerank-v2": Recipe(
        text="<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nquery: {query}\ndocument: {document}\nYou are a search relevance expert who evaluates how "
        "well documents match search queries. For each query-document pair, carefully analyze the semantic "
        "relationship between them, then provide your binary relevance judgment (0 for not relevant, 1 for relevant)."
        "\nRelevance:<|im_end|>\n<|im_start|>assistant\n",
        text_with_instruction="<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
        "<|im_end|>\n<|im_start|>user\ninstruction: {instruction}\nquery: {query}\ndocument: {document}\nYou are a "
        "search relevance expert who evaluates how well documents match search queries. For each query-document pair, "
        "carefully analyze the semantic relationship between them, then provide your binary relevance judgment (0 for "
        "not relevant, 1 for relevant).\nRelevance:<|im_end|>\n<|im_start|>assistant\n",
        positive_token="1",  # noqa: S106 - a word, not a secret
        negative_token="0",  # noqa: S106 - a word, not a secret
    ),
    # Model card of bge-reranker-v2-gemma; its tokenizer puts <bos> in front.
    "bge-reranker-v2-gemma": Recipe(
        text="A: {query}\nB: {document}\n{instruction}",
        positive_token="Yes",  # noqa: S106 - a word, not a secret
        negative_token=None,
        instruction="Given a query A and a passage B, determine whether the passage contains an answer to the query by "
        "providing a prediction of either 'Yes' or 'No'.",
    ),
    # Nogueira et al., 2020, https://arxiv.org/abs/2003.06713
    "monot5": Recipe(
        text="Query: {query} Document: {document} Relevant:",
        positive_token="▁true",  # noqa: S106 - a word, not a secret
        negative_token="▁false",  # noqa: S106 - a word, not a secret
    ),
}
"""Explicit choices only: nothing picks one of them by a model's name."""


PAIR = "pair"
"""The template of a classifier that was trained on query and document as its tokenizer joins two texts."""


def read_template(value: str) -> str:
    """Return a ``--template`` value as ``ScorerConfig`` takes it: a name as it is, of a file its text.

    The line end that closes a text file is not part of the template; a template that ends in one needs one more.

    Raises:
        ConfigError: Neither a name nor a readable file.
    """
    if value == PAIR or value in RECIPES:
        return value
    path = Path(value)
    if not path.is_file():
        msg = f"{describe_unknown('template', [value], [*RECIPES, PAIR])}; or the path of a text file"
        raise ConfigError(msg)
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"template {value!r} cannot be read: {error}; expected a text file in UTF-8"
        raise ConfigError(msg) from error
    return text.replace("\r\n", "\n").removesuffix("\n")


def explicit_template(value: str, instruction: str | None) -> tuple[PromptTemplate, Recipe | None]:
    """Return the template of a configuration, with the recipe if ``value`` is the name of one.

    Args:
        value: A name of ``RECIPES``, or a text with ``{query}`` and ``{document}`` once each, and ``{instruction}``
            at most once; other braces are text.
        instruction: What the user wants put in place of ``{instruction}``.

    Raises:
        ConfigError: A placeholder is missing or stands there twice, or the instruction has no place.
    """
    recipe = RECIPES.get(value)
    if recipe is None:
        if "{" not in value:
            raise ConfigError(describe_unknown("template", [value], RECIPES))
        return _parse(value, instruction), None
    text = recipe.text_with_instruction if instruction and recipe.text_with_instruction else recipe.text
    return _parse(text, instruction or recipe.instruction), recipe


def _parse(text: str, instruction: str | None) -> PromptTemplate:
    counts = {name: text.count(f"{{{name}}}") for name in PLACEHOLDERS}
    wrong = [f"{{{name}}} stands there {counts[name]} times" for name in ("query", "document") if counts[name] != 1]
    if counts["instruction"] > 1:
        wrong.append(f"{{instruction}} stands there {counts['instruction']} times")
    if wrong:
        msg = (
            f"template {_shown(text)} cannot carry a pair: {'; '.join(wrong)}; expected {{query}} and {{document}} once "
            "each, and {instruction} at most once"
        )
        raise ConfigError(msg)
    if counts["instruction"] and not instruction:
        msg = f"template {_shown(text)} has a place for an instruction and none was given; pass --instruction TEXT"
        raise ConfigError(msg)
    if instruction and not counts["instruction"]:
        msg = (
            f"an instruction was given, but template {_shown(text)} has no {{instruction}} to put it; add it or drop it"
        )
        raise ConfigError(msg)
    parts = re.split(r"(\{query\}|\{document\})", text)
    head, middle, tail = (part.replace("{instruction}", instruction or "") for part in parts[::2])
    return PromptTemplate(head=head, middle=middle, tail=tail, query_first=parts[1] == "{query}")


def chat_template(
    tokenizer: Any, instruction: str | None, options: Mapping[str, Any]
) -> tuple[PromptTemplate | None, str]:
    """Return the prompt that the tokenizer's chat template makes of a pair, or ``None`` and why there is none.

    Args:
        tokenizer: The checkpoint's.
        instruction: Becomes the message of role ``system``.
        options: Further arguments of ``apply_chat_template`` that the checkpoint's files name.

    Raises:
        ConfigError: The instruction does not reach the prompt.
    """
    if not getattr(tokenizer, "chat_template", None):
        return None, "the tokenizer has no chat template"
    render = partial(_render, tokenizer, instruction=instruction, options=options, is_structured=False)
    try:
        rendered = render(_QUERY, _DOC)
        if _QUERY not in rendered:  # contents are lists of typed parts to some
            render = partial(_render, tokenizer, instruction=instruction, options=options, is_structured=True)
            rendered = render(_QUERY, _DOC)
    except Exception as error:  # noqa: BLE001 - a template is code, and may raise whatever it likes
        return None, f"its chat template raises {type(error).__name__}: {error}"
    missing = [name for name, mark in (("query", _QUERY), ("document", _DOC)) if rendered.count(mark) != 1]
    if missing:
        return (
            None,
            f"its chat template does not put a message of role {' or '.join(map(repr, missing))} into the prompt",
        )
    if instruction and instruction.strip() not in rendered:
        msg = (
            f"the instruction {instruction!r} does not reach the prompt: the checkpoint's chat template leaves a "
            "message of role 'system' out; drop the instruction, or pass a template of your own"
        )
        raise ConfigError(msg)
    head, _, middle, _, tail = re.split(f"({_QUERY}|{_DOC})", rendered)
    template = PromptTemplate(
        head=head,
        middle=middle,
        tail=tail,
        query_first=rendered.index(_QUERY) < rendered.index(_DOC),
        trims=render(f" {_QUERY}\n", _DOC) == rendered,
        adds_special_tokens=False,
    )
    for query, doc in _PROBES:
        if render(query, doc) != template.fill(query, doc):
            return None, f"its chat template changes the texts (seen on query {query!r}, document {doc!r})"
    return template, ""


_QUERY, _DOC = "Qk7fQ9wq", "Dm3xD8zd"
"""Marks that no template holds."""

_PROBES = (
    ("what?", "a document"),
    ("", ""),
    (" two words ", "two\n\nlines\n"),
    ("<think>a</think> b", "{{ braces }} & <b>"),
    ("naïve café 東京", "x" * 3_000),
)


def _render(
    tokenizer: Any, query: str, doc: str, *, instruction: str | None, options: Mapping[str, Any], is_structured: bool
) -> str:
    texts = {"system": instruction, "query": query, "document": doc}
    messages: list[dict[str, Any]] = [
        {"role": role, "content": [{"type": "text", "text": text}] if is_structured else text}
        for role, text in texts.items()
        if text is not None and (text or role != "system")
    ]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))


def _shown(text: str, max_chars: int = 120) -> str:
    return repr(text if len(text) <= max_chars else text[:max_chars] + "…")
