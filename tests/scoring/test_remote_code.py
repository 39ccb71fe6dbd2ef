"""Checkpoints with Python code of their own: refused, allowed, pinned; from a folder and from a hub."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loopback_hub import LoopbackHub, use_hub
from numpy.typing import NDArray
from watcher import Watcher

from rerank_bench import progress
from rerank_bench.errors import ConfigError, ScoringError
from rerank_bench.scoring.loaded_scorer import load_scorer

PAIRS = [("stop", "a list"), ("how to", "sort the list")]
CODE = """
import torch
from transformers import BertConfig, BertForSequenceClassification
from .{helper} import SHIFT

class OwnConfig(BertConfig):
    model_type = "own"

class OwnForSequenceClassification(BertForSequenceClassification):
    config_class = OwnConfig

    def forward(self, *args, **kwargs):
        outputs = super().forward(*args, **kwargs)
        outputs.logits = outputs.logits + SHIFT + self.shifts.mean()
        return outputs

    def __init__(self, config):
        super().__init__(config)
        self.register_buffer("shifts", torch.full((64,), 2.0), persistent=False)
        self.post_init()
"""
"""A BERT whose logits are shifted, by what its files say and by a buffer that no checkpoint holds, as rotary tables are."""


def write_code(folder: Path, *, shift: float = 5.0, name: str = "own_modeling") -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(CODE.format(helper=f"{name}_helper"))
    (folder / f"{name}_helper.py").write_text(f"SHIFT = {shift}\n")


def with_code(source: Path, folder: Path, *, model_type: str = "own", place: str = "", shift: float = 5.0) -> Path:
    """Copy a BERT classifier; its code lies beside it, or in the repository ``place``."""
    shutil.copytree(source, folder)
    if not place:
        write_code(folder, shift=shift)
    prefix = f"{place}--" if place else ""
    classes = {
        "AutoConfig": f"{prefix}own_modeling.OwnConfig",
        "AutoModelForSequenceClassification": f"{prefix}own_modeling.OwnForSequenceClassification",
    }
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": model_type, "auto_map": classes}))
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def expected(source: Path, shift: float = 5.0) -> NDArray[np.float32]:
    return load_scorer(str(source), device="cpu").score(PAIRS) + np.float32(shift and shift + 2.0)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub() as server:
        use_hub(monkeypatch, server, tmp_path / "home")
        yield server


def test_code_in_a_folder_runs_only_when_allowed(classifier: Any, tmp_path: Path) -> None:
    folder = with_code(classifier("bert"), tmp_path / "gte_like")
    (folder / "own_modeling.py").write_text("raise SystemExit('this code ran')")
    message = r"model_type 'own'\) comes with Python code of its own.*--trust-remote-code \(and --revision COMMIT"
    with pytest.raises(ConfigError, match=message):
        load_scorer(str(folder), device="cpu")


def test_code_in_a_folder_that_is_allowed_scores(classifier: Any, tmp_path: Path) -> None:
    folder = with_code(classifier("bert"), tmp_path / "gte_like")
    loaded = load_scorer(str(folder), device="cpu", trust_remote_code=True)
    np.testing.assert_allclose(loaded.score(PAIRS), expected(classifier("bert")), atol=1e-5)
    assert loaded.describe()["architecture"] == "OwnForSequenceClassification"


def test_code_from_a_hub_needs_the_flag_and_a_whole_commit(hub: LoopbackHub, classifier: Any, tmp_path: Path) -> None:
    folder = with_code(classifier("bert"), tmp_path / "gte_like")
    commit = hub.add_repository("owner/gte-like", files_of(folder), repository_type="model")
    with pytest.raises(
        ConfigError, match=r"comes with Python code of its own.*--trust-remote-code .*--revision COMMIT"
    ):
        load_scorer(f"owner/gte-like@{commit}", device="cpu")
    assert not [path for _, path in hub.requests if path.endswith(".py")], "not even fetched"
    asked = len(hub.requests)
    for spec, shown in (
        ("owner/gte-like", "None"),
        ("owner/gte-like@main", "'main'"),
        (f"owner/gte-like@{commit[:12]}", "'"),
    ):
        with pytest.raises(
            ConfigError, match=rf"remote code of 'owner/gte-like' would run at revision {shown}.*pin the commit"
        ):
            load_scorer(spec, device="cpu", trust_remote_code=True)
    assert len(hub.requests) == asked, "refused before anything was asked for"


def test_pinned_code_from_a_hub_scores_and_stays_what_it_was(hub: LoopbackHub, classifier: Any, tmp_path: Path) -> None:
    old = with_code(classifier("bert"), tmp_path / "old", shift=5.0)
    new = with_code(classifier("bert"), tmp_path / "new", shift=9.0)
    commits = [hub.add_repository("owner/own", files_of(folder), repository_type="model") for folder in (old, new)]
    loaded = [load_scorer("owner/own", device="cpu", revision=commit, trust_remote_code=True) for commit in commits]
    for scorer, shift in zip(loaded, (5.0, 9.0), strict=True):
        np.testing.assert_allclose(scorer.score(PAIRS), expected(classifier("bert"), shift), atol=1e-5)
    assert loaded[0].fingerprint != loaded[1].fingerprint, "code decides a score"


def test_code_in_another_repository_is_pinned_on_its_own(hub: LoopbackHub, classifier: Any, tmp_path: Path) -> None:
    """As with gte-multilingual, whose code lies in new-impl: the model's revision says nothing of it."""
    folder = with_code(classifier("bert"), tmp_path / "model", place="owner/impl")
    model = hub.add_repository("owner/model", files_of(folder), repository_type="model")
    code = []
    for shift in (5.0, 9.0):
        write_code(tmp_path / "impl", shift=shift)
        code.append(hub.add_repository("owner/impl", files_of(tmp_path / "impl"), repository_type="model"))
    allowed: dict[str, Any] = {"device": "cpu", "revision": model, "trust_remote_code": True}
    with pytest.raises(ConfigError, match=r"its code lies in owner/impl: --code-revision COMMIT"):
        load_scorer("owner/model", device="cpu")
    with pytest.raises(
        ConfigError, match=r"remote code of 'owner/impl' would run at revision None.*--code-revision with"
    ):
        load_scorer("owner/model", **allowed)
    loaded = [load_scorer("owner/model", **allowed, code_revision=commit) for commit in code]
    for scorer, shift in zip(loaded, (5.0, 9.0), strict=True):
        np.testing.assert_allclose(scorer.score(PAIRS), expected(classifier("bert"), shift), atol=1e-5)
    assert loaded[0].fingerprint != loaded[1].fingerprint
    again = load_scorer(str(folder), device="cpu", trust_remote_code=True, code_revision=code[0])
    np.testing.assert_array_equal(again.score(PAIRS), loaded[0].score(PAIRS), "from a folder too")


