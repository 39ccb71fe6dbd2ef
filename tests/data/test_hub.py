"""The hub path with the real ``huggingface_hub`` and ``datasets`` clients against a hub on 127.0.0.1."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from huggingface_hub import constants
from loopback_hub import LoopbackHub, data_set_files
from manifest_changes import repoint

from rerank_bench.data.datasets import load_from_manifest
from rerank_bench.data.fingerprints import fingerprint_dataset
from rerank_bench.data.hub import load_hub_dataset, load_published_lists
from rerank_bench.errors import ChecksumError, ConfigError, DataError, EnvironmentMissingError, ManifestError

CORPUS = {"_id": ["d1", "d2", "d3"], "text": ["eins größer", "", "drei"]}
QUERIES = {"_id": ["q2", "q1"], "text": ["zwei?", ""]}
QRELS = {"query-id": ["q1", "q2", "q2"], "corpus-id": ["d3", "d1", "d3"]}
CONFIGS: Mapping[str, Mapping[str, Any]] = {"corpus": CORPUS, "queries": QUERIES, "qrels": QRELS}
COUNTS = {"queries": 2, "documents": 3, "judgements": 3}
CORPUS_FILE = "corpus/train-00000-of-00001.parquet"
UNKNOWN_COMMIT = "0123456789abcdef0123456789abcdef01234567"


def with_config(config: str, table: Mapping[str, Any]) -> dict[str, bytes]:
    return data_set_files({**CONFIGS, config: table})


def pin(files: Mapping[str, bytes], *names: str) -> dict[str, dict[str, Any]]:
    return {name: {"sha256": hashlib.sha256(files[name]).hexdigest(), "bytes": len(files[name])} for name in names}


def test_load(hub: LoopbackHub) -> None:
    files = data_set_files(CONFIGS)
    commit = hub.add_repository("org/Tiny", files)
    dataset = load_from_manifest(
        repoint(
            "NanoArguAna", "hub", "org/Tiny", commit, counts=COUNTS, files=pin(files, *(set(files) - {"README.md"}))
        )
    )
    assert dataset.name == "NanoArguAna"
    assert list(dataset.queries.items()) == [("q2", "zwei?"), ("q1", "")]
    assert dataset.collection.doc_ids.to_pylist() == CORPUS["_id"]
    assert dataset.collection.texts.to_pylist() == CORPUS["text"]
    assert dataset.qrels == {"q1": {"d3": 1}, "q2": {"d1": 1, "d3": 1}}
    assert dataset.drops_self_match
    assert dataset.source["repository"] == "org/Tiny"
    assert dataset.source["commit"] == commit
    assert dataset.source["grades"] == {"1": "best counter-argument"}
    assert dataset.fingerprints == fingerprint_dataset(dataset)


def test_a_cached_commit_asks_nobody(hub: LoopbackHub) -> None:
    commit = hub.add_repository("org/Tiny", data_set_files(CONFIGS))
    manifest = repoint("NanoNQ", "hub", "org/Tiny", commit, counts=COUNTS)
    first = load_from_manifest(manifest)
    hub.requests.clear()
    assert load_from_manifest(manifest).fingerprints == first.fingerprints
    assert hub.requests == []
    hub.stop()
    assert load_from_manifest(manifest).fingerprints == first.fingerprints


def test_the_pinned_commit_is_read_and_not_the_newest(hub: LoopbackHub) -> None:
    older = hub.add_repository("org/Tiny", data_set_files(CONFIGS))
    newer = hub.add_repository("org/Tiny", with_config("corpus", {**CORPUS, "text": ["new", "newer", "newest"]}))
    assert older != newer
    texts = {
        commit: load_hub_dataset(repoint("NanoNQ", "hub", "org/Tiny", commit)).collection.texts.to_pylist()
        for commit in (older, newer)
    }
    assert texts == {older: CORPUS["text"], newer: ["new", "newer", "newest"]}
    hub.stop()  # without a network too, though the newer one was prepared last
    assert load_hub_dataset(repoint("NanoNQ", "hub", "org/Tiny", older)).collection.texts.to_pylist() == CORPUS["text"]


def test_a_branch_is_resolved_and_recorded(hub: LoopbackHub) -> None:
    first = hub.add_repository("org/Tiny", data_set_files(CONFIGS))
    manifest = repoint("NanoNQ", "hub", "org/Tiny", "main")
    assert load_hub_dataset(manifest).source["commit"] == first
    second = hub.add_repository("org/Tiny", with_config("queries", {**QUERIES, "text": ["a", "b"]}))
    assert load_hub_dataset(manifest).source["commit"] == second
    hub.stop()
    assert load_hub_dataset(manifest).source["commit"] == second


@pytest.mark.parametrize("revision", [UNKNOWN_COMMIT, "no-such-branch"])
def test_wrong_revision(hub: LoopbackHub, revision: str) -> None:
    hub.add_repository("org/Tiny", data_set_files(CONFIGS))
    with pytest.raises(DataError, match=f"org/Tiny@{revision}: the repository has no such revision"):
        load_hub_dataset(repoint("NanoNQ", "hub", "org/Tiny", revision))


@pytest.mark.usefixtures("hub")
def test_missing_repository() -> None:
    with pytest.raises(DataError, match=r"org/Absent@.*: no such data set repository, or a private one.*HF_TOKEN"):
        load_hub_dataset(repoint("NanoNQ", "hub", "org/Absent", UNKNOWN_COMMIT))


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        (
            (403, "GatedRepo"),
            r"org/Tiny@.*: access must be granted first; accept the terms on its page and set HF_TOKEN",
        ),
        ((503, ""), r"the hub did not answer \(.*503.*\), and org/Tiny@.* is not \(or not wholly\) in the cache"),
    ],
)
def test_refusals(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, refusal: tuple[int, str], message: str) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)  # between the client's retries
    commit = hub.add_repository("org/Tiny", data_set_files(CONFIGS))
    hub.repositories["dataset", "org/Tiny"].refusal = refusal
    with pytest.raises(EnvironmentMissingError, match=message):
        load_hub_dataset(repoint("NanoNQ", "hub", "org/Tiny", commit))


def test_listed_file_that_is_not_there(hub: LoopbackHub) -> None:
    commit = hub.add_repository("org/Tiny", data_set_files(CONFIGS))
    hub.repositories["dataset", "org/Tiny"].unavailable.add(CORPUS_FILE)
    manifest = repoint("NanoNQ", "hub", "org/Tiny", commit)
    with pytest.raises(DataError, match="a file that the repository lists cannot be fetched: "):
        load_hub_dataset(manifest)
    hub.repositories["dataset", "org/Tiny"].unavailable.clear()
    assert load_hub_dataset(manifest).collection.doc_ids.to_pylist() == CORPUS["_id"]  # nothing half-done stays behind


def test_half_a_download_is_not_taken_for_a_whole_one(hub: LoopbackHub) -> None:
    commit = hub.add_repository("org/Tiny", data_set_files(CONFIGS))
    hub.repositories["dataset", "org/Tiny"].unavailable.add(CORPUS_FILE)
    manifest = repoint("NanoNQ", "hub", "org/Tiny", commit)
    with pytest.raises(DataError):
        load_hub_dataset(manifest)
    hub.stop()
    with pytest.raises(EnvironmentMissingError, match=r"is not \(or not wholly\) in the cache"):
        load_hub_dataset(manifest)


def test_file_that_only_the_manifest_knows(hub: LoopbackHub) -> None:
    files = data_set_files(CONFIGS)
    commit = hub.add_repository("org/Tiny", files)
    known = {"corpus/other.parquet": {"sha256": "0" * 64}}
    with pytest.raises(ChecksumError, match=r"corpus/other\.parquet is not in the repository"):
        load_hub_dataset(repoint("NanoNQ", "hub", "org/Tiny", commit, files=known))


def test_checksum_mismatch(hub: LoopbackHub, tmp_path: Path) -> None:
    genuine, altered = data_set_files(CONFIGS), with_config("corpus", {**CORPUS, "text": ["eins", "zwei", "drei"]})
    commit = hub.add_repository("org/Tiny", altered)
    manifest = repoint("NanoNQ", "hub", "org/Tiny", commit, files=pin(genuine, CORPUS_FILE))
    found = hashlib.sha256(altered[CORPUS_FILE]).hexdigest()
    expected = hashlib.sha256(genuine[CORPUS_FILE]).hexdigest()
    with pytest.raises(ChecksumError) as caught:
        load_hub_dataset(manifest)
    message = str(caught.value)
    assert f"{CORPUS_FILE} has SHA-256 {found}" in message
    assert f"expected {expected}" in message
    assert str(tmp_path) in message
    assert "Remove such a file from the cache and load again" in message


def test_truncated_file_with_a_known_checksum(hub: LoopbackHub) -> None:
    files = data_set_files(CONFIGS)
    whole = files[CORPUS_FILE]
    commit = hub.add_repository("org/Tiny", {**files, CORPUS_FILE: whole[:-20]})
    with pytest.raises(ChecksumError, match=f"{len(whole) - 20:,} bytes instead of {len(whole):,}"):
        load_hub_dataset(repoint("NanoNQ", "hub", "org/Tiny", commit, files=pin(files, CORPUS_FILE)))


def test_truncated_file_without_a_checksum(hub: LoopbackHub) -> None:
    files = data_set_files(CONFIGS)
    commit = hub.add_repository("org/Tiny", {**files, CORPUS_FILE: files[CORPUS_FILE][:-20]})
    with pytest.raises(
        DataError, match=r"config 'corpus', split 'train': the files cannot be read .*cut short.* load again"
    ):
        load_hub_dataset(repoint("NanoNQ", "hub", "org/Tiny", commit))


def test_transfer_that_breaks_off(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)  # the client waits a second before each of five retries
    commit = hub.add_repository("org/Tiny", data_set_files(CONFIGS))
    repository = hub.repositories["dataset", "org/Tiny"]
    repository.cut_after[CORPUS_FILE] = 100
    manifest = repoint("NanoNQ", "hub", "org/Tiny", commit)
    with pytest.raises(EnvironmentMissingError, match=r"org/Tiny@.*: the hub broke off or refused .*Try again"):
        load_hub_dataset(manifest)
    repository.cut_after.clear()
    assert load_hub_dataset(manifest).collection.texts.to_pylist() == CORPUS["text"]


def test_caches_that_cannot_be_written(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    manifest = repoint("NanoNQ", "hub", "org/Tiny", hub.add_repository("org/Tiny", data_set_files(CONFIGS)))
    file = tmp_path / "file"
    file.write_bytes(b"")  # a folder below a file cannot be made, by root neither
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_CACHE", str(file / "hub"))
        with pytest.raises(EnvironmentMissingError, match=r"org/Tiny@.*: the cache cannot be written .*set HF_HOME"):
            load_hub_dataset(manifest)
    with monkeypatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", file / "datasets")
        with pytest.raises(EnvironmentMissingError, match=r"org/Tiny@.*: the cache cannot be written .*set HF_HOME"):
            load_hub_dataset(manifest)


def test_no_network_and_nothing_cached_fails_fast(hub: LoopbackHub) -> None:
    manifest = repoint("NanoNQ", "hub", "org/Tiny", UNKNOWN_COMMIT)
    hub.stop()
    start = time.perf_counter()
    with pytest.raises(EnvironmentMissingError) as caught:
        load_hub_dataset(manifest)
    assert time.perf_counter() - start < 5  # the clients alone would retry for half a minute
    message = str(caught.value)
    assert f"no connection to {hub.url}" in message
    assert f"org/Tiny@{UNKNOWN_COMMIT} is not (or not wholly) in the cache" in message
    assert f"hf download org/Tiny --repo-type dataset --revision {UNKNOWN_COMMIT}" in message


def test_offline_mode(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = hub.add_repository("org/Tiny", data_set_files(CONFIGS))
    cached = repoint("NanoNQ", "hub", "org/Tiny", commit)
    absent = repoint("NanoNQ", "hub", "org/Other", commit)
    first = load_hub_dataset(cached)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert load_hub_dataset(cached).queries == first.queries
    with pytest.raises(EnvironmentMissingError, match="HF_HUB_OFFLINE is set, and org/Other@"):
        load_hub_dataset(absent)
    assert hub.requests == []


def test_two_processes_online_then_offline(tmp_path: Path) -> None:
    """The clients read their variables on import: a fresh process with nothing but the variables set."""
    code = (
        "import dataclasses, sys\n"
        "from rerank_bench.data.hub import load_hub_dataset\n"
        "from rerank_bench.data.manifests import HubSource, load_manifest\n"
        "source = HubSource(repository='org/Tiny', revision=sys.argv[1])\n"
        "dataset = load_hub_dataset(dataclasses.replace(load_manifest('NanoNQ'), source=source))\n"
        "print(dataset.source['commit'], dataset.collection.texts.to_pylist())\n"
    )
    expected = f"{{}} {CORPUS['text']}\n"
    with LoopbackHub() as hub:
        commit = hub.add_repository("org/Tiny", data_set_files(CONFIGS))
        for is_offline in (False, True):
            asked_before = len(hub.requests)
            result = subprocess.run(
                [sys.executable, "-c", code, commit],
                env={**os.environ, **hub.environment(tmp_path, is_offline=is_offline)},
                capture_output=True,
                text=True,
                encoding="utf-8",
                check=False,
            )
            assert result.stdout == expected.format(commit), result.stderr
            assert "%|" not in result.stderr  # no progress bar of the libraries
            assert (len(hub.requests) == asked_before) == is_offline


# --- contents that do not fit ---------------------------------------------------------------------------------------


def test_counts_that_differ(hub: LoopbackHub) -> None:
    commit = hub.add_repository("org/Tiny", data_set_files(CONFIGS))
    counts = {**COUNTS, "documents": 4, "queries": 1}
    with pytest.raises(ManifestError, match="NanoNQ: the data holds 2 queries instead of 1, 3 documents instead of 4"):
        load_from_manifest(repoint("NanoNQ", "hub", "org/Tiny", commit, counts=counts))


@pytest.mark.parametrize(
    ("config", "table", "error", "message"),
    [
        (
            "corpus",
            {"id": ["d1"], "text": ["x"]},
            ManifestError,
            r"no column '_id' \(did you mean 'id'\?\); found: 'id', 'text'",
        ),
        ("corpus", {**CORPUS, "_id": ["d1", "d2", "d1"]}, DataError, "id 'd1' stands in row 0 and again in row 2"),
        ("corpus", {**CORPUS, "_id": ["d1", "d 2", "d3"]}, DataError, "row 1: id 'd 2' is empty or holds white space"),
        (
            "corpus",
            {**CORPUS, "text": ["a", None, None]},
            DataError,
            r"column 'text' is null in 2 rows \(first: row 1\)",
        ),
        ("corpus", {**CORPUS, "_id": [1.5, 2.5, 3.5]}, DataError, "column '_id' is double, expected strings"),
        (
            "qrels",
            {**QRELS, "corpus-id": ["d3", "d1", "d9"]},
            DataError,
            r"1 \('d9'\) of the judged documents are not among the 3",
        ),
        (
            "qrels",
            {**QRELS, "query-id": ["q1", "q8", "q9"]},
            DataError,
            r"2 \('q8', 'q9'\) of the judged queries are not among the 2",
        ),
        (
            "qrels",
            {**QRELS, "corpus-id": ["d3", "d1", "d1"]},
            DataError,
            r"row 2: document 'd1' of query 'q2' was judged before \(1\)",
        ),
        ("queries", {**QUERIES, "_id": ["q1", "q1"]}, DataError, "id 'q1' stands in row 0 and again in row 1"),
    ],
)
def test_bad_contents(
    hub: LoopbackHub, config: str, table: Mapping[str, Any], error: type[DataError], message: str
) -> None:
    commit = hub.add_repository("org/Tiny", with_config(config, table))
    with pytest.raises(error, match=message) as caught:
        load_hub_dataset(repoint("NanoNQ", "hub", "org/Tiny", commit))
    assert "org/Tiny@" in str(caught.value)


def test_ids_may_be_whole_numbers(hub: LoopbackHub) -> None:
    configs: dict[str, Mapping[str, Any]] = {
        "corpus": {"_id": [1, 20, 3], "text": ["a", "b", "c"]},
        "queries": {"_id": pa.array([7], type=pa.int32()), "text": ["q"]},
        "qrels": {"query-id": ["7"], "corpus-id": [20]},
    }
    commit = hub.add_repository("org/Tiny", data_set_files(configs))
    dataset = load_hub_dataset(repoint("NanoNQ", "hub", "org/Tiny", commit))
    assert dataset.collection.doc_ids.to_pylist() == ["1", "20", "3"]
    assert dataset.qrels == {"7": {"20": 1}}


def test_grades_and_titles(hub: LoopbackHub) -> None:
    configs: dict[str, Mapping[str, Any]] = {
        "corpus": {**CORPUS, "title": ["Titel", None, ""]},
        "queries": QUERIES,
        "qrels": {**QRELS, "score": [2, 0, 1]},
    }
    commit = hub.add_repository("org/Tiny", data_set_files(configs))
    manifest = repoint("NanoNQ", "hub", "org/Tiny", commit)
    spec = manifest.table["hub"]
    hub_table = {**spec, "corpus": {**spec["corpus"], "title": "title"}, "qrels": {**spec["qrels"], "grade": "score"}}
    manifest = dataclasses.replace(manifest, text_rule="{title} {text}", table={**manifest.table, "hub": hub_table})
    dataset = load_hub_dataset(manifest)
    assert dataset.collection.texts.to_pylist() == ["Titel eins größer", "", "drei"]
    assert dataset.qrels == {"q1": {"d3": 2}, "q2": {"d1": 0, "d3": 1}}
    for grade in (0.5, float("nan"), float("inf")):
        broken = data_set_files({**configs, "qrels": {**QRELS, "score": [2, grade, 1]}})
        source = dataclasses.replace(manifest.hub_source, revision=hub.add_repository("org/Tiny", broken))
        with pytest.raises(DataError, match=f"row 1: grade is {re.escape(str(grade))}, expected a whole number"):
            load_hub_dataset(dataclasses.replace(manifest, source=source))


def test_unknown_config_and_split(hub: LoopbackHub) -> None:
    commit = hub.add_repository("org/Tiny", data_set_files({"corpus": CORPUS, "queries": QUERIES, "default": QRELS}))
    with pytest.raises(
        ManifestError, match=r"config 'qrels', split 'train': the manifest does not fit .*corpus.*queries"
    ):
        load_hub_dataset(repoint("NanoNQ", "hub", "org/Tiny", commit))
    commit = hub.add_repository("org/Dev", data_set_files(CONFIGS, split="dev"))
    with pytest.raises(ManifestError, match=r"config 'corpus', split 'train': the manifest does not fit .*dev"):
        load_hub_dataset(repoint("NanoNQ", "hub", "org/Dev", commit))


# --- published lists ------------------------------------------------------------------------------------------------


RELEVANCE = {
    "query-id": ["q1", "q2"],
    "positive-corpus-ids": [["d3"], ["d1", "d3"]],
    "bm25-ranked-ids": [["d2", "d3", "d1"], []],
}


def test_published_lists(hub: LoopbackHub) -> None:
    files = data_set_files({"corpus": CORPUS, "queries": QUERIES, "relevance": RELEVANCE})
    commit = hub.add_repository("org/Tiny-bm25", files)
    known = pin(files, "relevance/train-00000-of-00001.parquet", CORPUS_FILE)
    lists = load_published_lists(repoint("NanoNQ", "published", "org/Tiny-bm25", commit, files=known))
    assert lists.by_query == {"q1": ("d2", "d3", "d1"), "q2": ()}
    assert lists.source == {"repository": "org/Tiny-bm25", "revision": commit, "commit": commit}
    by_branch = load_published_lists(repoint("NanoTouche2020", "published", "org/Tiny-bm25", "main"))
    assert by_branch.by_query == lists.by_query
    assert by_branch.source == {"repository": "org/Tiny-bm25", "revision": "main", "commit": commit}


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([["d2", "d3", "d2"], []], "the list of query 'q1' holds document 'd2' twice"),
        ([["d2"], ["d 3"]], "the list of query 'q2' holds an id .*'d 3' is empty or holds white space"),
        (["d2", "d3"], "column 'bm25-ranked-ids' is .*string, expected lists of document ids"),
    ],
)
def test_bad_published_lists(hub: LoopbackHub, lists: list[Any], message: str) -> None:
    commit = hub.add_repository("org/Tiny-bm25", data_set_files({"relevance": {**RELEVANCE, "bm25-ranked-ids": lists}}))
    with pytest.raises(DataError, match=message):
        load_published_lists(repoint("NanoNQ", "published", "org/Tiny-bm25", commit))


def test_sets_without_published_lists_say_so() -> None:
    manifest = dataclasses.replace(repoint("NanoNQ", "hub", "org/Tiny", "main"), published=None)
    with pytest.raises(ConfigError, match="no first-stage lists are published for 'NanoNQ'; use --first-stage bm25"):
        load_published_lists(manifest)
