from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from rerank_bench.data.beir import load_beir_folder
from rerank_bench.data.manifests import read_manifest
from rerank_bench.errors import ConfigError, DataError, ParseError

CORPUS = '{"_id": "a", "title": "T", "text": "x"}\n{"_id": "b", "text": ""}\n{"_id": "c", "text": "z"}\n'
QUERIES = '{"_id": "1", "text": "one"}\n{"_id": 2, "text": ""}\n{"_id": "3", "text": "dev"}\n{"_id": "4", "text": "unjudged"}\n'
QRELS = "query-id\tcorpus-id\tscore\n1\ta\t2\n2\tb\t0\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four queries (one empty, one of another split, one without judgements), three documents (one empty)."""
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(CORPUS, encoding="utf-8")
    (folder / "queries.jsonl").write_text(QUERIES, encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text(QRELS, encoding="utf-8")
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n3\tc\t1\n", encoding="utf-8")
    return folder


def test_everything_legal_is_kept(folder: Path) -> None:
    dataset = load_beir_folder(folder)
    assert dataset.name == "tiny"
    assert dataset.queries == {"1": "one", "2": "", "4": "unjudged"}
    assert dataset.qrels == {"1": {"a": 2}, "2": {"b": 0}}
    assert dataset.collection.doc_ids.to_pylist() == ["a", "b", "c"]
    assert dataset.collection.texts.to_pylist() == ["T x", "", "z"]
    assert dataset.source["split"] == "test"
    assert not dataset.drops_self_match


def test_another_split(folder: Path) -> None:
    dataset = load_beir_folder(folder, split="dev")
    assert dataset.qrels == {"3": {"c": 1}}
    assert dataset.queries == {"3": "dev", "4": "unjudged"}


def test_queries_of_other_splits_are_counted(folder: Path) -> None:
    assert load_beir_folder(folder).source["queries_of_other_splits"] == 1
    assert load_beir_folder(folder, split="dev").source["queries_of_other_splits"] == 2
    (folder / "qrels" / "dev.tsv").unlink()
    dataset = load_beir_folder(folder)
    assert list(dataset.queries) == ["1", "2", "3", "4"]
    assert dataset.source["queries_of_other_splits"] == 0


def test_missing_split_lists_those_that_exist(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"tiny: unknown split 'tset'; did you mean 'test'\? Known: dev, test"):
        load_beir_folder(folder, split="tset")


def test_gzip(folder: Path) -> None:
    plain = load_beir_folder(folder)
    for path in [*folder.glob("*.jsonl"), *folder.glob("qrels/*.tsv")]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    packed = load_beir_folder(folder)
    assert (packed.queries, packed.qrels) == (plain.queries, plain.qrels)
    assert packed.collection.texts == plain.collection.texts


def test_missing_files_are_named_together(folder: Path) -> None:
    (folder / "queries.jsonl").unlink()
    for path in (folder / "qrels").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"tiny: not a BEIR folder, queries\.jsonl and qrels/SPLIT\.tsv missing"):
        load_beir_folder(folder)


def test_judgements_of_unknown_documents_and_queries(folder: Path) -> None:
    lines = [f"1\td{i}\t1\n" for i in range(5)] + ["9\ta\t1\n", "8\ta\t1\n"]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_beir_folder(folder)
    message = str(caught.value)
    assert "2 ('9', '8') of the judged queries are not among the 4 queries" in message
    assert "5 ('d0', 'd1', 'd2', …) of the judged documents are not among the 3 documents" in message
    assert "test.tsv" in message


def test_malformed_qrels_name_the_line(folder: Path) -> None:
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\n", encoding="utf-8")
    with pytest.raises(ParseError, match=r"test\.tsv, line 2: expected 3 tab-separated fields"):
        load_beir_folder(folder)


def test_manifest_chooses_files_and_text_rule(folder: Path) -> None:
    path = folder / "dataset.toml"
    path.write_text(
        'name = "named"\nkind = "beir"\ntext_rule = "{text}"\ndrops_self_match = true\n'
        '[files]\ncorpus = "corpus.jsonl"\nqueries = "queries.jsonl"\nqrels = {test = "qrels/dev.tsv"}\n',
        encoding="utf-8",
    )
    dataset = load_beir_folder(folder, manifest=read_manifest(path))
    assert (dataset.name, dataset.qrels, dataset.drops_self_match) == ("named", {"3": {"c": 1}}, True)
    assert dataset.collection.texts.to_pylist() == ["x", "", "z"]
