"""Late-interaction checkpoints that would be scored wrongly in silence are refused, and what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_late_interaction import FIXED, ONE_DENSE, WRITERS, write_multi_vector, write_pylate, write_stanford

from rerank_bench.errors import ConfigError, ScoringError
from rerank_bench.scoring.loaded_scorer import load_scorer


def changed(folder: Path, file: str, **values: Any) -> Path:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


SETTINGS = "config_sentence_transformers.json"


@pytest.mark.parametrize(
    ("layout", "options", "error", "message"),
    [
        ("pylate", {"similarity_fn_name": "cosine"}, ConfigError, r"similarity 'cosine' is not supported for token"),
        ("pylate", {"dense": ()}, ScoringError, r"modules\.json has no Dense, so the projection .* is missing"),
        (
            "pylate",
            {"query_length": 3},
            ConfigError,
            r"query_length is 3, but special tokens and marker .* alone take 3",
        ),
        ("pylate", {"document_length": 2}, ConfigError, r"max_length is 2, but special tokens and marker .* take 3"),
        ("pylate", {"query_length": "long"}, ConfigError, r"query_length is 'long', expected a number of tokens"),
        ("pylate", {"query_length": 99}, ConfigError, r"queries of 99 tokens are asked for, but it has 64 positions"),
        ("pylate", {"query_prefix": "[X] "}, ScoringError, r"its tokenizer has no token '\[X\] '.* random numbers"),
        (
            "pylate",
            {"dense": ({**ONE_DENSE[0], "activation_function": "mine.Own"},)},
            ConfigError,
            r"names the activation 'mine\.Own'",
        ),
        (
            "stanford",
            {"similarity": "l2"},
            ConfigError,
            r"similarity 'l2' is not supported for token vectors, only 'cosine'",
        ),
        ("stanford", {"interaction": "flipr"}, ConfigError, r"interaction 'flipr' is not supported, only 'colbert'"),
        ("stanford", {"query_maxlen": 2}, ConfigError, r"query_length is 2, but special tokens and marker"),
        ("stanford", {"doc_token_id": "[unused7]"}, ScoringError, r"its tokenizer has no token '\[unused7\]'"),
    ],
    ids=str,
)
def test_what_would_go_wrong_in_silence_is_refused(
    layout: str, options: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    folder = WRITERS[layout](tmp_path / "model", **options)
    with pytest.raises(error, match=message):
        load_scorer(str(folder), device="cpu")


@pytest.mark.parametrize("shape", [None, (8, 31), (8,)])
def test_a_stanford_checkpoint_without_its_projection_is_refused(shape: tuple[int, ...] | None, tmp_path: Path) -> None:
    folder = write_stanford(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["linear.weight"]
    if shape is not None:
        weights["linear.weight"] = torch.zeros(shape)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    found = "missing" if shape is None else rf"of shape \({shape[0]}"
    with pytest.raises(ScoringError, match=rf"the projection 'linear\.weight' is {found}.*expected \(dimension, 32\)"):
        load_scorer(str(folder), device="cpu")


def test_a_projection_without_weights_is_refused(tmp_path: Path) -> None:
    folder = write_pylate(tmp_path / "model")
    (folder / "1_Dense" / "model.safetensors").unlink()
    with pytest.raises(ScoringError, match=r"1_Dense \(Dense\) holds no weights"):
        load_scorer(str(folder), device="cpu")


def test_other_modules_are_named(tmp_path: Path) -> None:
    folder = write_pylate(tmp_path / "model")
    modules = json.loads((folder / "modules.json").read_text())
    pooling = {"idx": 2, "name": "2", "path": "2_Pooling", "type": "sentence_transformers.models.Pooling"}
    (folder / "modules.json").write_text(json.dumps([*modules, pooling]))
    with pytest.raises(
        ConfigError, match=r"asks for sentence_transformers\.models\.Pooling; .* Transformer, then Dense"
    ):
        load_scorer(str(folder), device="cpu")


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        (SETTINGS, {"similarity_fn_name": "xtr"}, r"similarity 'xtr' is not supported for token vectors"),
        (
            "sentence_bert_config.json",
            {"query_expansion": {"strategy": "odd"}},
            r"query_expansion is .*'odd'.*fixed or min",
        ),
        ("sentence_bert_config.json", {"query_expansion": {"strategy": "fixed"}}, r"length is None, expected a number"),
        (
            "sentence_bert_config.json",
            {"query_expansion": FIXED | {"token": "<none>"}},
            r"its tokenizer does not have the token '<none>'",
        ),
        ("2_MultiVectorMask/config.json", {"keep_only_token_ids": [7]}, r"keep_only_token_ids \(for images\)"),
        ("2_MultiVectorMask/config.json", {"skiplist_tasks": ["query"]}, r"skips words in queries only"),
        (
            "2_MultiVectorMask/config.json",
            {"skiplist_words": ["[CLS]", "[SEP]", "b", "[UNK]"]},
            r"every token of an empty doc",
        ),
    ],
    ids=str,
)
def test_settings_of_the_peers_own_layout_that_are_not_supported_are_named(
    file: str, values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = changed(write_multi_vector(tmp_path / "model", query_expansion=FIXED), file, **values)
    with pytest.raises(ConfigError, match=message):
        load_scorer(str(folder), device="cpu")


def test_expansion_without_a_mask_module_is_refused(tmp_path: Path) -> None:
    folder = write_multi_vector(tmp_path / "model", query_expansion=FIXED)
    modules = [m for m in json.loads((folder / "modules.json").read_text()) if not m["type"].endswith("Mask")]
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ConfigError, match=r"expands queries, but modules\.json has no MultiVectorMask"):
        load_scorer(str(folder), device="cpu")


def test_a_tokenizer_that_pads_on_the_left_cannot_fill_up_queries(tmp_path: Path) -> None:
    folder = changed(write_pylate(tmp_path / "model"), "tokenizer_config.json", padding_side="left")
    with pytest.raises(
        ConfigError, match=r"its tokenizer pads on the left; only queries that are filled up at the end"
    ):
        load_scorer(str(folder), device="cpu")
