"""A model that is loaded only when needed: what it is called by, when it is loaded, when its scores are another's."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import WORDS
from watcher import Watcher

from rerank_bench import progress
from rerank_bench.errors import ConfigError, ScoringError
from rerank_bench.scoring.engine_result import EngineResult
from rerank_bench.scoring.lazy_scorer import LazyScorer, open_scorer
from rerank_bench.scoring.loaded_scorer import load_scorer
from rerank_bench.scoring.model_files import find_checkpoint
from rerank_bench.scoring.model_memo import request_model, scores_folder
from rerank_bench.scoring.score_store import ScoreStore
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.specs import parse_model_spec

QUERIES = ["stop the program", "sort a list"]
DOCS = [" ".join(WORDS[number : number + 3 + number % 9]) for number in range(20)]
PAIRS = np.stack([np.repeat([0, 1], 20), np.tile(np.arange(20), 2)], axis=1)


def open_tiny(folder: Path | str, *, use_store: bool = True, **options: Any) -> LazyScorer:
    config = ScorerConfig(**({"device": "cpu"} | options))
    return open_scorer(parse_model_spec(str(folder)), config=config, use_store=use_store)


def score(scorer: LazyScorer) -> EngineResult:
    return scorer.score_indexed(QUERIES, DOCS, PAIRS)


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def changed_config(folder: Path, **changes: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


@pytest.mark.parametrize("family", ["classifier", "encoder"])
def test_a_second_run_loads_nothing_and_describes_the_same(family: str, request: Any) -> None:
    folder = request.getfixturevalue(family)("bert")
    first = open_tiny(folder)
    expected = score(first)
    assert first.is_loaded
    plain = load_scorer(str(folder), device="cpu")
    assert expected.scores.tobytes() == plain.score_indexed(QUERIES, DOCS, PAIRS).scores.tobytes()
    second = open_tiny(folder)
    assert score(second).scores.tobytes() == expected.scores.tobytes()
    assert second.describe() == first.describe() == plain.describe()
    assert second.fingerprint == plain.fingerprint
    assert not second.is_loaded


def test_a_copy_elsewhere_shares_the_scores_under_its_own_name(classifier: Any, tmp_path: Path) -> None:
    base = classifier("bert")
    score(open_tiny(base))
    moved = copied(base, tmp_path / "moved")
    (moved / "README.md").write_text("a card")
    second = open_tiny(moved)
    assert score(second).stats.num_pairs_from_store == len(PAIRS)
    assert not second.is_loaded
    assert second.describe()["name"] == "moved"
    assert second.describe()["spec"] == str(moved)


def test_an_explicit_default_shares_the_scores_after_loading(classifier: Any) -> None:
    base = classifier("bert")
    first = open_tiny(base)
    score(first)
    explicit = open_tiny(base, max_length=first.describe()["max_length"])
    assert score(explicit).stats.num_pairs_from_store == len(PAIRS)
    assert explicit.fingerprint == first.fingerprint


@pytest.mark.parametrize("change", ["weights", "settings", "tokenizer", "max_length", "dtype"])
def test_what_decides_a_score_changes_the_store(change: str, classifier: Any, tmp_path: Path) -> None:
    base = classifier("bert")
    score(open_tiny(base))
    folder = copied(base, tmp_path / "bert")
    options: dict[str, Any] = {}
    if change == "weights":
        shutil.copy(classifier("bert", seed=1) / "model.safetensors", folder)
    elif change == "settings":
        changed_config(folder, layer_norm_eps=1e-5)
    elif change == "tokenizer":
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 11}))
    elif change == "max_length":
        options = {"max_length": 8}
    else:
        options = {"dtype": "bfloat16"}
    other = open_tiny(folder, **options)
    found = score(other)
    assert other.is_loaded
    assert found.stats.num_pairs_from_store == 0
    fresh = score(open_tiny(folder, use_store=False, **options))
    assert found.scores.tobytes() == fresh.scores.tobytes()


def test_other_versions_of_the_libraries_score_afresh(classifier: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    score(open_tiny(classifier("bert")))
    monkeypatch.setattr("rerank_bench.scoring.model_memo.LIBRARIES", ("numpy",))
    assert score(open_tiny(classifier("bert"))).stats.num_pairs_from_store == 0


def test_a_batch_budget_is_no_part_of_a_score(classifier: Any) -> None:
    score(open_tiny(classifier("bert")))
    other = open_tiny(classifier("bert"), batch_tokens=40)
    assert score(other).stats.num_pairs_from_store == len(PAIRS)
    assert not other.is_loaded


def test_a_wrong_memo_is_found_out_before_a_score_is_used(classifier: Any) -> None:
    base, other = classifier("bert"), classifier("bert", seed=1)
    score(open_tiny(other))
    few = open_tiny(base)
    few.score_indexed(QUERIES, DOCS, PAIRS[:3])
    # The first model's memo now names the other one's fingerprint, of whose scores all but those of a new text are stored.
    config = ScorerConfig(device="cpu")
    request = request_model(find_checkpoint(parse_model_spec(str(base)), config), config)
    own = request.read()
    assert own is not None
    request.write(replace(own, fingerprint=open_tiny(other).fingerprint))
    deceived = open_tiny(base)
    docs = [*DOCS, "a new text"]
    pairs = np.concatenate([PAIRS, [[0, 20]]])
    found = deceived.score_indexed(QUERIES, docs, pairs)
    expected = open_tiny(base, use_store=False).score_indexed(QUERIES, docs, pairs)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    assert found.stats.num_pairs_from_store == 3
    assert request.read() == own


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"memo": {}}', "\x00\xff", "flip"])
def test_a_damaged_memo_costs_a_load_and_nothing_else(content: str, classifier: Any) -> None:
    score(open_tiny(classifier("bert")))
    (memo,) = (scores_folder() / "models").glob("*.json")
    flipped = memo.read_text().replace("eager", "eages").replace("float32", "float31").replace("cpu", "cpv")
    memo.write_text(flipped if content == "flip" else content, encoding="latin-1")
    second = open_tiny(classifier("bert"))
    assert score(second).stats.num_pairs_from_store == len(PAIRS)
    assert second.is_loaded
    assert not open_tiny(classifier("bert")).is_loaded


def test_files_that_change_while_the_model_is_loaded_leave_no_memo(classifier: Any, tmp_path: Path) -> None:
    folder = copied(classifier("bert"), tmp_path / "bert")
    scorer = open_tiny(folder)
    shutil.copy(classifier("bert", seed=1) / "model.safetensors", folder)
    score(scorer)
    assert not list((scores_folder() / "models").glob("*.json"))


def test_without_the_store_nothing_is_read_or_written(classifier: Any) -> None:
    score(open_tiny(classifier("bert"), use_store=False))
    assert not scores_folder().exists()
    score(open_tiny(classifier("bert")))
    fresh = open_tiny(classifier("bert"), use_store=False)
    assert score(fresh).stats.num_pairs_from_store == 0
    assert fresh.is_loaded


def test_a_callables_scores_are_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_ranker.py").write_text("def score(pairs):\n    return [len(doc) for _, doc in pairs]\n")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert score(open_tiny("my_ranker:score")).stats.num_pairs_from_store == 0
    assert not scores_folder().exists()


def test_a_baseline_has_no_texts_to_score() -> None:
    with pytest.raises(ConfigError, match="ranks documents by id and reads no text"):
        open_tiny("oracle")


def test_a_checkpoint_that_cannot_be_loaded_says_so_when_it_is_needed(classifier: Any, tmp_path: Path) -> None:
    folder = copied(classifier("bert"), tmp_path / "bert")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ScoringError, match=r"holds no weights|cannot be loaded"):
        score(open_tiny(folder))


def test_a_cache_that_cannot_be_written_is_passed_over(
    classifier: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RERANK_BENCH_CACHE", str(tmp_path / "file"))
    watcher = Watcher()
    with progress.use_reporter(watcher):
        scorer = open_tiny(classifier("bert"))
        found = score(scorer)
        again = score(scorer)
    plain = load_scorer(str(classifier("bert")), device="cpu").score_indexed(QUERIES, DOCS, PAIRS)
    assert found.scores.tobytes() == plain.scores.tobytes()
    assert again.scores.tobytes() == plain.scores.tobytes()
    assert sum("are not stored" in note for note in watcher.notes) == 1, "told once, whatever the number of data sets"
    assert any("will be loaded again the next time" in note for note in watcher.notes)


def test_a_store_that_failed_once_is_tried_again(classifier: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that was full for a moment, or a lock that was held too long, costs one job its store, not all of them."""
    is_full = True
    insert = ScoreStore.insert

    def fail(_connection: sqlite3.Connection) -> None:
        message = "database or disk is full"
        raise sqlite3.OperationalError(message)

    def insert_later(store: ScoreStore, *arguments: Any) -> None:
        if is_full:
            store._attempt(fail, None)
        insert(store, *arguments)

    monkeypatch.setattr(ScoreStore, "insert", insert_later)
    watcher = Watcher()
    with progress.use_reporter(watcher):
        scorer = open_tiny(classifier("bert"), batch_tokens=60)
        score(scorer)
        assert len([note for note in watcher.notes if "are not stored from here on" in note]) == 1
        is_full = False
        score(scorer)
    again = open_tiny(classifier("bert"), batch_tokens=60)
    assert score(again).stats.num_pairs_from_store == len(PAIRS)
    assert not again.is_loaded
