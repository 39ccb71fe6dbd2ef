"""Prompts from pieces against the tokenizer's own ids of the whole prompt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_language_models import make_decoder_tokenizer, make_t5_tokenizer

from rerank_bench.errors import ConfigError, ScoringError
from rerank_bench.scoring.prompt_assembly import PromptTokenizer, truncate_doc_first
from rerank_bench.scoring.prompt_items import LeftPadded
from rerank_bench.scoring.templates import RECIPES, PromptTemplate, explicit_template

ONE_PAIR = np.asarray([[0, 0]])
TEMPLATES = {
    "qwen3": explicit_template("qwen3-reranker", None)[0],
    "mxbai": explicit_template("mxbai-rerank-v2", None)[0],
    "reversed": explicit_template("Text:\n{document}\nQuestion: {query}\nAnswer:", None)[0],
    "trimmed": PromptTemplate(head="a\n\n", middle=" \n", tail="\n\n", trims=True, adds_special_tokens=False),
}
# Texts of words, punctuation and white space in every mixture, as boundaries are where tokenizers differ.
TEXTS = st.text(alphabet="ab .?:\n'é東<", max_size=40)


def make(kind: str, template: PromptTemplate, max_length: int = 2_000) -> PromptTokenizer:
    tokenizer = make_t5_tokenizer() if kind == "t5" else make_decoder_tokenizer(kind)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return PromptTokenizer("tiny", tokenizer, template, max_length, closes=kind == "t5")


def ids_of(prompts: PromptTokenizer, query: str, doc: str) -> list[int]:
    ids: list[int] = prompts.encode([query], [doc], ONE_PAIR).batch(np.asarray([0])).input_ids[0].tolist()
    return ids


PIECED = {
    **{("qwen3", name): make("qwen3", template) for name, template in TEMPLATES.items()},
    **{("llama", name): make("llama", template) for name, template in TEMPLATES.items()},
    ("t5", "monot5"): make("t5", explicit_template("monot5", None)[0]),
}


@pytest.mark.parametrize("case", PIECED, ids="-".join)
@settings(max_examples=60, deadline=None)
@given(query=TEXTS, doc=TEXTS)
def test_pieces_give_the_ids_of_the_whole_prompt(case: tuple[str, str], query: str, doc: str) -> None:
    prompts = PIECED[case]
    assert prompts.is_pieced
    prompt = prompts.template.fill(query, doc)
    special = prompts.template.adds_special_tokens
    assert ids_of(prompts, query, doc) == prompts.tokenizer(prompt, add_special_tokens=special)["input_ids"]


def test_a_tokenizer_that_joins_across_boundaries_gets_whole_prompts() -> None:
    prompts = make("gemma", explicit_template("bge-reranker-v2-gemma", None)[0])
    assert not prompts.is_pieced
    for query, doc in [("stop?", "list\n"), ("", ""), ("東京", "☃\n")]:
        whole = prompts.tokenizer(prompts.template.fill(query, doc))["input_ids"]
        assert ids_of(prompts, query, doc) == whole
        assert whole[0] == prompts.tokenizer.bos_token_id


@pytest.mark.parametrize(
    ("kind", "template"), [("qwen3", "qwen3"), ("qwen3", "mxbai"), ("llama", "reversed"), ("gemma", "gemma")]
)
def test_no_length_cuts_the_template(kind: str, template: str) -> None:
    chosen = TEMPLATES.get(template) or explicit_template("bge-reranker-v2-gemma", None)[0]
    free = make(kind, chosen)
    tokenizer = free.tokenizer
    query, doc = "how to stop a program? " * 4, "read the list and write a file.\n" * 40
    tail = tokenizer(chosen.tail, add_special_tokens=False)["input_ids"]
    least = free.num_template_tokens + 2
    seen_query_cut = False
    for max_length in [*range(least, least + 40), least + 100, least + 250]:
        prompts = make(kind, chosen, max_length)
        ids = ids_of(prompts, query, doc)
        assert len(ids) <= max_length
        assert len(ids) >= max_length - (3 if prompts.is_pieced else 10), "room is used"
        assert ids[-len(tail) :] == tail or not chosen.query_first
        text = tokenizer.decode(ids)
        for literal in (chosen.head, chosen.middle, chosen.tail):
            assert tokenizer.decode(tokenizer(literal.strip(), add_special_tokens=False)["input_ids"]) in text
        seen_query_cut |= query.strip() not in text
        items = prompts.encode([query], [doc], ONE_PAIR)
        assert items.is_truncated.sum() == 1
    assert seen_query_cut, "at small lengths the query gives way too"
    assert query.strip() in text, "at large ones only the document does"


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=20), st.integers(2, 80))
def test_the_document_gives_way_first(lengths: list[tuple[int, int]], room: int) -> None:
    queries, docs = np.asarray(lengths).T
    query_kept, doc_kept = truncate_doc_first(queries, docs, room)
    assert (query_kept + doc_kept == np.minimum(room, queries + docs)).all(), "all the room is used"
    assert ((query_kept == queries) | (query_kept >= room * 3 // 4)).all()
    assert ((doc_kept == docs) | (query_kept == queries) | (doc_kept >= room - room * 3 // 4)).all()
    assert (query_kept <= queries).all()
    assert (doc_kept <= docs).all()


def test_left_padding_moves_rows_and_nothing_else() -> None:
    prompts = make("qwen3", TEMPLATES["qwen3"])
    pairs = np.asarray([[0, 0], [1, 1], [0, 1]])
    items = prompts.encode(["stop", "how to list"], ["a", "read and write a file"], pairs)
    left = LeftPadded(items)
    np.testing.assert_array_equal(left.lengths, items.lengths)
    right_batch, left_batch = items.batch(np.arange(3)), left.batch(np.arange(3))
    width = left_batch.input_ids.shape[1]
    for row, length in enumerate(items.lengths.tolist()):
        np.testing.assert_array_equal(left_batch.input_ids[row, width - length :], right_batch.input_ids[row, :length])
        assert left_batch.attention_mask[row].tolist() == [0] * (width - length) + [1] * length
        assert (left_batch.input_ids[row, : width - length] == prompts.tokenizer.pad_token_id).all()


def test_an_opening_token_is_not_doubled() -> None:
    plain = make("llama", explicit_template("{query} {document}", None)[0])
    written = make("llama", explicit_template("<s>{query} {document}", None)[0])
    assert ids_of(plain, "stop", "a list") == ids_of(written, "stop", "a list")
    assert ids_of(plain, "stop", "a list").count(plain.tokenizer.bos_token_id) == 1


def test_a_slow_tokenizer_is_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(ScoringError, match=r"model 'tiny': its tokenizer has no tokenizer\.json"):
        PromptTokenizer("tiny", Slow(), TEMPLATES["qwen3"], 512)


def test_a_length_below_the_template_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"max_length is 30, but the template of model 'tiny' alone takes \d+ tokens"):
        make("qwen3", TEMPLATES["mxbai"], 30)


def test_no_pairs_is_legal() -> None:
    none: Any = np.empty((0, 2), dtype=np.int64)
    for kind, recipe in [("qwen3", "qwen3-reranker"), ("gemma", "bge-reranker-v2-gemma")]:
        items = make(kind, explicit_template(recipe, None)[0]).encode(["stop"], ["list"], none)
        assert items.lengths.shape == (0,)
        assert not items.is_truncated.any()
    assert set(RECIPES) >= {"qwen3-reranker", "bge-reranker-v2-gemma"}
