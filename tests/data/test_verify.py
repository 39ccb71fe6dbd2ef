from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from loopback_hub import LoopbackHub, data_set_files

from rerank_bench.data import manifests
from rerank_bench.data.manifests import load_manifest, manifest_names
from rerank_bench.data.verify import DatasetCheck, describe_manifest, verify_dataset
from rerank_bench.errors import ConfigError, DataError

FILES = data_set_files(
    {
        "corpus": {"_id": ["d1", "d2", "d3"], "text": ["x", "", "z"]},
        "queries": {"_id": ["q1", "q2"], "text": ["one", "two"]},
        "qrels": {"query-id": ["q1", "q2"], "corpus-id": ["d3", "d1"]},
    }
)
LIST_FILES = data_set_files({"relevance": {"query-id": ["q1"], "bm25-ranked-ids": [["d1", "d2"]]}})
LIST_FILE = "relevance/train-00000-of-00001.parquet"


@pytest.fixture
def shipped(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of manifests with one set, ``NanoNQ``, whose repositories are on the loopback hub and fit it."""
    text = (manifests.manifest_folder() / "NanoNQ.toml").read_text(encoding="utf-8")
    old = load_manifest("NanoNQ")
    assert old.published is not None
    changes = {
        old.hub_source.repository: "org/NQ",
        old.hub_source.revision: hub.add_repository("org/NQ", FILES),
        old.published.repository: "org/NQ-bm25",
        old.published.revision: hub.add_repository("org/NQ-bm25", LIST_FILES),
        "documents = 5035": "documents = 3",
        "queries = 50": "queries = 2",
        "judgements = 57": "judgements = 2",
        **{f'"{file}"': f'"not-there/{file}"' for file in old.published.files},
    }
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    head, _, _ = text.partition("[published.files]")
    digest = hashlib.sha256(LIST_FILES[LIST_FILE]).hexdigest()
    folder = tmp_path / "manifests"
    folder.mkdir()
    path = folder / "NanoNQ.toml"
    path.write_text(f'{head}[published.files]\n"{LIST_FILE}" = {{ sha256 = "{digest}" }}\n', encoding="utf-8")
    monkeypatch.setattr(manifests, "manifest_folder", lambda: folder)
    return path


def by_name(checks: list[DatasetCheck]) -> dict[str, DatasetCheck]:
    assert len({check.what for check in checks}) == len(checks)
    return {check.what: check for check in checks}


def test_everything_is_listed(hub: LoopbackHub, shipped: Path) -> None:
    checks = by_name(verify_dataset("nanonq"))
    assert [what for what, check in checks.items() if not check.is_ok] == [
        "published lists, queries of the data set that have one"
    ]
    assert checks["number of documents"] == DatasetCheck(
        what="number of documents", expected="3", found="3", is_ok=True
    )
    commit = hub.repositories["dataset", "org/NQ"].branches["main"]
    assert checks["commit of org/NQ"].expected == checks["commit of org/NQ"].found == commit
    corpus = checks["SHA-256 of corpus/train-00000-of-00001.parquet"]  # no checksum is known: it is shown, and passes
    assert corpus.expected is None
    assert corpus.found == hashlib.sha256(FILES["corpus/train-00000-of-00001.parquet"]).hexdigest()
    lists = checks[f"published lists, SHA-256 of {LIST_FILE}"]
    assert lists.expected == lists.found == hashlib.sha256(LIST_FILES[LIST_FILE]).hexdigest()
    coverage = checks["published lists, queries of the data set that have one"]
    assert (coverage.expected, coverage.found) == ("2", "1")
    assert {"fingerprint of the corpus", "fingerprint of the queries", "fingerprint of the qrels"} <= set(checks)
    assert shipped.is_file()


def test_differing_counts_are_listed_and_not_raised(shipped: Path) -> None:
    text = shipped.read_text(encoding="utf-8")
    shipped.write_text(text.replace("documents = 3", "documents = 4").replace("judgements = 2\n", ""), encoding="utf-8")
    checks = by_name(verify_dataset("NanoNQ"))
    documents, judgements = checks["number of documents"], checks["number of judgements"]
    assert (documents.expected, documents.found, documents.is_ok) == ("4", "3", False)
    assert (judgements.expected, judgements.found, judgements.is_ok) == (None, "2", True)


def test_a_differing_checksum_ends_the_reading(shipped: Path) -> None:
    digest = hashlib.sha256(LIST_FILES[LIST_FILE]).hexdigest()
    text = shipped.read_text(encoding="utf-8").replace(digest, "0" * 64)
    shipped.write_text(f'{text}"absent.parquet" = {{ sha256 = "{digest}" }}\n', encoding="utf-8")
    checks = by_name(verify_dataset("NanoNQ"))
    failed = {check.what: (check.expected, check.found) for check in checks.values() if not check.is_ok}
    assert failed == {
        f"published lists, SHA-256 of {LIST_FILE}": ("0" * 64, digest),
        "published lists, SHA-256 of absent.parquet": (digest, None),
    }
    assert "number of documents" not in checks


def test_what_cannot_be_fetched_is_an_error(hub: LoopbackHub, shipped: Path) -> None:
    del hub.repositories["dataset", "org/NQ"]
    with pytest.raises(DataError, match=r"org/NQ@.*: no such data set repository"):
        verify_dataset("NanoNQ")
    with pytest.raises(ConfigError, match="unknown data set 'NanoXQ'; did you mean 'NanoNQ'"):
        verify_dataset("NanoXQ")
    assert shipped.is_file()


@pytest.mark.parametrize("name", manifest_names())
def test_every_manifest_can_be_described(name: str) -> None:
    described = describe_manifest(load_manifest(name))
    assert json.loads(json.dumps(described)) == described
    assert described["name"] == name
    assert described["licence"]


def test_description_of_a_set_with_published_lists() -> None:
    described = describe_manifest(load_manifest("msmarco"))
    assert described["counts"] == {"queries": 50, "documents": 5043, "judgements": 50}
    assert described["source"]["repository"] == "zeta-alpha-ai/NanoMSMARCO"
    assert described["published_lists"]["files_with_checksum"] == 3
    assert described["published_lists"]["values"] == {"map": 0.4896, "mrr@10": 0.4775, "ndcg@10": 0.5404}
