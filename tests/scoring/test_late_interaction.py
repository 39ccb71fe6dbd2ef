"""MaxSim scores against a computation written out here from the published description, and against the peer's."""

from __future__ import annotations

import json
import shutil
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loopback_hub import LoopbackHub, use_hub
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tiny_late_interaction import FIXED, TWO_DENSE, WRITERS, write_pylate, write_stanford
from watcher import Watcher

from rerank_bench import progress
from rerank_bench.errors import ConfigError, InvalidScoreError, ScoringError
from rerank_bench.scoring.checkpoints import read_checkpoint
from rerank_bench.scoring.loaded_scorer import load_scorer

Pairs = list[tuple[str, str]]


def token_vectors(
    folder: Path,
    projections: list[torch.Tensor],
    text: str,
    *,
    marker: str,
    length: int,
    filled_up: bool = False,
    is_attended: bool = False,
    skipped: tuple[str, ...] = (),
) -> torch.Tensor:
    """(T, H): one text by plain transformers: [CLS] marker tokens… [SEP], queries filled up with [MASK]."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    own = tokenizer(text, add_special_tokens=False)["input_ids"][: length - 3]
    ids = [tokenizer.cls_token_id, tokenizer.convert_tokens_to_ids(marker), *own, tokenizer.sep_token_id]
    num_missing = length - len(ids) if filled_up else 0
    mask = [1] * len(ids) + [int(is_attended)] * num_missing
    ids += [tokenizer.mask_token_id] * num_missing
    with torch.inference_mode():
        vectors = model(input_ids=torch.tensor([ids]), attention_mask=torch.tensor([mask])).last_hidden_state[0]
        for projection in projections:
            vectors = vectors @ projection.T
    vectors = vectors / vectors.norm(dim=1, keepdim=True)
    skipped_ids = {tokenizer.convert_tokens_to_ids(word) for word in skipped} - {tokenizer.unk_token_id}
    is_kept = torch.tensor([token not in skipped_ids for token in ids])
    return torch.as_tensor(vectors[is_kept])


def max_sim(query: torch.Tensor, doc: torch.Tensor) -> float:
    """Sum over the query's tokens of the best match among the document's."""
    return sum(max(float(own @ other) for other in doc) for own in query)


def reference(
    folder: Path, projections: list[torch.Tensor], pairs: Pairs, markers: tuple[str, str], skipped: tuple[str, ...]
) -> list[float]:
    lengths = (16, 40)
    queries = {
        text: token_vectors(folder, projections, text, marker=markers[0], length=lengths[0], filled_up=True)
        for text in {query for query, _ in pairs}
    }
    docs = {
        text: token_vectors(folder, projections, text, marker=markers[1], length=lengths[1], skipped=skipped)
        for text in {doc for _, doc in pairs}
    }
    return [max_sim(queries[query], docs[doc]) for query, doc in pairs]


@pytest.mark.parametrize("architecture", ["bert", "modernbert", "electra"])
def test_a_pylate_checkpoint_scores_as_published(architecture: str, text_pairs: Pairs, tmp_path: Path) -> None:
    folder = write_pylate(tmp_path / "cross-encoder", architecture)
    pairs = [pair for pair in text_pairs if "[SEP]" not in pair[0]][::2]
    loaded = load_scorer(str(folder), device="cpu", batch_tokens=200)
    projections = [load_file(folder / "1_Dense" / "model.safetensors")["linear.weight"]]
    expected = reference(folder, projections, pairs, ("[Q] ", "[D] "), (",", ".", "list"))
    np.testing.assert_allclose(loaded.score(pairs), expected, atol=1e-4)
    assert np.std(expected) > 0.05
    described = loaded.describe()
    assert (described["family"], described["layout"], described["max_length"]) == ("late-interaction", "pylate", 40)
    assert json.loads(json.dumps(described)) == described


def test_a_stanford_checkpoint_scores_as_published(text_pairs: Pairs, tmp_path: Path) -> None:
    folder = write_stanford(tmp_path / "bi-encoder")
    pairs = [*text_pairs[::3], ("stop, now.", "a list, a text. read - write?")]
    loaded = load_scorer(str(folder), device="cpu", batch_tokens=200)
    projections = [load_file(folder / "model.safetensors")["linear.weight"]]
    expected = reference(folder, projections, pairs, ("[unused0]", "[unused1]"), tuple(string.punctuation))
    np.testing.assert_allclose(loaded.score(pairs), expected, atol=1e-4)
    assert loaded.describe()["layout"] == "stanford"


def peer_scores(folder: Path, pairs: Pairs) -> NDArray[np.float32]:
    """(N,) Sentence Transformers' own scores of its own vectors."""
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(folder), device="cpu")
    queries = model.encode_query([query for query, _ in pairs], show_progress_bar=False)
    docs = model.encode_document([doc for _, doc in pairs], show_progress_bar=False)
    return np.asarray(model.similarity_pairwise(queries, docs).cpu().numpy(), dtype=np.float32)


