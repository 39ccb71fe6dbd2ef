"""Encoder-decoders against an independent forward pass of the official class, one prompt at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_language_models import ENCODER_DECODERS, write_seq2seq

from rerank_bench.errors import ConfigError, InvalidScoreError, ScoringError
from rerank_bench.scoring.loaded_scorer import load_scorer
from rerank_bench.scoring.seq2seq import Seq2SeqScorer

Pairs = list[tuple[str, str]]


@pytest.fixture(scope="module")
def encoder_decoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function (architecture, **options) -> folder of a tiny encoder-decoder; never to be changed."""
    folders: dict[Any, Path] = {}

    def make(architecture: str = "t5", **options: Any) -> Path:
        key = (architecture, *sorted(options.items()))
        if key not in folders:
            folders[key] = write_seq2seq(tmp_path_factory.mktemp("seq2seq") / architecture, architecture, **options)
        return folders[key]

    return make


def official_logits(folder: Path, prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """Return (N, 2): logits of two answers at the first decoder step, by the official class, one prompt at a time."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = tokenizer.convert_tokens_to_ids(list(answers))
    start = torch.tensor([[model.config.decoder_start_token_id]])
    rows = []
    with torch.inference_mode():
        for prompt in prompts:
            inputs = tokenizer(prompt, return_tensors="pt")
            assert inputs["input_ids"][0, -1] == tokenizer.eos_token_id
            logits = model(input_ids=inputs["input_ids"], decoder_input_ids=start).logits[0, 0].float()
            rows.append(logits[ids].numpy())
    return np.stack(rows)


@pytest.mark.parametrize("architecture", ENCODER_DECODERS)
def test_scores_equal_the_official_class(architecture: str, encoder_decoder: Any, text_pairs: Pairs) -> None:
    folder = encoder_decoder(architecture)
    prompts = [f"Query: {query} Document: {doc} Relevant:" for query, doc in text_pairs]
    logits = official_logits(folder, prompts, ["▁true", "▁false"])
    expected = logits[:, 0] - logits[:, 1]
    loaded = load_scorer(str(folder), device="cpu")
    scores = loaded.score(text_pairs)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4)
    # What monoT5 publishes, the log-softmax over the two, orders in the same way.
    published = torch.log_softmax(torch.from_numpy(logits).double(), dim=1)[:, 0].numpy()
    order = np.argsort(expected, kind="stable")
    assert (np.diff(published[order]) >= 0).all()
    described = loaded.describe()
    assert described["family"] == "seq2seq"
    assert described["recipe"] == "template monot5 (the family's default)"
    assert (described["positive_token"], described["negative_token"]) == ("▁true", "▁false")


@pytest.mark.parametrize("architecture", ENCODER_DECODERS)
def test_scores_do_not_depend_on_the_batch(architecture: str, encoder_decoder: Any, text_pairs: Pairs) -> None:
    folder = str(encoder_decoder(architecture))
    expected = load_scorer(folder, device="cpu", batch_tokens=100_000).score(text_pairs)
    order = np.random.default_rng(3).permutation(len(text_pairs))
    shuffled = load_scorer(folder, device="cpu", batch_tokens=1).score([text_pairs[i] for i in order])
    np.testing.assert_allclose(shuffled, expected[order], rtol=0, atol=1e-4)


def test_other_words_may_ask_and_answer(encoder_decoder: Any, text_pairs: Pairs) -> None:
    folder = encoder_decoder("mt5")
    template = "{instruction} query {query} document {document}"
    prompts = [f"find query {query} document {doc}" for query, doc in text_pairs]
    loaded = load_scorer(
        str(folder),
        device="cpu",
        template=template,
        instruction="find",
        positive_token="python",  # noqa: S106 - a word, not a secret
        negative_token="▁error",  # noqa: S106 - a word, not a secret
    )
    described = loaded.describe()
    assert (described["positive_token"], described["negative_token"]) == ("python", "▁error")
    logits = official_logits(folder, prompts, ["python", "▁error"])
    np.testing.assert_allclose(loaded.score(text_pairs), logits[:, 0] - logits[:, 1], rtol=0, atol=1e-4)


@pytest.mark.parametrize("max_length", [16, 17, 23, 40, 64])
def test_a_cut_document_leaves_the_end_of_the_prompt(max_length: int, encoder_decoder: Any) -> None:
    loaded = load_scorer(str(encoder_decoder("t5")), device="cpu", max_length=max_length)
    assert isinstance(loaded.scorer, Seq2SeqScorer)
    tokenizer = loaded.scorer.tokenizer.tokenizer
    items = loaded.scorer.encode(["stop a program"], ["read and write files " * 30], np.asarray([[0, 0]]))
    batch = items.batch(np.asarray([0]))
    assert batch.input_ids.shape == (1, max_length)
    tail = tokenizer(" Relevant:")["input_ids"]
    assert batch.input_ids[0, -len(tail) :].tolist() == tail
    assert tail[-1] == tokenizer.eos_token_id
    whole = tokenizer("Query: stop a program Document: read and write files read")["input_ids"][:-1]
    kept = min(len(whole), max_length - len(tail))
    assert batch.input_ids[0, :kept].tolist() == whole[:kept]
    assert items.is_truncated.sum() == 1


@pytest.mark.parametrize("architecture", ENCODER_DECODERS)
def test_half_precision_keeps_the_answers_rows_in_float32(
    architecture: str, encoder_decoder: Any, text_pairs: Pairs
) -> None:
    folder = str(encoder_decoder(architecture))
    loaded = load_scorer(folder, device="cpu", dtype="bfloat16")
    assert isinstance(loaded.scorer, Seq2SeqScorer)
    head = loaded.scorer.runtime.model.get_output_embeddings()
    assert head.weight.shape == (2, 32)
    assert head.weight.dtype == torch.float32
    assert loaded.scorer.runtime.model.get_input_embeddings().weight.dtype == torch.bfloat16
    distinct = list(dict.fromkeys(text_pairs))
    scores, expected = loaded.score(distinct), load_scorer(folder, device="cpu").score(distinct)
    assert (torch.from_numpy(scores).bfloat16().float().numpy() != scores).mean() > 0.9
    assert np.corrcoef(scores, expected)[0, 1] > 0.95


def test_answers_of_another_model_are_refused(encoder_decoder: Any) -> None:
    with pytest.raises(ConfigError, match=r"the answer '▁yesterday' is .*expected a single token"):
        load_scorer(
            str(encoder_decoder("t5")),
            device="cpu",
            positive_token="▁yesterday",  # noqa: S106 - a word, not a secret
            negative_token="▁no",  # noqa: S106 - a word, not a secret
        )


def test_a_length_below_the_template_is_refused(encoder_decoder: Any) -> None:
    with pytest.raises(ConfigError, match=r"max_length is 5, but the template of model 't5' alone takes \d+ tokens"):
        load_scorer(str(encoder_decoder("t5")), device="cpu", max_length=5)


def test_a_start_token_must_be_stated(encoder_decoder: Any, tmp_path: Path) -> None:
    import json
    import shutil

    folder = tmp_path / "startless"
    shutil.copytree(encoder_decoder("t5"), folder)
    for name in ("config.json", "generation_config.json"):
        settings = json.loads((folder / name).read_text())
        settings["decoder_start_token_id"] = None
        (folder / name).write_text(json.dumps(settings))
    with pytest.raises(ScoringError, match=r"names no decoder_start_token_id"):
        load_scorer(str(folder), device="cpu")


def test_nan_logits_name_the_pair(encoder_decoder: Any, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    folder = tmp_path / "nan"
    shutil.copytree(encoder_decoder("t5"), folder)
    weights = load_file(folder / "model.safetensors")
    weights["decoder.final_layer_norm.weight"][:] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidScoreError, match=r"query 'stop', document 'a list': score is nan"):
        load_scorer(str(folder), device="cpu").score([("stop", "a list")])
