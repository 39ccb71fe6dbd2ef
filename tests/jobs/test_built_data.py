"""Data of published recipes, built from repositories of their layout, against the published scripts' own steps."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
from loopback_hub import LoopbackHub, data_set_files, use_hub
from manifest_changes import repoint
from tiny_msmarco import ms_marco_rows, msmarco_files
from tiny_pairs import some_pairs, write_static_embedding

from rerank_bench.errors import ConfigError, DataError
from rerank_bench.jobs import built_data, gooaq_pairs
from rerank_bench.jobs.built_data import is_built, read_built_rows
from rerank_bench.jobs.gooaq_pairs import GooaqPairs
from rerank_bench.jobs.msmarco_lists import MsmarcoLists
from rerank_bench.jobs.msmarco_pairs import MsmarcoPairs
from rerank_bench.pipeline.cache import clear_cache, describe_cache
from rerank_bench.storage import cache_folder
from rerank_bench.training.negatives import NegativeChoice
from rerank_bench.training.request import DataRequest


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        use_hub(monkeypatch, hub, tmp_path / "home")
        yield hub


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    return str(write_static_embedding(tmp_path / "static"))


def mine_as_published(pairs: datasets.Dataset, encoder: str, **options: Any) -> datasets.Dataset:
    """The negatives of Sentence Transformers, as its training scripts ask for them."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    return mine_hard_negatives(pairs, SentenceTransformer(encoder, device="cpu"), verbose=False, **options)


def rows_of(path: Path) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in pq.read_table(path).to_pylist()]