@pytest.mark.filterwarnings("ignore")  # the peer's own, of one row of its progress
@pytest.mark.parametrize(
    ("layout", "options"),
    [
        ("pylate", {}),
        ("pylate", {"attend_to_expansion_tokens": True, "query_length": 9}),
        ("pylate", {"do_query_expansion": False}),
        ("pylate", {"dense": TWO_DENSE, "skiplist_words": []}),
        ("pylate", {"prompts": {"query": "how ", "document": "text "}}),
        ("stanford", {}),
        ("stanford", {"attend_to_mask_tokens": True, "mask_punctuation": False}),
        ("sentence-transformers", {"query_expansion": FIXED, "document_length": 30}),
        ("sentence-transformers", {"query_expansion": {"strategy": "min", "length": 9, "attend": True}}),
        ("sentence-transformers", {"query_expansion": {"strategy": "min", "length": 9}, "query_length": 20}),
        ("sentence-transformers", {"query_expansion": FIXED | {"token": "[SEP]"}, "similarity": "meanmaxsim"}),
        ("sentence-transformers", {"skiplist_tasks": ["document", "query"], "similarity": "meanmaxsim"}),
    ],
    ids=str,
)
def test_scores_equal_the_peers(layout: str, options: dict[str, Any], text_pairs: Pairs, tmp_path: Path) -> None:
    folder = WRITERS[layout](tmp_path / "model", **options)
    scores = load_scorer(str(folder), device="cpu", batch_tokens=300).score(text_pairs)
    np.testing.assert_allclose(scores, peer_scores(folder, text_pairs), atol=1e-4)
    assert scores.dtype == np.float32
    assert len(np.unique(scores)) > 40


def test_the_family_is_read_from_the_files(tmp_path: Path) -> None:
    for layout, write in WRITERS.items():
        folder = write(tmp_path / f"{layout}-bi-encoder")
        assert read_checkpoint(folder, name="x", revision=None).family == "late-interaction"
    renamed = write_pylate(tmp_path / "colbert", model_type=None, similarity_fn_name=None)
    assert read_checkpoint(renamed, name="x", revision=None).family == "late-interaction", "by PyLate's own settings"


def test_settings_that_an_older_pylate_left_out_have_its_defaults(text_pairs: Pairs, tmp_path: Path) -> None:
    names = ("query_prefix", "document_prefix", "attend_to_expansion_tokens", "do_query_expansion", "model_type")
    absent: dict[str, Any] = dict.fromkeys(names)
    older = write_pylate(tmp_path / "older", **absent, skiplist_words=None)
    newer = write_pylate(tmp_path / "newer", skiplist_words=list(string.punctuation))
    scores = [load_scorer(str(folder), device="cpu").score(text_pairs) for folder in (older, newer)]
    np.testing.assert_array_equal(scores[0], scores[1])


