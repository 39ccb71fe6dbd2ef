"""Exported graphs for tests: of the tiny checkpoints, and hand-made ones that a scorer must refuse."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SEGMENTED = {"bert", "electra", "deberta-v2"}
"""Architectures whose export takes token_type_ids."""


def export_graph(folder: Path, path: Path) -> Path:
    """Export the classifier in ``folder`` to ``path``.

    By tracing: a quarter of a second, where torch's other exporter takes four, and several more for its imports.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    names = ["input_ids", "attention_mask"]
    if model.config.model_type in SEGMENTED:
        names.append("token_type_ids")

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: Any) -> Any:
            return self.model(**dict(zip(names, inputs, strict=True))).logits

    example = tuple(torch.ones(2, 9, dtype=torch.long) for _ in names)
    options: dict[str, Any] = {"input_names": names, "output_names": ["logits"], "opset_version": 18, "dynamo": False}
    free = {name: {0: "pairs", 1: "tokens"} for name in names}
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # Tracing warns of what might not generalise, and of its successor; the scores are compared afterwards.
        warnings.simplefilter("ignore")
        torch.onnx.export(Logits().eval(), example, str(path), dynamic_axes=free, **options)
    return path


def move_tensors_out(graph: Path, name: str) -> Path:
    """Keep a graph's tensors in a second file beside it, as exporters do with large models."""
    import onnx

    model = onnx.load(str(graph))
    onnx.save(model, str(graph), save_as_external_data=True, location=name, size_threshold=64)
    return graph.with_name(name)


def write_mean_graph(
    path: Path,
    *,
    inputs: Sequence[str] = ("input_ids", "attention_mask"),
    shape: Sequence[int | str] = ("pairs", "tokens"),
    outputs: Sequence[str] = ("logits",),
    num_labels: int = 1,
    keeps_tokens: bool = False,
    type_name: str = "INT64",
) -> Path:
    """Write a graph whose every output is the mean of ``input_ids`` over the tokens, once for each label."""
    import onnx
    from onnx import TensorProto, helper

    nodes = [helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT)]
    if keeps_tokens:
        nodes.append(helper.make_node("Unsqueeze", ["ids", "last"], ["mean"]))
    else:
        nodes.append(helper.make_node("ReduceMean", ["ids"], ["mean"], axes=[1], keepdims=1))
    nodes += [helper.make_node("Concat", ["mean"] * num_labels, [name], axis=1) for name in outputs]
    kind = getattr(TensorProto, type_name)
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info(name, kind, list(shape)) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [helper.make_tensor("last", TensorProto.INT64, [1], [2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path
