"""Base models with Python code of their own: refused, allowed, pinned, and brought along by the checkpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from loopback_hub import LoopbackHub, use_hub
from tiny_training import examples_of, pair_rows
from watcher import Watcher

from rerank_bench import progress
from rerank_bench.errors import ConfigError
from rerank_bench.scoring.loaded_scorer import load_scorer
from rerank_bench.training.base_model import attend_eagerly, head_parameters, load_base
from rerank_bench.training.recipe import Recipe
from rerank_bench.training.trainer import train

SHIFTED = """
from transformers import BertConfig, BertForSequenceClassification

class OwnConfig(BertConfig):
    model_type = "own"

class OwnForSequenceClassification(BertForSequenceClassification):
    config_class = OwnConfig

    def forward(self, *args, **kwargs):
        outputs = super().forward(*args, **kwargs)
        outputs.logits = outputs.logits + {shift}
        return outputs
"""
"""A BERT whose logits are shifted, so that one sees which code ran."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub() as server:
        use_hub(monkeypatch, server, tmp_path / "home")
        yield server


def with_code(base: Path, folder: Path, *, place: str = "") -> Path:
    """Copy a base model; its code lies beside it, or in the repository ``place``."""
    shutil.copytree(base, folder)
    prefix = f"{place}--" if place else ""
    names = {"AutoConfig": "OwnConfig", "AutoModelForSequenceClassification": "OwnForSequenceClassification"}
    classes = {auto: f"{prefix}own_modeling.{name}" for auto, name in names.items()}
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "own", "auto_map": classes}
    (folder / "config.json").write_text(json.dumps(config))
    if not place:
        (folder / "own_modeling.py").write_text(SHIFTED.format(shift=5.0))
    return folder


def recipe_of(base: Path, **values: Any) -> Recipe:
    return Recipe(model=str(base), precision="float32", batch_size=4, max_steps=1, **values)


def test_code_runs_only_when_it_is_allowed(tiny_base: Path, tmp_path: Path) -> None:
    base = with_code(tiny_base, tmp_path / "own")
    with pytest.raises(ConfigError, match=r"comes with Python code of its own.*pass --trust-remote-code"):
        load_base(recipe_of(base))
    model, _, _ = load_base(recipe_of(base, trust_remote_code=True))
    assert type(model).__name__ == "OwnForSequenceClassification"
    with pytest.raises(ConfigError, match=r"--code-revision abc was given, but its code does not lie in another"):
        load_base(recipe_of(base, trust_remote_code=True, code_revision="abc"))


def test_a_checkpoint_brings_the_pinned_code_along(hub: LoopbackHub, tiny_base: Path, tmp_path: Path) -> None:
    commits = [
        hub.add_repository("owner/impl", {"own_modeling.py": SHIFTED.format(shift=s).encode()}, repository_type="model")
        for s in (5.0, 9.0)
    ]
    recipe = recipe_of(with_code(tiny_base, tmp_path / "own", place="owner/impl"), trust_remote_code=True)
    with pytest.raises(ConfigError, match=r"remote code of 'owner/impl' would run at revision None.*--code-revision"):
        load_base(recipe)
    examples = examples_of(tmp_path, pair_rows(4))
    for commit in commits:
        train(replace(recipe, code_revision=commit), examples, tmp_path / commit, job={}, device="cpu")
    hub.stop()  # neither the hub nor its cache is needed from here on
    shutil.rmtree(tmp_path / "home")
    pairs = [("stop", "a list"), ("how to", "sort the list")]
    first, second = (
        load_scorer(str(tmp_path / commit), device="cpu", trust_remote_code=True).score(pairs) for commit in commits
    )
    assert np.abs(second - first).min() > 2.0  # a step cannot make up for the four between the shifts


