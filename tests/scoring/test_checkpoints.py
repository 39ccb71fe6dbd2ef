"""What the files say: family, fingerprints; and files that come from a hub, or do not."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loopback_hub import LoopbackHub, use_hub

from rerank_bench.errors import ConfigError, EnvironmentMissingError, ParseError, ScoringError
from rerank_bench.scoring.checkpoints import read_checkpoint
from rerank_bench.scoring.loaded_scorer import load_scorer
from rerank_bench.scoring.scorer import FAMILIES


def changed(folder: Path, target: Path, **config: Any) -> Path:
    shutil.copytree(folder, target)
    path = target / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return target


def test_the_family_is_read_from_the_files(classifier: Any, encoder: Any, tmp_path: Path) -> None:
    misleading = shutil.copytree(classifier("bert"), tmp_path / "bi-encoder")
    assert read_checkpoint(misleading, name="x", revision=None).family == "sequence-classifier"
    misleading = shutil.copytree(encoder("bert"), tmp_path / "cross-encoder-reranker")
    assert read_checkpoint(misleading, name="x", revision=None).family == "bi-encoder"


@pytest.mark.parametrize("architectures", [["BertForMaskedLM"], ["BertModel"], [], None])
def test_what_is_neither_is_an_error_that_shows_the_files(
    architectures: list[str] | None, classifier: Any, tmp_path: Path
) -> None:
    folder = changed(classifier("bert"), tmp_path / "model", architectures=architectures)
    found = (architectures or [""])[0]
    with pytest.raises(
        ScoringError, match=rf"model 'model': config\.json says model_type 'bert', architectures .*{found}"
    ):
        load_scorer(str(folder))


def test_an_unsupported_layout_shows_its_modules(encoder: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(encoder("bert"), tmp_path / "model")
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"model_type": "CrossEncoder"}))
    with pytest.raises(ConfigError, match=r"Transformer → Pooling → Normalize: no module writes 'scores'"):
        load_scorer(str(folder), device="cpu")


def test_the_family_can_be_overridden_and_is_still_checked(classifier: Any, encoder: Any, tmp_path: Path) -> None:
    folder = changed(classifier("bert"), tmp_path / "model", architectures=["SomethingElse"])
    assert load_scorer(str(folder), device="cpu", family="sequence-classifier").describe()["num_labels"] == 1
    with pytest.raises(ScoringError, match=r"the classification head is missing"):
        load_scorer(str(encoder("bert")), device="cpu", family="sequence-classifier")


def test_a_folder_without_config_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(ScoringError, match=r"holds no config\.json \(found: nothing\)"):
        load_scorer(str(tmp_path / "model"))


def test_malformed_settings_name_the_file(classifier: Any, encoder: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(classifier("bert"), tmp_path / "a")
    (folder / "config.json").write_text('{"model_type": "bert",\n oops}')
    with pytest.raises(ParseError, match=r"config\.json, line 2: is not JSON"):
        load_scorer(str(folder))
    (folder / "config.json").write_text("[]")
    with pytest.raises(ScoringError, match=r"config\.json: expected a JSON object, found list"):
        load_scorer(str(folder))
    folder = shutil.copytree(encoder("bert"), tmp_path / "b")
    (folder / "modules.json").write_text("{}")
    with pytest.raises(ScoringError, match=r"modules\.json: expected a list of modules"):
        load_scorer(str(folder))


def test_a_folder_without_weights_is_refused(classifier: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(classifier("bert"), tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ScoringError, match=r"cannot be loaded: .*model\.safetensors"):
        load_scorer(str(folder), device="cpu")


def test_weights_cut_short_are_refused(classifier: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(classifier("bert"), tmp_path / "model")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ScoringError, match=r"cannot be loaded"):
        load_scorer(str(folder), device="cpu")


def test_an_unknown_architecture_is_refused(classifier: Any, tmp_path: Path) -> None:
    folder = changed(classifier("bert"), tmp_path / "model", model_type="brand-new")
    with pytest.raises(ScoringError, match=r"cannot be loaded: .*brand-new"):
        load_scorer(str(folder), device="cpu")


def test_revisions_that_contradict_are_refused(classifier: Any) -> None:
    with pytest.raises(ConfigError, match=r"names revision 'v1', the option 'v2'; name it once"):
        load_scorer("owner/name@v1", revision="v2")
    with pytest.raises(ConfigError, match=r"revision 'v1' was given, but model .* is not a hub id"):
        load_scorer(str(classifier("bert")), revision="v1")


def test_an_unknown_option_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown scorer option 'max_len'; did you mean 'max_length'"):
        load_scorer("demo", max_len=3)


def test_the_fingerprint_covers_what_decides_a_score(classifier: Any, tmp_path: Path) -> None:
    def fingerprint(folder: Path, **options: Any) -> str:
        return load_scorer(str(folder), device="cpu", **options).fingerprint

    base = classifier("bert")
    moved = shutil.copytree(base, tmp_path / "elsewhere")
    (moved / "README.md").write_text("a card decides no score")
    assert fingerprint(moved) == fingerprint(base), "neither the path nor the card"
    assert fingerprint(base, batch_tokens=7) == fingerprint(base), "nor the batches"
    assert load_scorer(str(base)).scorer.describe() == load_scorer(str(base)).scorer.describe()
    other_tokenizer = shutil.copytree(base, tmp_path / "tokenizer")
    path = other_tokenizer / "tokenizer.json"
    path.write_text(path.read_text().replace('"lowercase": true', '"lowercase": false'))
    prints = [
        fingerprint(base),
        fingerprint(classifier("bert", seed=1)),
        fingerprint(other_tokenizer),
        fingerprint(changed(base, tmp_path / "settings", layer_norm_eps=1e-5)),
        fingerprint(base, max_length=32),
        fingerprint(base, dtype="bfloat16"),
    ]
    assert len(set(prints)) == len(prints)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub() as server:
        use_hub(monkeypatch, server, tmp_path / "home")
        yield server


def test_a_model_comes_from_the_hub_and_then_from_the_cache(
    hub: LoopbackHub,
    classifier: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = classifier("bert")
    files = files_of(folder) | {"onnx/model.onnx": b"big", "pytorch_model.bin": b"the same weights again"}
    commit = hub.add_repository("owner/tiny", files, repository_type="model")
    pairs = [("stop", "a list"), ("how to", "sort the list")]
    loaded = load_scorer("owner/tiny", device="cpu")
    assert loaded.describe()["revision"] == commit
    assert loaded.describe()["name"] == "owner/tiny"
    np.testing.assert_array_equal(loaded.score(pairs), load_scorer(str(folder), device="cpu").score(pairs))
    assert capfd.readouterr().err == "", "nothing on stderr that is no terminal"
    fetched = {path.rpartition("/")[2] for _, path in hub.requests if "/resolve/" in path}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= fetched
    assert not {"model.onnx", "pytorch_model.bin"} & fetched, "weights come in one format"

    hub.stop()
    use_hub(monkeypatch, hub, tmp_path / "home", is_offline=True)
    for spec in ("owner/tiny", f"owner/tiny@{commit}"):
        np.testing.assert_array_equal(load_scorer(spec, device="cpu").score(pairs), loaded.score(pairs))


def test_a_pinned_revision_is_what_is_loaded(hub: LoopbackHub, classifier: Any) -> None:
    old = hub.add_repository("owner/tiny", files_of(classifier("bert")), repository_type="model")
    new = hub.add_repository("owner/tiny", files_of(classifier("bert", seed=1)), repository_type="model")
    assert old != new
    by_revision = {
        revision: load_scorer("owner/tiny", device="cpu", revision=revision).describe() for revision in (old, new, None)
    }
    assert [by_revision[revision]["revision"] for revision in (old, new, None)] == [old, new, new]
    assert by_revision[old]["weights_fingerprint"] != by_revision[new]["weights_fingerprint"]


def test_an_encoder_comes_from_the_hub(hub: LoopbackHub, encoder: Any) -> None:
    folder = encoder("bert")
    hub.add_repository("owner/encoder", files_of(folder), repository_type="model")
    scores = load_scorer("owner/encoder", device="cpu").score([("stop", "a list")])
    np.testing.assert_array_equal(scores, load_scorer(str(folder), device="cpu").score([("stop", "a list")]))


def test_older_weights_are_fetched_where_there_are_no_others(hub: LoopbackHub, classifier: Any, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    folder = shutil.copytree(classifier("bert"), tmp_path / "old")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    hub.add_repository("owner/old", files_of(folder), repository_type="model")
    scores = load_scorer("owner/old", device="cpu").score([("stop", "a list")])
    expected = load_scorer(str(classifier("bert")), device="cpu").score([("stop", "a list")])
    np.testing.assert_array_equal(scores, expected, "the same weights give the same bits, whatever file they were in")


def test_a_repository_or_revision_that_is_not_there_is_named(hub: LoopbackHub, classifier: Any) -> None:
    with pytest.raises(ConfigError, match=r"model 'owner/absent' at revision 'main': the hub has no such repository"):
        load_scorer("owner/absent")
    hub.add_repository("owner/tiny", files_of(classifier("bert")), repository_type="model")
    with pytest.raises(ConfigError, match=r"model 'owner/tiny' at revision 'v9': the repository has no such branch"):
        load_scorer("owner/tiny@v9")


def test_a_repository_without_weights_is_named(hub: LoopbackHub, classifier: Any) -> None:
    files = {name: content for name, content in files_of(classifier("bert")).items() if not name.endswith("tensors")}
    hub.add_repository("owner/empty", files, repository_type="model")
    with pytest.raises(
        EnvironmentMissingError, match=r"model 'owner/empty' at [0-9a-f]{40}: the snapshot holds no weights"
    ):
        load_scorer("owner/empty")


@pytest.mark.parametrize("is_offline", [True, False])
def test_no_network_and_nothing_cached_fails_fast_and_says_what_to_do(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, is_offline: bool
) -> None:
    hub.stop()
    use_hub(monkeypatch, hub, tmp_path / "other-home", is_offline=is_offline)
    started = time.monotonic()
    message = r"model 'owner/tiny' at revision 'v2' is not in the cache.*hf download owner/tiny --revision v2"
    with pytest.raises(EnvironmentMissingError, match=message):
        load_scorer("owner/tiny@v2")
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_resolves_to_a_class_that_loads(family: str) -> None:
    module_name, _, class_name = FAMILIES[family].partition(":")
    assert callable(getattr(import_module(module_name), class_name).load)
