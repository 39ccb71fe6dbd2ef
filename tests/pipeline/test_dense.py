"""``dense:MODEL`` against ``sentence_transformers.util.semantic_search``, with models that the test makes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from loopback_hub import LoopbackHub, use_hub
from numpy.typing import NDArray
from tiny_models import write_encoder
from tiny_static import WORDS, load_reference, write_static_embedding
from typer.testing import CliRunner

from rerank_bench.cli.app import app
from rerank_bench.data.fingerprints import with_fingerprints
from rerank_bench.errors import ConfigError, ScoringError
from rerank_bench.first_stage.dense import build_dense_candidates, vectors_folder
from rerank_bench.pipeline.cache import clear_cache, describe_cache
from rerank_bench.pipeline.candidates import build_candidates
from rerank_bench.pipeline.dense import open_encoder
from rerank_bench.progress import Advance, use_reporter
from rerank_bench.records import Collection, Dataset

TINY = Path(__file__).parents[1] / "data" / "tiny"


class Notes(list[str]):
    """What the user was told."""

    def note(self, message: str) -> None:
        self.append(message)

    def task(self, _description: str, _total: int | None, _unit: str) -> AbstractContextManager[Advance]:
        return contextlib.nullcontext(lambda _units: None)


@contextlib.contextmanager
def notes() -> Iterator[Notes]:
    found = Notes()
    with use_reporter(found):
        yield found


def texts(rng: random.Random, count: int) -> list[str]:
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 20))) for _ in range(count)]


def make_dataset(*, num_docs: int = 400, seed: int = 0, drops_self_match: bool = False) -> Dataset:
    rng = random.Random(seed)
    docs = texts(rng, num_docs)
    docs[100:160] = [docs[3]] * 60  # more equals than any list is deep
    docs[7] = ""
    queries = {f"d{number}": text for number, text in enumerate(texts(rng, 20))} | {"same": docs[3], "blank": ""}
    return with_fingerprints(
        Dataset(
            name="woods",
            queries=queries,
            collection=Collection([f"d{number}" for number in range(num_docs)], docs),
            qrels={"d0": {"d1": 1}},
            drops_self_match=drops_self_match,
        )
    )


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_static_embedding(tmp_path_factory.mktemp("models") / "static")


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_a_static_embedding_finds_what_semantic_search_finds(tmp_path: Path, similarity: str) -> None:
    from sentence_transformers import util

    model = write_static_embedding(tmp_path / "model", similarity=similarity)
    reference = load_reference(model)
    dataset = make_dataset()
    doc_ids, docs = dataset.collection.doc_ids.to_pylist(), dataset.collection.texts.to_pylist()
    hits = util.semantic_search(
        reference.encode(list(dataset.queries.values())),
        reference.encode(docs),
        top_k=30,
        score_function=util.cos_sim if similarity == "cosine" else util.dot_score,
    )
    found = build_candidates(dataset, first_stage=f"dense:{model}", depth=30)
    assert found.first_stage["name"] == "dense:model"
    assert found.first_stage["model"]["similarity"] == similarity
    for (query_id, ranked), own in zip(found.by_query.items(), hits, strict=True):
        np.testing.assert_allclose(ranked.scores, [hit["score"] for hit in own], rtol=1e-5, atol=2e-6)
        cut = own[-1]["score"]  # which of several equals at the cut are named is our rule's matter
        sure = {doc_ids[int(hit["corpus_id"])] for hit in own if hit["score"] > cut + 1e-5}
        assert sure <= set(ranked.doc_ids), query_id


def test_ties_are_cut_by_id(static: Path) -> None:
    dataset = make_dataset()
    found = build_candidates(dataset, first_stage=f"dense:{static}", depth=20)
    equals = sorted(["d3", *(f"d{number}" for number in range(100, 160))], reverse=True)
    assert found.by_query["same"].doc_ids == tuple(equals[:20])
    assert len(set(found.by_query["same"].scores.tolist())) == 1
    # No token, no direction: the cosine is 0 with all.
    every = sorted(dataset.collection.doc_ids.to_pylist(), reverse=True)
    assert found.by_query["blank"].doc_ids == tuple(every[:20])
    assert not found.by_query["blank"].scores.any()


def test_a_transformer_finds_what_semantic_search_finds(tmp_path: Path) -> None:
    from sentence_transformers import util

    model = write_encoder(tmp_path / "encoder", seed=3)
    reference = load_reference(model)
    dataset = make_dataset(num_docs=200)
    docs = dataset.collection.texts.to_pylist()
    hits = util.semantic_search(
        reference.encode(list(dataset.queries.values())), reference.encode(docs), top_k=len(docs)
    )
    found = build_candidates(dataset, first_stage=f"dense:{model}", depth=len(docs))
    for (query_id, ranked), own in zip(found.by_query.items(), hits, strict=True):
        scores = {f"d{hit['corpus_id']}": float(hit["score"]) for hit in own}
        assert set(ranked.doc_ids) == set(scores)
        np.testing.assert_allclose(ranked.scores, [scores[d] for d in ranked.doc_ids], atol=2e-6, err_msg=query_id)


def test_the_querys_own_document_is_dropped_before_the_cut(static: Path) -> None:
    kept = build_candidates(make_dataset(), first_stage=f"dense:{static}", depth=400)
    dropped = build_candidates(make_dataset(drops_self_match=True), first_stage=f"dense:{static}", depth=9)
    for query_id, docs in dropped.by_query.items():
        whole = [doc_id for doc_id in kept.by_query[query_id].doc_ids if doc_id != query_id]
        assert docs.doc_ids == tuple(whole[:9])


def test_a_fusion_drops_the_querys_own_document_of_a_given_list(tmp_path: Path) -> None:
    dataset = make_dataset(drops_self_match=True)
    given = tmp_path / "run.trec"
    given.write_text("".join(f"{query} Q0 {query} 1 2.0 x\n{query} Q0 d30 2 1.0 x\n" for query in ("d0", "d1")))
    fused = build_candidates(dataset, first_stage=f"fusion:bm25+{given}", depth=400)
    assert all(query_id not in docs.doc_ids for query_id, docs in fused.by_query.items())
    assert "d30" in fused.by_query["d0"].doc_ids


def test_vectors_are_read_back_and_repaired(static: Path) -> None:
    dataset, stage = make_dataset(), f"dense:{static}"
    first = build_candidates(dataset, first_stage=stage, depth=5)
    (path,) = vectors_folder().glob("*/*.vectors")
    with notes() as said:
        build_candidates(dataset, first_stage=stage, depth=6)
    assert any("vectors of 400 of 400 documents taken from" in line for line in said)
    whole = path.read_bytes()
    damages = {
        "is cut short": whole[:20],
        "has 1,000 bytes, expected": whole[:1000],
        "is damaged: its checksum differs": whole[:-1] + bytes([whole[-1] ^ 1]),
        "is of another collection or encoder": whole[:8] + bytes(32) + whole[40:],
    }
    for depth, (problem, content) in enumerate(damages.items(), start=7):
        path.write_bytes(content)
        with notes() as said:
            again = build_candidates(dataset, first_stage=stage, depth=depth)
        assert any(problem in line and "encoded anew" in line for line in said), said
        assert path.read_bytes() == whole
        for query_id, docs in first.by_query.items():
            assert again.by_query[query_id].doc_ids[:5] == docs.doc_ids


def test_another_collection_has_vectors_of_its_own(static: Path) -> None:
    one = build_candidates(make_dataset(seed=1), first_stage=f"dense:{static}", depth=5)
    other = build_candidates(make_dataset(seed=2), first_stage=f"dense:{static}", depth=5)
    assert len(list(vectors_folder().glob("*/*.vectors"))) == 2
    assert one.fingerprint != other.fingerprint


def test_a_model_that_makes_no_vector_is_refused(tmp_path: Path) -> None:
    from tiny_models import write_sequence_classifier

    model = write_sequence_classifier(tmp_path / "classifier")
    with pytest.raises(ConfigError, match="family sequence-classifier, which does not make one vector"):
        build_candidates(make_dataset(), first_stage=f"dense:{model}", depth=5)
    with pytest.raises(ConfigError, match="expected a bi-encoder's folder or hub id behind 'dense:', found baseline"):
        build_candidates(make_dataset(), first_stage="dense:random", depth=5)


def test_fusion_adds_reciprocal_ranks(static: Path) -> None:
    dataset = make_dataset()
    lists = [build_candidates(dataset, first_stage=stage, depth=1000) for stage in ("bm25", f"dense:{static}")]
    fused = build_candidates(dataset, first_stage=f"fusion:bm25+dense:{static}", depth=25)
    assert fused.first_stage["name"] == "fusion:bm25+dense:static"
    for query_id, docs in fused.by_query.items():
        every = dataset.collection.doc_ids.to_pylist()
        ranks = [{doc: n + 1 for n, doc in enumerate(found.by_query[query_id].doc_ids)} for found in lists]
        scores = {d: sum(1 / (60 + r[d]) for r in ranks if d in r) for d in every if any(d in r for r in ranks)}
        expected = sorted(scores, key=lambda d: (np.float32(scores[d]), d), reverse=True)[:25]
        assert docs.doc_ids == tuple(expected)
        np.testing.assert_allclose(docs.scores, [scores[d] for d in expected], rtol=1e-6)
    shorter = build_candidates(dataset, first_stage=f"fusion:bm25+dense:{static}", depth=10)
    assert all(docs.doc_ids == fused.by_query[q].doc_ids[:10] for q, docs in shorter.by_query.items())


def test_a_revision_of_a_hub_model_is_pinned_and_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dataset = make_dataset(num_docs=200)
    with LoopbackHub() as hub:
        use_hub(monkeypatch, hub, tmp_path / "home")
        folders = [write_encoder(tmp_path / str(seed), seed=seed) for seed in (0, 1)]
        commits = [hub.add_repository("owner/encoder", files_of(f), repository_type="model") for f in folders]
        pinned = [build_candidates(dataset, first_stage=f"dense:owner/encoder@{c}", depth=9) for c in commits]
        newest = build_candidates(dataset, first_stage="dense:owner/encoder", depth=9)
        fused = build_candidates(dataset, first_stage=f"fusion:bm25+dense:owner/encoder@{commits[0]}", depth=9)
    assert [found.first_stage["model"]["revision"] for found in pinned] == commits
    assert pinned[0].first_stage["name"] == "dense:owner/encoder"
    assert pinned[0].fingerprint != pinned[1].fingerprint == newest.fingerprint
    own = build_candidates(dataset, first_stage=f"dense:{folders[0]}", depth=9)
    assert {q: d.doc_ids for q, d in own.by_query.items()} == {q: d.doc_ids for q, d in pinned[0].by_query.items()}
    assert commits[0] in json.dumps(fused.first_stage)
    with pytest.raises(ConfigError, match=r"model '.*@.*': no such folder"):
        build_candidates(dataset, first_stage=f"dense:{folders[0]}@{commits[0]}", depth=9)


def test_the_retrieved_view_of_dense_candidates_by_one_command(static: Path, tmp_path: Path) -> None:
    arguments = ["run", "-m", "oracle", "-d", TINY, "--first-stage", f"dense:{static}", "--depth", 3]
    arguments += ["--view", "retrieved", "--out", tmp_path / "out", "--json", "-q", "--device", "cpu"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    assert found["datasets"]["tiny"]["first_stage"]["name"] == "dense:static"
    assert found["request"]["first_stage"] == f"dense:{static}"


@pytest.mark.parametrize("chunk_docs", [1, 7, 399])
def test_the_list_does_not_depend_on_chunks(static: Path, chunk_docs: int) -> None:
    dataset = make_dataset()
    encoder = open_encoder(str(static), "cpu")
    whole = build_dense_candidates(dataset, encoder, depth=30)
    parts = build_dense_candidates(dataset, encoder, depth=30, chunk_docs=chunk_docs)
    for query_id, docs in whole.by_query.items():
        assert parts.by_query[query_id].doc_ids == docs.doc_ids
        assert np.array_equal(parts.by_query[query_id].scores, docs.scores)
    assert len(list(vectors_folder().glob("*/*.vectors"))) == -(-400 // chunk_docs)


def test_encoding_that_was_interrupted_goes_on(static: Path) -> None:
    dataset = make_dataset()
    encoder = open_encoder(str(static), "cpu")
    encoded: list[int] = []

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        encoded.append(len(texts))
        if sum(encoded) > 250 and len(encoded) == 3:
            raise KeyboardInterrupt
        return encoder.encode_docs(texts)

    slow = dataclasses.replace(encoder, encode_docs=encode)
    with pytest.raises(KeyboardInterrupt):
        build_dense_candidates(dataset, slow, depth=5, chunk_docs=100)
    found = build_dense_candidates(dataset, slow, depth=5, chunk_docs=100)
    assert encoded == [100, 100, 100, 100, 100]  # the third twice
    assert found.fingerprint == build_dense_candidates(dataset, encoder, depth=5).fingerprint


def test_a_vector_that_is_not_finite_is_named(static: Path) -> None:
    encoder = dataclasses.replace(
        open_encoder(str(static), "cpu"), encode_docs=lambda texts: np.full((len(texts), 32), np.nan, dtype=np.float32)
    )
    with pytest.raises(ScoringError, match="document number 0 of 400 was encoded into a vector that is not finite"):
        build_dense_candidates(make_dataset(), encoder, depth=5)
    short = dataclasses.replace(encoder, encode_docs=lambda _texts: np.zeros((3, 32), dtype=np.float32))
    with pytest.raises(ScoringError, match=r"400 documents were encoded into an array of shape \(3, 32\)"):
        build_dense_candidates(make_dataset(), short, depth=5)


def test_vectors_are_counted_and_cleared(static: Path) -> None:
    build_candidates(make_dataset(), first_stage=f"dense:{static}", depth=5)
    vectors = describe_cache()["vectors"]
    assert vectors["collections"] == 1
    assert vectors["bytes"] > 400 * 32 * 4
    assert clear_cache(vectors=True) == vectors["bytes"]
    assert describe_cache()["vectors"] == {"bytes": 0, "collections": 0}
    assert describe_cache()["candidates"]["lists"]
