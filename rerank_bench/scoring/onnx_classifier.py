"""Family ``onnx``: a sequence classifier as an exported graph, through onnxruntime.

Tokens, truncation, labels and order of the pairs are those of the family ``sequence-classifier``; the forward pass
is the graph's, in the precision that it was exported in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import ConfigError, ScoringError
from rerank_bench.scoring.acceleration import PROBE_PAIRS
from rerank_bench.scoring.answers import find_prompt
from rerank_bench.scoring.checkpoints import Checkpoint
from rerank_bench.scoring.devices import default_batch_tokens
from rerank_bench.scoring.file_fingerprints import FileFingerprints, fingerprint_files
from rerank_bench.scoring.labels import Labels, read_labels
from rerank_bench.scoring.lengths import resolve_max_length
from rerank_bench.scoring.loading import load_tokenizer, quiet_transformers
from rerank_bench.scoring.onnx_graph import OnnxGraph, find_graph, graph_files
from rerank_bench.scoring.pair_assembly import PairTokenizer
from rerank_bench.scoring.probing import check_padding
from rerank_bench.scoring.scorer import SCORING_CODE_VERSION, EncodedItems, ScorerConfig
from rerank_bench.scoring.st_layout import query_prompt, saved_activation
from rerank_bench.scoring.templates import PAIR
from rerank_bench.scoring.tokenization import TokenBatch, check_vocabulary
from rerank_bench.storage import fingerprint_json


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class OnnxClassifierScorer:
    """An opened graph with its tokenizer."""

    checkpoint: Checkpoint
    files: FileFingerprints
    graph: OnnxGraph
    tokenizer: PairTokenizer
    labels: Labels
    prompt: str
    """Goes before every query."""
    skeleton: Any
    """The model that config.json names, without weights: for what it says of sizes."""

    @classmethod
    def load(cls, checkpoint: Checkpoint, config: ScorerConfig) -> OnnxClassifierScorer:
        """Return the scorer of a checkpoint.

        Raises:
            ConfigError: A precision or a device that a graph cannot be put into, or an unknown positive label.
            ScoringError: Graph, tokenizer or ``config.json`` is missing, or they do not fit together.
            EnvironmentMissingError: onnxruntime is not installed, or has no support for CUDA that was asked for.
        """
        if config.dtype not in {"auto", "float32"}:
            msg = (
                f"dtype {config.dtype!r} was asked for, but a graph has the precision it was exported in; drop --dtype"
            )
            raise ConfigError(msg)
        path = find_graph(checkpoint.name, checkpoint.trunk)
        graph = OnnxGraph.open(checkpoint.name, path, config.device)
        tokenizer = load_tokenizer(checkpoint, config)
        found = find_prompt(checkpoint, config, tokenizer)
        if found.template is not None or found.is_expected:
            msg = (
                f"model {checkpoint.name!r} would be handed its pairs in a prompt, which the family onnx does not support; pass "
                f"--template {PAIR} if it was trained on pairs as its tokenizer joins them"
            )
            raise ConfigError(msg)
        skeleton = _read_skeleton(checkpoint)
        max_length = resolve_max_length(checkpoint, config, tokenizer, skeleton)
        scorer = cls(
            checkpoint=checkpoint,
            files=fingerprint_files(checkpoint, weights=graph_files(path)),
            graph=graph,
            tokenizer=PairTokenizer(tokenizer, max_length, has_type_ids=graph.has_type_ids),
            labels=read_labels(checkpoint.name, skeleton.config, config.positive_label),
            prompt=query_prompt(checkpoint),
            skeleton=skeleton,
        )
        check_padding(checkpoint.name, scorer.encode(*PROBE_PAIRS), scorer.score_batch, is_exact=False)
        return scorer

    @property
    def fingerprint(self) -> str:
        """SHA-256, hex, of all that decides a score."""
        return fingerprint_json(
            {
                "code": SCORING_CODE_VERSION,
                "family": "onnx",
                "weights": self.files.weights,
                "tokenizer": self.files.tokenizer,
                "settings": self.files.settings,
                "positive_label": self.labels.positive,
                "query_prompt": self.prompt,
                "max_length": self.tokenizer.max_length,
                "device": self.graph.device,
            }
        )

    @property
    def default_batch_tokens(self) -> int:
        """Budget when the user names none."""
        import torch

        return default_batch_tokens(torch.device(self.graph.device), torch.float32)

    def describe(self) -> dict[str, Any]:
        """Return what a result records of the model, JSON-able."""
        import onnxruntime

        return {
            "name": self.checkpoint.name,
            "family": "onnx",
            "revision": self.checkpoint.revision,
            "architecture": type(self.skeleton).__name__,
            "weights_fingerprint": self.files.weights,
            "tokenizer_fingerprint": self.files.tokenizer,
            "dtype": "as exported",
            "device": self.graph.device,
            "onnxruntime": onnxruntime.__version__,
            "num_parameters": sum(parameter.numel() for parameter in self.skeleton.parameters()),
            "max_length": self.tokenizer.max_length,
            "pair_assembly": "whole pairs" if self.tokenizer.template is None else "pieces",
            "query_prompt": self.prompt,
            "saved_activation": saved_activation(self.checkpoint),
            "num_labels": len(self.labels.names),
            "labels": list(self.labels.names),
            "positive_label": self.labels.positive,
        }

    def peak_device_bytes(self) -> int | None:
        """Return ``None``: onnxruntime does not say."""
        return None

    def encode(self, queries: Sequence[str], docs: Sequence[str], pairs: NDArray[np.int64]) -> EncodedItems:
        """Tokenise pairs given as (N, 2) indices into the texts."""
        tokens = self.tokenizer.encode([self.prompt + text for text in queries], docs, pairs)
        check_vocabulary(self.checkpoint.name, tokens.flats, int(self.skeleton.get_input_embeddings().num_embeddings))
        return tokens

    def score_batch(self, batch: TokenBatch) -> NDArray[np.float32]:
        """Return (B,) float32 logits.

        Raises:
            BatchTooLargeError: Memory did not suffice.
            ScoringError: The graph fails, or has another number of labels than ``config.json``.
        """
        import torch

        logits = self.graph.run(batch)  # (B, labels)
        if logits.shape[1] != len(self.labels.names):
            msg = (
                f"model {self.checkpoint.name!r}: the graph gives {logits.shape[1]} labels, config.json says "
                f"{len(self.labels.names)}; they are of two checkpoints"
            )
            raise ScoringError(msg)
        return np.asarray(self.labels.score(torch.from_numpy(logits)).numpy(), dtype=np.float32)


def _read_skeleton(checkpoint: Checkpoint) -> Any:
    """Return the model that ``config.json`` names, without memory for its weights.

    Raises:
        ScoringError: transformers knows no such classifier, or needs code that comes with the checkpoint.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    try:
        with quiet_transformers(), torch.device("meta"):
            settings = AutoConfig.from_pretrained(checkpoint.trunk, local_files_only=True)
            return AutoModelForSequenceClassification.from_config(settings)
    except (ValueError, OSError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        msg = f"model {checkpoint.name!r}: config.json beside the graph does not describe a known classifier: {error}"
        raise ScoringError(msg) from error