def test_the_length_of_documents_can_be_set_and_that_of_queries_stays(tmp_path: Path) -> None:
    folder = write_pylate(tmp_path / "model")
    long_query, long_doc = "a list of words " * 10, "stop the program " * 20
    watcher = Watcher()
    with progress.use_reporter(watcher):
        longer = load_scorer(str(folder), device="cpu", max_length=60)
    assert [note for note in watcher.notes if "max_length 60 is more than the 40 tokens" in note]
    stated, shorter = load_scorer(str(folder), device="cpu"), load_scorer(str(folder), device="cpu", max_length=12)
    rows = np.asarray([[0, 0]])
    for scorer, length in ((longer, 60), (stated, 40), (shorter, 12)):
        result = scorer.score_indexed([long_query], [long_doc], rows)
        assert result.stats.num_tokens == 16 + length
        assert scorer.describe()["max_length"] == length
        assert scorer.describe()["query_length"] == 16
    assert len({scorer.fingerprint for scorer in (longer, stated, shorter)}) == 3
    with pytest.raises(ConfigError, match=r"max_length is 65, but model 'model' has positions for 64 tokens"):
        load_scorer(str(folder), device="cpu", max_length=65)


def test_scores_depend_neither_on_order_nor_on_the_budget(text_pairs: Pairs, tmp_path: Path) -> None:
    folder = str(write_pylate(tmp_path / "model", do_query_expansion=False))
    by_budget = [load_scorer(folder, device="cpu", batch_tokens=b).score(text_pairs) for b in (1, 100, 1_000_000)]
    for scores in by_budget[1:]:
        np.testing.assert_allclose(scores, by_budget[0], rtol=0, atol=2e-5)
    order = np.random.default_rng(5).permutation(len(text_pairs))
    shuffled = load_scorer(folder, device="cpu", batch_tokens=100).score([text_pairs[i] for i in order])
    np.testing.assert_allclose(shuffled, by_budget[1][order], rtol=0, atol=2e-5)


