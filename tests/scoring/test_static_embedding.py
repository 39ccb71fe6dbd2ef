"""Static embeddings against Sentence Transformers' own module; nearest neighbours against a plain matrix product."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import write_encoder, write_sequence_classifier
from tiny_pairs import some_texts, write_static_embedding

from rerank_bench import progress
from rerank_bench.errors import ConfigError, ScoringError
from rerank_bench.scoring import nearest
from rerank_bench.scoring.loaded_scorer import load_scorer

TEXTS = [*some_texts(40, seed=3), "", "東京 zzz unseen"]
PAIRS = [(TEXTS[i], TEXTS[-1 - i]) for i in range(len(TEXTS))]


def peer_scores(folder: Path, pairs: list[tuple[str, str]]) -> Any:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    queries = model.encode_query([query for query, _ in pairs], convert_to_tensor=True, show_progress_bar=False)
    docs = model.encode_document([doc for _, doc in pairs], convert_to_tensor=True, show_progress_bar=False)
    return model.similarity_pairwise(queries, docs).numpy()


@pytest.mark.parametrize(
    ("normalize", "prompts"), [(False, None), (True, {"query": "how ", "document": "text "})], ids=["plain", "prompts"]
)
def test_scores_equal_the_peers(tmp_path: Path, *, normalize: bool, prompts: dict[str, str] | None) -> None:
    folder = write_static_embedding(tmp_path / "static", normalize=normalize, prompts=prompts)
    loaded = load_scorer(str(folder))
    scores, expected = loaded.score(PAIRS), peer_scores(folder, PAIRS)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-6)
    assert np.std(expected) > 0.01
    described = loaded.describe()
    assert described["family"] == "static-embedding"
    assert json.loads(json.dumps(described)) == described


@pytest.mark.parametrize(("normalize", "similarity"), [(False, "cosine"), (True, "cosine"), (False, "dot")])
def test_vectors_are_cut_as_the_settings_say(tmp_path: Path, *, normalize: bool, similarity: str) -> None:
    folder = write_static_embedding(tmp_path / "static", normalize=normalize)
    path = folder / "config_sentence_transformers.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"truncate_dim": 8, "similarity_fn_name": similarity}))
    scores = load_scorer(str(folder)).score(PAIRS)
    np.testing.assert_allclose(scores, peer_scores(folder, PAIRS), rtol=1e-5, atol=1e-6)


def test_the_form_of_model2vec_equals_the_peers(tmp_path: Path) -> None:
    folder = write_static_embedding(tmp_path / "static")
    table = load_file(folder / "model.safetensors")["embedding.weight"]
    generator = torch.Generator().manual_seed(1)
    weights = {
        "embeddings": table[:50].clone(),
        "mapping": torch.randint(50, (len(table),), generator=generator),
        "weights": torch.rand(len(table), generator=generator),
    }
    save_file(weights, folder / "model.safetensors")
    scores = load_scorer(str(folder)).score(PAIRS)
    np.testing.assert_allclose(scores, peer_scores(folder, PAIRS), rtol=0, atol=1e-6)


def test_a_length_in_the_tokenizer_file_cuts_as_the_peer_does(tmp_path: Path) -> None:
    folder = write_static_embedding(tmp_path / "static")
    path = folder / "tokenizer.json"
    settings = json.loads(path.read_text())
    settings["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    path.write_text(json.dumps(settings))
    loaded = load_scorer(str(folder))
    np.testing.assert_allclose(loaded.score(PAIRS), peer_scores(folder, PAIRS), rtol=0, atol=1e-6)
    assert loaded.describe()["max_length"] == 4
    shorter = load_scorer(str(folder), max_length=2).score([("stop a program", "read a file")])
    np.testing.assert_array_equal(shorter, loaded.score([("stop a", "read a")]))


def test_what_is_wrong_with_a_checkpoint_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(write_static_embedding(tmp_path / "static"))
    with pytest.raises(ConfigError, match="float32 table; drop --dtype bfloat16"):
        load_scorer(folder, dtype="bfloat16")
    notes: list[str] = []
    monkeypatch.setattr(progress, "note", notes.append)
    load_scorer(folder, device="cuda")
    assert notes == ["static: a static embedding runs on the CPU, not on cuda"]
    modules = Path(folder, "modules.json")
    kept = modules.read_text()
    entries = [*json.loads(kept), {"idx": 1, "name": "1", "path": "1", "type": "sentence_transformers.models.Dense"}]
    modules.write_text(json.dumps(entries))
    with pytest.raises(ConfigError, match="asks for StaticEmbedding → Dense; the family static-embedding supports"):
        load_scorer(folder)
    modules.write_text(kept)
    save_file({"head": torch.zeros(3)}, Path(folder, "model.safetensors"))
    with pytest.raises(ScoringError, match=r"the weights are head; expected 'embedding\.weight'"):
        load_scorer(folder)
    save_file({"embedding.weight": torch.zeros(3, 2)}, Path(folder, "model.safetensors"))
    with pytest.raises(ScoringError, match="the model has 3 embeddings; tokenizer files and weights are of two"):
        load_scorer(folder).score(PAIRS)
    Path(folder, "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ScoringError, match=r"model\.safetensors cannot be read"):
        load_scorer(folder)
    Path(folder, "tokenizer.json").write_text("{}")
    with pytest.raises(ScoringError, match=r"tokenizer\.json cannot be read as a tokenizer"):
        load_scorer(folder)
    Path(folder, "tokenizer.json").unlink()
    with pytest.raises(ScoringError, match=r"holds no tokenizer\.json"):
        load_scorer(folder)


# --- nearest neighbours -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [7, 16, 1000])
@pytest.mark.parametrize("kind", ["static", "encoder"])
def test_neighbours_are_those_of_the_whole_matrix(
    tmp_path: Path, kind: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers import SentenceTransformer

    folder = write_static_embedding(tmp_path / "m") if kind == "static" else write_encoder(tmp_path / "m")
    monkeypatch.setattr(nearest, "CHUNK_DOCS", chunk)
    monkeypatch.setattr(nearest, "BLOCK_QUERIES", 3)
    queries, docs = some_texts(8, seed=1), some_texts(45, seed=2)
    model = SentenceTransformer(str(folder), device="cpu")
    encode = {"normalize_embeddings": True, "show_progress_bar": False}
    matrix = model.encode_query(queries, **encode) @ model.encode_document(docs, **encode).T
    pairs = np.array([[7, 44], [0, 3], [2, 3], [7, 0]])
    found = nearest.find_neighbours(
        load_scorer(str(folder), device="cpu"), queries, pa.array(docs, pa.large_string()), depth=11, pairs=pairs
    )
    np.testing.assert_array_equal(found.positions, np.argsort(-matrix, axis=1, kind="stable")[:, :11])
    np.testing.assert_allclose(found.scores, -np.sort(-matrix, axis=1)[:, :11], atol=2e-6)
    np.testing.assert_allclose(found.pair_scores, matrix[pairs[:, 0], pairs[:, 1]], atol=2e-6)


def test_equal_scores_go_by_position() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, size=(20, 30)).astype(np.float32)
    values, columns = nearest.top_docs(torch.from_numpy(scores), 9)
    np.testing.assert_array_equal(columns.numpy(), np.argsort(-scores, axis=1, kind="stable")[:, :9])
    np.testing.assert_array_equal(values.numpy(), -np.sort(-scores, axis=1)[:, :9])


def test_a_cross_encoder_has_no_neighbours(tmp_path: Path) -> None:
    loaded = load_scorer(str(write_sequence_classifier(tmp_path / "ce")), device="cpu")
    docs = pa.array(["a", "b"], pa.large_string())
    with pytest.raises(ConfigError, match="family sequence-classifier, which does not make one vector of a text"):
        nearest.find_neighbours(loaded, ["q"], docs, depth=1, pairs=np.empty((0, 2), dtype=np.int64))
