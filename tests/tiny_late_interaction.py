"""Tiny late-interaction checkpoints for tests, in the three layouts that are in use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tiny_models import write_trunk

DIMENSION = 8
WIDTH = 32
"""Hidden size of the tiny trunks."""

DenseSettings = dict[str, Any]
ONE_DENSE: tuple[DenseSettings, ...] = ({"in_features": WIDTH, "out_features": DIMENSION, "bias": False},)
TWO_DENSE: tuple[DenseSettings, ...] = (
    {
        "in_features": WIDTH,
        "out_features": 24,
        "bias": True,
        "use_residual": True,
        "activation_function": "torch.nn.modules.activation.GELU",
    },
    {"in_features": 24, "out_features": DIMENSION, "bias": False, "use_residual": False},
)


FIXED = {"strategy": "fixed", "length": 16}
"""Queries of Sentence Transformers' layout that are filled up."""


def write_pylate(
    folder: Path,
    architecture: str = "bert",
    *,
    dense: Sequence[DenseSettings] = ONE_DENSE,
    seed: int = 0,
    **settings: Any,
) -> Path:
    """Write what PyLate saves; ``settings`` replace those of ``config_sentence_transformers.json``, ``None`` drops one."""
    tokenizer = write_trunk(folder, architecture, seed=seed, added_tokens=("[Q] ", "[D] "))
    assert tokenizer.convert_tokens_to_ids("[D] ") == len(tokenizer) - 1
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for number, config in enumerate(dense, start=1):
        path = f"{number}_Dense"
        write_dense(folder / path, config, seed=seed + number)
        modules.append({"idx": number, "name": str(number), "path": path, "type": "pylate.models.Dense.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    # PyLate leaves the length of the last call here, which says nothing.
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 7, "do_lower_case": False}))
    stated: dict[str, Any] = {
        "model_type": "ColBERT",
        "prompts": {},
        "default_prompt_name": None,
        "similarity_fn_name": "MaxSim",
        "query_prefix": "[Q] ",
        "document_prefix": "[D] ",
        "query_length": 16,
        "document_length": 40,
        "attend_to_expansion_tokens": False,
        "skiplist_words": [",", ".", "list"],
        "do_query_expansion": True,
    }
    stated = {name: value for name, value in (stated | settings).items() if value is not None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(stated))
    return folder


def write_dense(folder: Path, config: DenseSettings, *, seed: int) -> None:
    """Write a linear layer as PyLate saves it."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(seed)
    shape = (config["out_features"], config["in_features"])
    weights = {"linear.weight": torch.randn(shape, generator=generator) / config["in_features"] ** 0.5}
    if config["bias"]:
        weights["linear.bias"] = torch.randn(shape[:1], generator=generator)
    if config.get("use_residual") and shape[0] != shape[1]:
        weights["residual.weight"] = torch.randn(shape, generator=generator) / config["in_features"] ** 0.5
    folder.mkdir(parents=True)
    save_file(weights, folder / "model.safetensors")
    stated = {"activation_function": "torch.nn.modules.linear.Identity"} | config
    (folder / "config.json").write_text(json.dumps(stated))


def write_stanford(folder: Path, *, seed: int = 0, **metadata: Any) -> Path:
    """Write what Stanford's ColBERT saves over a BERT; ``metadata`` replaces settings, ``None`` drops one."""
    import torch
    from safetensors.torch import load_file, save_file

    write_trunk(folder, "bert", seed=seed, added_tokens=("[unused0]", "[unused1]"))
    weights = {f"bert.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    generator = torch.Generator().manual_seed(seed)
    weights["linear.weight"] = torch.randn((DIMENSION, WIDTH), generator=generator)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["HF_ColBERT"]}))
    stated: dict[str, Any] = {
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "query_maxlen": 16,
        "doc_maxlen": 40,
        "mask_punctuation": True,
        "attend_to_mask_tokens": False,
        "dim": DIMENSION,
        "similarity": "cosine",
        "interaction": "colbert",
    }
    stated = {name: value for name, value in (stated | metadata).items() if value is not None}
    (folder / "artifact.metadata").write_text(json.dumps(stated))
    return folder


def write_multi_vector(
    folder: Path,
    architecture: str = "bert",
    *,
    similarity: str | None = None,
    skiplist_tasks: Sequence[str] = ("document",),
    seed: int = 0,
    **transformer: Any,
) -> Path:
    """Write what Sentence Transformers' own MultiVectorEncoder saves."""
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    base = folder.with_name(folder.name + "-trunk")
    write_trunk(base, architecture, seed=seed)
    torch.manual_seed(seed)
    modules = [
        Transformer(str(base), **transformer),
        Dense(
            WIDTH, DIMENSION, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings"
        ),
        MultiVectorMask([*",.?!-'", "list"], skiplist_tasks=list(skiplist_tasks)),
        Normalize(module_input_name="token_embeddings"),
    ]
    model = MultiVectorEncoder(
        modules=modules, prompts={"query": "a: ", "document": "b: "}, similarity_fn_name=similarity, device="cpu"
    )
    model.save(str(folder), create_model_card=False)
    return folder


WRITERS = {"pylate": write_pylate, "stanford": write_stanford, "sentence-transformers": write_multi_vector}