def test_pairs_are_compared_in_parts_too(text_pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_scorer(str(write_pylate(tmp_path / "model")), device="cpu")
    whole = loaded.score(text_pairs)
    monkeypatch.setattr("rerank_bench.scoring.max_sim.COMPARED_FLOATS", 1)
    np.testing.assert_allclose(loaded.score(text_pairs), whole, atol=1e-5)


def test_a_document_may_stand_in_the_lists_of_several_queries(tmp_path: Path) -> None:
    folder = write_pylate(tmp_path / "model")
    queries, docs = ["stop", "sort a list", "how to"], ["a list", "a program that sorts", "text, and more of it"]
    rows = np.asarray([[0, 1], [0, 0], [1, 1], [2, 1], [2, 2], [1, 2]])  # one, three and two lists
    together = load_scorer(str(folder), device="cpu").score_indexed(queries, docs, rows).scores
    alone = [load_scorer(str(folder), device="cpu").score([(queries[q], docs[d])])[0] for q, d in rows]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert len(set(together.tolist())) == 6


def test_each_distinct_text_is_encoded_once(tmp_path: Path) -> None:
    loaded = load_scorer(str(write_pylate(tmp_path / "model")), device="cpu")
    pairs = np.asarray([[query, doc] for query in range(3) for doc in range(4)])
    result = loaded.score_indexed(["stop", "sort", "stop"], ["a list", "a program", "a list", "text"], pairs)
    assert (result.stats.num_items, result.stats.num_distinct_pairs, result.stats.num_pairs) == (5, 6, 12)


def test_no_pairs_is_legal(tmp_path: Path) -> None:
    assert load_scorer(str(write_pylate(tmp_path / "model")), device="cpu").score([]).shape == (0,)


def test_half_precision_compares_in_float32(text_pairs: Pairs, tmp_path: Path) -> None:
    folder = str(write_stanford(tmp_path / "model"))
    exact = load_scorer(folder, device="cpu").score(text_pairs)
    half = load_scorer(folder, device="cpu", dtype="bfloat16").score(text_pairs)
    assert np.abs(half - exact).max() < 0.3
    assert len(np.unique(half)) == len(np.unique(exact)), "no ties that float32 has not"


def test_without_metadata_stanfords_defaults_are_taken_and_said(tmp_path: Path) -> None:
    folder = write_stanford(tmp_path / "model")
    (folder / "artifact.metadata").unlink()
    watcher = Watcher()
    with progress.use_reporter(watcher):
        described = load_scorer(str(folder), device="cpu").describe()
    assert [
        note for note in watcher.notes if "there is no artifact.metadata; queries of 32 and documents of 220" in note
    ]
    assert (described["query_length"], described["max_length"]) == (32, 64), "as many as there are positions"
    (folder / "artifact.metadata").write_text("[]")
    with pytest.raises(ScoringError, match=r"artifact\.metadata: expected a JSON object, found list"):
        load_scorer(str(folder), device="cpu")


def test_words_that_are_no_tokens_are_said_and_unknown_tokens_still_count(tmp_path: Path) -> None:
    folder = write_pylate(tmp_path / "model", skiplist_words=[",", "@"])
    watcher = Watcher()
    with progress.use_reporter(watcher):
        loaded = load_scorer(str(folder), device="cpu")
    assert [note for note in watcher.notes if "@ are no tokens of its vocabulary" in note]
    assert loaded.describe()["skipped_tokens"] == 1
    by_hand = reference(
        folder,
        [load_file(folder / "1_Dense" / "model.safetensors")["linear.weight"]],
        [("stop", "a , @ list")],
        ("[Q] ", "[D] "),
        (",",),
    )
    assert loaded.score([("stop", "a , @ list")]) == pytest.approx(by_hand, abs=1e-4)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub() as server:
        use_hub(monkeypatch, server, tmp_path / "home")
        yield server


@pytest.mark.parametrize("layout", ["pylate", "stanford"])
def test_a_checkpoint_comes_from_the_hub_with_all_its_settings(layout: str, hub: LoopbackHub, tmp_path: Path) -> None:
    folder = WRITERS[layout](tmp_path / "model")
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    hub.add_repository("owner/late", files, repository_type="model")
    pairs = [("stop", "a list"), ("how to", "sort the list, now")]
    loaded = load_scorer("owner/late", device="cpu")
    np.testing.assert_array_equal(loaded.score(pairs), load_scorer(str(folder), device="cpu").score(pairs))
    assert loaded.fingerprint == load_scorer(str(folder), device="cpu").fingerprint


def test_the_fingerprint_covers_what_decides_a_score(tmp_path: Path) -> None:
    def fingerprint(folder: Path) -> str:
        return load_scorer(str(folder), device="cpu").fingerprint

    base = write_stanford(tmp_path / "a")
    copy = shutil.copytree(base, tmp_path / "b")
    assert fingerprint(copy) == fingerprint(base)
    (copy / "artifact.metadata").write_text(
        json.dumps({"query_maxlen": 16, "doc_maxlen": 40, "mask_punctuation": False})
    )
    other_projection = write_pylate(tmp_path / "c")
    same = shutil.copytree(other_projection, tmp_path / "d")
    save_file({"linear.weight": torch.eye(8, 32)}, same / "1_Dense" / "model.safetensors")
    prints = [fingerprint(folder) for folder in (base, copy, other_projection, same)]
    assert len(set(prints)) == 4


def test_nan_weights_name_the_pair(tmp_path: Path) -> None:
    folder = write_pylate(tmp_path / "model")
    path = folder / "1_Dense" / "model.safetensors"
    save_file({"linear.weight": load_file(path)["linear.weight"] * float("nan")}, path)
    with pytest.raises(InvalidScoreError, match=r"query 'stop', document 'a list': score is nan"):
        load_scorer(str(folder), device="cpu").score([("stop", "a list")])
