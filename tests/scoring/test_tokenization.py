"""Pairs put together from pieces are the tokenizer's own, token for token."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_models import SEQUENCE_CLASSIFIERS, WORDS, make_tokenizer

from rerank_bench import progress
from rerank_bench.errors import ConfigError, ScoringError
from rerank_bench.scoring.pair_assembly import EncodedPairs, PairTokenizer, truncate_longest_first
from rerank_bench.scoring.tokenization import CHUNK_TEXTS, FlatTokens, check_vocabulary, encode_whole

texts = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=20).map(" ".join),
    st.text(max_size=30),
    st.sampled_from(["", " ", "a [SEP] b </s> c", "<s> [CLS] [PAD] <pad>", "x" * 30]),
)


@cache
def pair_tokenizer(architecture: str, max_length: int, truncation_side: str = "right") -> PairTokenizer:
    tokenizer = make_tokenizer(architecture)
    tokenizer.truncation_side = truncation_side
    return PairTokenizer(tokenizer, max_length, has_type_ids=True)


def own_call(tokenizer: Any, query: str, doc: str, max_length: int) -> Any:
    """The tokenizer on a batch of one pair (a bare empty second text would be taken for none at all)."""
    return tokenizer([query], [doc], truncation=True, max_length=max_length)


@pytest.mark.parametrize("architecture", SEQUENCE_CLASSIFIERS)
@settings(max_examples=40, deadline=None)
@given(query=texts, doc=texts, max_length=st.sampled_from([7, 16, 17, 64]), side=st.sampled_from(["right", "left"]))
@example(query="stop " * 30, doc="list " * 20, max_length=17, side="right")
@example(query="stop " * 20, doc="list " * 20, max_length=16, side="left")
def test_assembled_pairs_equal_the_tokenizers_own(
    architecture: str, query: str, doc: str, max_length: int, side: str
) -> None:
    tokenizer = pair_tokenizer(architecture, max_length, side)
    assert tokenizer.template is not None, "assembly was not proved for this tokenizer"
    # A second pair of other lengths, so that there is padding.
    encoded = tokenizer.encode([query, "how to"], [doc, "a list"], np.asarray([[0, 0], [1, 1]]))
    batch = encoded.batch(np.asarray([0, 1]))
    expected = own_call(tokenizer.tokenizer, query, doc, max_length)
    num_tokens = len(expected["input_ids"][0])
    assert batch.input_ids[0, :num_tokens].tolist() == expected["input_ids"][0]
    assert batch.attention_mask[0].tolist() == [1] * num_tokens + [0] * (batch.input_ids.shape[1] - num_tokens)
    assert (batch.input_ids[0, num_tokens:] == tokenizer.tokenizer.pad_token_id).all()
    assert encoded.lengths[0] == num_tokens
    if batch.token_type_ids is None:
        assert "token_type_ids" not in expected
    else:
        assert batch.token_type_ids[0, :num_tokens].tolist() == expected["token_type_ids"][0]


@pytest.mark.parametrize("architecture", SEQUENCE_CLASSIFIERS)
def test_truncated_pairs_are_counted(architecture: str) -> None:
    tokenizer = pair_tokenizer(architecture, 17)
    queries, docs = ["stop", "stop " * 30], ["list", "list " * 30]
    pairs = np.asarray([[0, 0], [0, 1], [1, 0], [1, 1]])
    whole = encode_whole(
        tokenizer.tokenizer, [queries[i] for i in pairs[:, 0]], [docs[i] for i in pairs[:, 1]], 17, has_type_ids=False
    )
    assert tokenizer.encode(queries, docs, pairs).is_truncated.tolist() == whole.is_truncated.tolist()
    assert whole.is_truncated.tolist() == [False, True, True, True]


@given(query_length=st.integers(0, 60), doc_length=st.integers(0, 60), budget=st.integers(2, 40))
def test_truncation_keeps_as_much_as_there_is_room_for(query_length: int, doc_length: int, budget: int) -> None:
    query_kept, doc_kept = (
        int(kept[0]) for kept in truncate_longest_first(np.asarray([query_length]), np.asarray([doc_length]), budget)
    )
    assert query_kept + doc_kept == min(budget, query_length + doc_length)
    assert 0 <= query_kept <= query_length
    assert 0 <= doc_kept <= doc_length


class NotByPieces:
    """A real tokenizer whose pairs are not the sum of their parts: it marks the document's first token."""

    def __init__(self) -> None:
        self.inner = make_tokenizer("bert")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __call__(self, first: Any, second: Any = None, **options: Any) -> Any:
        encoded = self.inner(first, second, **options)
        if second is not None:
            for row in encoded["input_ids"]:
                row[-2] = self.inner.mask_token_id
        return encoded