def test_a_commit_of_code_that_pins_nothing_is_refused(classifier: Any, tmp_path: Path) -> None:
    folder = str(with_code(classifier("bert"), tmp_path / "model"))
    with pytest.raises(ConfigError, match=r"its code does not lie in another repository; drop it"):
        load_scorer(folder, device="cpu", trust_remote_code=True, code_revision="0" * 40)
    with pytest.raises(ConfigError, match=r"--trust-remote-code was not given; drop it"):
        load_scorer(folder, device="cpu", code_revision="0" * 40)


def test_code_in_several_repositories_is_refused(classifier: Any, tmp_path: Path) -> None:
    folder = with_code(classifier("bert"), tmp_path / "model", place="owner/impl")
    path = folder / "tokenizer_config.json"
    own = {"AutoTokenizer": ["owner/other--tokens.Tokenizer", None]}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": own}))
    with pytest.raises(
        ConfigError, match=r"takes code from owner/impl, owner/other; only one repository can be pinned"
    ):
        load_scorer(str(folder), device="cpu", trust_remote_code=True, code_revision="0" * 40)


def test_code_that_is_not_needed_is_left_alone_and_said(classifier: Any, tmp_path: Path) -> None:
    """Many checkpoints keep code from before transformers had their architecture."""
    folder = with_code(classifier("bert"), tmp_path / "model", model_type="bert")
    watcher = Watcher()
    with progress.use_reporter(watcher):
        scores = load_scorer(str(folder), device="cpu").score(PAIRS)
    np.testing.assert_allclose(scores, expected(classifier("bert"), 0.0), atol=1e-5)
    assert [note for note in watcher.notes if "comes with Python code of its own, which was not allowed to run" in note]


def test_weights_for_other_code_than_transformers_name_the_flag(classifier: Any, tmp_path: Path) -> None:
    """As with jina-reranker-v2, whose model_type is one that transformers has, with weights of other names."""
    from safetensors.torch import load_file, save_file

    folder = with_code(classifier("bert"), tmp_path / "jina_like", model_type="bert")
    weights = load_file(folder / "model.safetensors")
    renamed = {name.replace("attention.self", "mixer"): tensor for name, tensor in weights.items()}
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ScoringError, match=r"if its weights are for Python code of its own.*--trust-remote-code"):
        load_scorer(str(folder), device="cpu")