def test_a_chat_template_is_left_out_of_what_is_trained_without_it(tiny_base: Path, tmp_path: Path) -> None:
    """Else the trained model would be handed its pairs in the template, or be refused."""
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    chatty = transformers.AutoTokenizer.from_pretrained(base)
    chatty.chat_template = "{% for message in messages %}{{ message.role }}: {{ message.content }}{% endfor %}"
    chatty.save_pretrained(base)
    pairs, scores = [("stop", "a list"), ("how to", "sort the list")], {}
    for source in (base, tiny_base):
        watcher = Watcher()
        with progress.use_reporter(watcher):
            model, tokenizer, _ = load_base(recipe_of(source))
        is_said = any("the tokenizer's chat template is left out" in note for note in watcher.notes)
        assert is_said == (source is base)
        trained = tmp_path / f"trained-{source.name}"
        for part in (model, tokenizer):
            part.save_pretrained(trained)
        scores[source] = load_scorer(str(trained), device="cpu").score(pairs).tolist()
    assert scores[base] == scores[tiny_base]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_dropout_of_the_recipe_replaces_the_base_models(tiny_base: Path, dropout: float) -> None:
    model, _, _ = load_base(recipe_of(tiny_base, dropout=dropout))
    shares = [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    assert shares == [dropout] * len(shares)
    assert len(shares) >= 3  # embeddings, attention, head
    theirs, _, _ = load_base(recipe_of(tiny_base))
    assert {m.p for m in theirs.modules() if isinstance(m, torch.nn.Dropout)} == {0.1}


def test_the_second_segment_starts_as_the_first(tiny_base: Path, tmp_path: Path) -> None:
    theirs, copied = (load_base(recipe_of(tiny_base, copy_segment=copy))[0].state_dict() for copy in (False, True))
    name = "bert.embeddings.token_type_embeddings.weight"
    assert not torch.equal(theirs[name][0], theirs[name][1])
    assert torch.equal(copied[name], theirs[name][[0, 0]])
    assert [n for n, value in theirs.items() if not torch.equal(value, copied[n])] == [name]
    folder = shutil.copytree(tiny_base, tmp_path / "one-segment")
    config = json.loads((folder / "config.json").read_text())
    transformers.BertModel(transformers.BertConfig(**config | {"type_vocab_size": 1})).save_pretrained(folder)
    with pytest.raises(ConfigError, match=r"one-segment.*no embedding of a second segment; drop --copy-segment"):
        load_base(recipe_of(folder, copy_segment=True))


def test_dropout_that_is_not_found(tiny_base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_base, tmp_path / "mamba")
    (folder / "config.json").write_text(json.dumps({"model_type": "mamba", "architectures": ["MambaModel"]}))
    with pytest.raises(ConfigError, match="no dropout that is known here; drop the option"):
        load_base(recipe_of(folder, dropout=0.0))


def test_short_pairs_attend_by_plain_products_and_the_checkpoint_does_not_say_so(
    tiny_base: Path, tmp_path: Path
) -> None:
    model, _, _ = load_base(recipe_of(tiny_base))
    attend_eagerly(model, 129)
    assert model.config._attn_implementation == "sdpa"
    ids = torch.arange(24).view(2, 12) + 5
    fused = model.eval()(input_ids=ids).logits
    attend_eagerly(model, 128)
    assert model.config._attn_implementation == "eager"
    torch.testing.assert_close(model(input_ids=ids).logits, fused, atol=1e-6, rtol=0)
    model.save_pretrained(tmp_path)
    assert "eager" not in (tmp_path / "config.json").read_text()


@pytest.mark.parametrize("learns", ["head", "trunk"])
def test_the_head_learns_at_a_rate_of_its_own(tiny_base: Path, tmp_path: Path, learns: str) -> None:
    rates = {"learning_rate": 1e-3, "head_learning_rate": 1e-30}
    if learns == "head":
        rates = {"learning_rate": 1e-30, "head_learning_rate": 1e-3}
    recipe = recipe_of(tiny_base, warmup=0.0, **rates)
    before, _, _ = load_base(recipe)
    out = tmp_path / "out"
    train(recipe, examples_of(tmp_path, pair_rows(8)), out, job={"recipe": recipe.describe()}, device="cpu")
    after = transformers.AutoModelForSequenceClassification.from_pretrained(out)
    head = {id(parameter) for parameter in head_parameters(before)}
    changed = dict(after.named_parameters())
    moved = {n for n, p in before.named_parameters() if not torch.allclose(p, changed[n], rtol=0, atol=1e-12)}
    still = {n for n, p in before.named_parameters() if (id(p) in head) != (learns == "head")}
    assert not moved & still
    assert {id(p) for n, p in before.named_parameters() if n.startswith(("classifier", "bert.pooler"))} == head
    assert any(n.startswith("classifier") for n in moved) == (learns == "head")
    assert any("encoder" in n for n in moved) == (learns == "trunk")
