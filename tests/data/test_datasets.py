from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from loopback_hub import LoopbackHub

from rerank_bench.data.checks import count_dataset
from rerank_bench.data.datasets import expected_counts, load_dataset
from rerank_bench.data.fingerprints import fingerprint_dataset
from rerank_bench.data.manifests import read_manifest
from rerank_bench.errors import ConfigError, DataError, EnvironmentMissingError, ManifestError
from rerank_bench.progress import Advance, use_reporter
from rerank_bench.records import Collection, Dataset

# From the README of the collections: documents, queries, judgements.
REAL = {
    "scifact": (5183, 300, 339),
    "cranfield": (1400, 225, 1837),
    "vaswani": (11_429, 93, 2083),
    "noveleval": (420, 21, 420),
}


class Notes:
    """A reporter that keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def task(self, description: str, total: int | None, unit: str) -> AbstractContextManager[Advance]:
        del description, total, unit
        return nullcontext(lambda _units: None)

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture
def notes() -> Iterator[list[str]]:
    reporter = Notes()
    with use_reporter(reporter):
        yield reporter.notes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A BEIR folder that is called like a shipped data set."""
    folder = tmp_path / "NanoNQ"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text('{"_id": "a", "text": "x"}\n', encoding="utf-8")
    (folder / "queries.jsonl").write_text('{"_id": "1", "text": "one"}\n', encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", REAL)
def test_real_collections(shared_data: Path, name: str) -> None:
    dataset = load_dataset(shared_data / name)
    documents, queries, judgements = REAL[name]
    assert count_dataset(dataset) == {"documents": documents, "queries": queries, "judgements": judgements}
    assert dataset.name == name
    # Every text against a reading of the file that shares no code with the loader.
    lines = (shared_data / name / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines if line]
    assert dataset.collection.doc_ids.to_pylist() == [record["_id"] for record in records]
    expected = [
        (record["title"] + " " + record["text"]).strip() if record.get("title") else record["text"]
        for record in records
    ]
    assert dataset.collection.texts.to_pylist() == expected
    assert dataset.fingerprints == fingerprint_dataset(dataset)


def test_cranfield_keeps_empty_documents_and_grades(shared_data: Path) -> None:
    dataset = load_dataset(shared_data / "cranfield")
    assert sum(not text for text in dataset.collection.texts.to_pylist()) == 2
    assert {grade for judged in dataset.qrels.values() for grade in judged.values()} <= {0, 1, 2, 3, 4}


def test_a_path_is_a_folder_and_a_bare_name_is_a_manifest(
    folder: Path, monkeypatch: pytest.MonkeyPatch, notes: list[str], hub: LoopbackHub
) -> None:
    hub.stop()
    monkeypatch.chdir(folder.parent)
    for given in (folder, str(folder), "./NanoNQ", Path("NanoNQ")):
        dataset = load_dataset(given)
        assert (dataset.name, dataset.queries) == ("NanoNQ", {"1": "one"})
    assert notes == []
    # The set itself is not here: that its repository is asked for shows which of the two was meant.
    with pytest.raises(EnvironmentMissingError, match="zeta-alpha-ai/NanoNQ@"):
        load_dataset("NanoNQ")
    assert notes == ["'NanoNQ' is read as the data set NanoNQ; write ./NanoNQ for the folder"]


def test_trec_folder_is_recognised(folder: Path) -> None:
    (folder / "queries.jsonl").unlink()
    shutil.rmtree(folder / "qrels")
    (folder / "topics.txt").write_text("1\tone\n", encoding="utf-8")
    (folder / "qrels.txt").write_text("1 0 a 3\n", encoding="utf-8")
    dataset = load_dataset(folder)
    assert (dataset.source["kind"], dataset.qrels) == ("trec", {"1": {"a": 3}})
    assert dataset.fingerprints == fingerprint_dataset(dataset)


def test_folder_manifest(folder: Path) -> None:
    text = 'name = "named"\nkind = "beir"\nlicence = "CC0"\n[grades]\n1 = "good"\n'
    files = '[files]\ncorpus = "corpus.jsonl"\nqueries = "queries.jsonl"\nqrels = {test = "qrels/test.tsv"}\n'
    path = folder / "dataset.toml"
    path.write_text(f"{text}[counts]\ndocuments = 1\n{files}", encoding="utf-8")
    dataset = load_dataset(folder)
    assert (dataset.name, dataset.source["licence"], dataset.source["grades"]) == ("named", "CC0", {"1": "good"})
    path.write_text(f"{text}[counts]\ndocuments = 2\n{files}", encoding="utf-8")
    with pytest.raises(ManifestError, match="the data holds 1 documents instead of 2"):
        load_dataset(folder)
    path.write_text('name = "named"\nkind = "pydocs"\n', encoding="utf-8")
    with pytest.raises(ManifestError, match="kind is 'pydocs', expected 'beir' or 'trec' in a folder's manifest"):
        load_dataset(folder)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            "NanoMSMARKO",
            ConfigError,
            r"unknown data set 'NanoMSMARKO'; did you mean 'NanoMSMARCO'.*A folder with corpus\.jsonl works too",
        ),
        ("", ConfigError, "unknown data set ''"),
        ("./absent", ConfigError, r"no such folder: '\./absent'"),
        (Path("absent"), DataError, "absent: no such folder"),
    ],
)
def test_unknown(given: str | Path, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_dataset(given)


def test_judgements_known_to_be_missing_are_not_expected(tmp_path: Path) -> None:
    path = tmp_path / "pydocs.toml"
    path.write_text('name = "pydocs"\nkind = "pydocs"\n[counts]\nqueries = 9\njudgements = 20\n', encoding="utf-8")
    dataset = Dataset(name="x", queries={}, collection=Collection([], []), qrels={}, source={"missing_judgements": 3})
    assert expected_counts(read_manifest(path), dataset) == {"queries": 9, "judgements": 17}


def test_shipped_sets_have_one_split() -> None:
    with pytest.raises(ConfigError, match=r"NanoNQ: its manifest pins the judgements, split 'dev' cannot be chosen"):
        load_dataset("NanoNQ", split="dev")


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"not a BEIR folder, corpus\.jsonl and queries\.jsonl and qrels/SPLIT.tsv missing"
    ):
        load_dataset(tmp_path)
