from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loopback_hub import LoopbackHub, use_hub
from tiny_graphs import export_graph, move_tensors_out, write_mean_graph
from tiny_models import SEQUENCE_CLASSIFIERS
from transformers import AutoTokenizer

from rerank_bench.errors import ConfigError, EnvironmentMissingError, ScoringError
from rerank_bench.scoring.loaded_scorer import LoadedScorer, load_scorer
from rerank_bench.scoring.onnx_graph import graph_files
from rerank_bench.scoring.pair_logits import load_pair_classifier
from rerank_bench.scoring.scorer import ScorerConfig

Pairs = list[tuple[str, str]]


@pytest.fixture
def checkpoint(classifier: Callable[..., Path], tmp_path: Path) -> Path:
    """A copy of the tiny BERT without its weights: a graph is to be put beside it."""
    folder = tmp_path / "model"
    shutil.copytree(classifier("bert"), folder)
    (folder / "model.safetensors").unlink()
    return folder


@pytest.fixture(scope="session")
def graphs(classifier: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function (architecture, **options) -> folder with the weights and their exported graph."""
    made: dict[Any, Path] = {}

    def make(architecture: str = "bert", **options: Any) -> Path:
        key = (architecture, *sorted(options.items()))
        if key not in made:
            source = classifier(architecture, **options)
            folder = tmp_path_factory.mktemp("graph") / architecture
            shutil.copytree(source, folder)
            export_graph(source, folder / "model.onnx")
            made[key] = folder
        return made[key]

    return make


def load(folder: Path, **options: Any) -> LoadedScorer:
    return load_scorer(str(folder), **({"family": "onnx", "device": "cpu"} | options))


@pytest.mark.parametrize("architecture", SEQUENCE_CLASSIFIERS)
def test_a_graph_scores_as_its_checkpoint_does(architecture: str, graphs: Any, text_pairs: Pairs) -> None:
    folder = graphs(architecture)
    ours = load(folder)
    weights = load_scorer(str(folder), family="sequence-classifier", device="cpu")
    expected = weights.score(text_pairs)
    np.testing.assert_allclose(ours.score(text_pairs), expected, atol=1e-4)
    assert np.ptp(expected) > 0.2, "different texts get different scores"
    shared = ("num_parameters", "max_length", "architecture", "pair_assembly", "tokenizer_fingerprint")
    assert {name: ours.describe()[name] for name in shared} == {name: weights.describe()[name] for name in shared}
    pairs = [(query, doc) for query, doc in text_pairs[:8]]
    queries, docs = [query for query, _ in pairs], [doc for _, doc in pairs]
    rows = np.repeat(np.arange(8)[:, None], 2, axis=1)
    tokens = [scorer.scorer.encode(queries, docs, rows).batch(np.arange(8)) for scorer in (ours, weights)]  # type: ignore[union-attr]  # both read pairs
    np.testing.assert_array_equal(tokens[0].input_ids, tokens[1].input_ids)


def test_a_chat_template_is_refused_and_plain_pairs_are_scored_on_request(graphs: Any, tmp_path: Path) -> None:
    plain, chatty = graphs("bert"), tmp_path / "chatty"
    shutil.copytree(plain, chatty)
    tokenizer = AutoTokenizer.from_pretrained(chatty)
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    tokenizer.save_pretrained(chatty)
    with pytest.raises(ConfigError, match=r"in a prompt, which the family onnx does not support; pass --template pair"):
        load(chatty)
    pairs = [("stop", "a list"), ("how to", "sort the list")]
    assert load(chatty, template="pair").score(pairs).tolist() == load(plain).score(pairs).tolist()


def test_a_graph_has_as_many_threads_as_torch(graphs: Any) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            scorer: Any = load(graphs()).scorer
            assert scorer.graph.session.get_session_options().intra_op_num_threads == number
    finally:
        torch.set_num_threads(before)


def test_two_labels_become_one_score(graphs: Any, text_pairs: Pairs) -> None:
    folder = graphs("bert", num_labels=2)
    for label in (None, "0"):
        expected = load_scorer(str(folder), device="cpu", positive_label=label).score(text_pairs)
        np.testing.assert_allclose(load(folder, positive_label=label).score(text_pairs), expected, atol=1e-4)


def test_with_more_labels_the_positive_one_must_be_named_to_classify_pairs(graphs: Any) -> None:
    folder = graphs("bert", num_labels=3)
    with pytest.raises(ConfigError, match=r"has 3 labels .*--positive-label NAME"):
        load_pair_classifier(str(folder), ScorerConfig(device="cpu", family="onnx"))
    named = load_pair_classifier(str(folder), ScorerConfig(device="cpu", family="onnx", positive_label="2"))
    assert named.has_score


def test_the_saved_activation_is_that_of_the_checkpoint(graphs: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(graphs("bert"), tmp_path / "saved"))
    config = json.loads((folder / "config.json").read_text())
    name = "torch.nn.modules.linear.Identity"
    (folder / "config.json").write_text(json.dumps(config | {"sbert_ce_default_activation_function": name}))
    for loaded in (load(folder), load_scorer(str(folder), device="cpu")):
        assert loaded.describe()["saved_activation"] == name


@pytest.mark.parametrize("second", ["model.onnx.data", "model.onnx_data", "weights.bin"])
def test_tensors_in_a_second_file_are_used_and_fingerprinted(
    second: str, graphs: Any, text_pairs: Pairs, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(graphs("bert"), folder)
    move_tensors_out(folder / "model.onnx", second)
    assert [path.name for path in graph_files(folder / "model.onnx")] == ["model.onnx", second]
    before = load(folder)
    np.testing.assert_array_equal(before.score(text_pairs), load(graphs("bert")).score(text_pairs))
    data = bytearray((folder / second).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / second).write_bytes(data)
    assert load(folder).fingerprint != before.fingerprint
    (folder / second).unlink()
    with pytest.raises(ScoringError, match="cannot be opened by onnxruntime"):
        load(folder)


def test_the_fingerprint_covers_graph_tokenizer_and_length_but_not_torch_weights(graphs: Any, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(graphs("bert"), folder)
    before = load(folder).fingerprint
    (folder / "model.safetensors").write_bytes(b"of no account")
    assert load(folder).fingerprint == before
    shorter = load(folder, max_length=32).fingerprint
    settings = folder / "tokenizer_config.json"
    settings.write_text(settings.read_text() + "\n")
    other_tokenizer = load(folder).fingerprint
    shutil.copy(graphs("bert", seed=1) / "model.onnx", folder)
    assert len({before, shorter, other_tokenizer, load(folder).fingerprint}) == 4


def test_a_folder_with_nothing_but_a_graph_needs_no_family(checkpoint: Path, graphs: Any, text_pairs: Pairs) -> None:
    (checkpoint / "onnx").mkdir()
    shutil.copy(graphs("bert") / "model.onnx", checkpoint / "onnx" / "model.onnx")
    loaded = load_scorer(str(checkpoint), device="cpu")
    assert loaded.describe()["family"] == "onnx"
    np.testing.assert_array_equal(loaded.score(text_pairs), load(graphs("bert")).score(text_pairs))


def test_int32_inputs_are_given_as_such(checkpoint: Path) -> None:
    write_mean_graph(checkpoint / "model.onnx", type_name="INT32")
    with pytest.raises(ScoringError, match=r"score changes by .* when it is padded"):
        load(checkpoint)  # it runs, and padding moves a mean of ids: the check on loading sees that


@pytest.mark.parametrize("place", ["model.onnx", "onnx/model.onnx"])
def test_a_graph_comes_from_the_hub(
    place: str, graphs: Any, text_pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = graphs("bert")
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".onnx"}
    files |= {place: (folder / "model.onnx").read_bytes(), "onnx/model_quantized.onnx": b"another"}
    with LoopbackHub() as hub:
        use_hub(monkeypatch, hub, tmp_path / "home")
        hub.add_repository("owner/graph", files, repository_type="model")
        loaded = load_scorer("owner/graph", family="onnx", device="cpu")
        fetched = {path.partition("/resolve/")[2].partition("/")[2] for _, path in hub.requests if "/resolve/" in path}
    np.testing.assert_array_equal(loaded.score(text_pairs), load(folder).score(text_pairs))
    assert place in fetched
    assert not fetched & {"model.safetensors", "onnx/model_quantized.onnx"}


def test_without_the_extra_it_is_named(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mean_graph(checkpoint / "model.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EnvironmentMissingError, match=r'run: pip install "rerank-bench\[onnx\]"'):
        load(checkpoint)


def test_a_folder_without_a_graph_is_named(checkpoint: Path) -> None:
    with pytest.raises(ScoringError, match=r"expected model\.onnx or onnx/model\.onnx in .*, found no \.onnx file"):
        load(checkpoint)
    write_mean_graph(checkpoint / "onnx" / "model_O2.onnx")
    with pytest.raises(ScoringError, match=r"found onnx/model_O2\.onnx; copy the one that is meant there"):
        load(checkpoint)


@pytest.mark.parametrize("content", [b"", b"not a graph"])
def test_a_file_that_is_no_graph_is_named(checkpoint: Path, content: bytes) -> None:
    (checkpoint / "model.onnx").write_bytes(content)
    with pytest.raises(ScoringError, match=r"model 'model': .*model\.onnx cannot be opened by onnxruntime"):
        load(checkpoint)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ({"shape": (1, 128)}, r"input 'input_ids' of the graph is a tensor\(int64\) of shape \[1, 128\].*dynamic axes"),
        ({"shape": ("pairs", 128)}, r"of shape \['pairs', 128\]; expected integers of a shape that is free"),
        ({"type_name": "FLOAT"}, r"is a tensor\(float\) of shape .* expected integers"),
        ({"inputs": ["input_ids"]}, r"the graph takes input_ids; expected input_ids and attention_mask"),
        ({"inputs": ["input_ids", "attention_mask", "pixels"]}, r"the graph takes attention_mask, input_ids, pixels"),
        ({"outputs": ["hidden", "pooled"]}, r"the graph gives hidden, pooled, none of them called logits"),
        ({"num_labels": 3}, r"the graph gives 3 labels, config\.json says 1; they are of two checkpoints"),
        ({"keeps_tokens": True}, r"output 'logits' has shape \(2, \d+, 1\) for 2 pairs, expected \(pairs, labels\)"),
        ({}, r"score changes by .* when it is padded beside a longer one"),
    ],
)
def test_a_graph_that_is_no_classifier_is_refused(checkpoint: Path, graph: dict[str, Any], message: str) -> None:
    write_mean_graph(checkpoint / "model.onnx", **graph)
    with pytest.raises(ScoringError, match=message):
        load(checkpoint)


def test_tokens_without_an_embedding_are_refused(checkpoint: Path) -> None:
    import json

    write_mean_graph(checkpoint / "model.onnx")
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | {"vocab_size": 20}))
    with pytest.raises(ScoringError, match=r"the model has 20 embeddings"):
        load(checkpoint)


def test_an_unknown_architecture_is_refused(checkpoint: Path) -> None:
    write_mean_graph(checkpoint / "model.onnx")
    (checkpoint / "config.json").write_text('{"model_type": "made-up"}')
    with pytest.raises(ScoringError, match=r"(does not describe a known classifier|cannot be loaded).*made-up"):
        load(checkpoint)


def test_what_a_graph_cannot_be_put_into_is_refused(graphs: Any) -> None:
    with pytest.raises(ConfigError, match=r"dtype 'bfloat16' was asked for, but a graph has the precision"):
        load(graphs("bert"), dtype="bfloat16")
    with pytest.raises(ConfigError, match=r"runs on cpu or cuda; pass --device cpu"):
        load(graphs("bert"), device="mps")
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(EnvironmentMissingError, match=r"device 'cuda:0' was asked for.*install onnxruntime-gpu"):
            load(graphs("bert"), device="cuda:0")