def test_gooaq_pairs_are_those_of_the_published_script(
    hub: LoopbackHub, encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = some_pairs(60)
    rows = {"question": [q for q, _ in pairs], "answer": [a for _, a in pairs]}
    commit = hub.add_repository("org/gooaq", data_set_files({"pair": rows}))
    first = len(pairs) - 10
    manifest = repoint("gooaq-dev-st", "gooaq", "org/gooaq", commit, rows=len(pairs), first_rows=first, test_size=15)
    monkeypatch.setattr(gooaq_pairs, "load_manifest", lambda _name: manifest)
    choice = NegativeChoice(num_negatives=3, range_max=20, absolute_margin=0.0)
    GooaqPairs(choice=choice, retriever=encoder).build(tmp_path / "out.parquet", device="cpu")
    found = rows_of(tmp_path / "out.parquet")

    table = datasets.Dataset.from_dict({name: texts[:first] for name, texts in rows.items()})
    train = table.train_test_split(test_size=15, seed=12)["train"]
    mined = mine_as_published(
        train, encoder, num_negatives=3, absolute_margin=0, range_max=20, output_format="labeled-pair"
    )
    assert {row[:2] for row in found} == {(row["question"], row["answer"]) for row in mined}
    labels = {(query, doc): label for query, doc, label in found}
    assert all(labels[row["question"], row["answer"]] == row["label"] for row in mined)
    assert len(labels) == len(found)  # no pair stands twice


def test_msmarco_pairs_are_those_of_the_published_script(hub: LoopbackHub, tmp_path: Path) -> None:
    files, texts = msmarco_files(25)
    commit = hub.add_repository("org/msmarco", files)
    builder = MsmarcoPairs(repository="org/msmarco", revision=commit, num_triplets=20, block=8)
    recorded = builder.build(tmp_path / "out.parquet", device="cpu")
    assert recorded["triplets"] == 20

    def to_pairs(batch: dict[str, list[str]]) -> dict[str, list[Any]]:
        positives, negatives = ([texts.passages[i] for i in batch[f"{kind}_id"]] for kind in ("positive", "negative"))
        return {
            "query": [texts.queries[i] for i in batch["query_id"]] * 2,
            "passage": positives + negatives,
            "score": [1.0] * len(positives) + [0.0] * len(negatives),
        }

    ids = datasets.Dataset.from_dict(texts.triplets).select(range(20))
    expected = ids.map(to_pairs, batched=True, batch_size=8, remove_columns=ids.column_names)
    assert rows_of(tmp_path / "out.parquet") == [tuple(row.values()) for row in expected]
    # Only the files that are needed were fetched.
    assert not [path for _, path in hub.requests if "labeled-list" in path]


def test_an_id_without_a_text_is_named(hub: LoopbackHub, tmp_path: Path) -> None:
    files, _ = msmarco_files(5, lacking_passage="p3")
    commit = hub.add_repository("org/msmarco", files)
    builder = MsmarcoPairs(repository="org/msmarco", revision=commit, num_triplets=5)
    with pytest.raises(DataError, match=r"org/msmarco@.*, corpus: \d ids have no text \(first: 'p3'\)"):
        builder.build(tmp_path / "out.parquet", device="cpu")
    assert not (tmp_path / "out.parquet").exists()


def test_msmarco_lists_are_those_of_the_published_script(hub: LoopbackHub, encoder: str, tmp_path: Path) -> None:
    rows = ms_marco_rows(12)
    commit = hub.add_repository("org/ms_marco", data_set_files({"v1.1": {n: [r[n] for r in rows] for n in rows[0]}}))
    choice = NegativeChoice(num_negatives=4, range_min=2, range_max=14)
    builder = MsmarcoLists(repository="org/ms_marco", revision=commit, choice=choice, retriever=encoder)
    recorded = builder.build(tmp_path / "out.parquet", device="cpu")
    found = rows_of(tmp_path / "out.parquet")

    own, positives, corpus = [], [], dict[str, None]()
    for row in rows:
        passages, selected = row["passages"]["passage_text"], row["passages"]["is_selected"]
        corpus |= dict.fromkeys(passages)
        pairs = sorted(zip(passages, selected, strict=True), key=lambda pair: pair[1], reverse=True)
        if max(selected):
            own.append((row["query"], [text for text, _ in pairs], [label for _, label in pairs]))
        positives += [(row["query"], text) for text, label in zip(passages, selected, strict=True) if label]
    assert found[: len(own)] == own
    assert 0 < len(own) < len(rows)
    mined = mine_as_published(
        datasets.Dataset.from_dict({"query": [q for q, _ in positives], "positive": [p for _, p in positives]}),
        encoder,
        corpus=list(corpus),
        num_negatives=4,
        range_min=2,
        range_max=14,
        output_format="labeled-list",
    )
    # As sets of documents: equal vectors stand in another order there.
    expected = sorted((row["query"], row["positive"][0], sorted(row["positive"][1:])) for row in mined)
    assert sorted((query, docs[0], sorted(docs[1:])) for query, docs, _ in found[len(own) :]) == expected
    assert all(labels == [1, 0, 0, 0, 0] for _, _, labels in found[len(own) :])
    assert (recorded["own_lists"], recorded["mined_lists"]) == (len(own), len(expected))


# --- the cache --------------------------------------------------------------------------------------------------


class CountingBuilder:
    """Writes the pairs of ``MsmarcoPairs`` and counts how often."""

    def __init__(self, hub: LoopbackHub) -> None:
        files, _ = msmarco_files(6)
        commit = hub.add_repository("org/msmarco", files)
        self._inner = MsmarcoPairs(repository="org/msmarco", revision=commit, num_triplets=6)
        self.repository, self.revision = self._inner.repository, self._inner.revision
        self.builds = 0

    def describe(self) -> dict[str, Any]:
        return self._inner.describe()

    def say(self) -> str:
        return self._inner.say()

    def build(self, path: Path, *, device: str) -> dict[str, Any]:
        self.builds += 1
        return self._inner.build(path, device=device)


@pytest.fixture
def builder(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> CountingBuilder:
    builder = CountingBuilder(hub)
    monkeypatch.setattr(built_data, "BUILDERS", {"msmarco-pairs": builder})
    return builder


def test_what_was_built_is_built_once(builder: CountingBuilder) -> None:
    (first, about), (second, _) = (read_built_rows("msmarco-pairs", device="cpu") for _ in range(2))
    assert builder.builds == 1
    assert first.table.equals(second.table)
    assert (first.name, about["repository"], about["num_triplets"]) == ("msmarco-pairs", "org/msmarco", 6)
    # A build that was interrupted leaves no record, and is made again.
    (record,) = (cache_folder() / "training").glob("msmarco-pairs-*.json")
    assert json.loads(record.read_text())["triplets"] == 6
    record.unlink()
    read_built_rows("msmarco-pairs", device="cpu")
    assert builder.builds == 2


def test_what_was_built_is_counted_and_cleared(builder: CountingBuilder) -> None:
    read_built_rows("msmarco-pairs", device="cpu")
    found = describe_cache()["training"]
    assert found["files"] >= 2  # rows and record
    assert found["bytes"] > 0
    clear_cache(scores=True, candidates=True, indexes=True, vectors=True)
    assert describe_cache()["training"] == found
    assert clear_cache(training=True) == found["bytes"]
    assert describe_cache()["training"] == {"bytes": 0, "files": 0}
    read_built_rows("msmarco-pairs", device="cpu")
    assert builder.builds == 2


def test_processes_that_want_the_same_wait_for_the_first(builder: CountingBuilder) -> None:
    tables: list[Any] = []
    threads = [
        threading.Thread(target=lambda: tables.append(read_built_rows("msmarco-pairs", device="cpu")[0].table))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tables) == 3
    assert builder.builds == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sources": ("msmarco-pairs", "more.jsonl")}, "msmarco-pairs stands alone; drop the others"),
        ({"revision": "main"}, "--data-revision is for hub data sets; gooaq-pairs is built from a pinned commit"),
        ({"split": "test"}, "--data-split is for hub data sets; gooaq-pairs"),
    ],
)
def test_options_that_built_data_have_no_use_for(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        is_built(DataRequest(**({"sources": ("gooaq-pairs",)} | values)))
    assert not is_built(DataRequest(sources=("a.jsonl",), revision=None))
