"""An exported graph, ``model.onnx``, run by onnxruntime: which file it is, what it takes and gives, and one batch.

A graph must take batches of any size and length, and an attention mask; what does not is refused when it is opened.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import ConfigError, EnvironmentMissingError, ScoringError
from rerank_bench.scoring.batching import BatchTooLargeError
from rerank_bench.scoring.tokenization import TokenBatch

GRAPH_PLACES = ("model.onnx", "onnx/model.onnx")
"""Where a folder may hold the graph; the second is how repositories on the hub keep it beside other weights."""

_INPUT_TYPES: Mapping[str, type[np.integer[Any]]] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_EXTERNAL_FILE = re.compile(rb"\n\x08location\x12([\x01-\x7f])")
"""A ``StringStringEntryProto`` with key ``location`` and the length of its value: a tensor kept in another file
(TensorProto.external_data in onnx.proto)."""


def find_graph(name: str, folder: Path) -> Path:
    """Return the graph in a model's folder.

    Raises:
        ScoringError: There is none at either place.
    """
    for place in GRAPH_PLACES:
        if (folder / place).is_file():
            return folder / place
    others = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.onnx"))
    found = f"found {', '.join(others[:3])}; copy the one that is meant there" if others else "found no .onnx file"
    msg = f"model {name!r}: expected {' or '.join(GRAPH_PLACES)} in {folder}, {found}"
    raise ScoringError(msg)


def graph_files(graph: Path) -> list[Path]:
    """Return the graph and the files that hold its larger tensors."""
    if not graph.stat().st_size:
        return [graph]
    with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        names = {
            bytes(data[found.end() : found.end() + found[1][0]]).decode("utf-8", errors="replace")
            for found in _EXTERNAL_FILE.finditer(data)
        }
    return [graph, *(path for name in sorted(names) if (path := graph.parent / name).is_file())]


@dataclass(frozen=True, slots=True, eq=False)
class OnnxGraph:
    """An opened graph."""

    name: str
    """The model, for messages."""
    session: Any
    input_types: Mapping[str, type[np.integer[Any]]]
    """Name of each input -> integer type that it takes."""
    output: str
    device: str
    """``cpu`` or ``cuda``."""

    @classmethod
    def open(cls, name: str, graph: Path, device: str) -> OnnxGraph:
        """Return the graph, ready to run.

        Args:
            name: The model, for messages.
            graph: The file.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

        Raises:
            ConfigError: Another device.
            ScoringError: The graph cannot be read, or takes or gives something else than a classifier does.
            EnvironmentMissingError: onnxruntime is not installed, or has no support for CUDA that was asked for.
        """
        import torch

        onnxruntime = _import_onnxruntime()
        providers = _providers(device, onnxruntime.get_available_providers())
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only: it writes to stderr by itself
        options.intra_op_num_threads = torch.get_num_threads()  # what a process beside others was given is for all
        try:
            session = onnxruntime.InferenceSession(graph, options, providers=providers)
        except _runtime_errors() as error:
            msg = f"model {name!r}: {graph} cannot be opened by onnxruntime {onnxruntime.__version__}: {error}"
            raise ScoringError(msg) from error
        has_cuda = "CUDAExecutionProvider" in session.get_providers()
        if device.startswith("cuda") and not has_cuda:
            raise EnvironmentMissingError(_no_cuda(device, "it failed to start"))
        return cls(name, session, _input_types(name, session), _output(name, session), "cuda" if has_cuda else "cpu")

    @property
    def has_type_ids(self) -> bool:
        """Whether the graph takes segment ids."""
        return "token_type_ids" in self.input_types

    def run(self, batch: TokenBatch) -> NDArray[np.float32]:
        """Return (B, labels) float32 logits.

        Raises:
            BatchTooLargeError: Memory did not suffice.
            ScoringError: The graph fails on a batch, or gives something else than logits.
        """
        zeros = np.zeros_like(batch.input_ids)
        given = {
            "input_ids": batch.input_ids,
            "attention_mask": batch.attention_mask,
            "token_type_ids": zeros if batch.token_type_ids is None else batch.token_type_ids,
        }
        inputs = {name: given[name].astype(kind, copy=False) for name, kind in self.input_types.items()}
        try:
            (logits,) = self.session.run([self.output], inputs)
        except _runtime_errors() as error:
            if "allocate memory" in str(error) or "out of memory" in str(error).casefold():
                raise BatchTooLargeError(str(error).partition("\n")[0]) from error
            msg = f"model {self.name!r}: the graph fails on a batch of shape {batch.input_ids.shape}: {error}"
            raise ScoringError(msg) from error
        if logits.ndim != 2 or len(logits) != len(batch.input_ids):
            msg = (
                f"model {self.name!r}: output {self.output!r} has shape {logits.shape} for {len(batch.input_ids)} pairs, "
                "expected (pairs, labels); was the model exported with its classification head?"
            )
            raise ScoringError(msg)
        return np.asarray(logits, dtype=np.float32)


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        msg = 'the family onnx needs the package onnxruntime, which is not installed; run: pip install "rerank-bench[onnx]"'
        raise EnvironmentMissingError(msg) from error
    return onnxruntime


def _runtime_errors() -> tuple[type[Exception], ...]:
    """Return the errors that onnxruntime raises; they have no base class of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    raised = (kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))
    return (*raised, RuntimeError, ValueError)


def _providers(device: str, available: list[str]) -> list[Any]:
    kind, _, index = device.partition(":")
    if kind == "mps":
        msg = "the family onnx runs on cpu or cuda; pass --device cpu instead of mps"
        raise ConfigError(msg)
    has_cuda = "CUDAExecutionProvider" in available
    if kind == "cuda" and not has_cuda:
        raise EnvironmentMissingError(_no_cuda(device, f"it offers {', '.join(available)}"))
    cuda: list[Any] = [("CUDAExecutionProvider", {"device_id": int(index or 0)})] if has_cuda and kind != "cpu" else []
    return [*cuda, "CPUExecutionProvider"]


def _no_cuda(device: str, found: str) -> str:
    return (
        f"device {device!r} was asked for, but onnxruntime cannot use CUDA here ({found}); "
        "install onnxruntime-gpu in the place of onnxruntime, or use --device cpu"
    )


def _input_types(name: str, session: Any) -> dict[str, type[np.integer[Any]]]:
    inputs = {value.name: value for value in session.get_inputs()}
    required, known = {"input_ids", "attention_mask"}, {"input_ids", "attention_mask", "token_type_ids"}
    if not required <= inputs.keys() <= known:
        msg = (
            f"model {name!r}: the graph takes {', '.join(sorted(inputs))}; expected input_ids and attention_mask, "
            "and token_type_ids at most; export it as a text classifier"
        )
        raise ScoringError(msg)
    for value in inputs.values():
        if (
            len(value.shape) != 2
            or any(isinstance(size, int) for size in value.shape)
            or value.type not in _INPUT_TYPES
        ):
            msg = (
                f"model {name!r}: input {value.name!r} of the graph is a {value.type} of shape {value.shape}; expected "
                "integers of a shape that is free in pairs and tokens; export it with dynamic axes"
            )
            raise ScoringError(msg)
    return {value.name: _INPUT_TYPES[value.type] for value in inputs.values()}


def _output(name: str, session: Any) -> str:
    outputs = [value.name for value in session.get_outputs()]
    if "logits" in outputs:
        return "logits"
    if len(outputs) == 1:
        return str(outputs[0])
    msg = f"model {name!r}: the graph gives {', '.join(outputs)}, none of them called logits; export it with its head"
    raise ScoringError(msg)
