"""Training data through the real hub client, from a hub on 127.0.0.1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_hub import LoopbackHub, data_set_files, use_hub

from rerank_bench.errors import ConfigError, DataError
from rerank_bench.training.examples import Group
from rerank_bench.training.hub_data import read_hub_rows
from rerank_bench.training.shapes import build_examples

PAIRS = {"query": ["q", "r"], "passage": ["d", "e"], "score": [1, 0]}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        use_hub(monkeypatch, hub, tmp_path / "home")
        yield hub


def test_one_configuration_is_read_and_the_others_are_not_fetched(hub: LoopbackHub) -> None:
    commit = hub.add_repository("org/data", data_set_files({"labeled-pair": PAIRS, "corpus": {"text": ["huge"]}}))
    rows = read_hub_rows("org/data", revision=None, config="labeled-pair", split="train")
    examples = build_examples(rows)
    assert [examples[i] for i in range(2)] == [Group("q", ["d"], [1.0]), Group("r", ["e"], [0.0])]
    assert examples.source == f"org/data@{commit[:12]} (labeled-pair, train)"
    assert examples.place(1).endswith("(labeled-pair, train), row 2")
    assert not [path for _, path in hub.requests if "corpus/" in path]


def test_a_repository_with_one_configuration_needs_no_name(hub: LoopbackHub) -> None:
    hub.add_repository("org/data", data_set_files({"pair": PAIRS}))
    assert len(read_hub_rows("org/data", revision="main", config=None, split="train").table) == 2


def test_what_is_not_there_is_named(hub: LoopbackHub) -> None:
    hub.add_repository("org/data", data_set_files({"pair": PAIRS, "triplet": PAIRS}))
    with pytest.raises(ConfigError, match="has the configurations pair, triplet; choose one with --data-config"):
        read_hub_rows("org/data", revision=None, config=None, split="train")
    with pytest.raises(DataError, match="see --data-config and --data-split"):
        read_hub_rows("org/data", revision=None, config="pears", split="train")
    with pytest.raises(DataError, match="see --data-config and --data-split"):
        read_hub_rows("org/data", revision=None, config="pair", split="trian")
    with pytest.raises(DataError, match="no such data set repository"):
        read_hub_rows("org/gone", revision=None, config=None, split="train")