def test_a_tokenizer_that_cannot_be_taken_apart_is_called_on_whole_pairs() -> None:
    tokenizer = NotByPieces()
    pair_tokenizer = PairTokenizer(tokenizer, 12, has_type_ids=True)
    assert pair_tokenizer.template is None
    encoded = pair_tokenizer.encode(["stop", "how to"], ["list " * 20, "a"], np.asarray([[1, 0], [0, 1]]))
    assert isinstance(encoded, FlatTokens)
    batch = encoded.batch(np.asarray([1, 0]))
    for row, (query, doc) in enumerate([("stop", "a"), ("how to", "list " * 20)]):
        expected = own_call(tokenizer, query, doc, 12)
        num_tokens = len(expected["input_ids"][0])
        assert batch.input_ids[row, :num_tokens].tolist() == expected["input_ids"][0]
        assert batch.token_type_ids is not None
        assert batch.token_type_ids[row, :num_tokens].tolist() == expected["token_type_ids"][0]
    assert encoded.is_truncated.sum() == 1


def test_a_slow_tokenizer_is_called_on_whole_pairs(tmp_path: Path) -> None:
    from transformers.models.bert_japanese.tokenization_bert_japanese import BertJapaneseTokenizer

    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij"]))
    slow = BertJapaneseTokenizer(str(vocabulary), word_tokenizer_type="basic", subword_tokenizer_type="character")
    assert not slow.is_fast
    tokenizer = PairTokenizer(slow, 9, has_type_ids=True)
    assert tokenizer.template is None
    encoded = tokenizer.encode(["abc"], ["defghij", "a"], np.asarray([[0, 0], [0, 1]]))
    expected = own_call(slow, "abc", "defghij", 9)["input_ids"][0]
    assert encoded.batch(np.asarray([0])).input_ids[0].tolist() == expected
    assert encoded.is_truncated.sum() == 1


def test_many_texts_are_reported_and_few_are_not() -> None:
    tasks: list[tuple[str, int | None, str]] = []
    done: list[int] = []

    class Watcher:
        def note(self, message: str) -> None:
            raise NotImplementedError(message)

        def task(self, description: str, total: int | None, unit: str) -> AbstractContextManager[progress.Advance]:
            tasks.append((description, total, unit))
            return nullcontext(done.append)

    docs = [f"list {i}" for i in range(CHUNK_TEXTS + 3)]
    pairs = np.stack([np.zeros(len(docs), dtype=np.int64), np.arange(len(docs))], axis=1)
    tokenizer = pair_tokenizer("bert", 64)
    with progress.use_reporter(Watcher()):
        encoded = tokenizer.encode(["stop"], docs, pairs)
    assert tasks == [("tokenise", CHUNK_TEXTS + 3, "texts")]
    assert done == [CHUNK_TEXTS, 3]
    # The chunks are in order: the last document's digits stand where they should.
    last = encoded.batch(np.asarray([len(docs) - 1])).input_ids[0].tolist()
    assert last == own_call(tokenizer.tokenizer, "stop", docs[-1], 64)["input_ids"][0]


def test_every_distinct_text_is_held_once() -> None:
    encoded = pair_tokenizer("bert", 64).encode(["stop"], ["list", "a"], np.asarray([[0, 0], [0, 1], [0, 0]]))
    assert isinstance(encoded, EncodedPairs)
    assert (len(encoded.queries.lengths), len(encoded.docs.lengths), len(encoded.lengths)) == (1, 2, 3)


def test_a_length_without_room_for_two_texts_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"max_length is 4, but the tokenizer adds 3 special tokens.*at least 5"):
        PairTokenizer(make_tokenizer("bert"), 4, has_type_ids=True)


def test_a_token_without_embedding_is_refused() -> None:
    encoded = pair_tokenizer("bert", 64).encode(["stop"], ["list"], np.asarray([[0, 0]]))
    highest = max(encoded.batch(np.asarray([0])).input_ids[0, 1:])
    check_vocabulary("m", encoded.flats, 200)
    with pytest.raises(
        ScoringError, match=r"model 'm': the tokenizer gives token id .* but the model has 7 embeddings"
    ):
        check_vocabulary("m", encoded.flats, 7)
    assert highest >= 7
