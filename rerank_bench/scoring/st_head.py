"""A classification head made of Sentence Transformers modules, over a transformer without a head.

Written anew from what the modules' own files say, so that scoring does not need that package; the tests compare with it.
Everything here runs in float32, whatever the trunk runs in.  Imported only where such a checkpoint is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from rerank_bench.errors import ConfigError, ScoringError
from rerank_bench.scoring.checkpoints import Checkpoint, Module
from rerank_bench.scoring.st_layout import pooling_modes

Features = dict[str, Tensor]
"""``token_embeddings`` (B, L, H), ``attention_mask`` (B, L), and what the modules add: ``sentence_embedding``, ``scores``."""

_DENSE_KEYS = {
    "in_features",
    "out_features",
    "bias",
    "activation_function",
    "module_input_name",
    "module_output_name",
    "use_residual",
}


class _Modular(nn.Module):
    """A transformer and the modules that follow it.

    Args:
        trunk: A transformers model without a head.
        head: Modules from features to features.
    """

    base_model_prefix = "trunk"

    def __init__(self, trunk: Any, head: Sequence[nn.Module]) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.ModuleList(head)
        self.config = trunk.config

    def get_input_embeddings(self) -> Any:
        """Return the trunk's token embeddings."""
        return self.trunk.get_input_embeddings()

    def _features(self, input_ids: Tensor, attention_mask: Tensor, **inputs: Any) -> Features:
        hidden = self.trunk(input_ids=input_ids, attention_mask=attention_mask, **inputs).last_hidden_state
        features: Features = {"token_embeddings": hidden.float(), "attention_mask": attention_mask}
        for module in self.head:
            module(features)
        return features


class ModularClassifier(_Modular):
    """A transformer and the modules that turn its hidden states into logits.

    Args:
        trunk: A transformers model without a head.
        head: Modules from features to features.
        num_labels: Logits per pair.
    """

    def __init__(self, trunk: Any, head: Sequence[nn.Module], num_labels: int) -> None:
        super().__init__(trunk, head)
        self.config.num_labels = num_labels

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **inputs: Any) -> SimpleNamespace:
        """Return ``logits``, (B, labels) float32, from (B, L) ids and mask, padded on the right."""
        return SimpleNamespace(logits=self._features(input_ids, attention_mask, **inputs)["scores"])


class TokenEncoder(_Modular):
    """A transformer and the modules that turn its hidden states into smaller vectors."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **inputs: Any) -> SimpleNamespace:
        """Return ``token_vectors``, (B, L, size) float32, from (B, L) ids and mask, padded on the right."""
        return SimpleNamespace(token_vectors=self._features(input_ids, attention_mask, **inputs)["token_embeddings"])


class Pooling(nn.Module):
    """From (B, L, H) to (B, modes · H)."""

    def __init__(self, modes: Sequence[str]) -> None:
        super().__init__()
        self.modes = tuple(modes)

    def forward(self, features: Features) -> None:
        """Add ``sentence_embedding``, (B, modes · H)."""
        hidden, mask = features["token_embeddings"], features["attention_mask"].unsqueeze(-1).float()  # (B, L, 1)
        features["sentence_embedding"] = torch.cat([_POOLINGS[mode](hidden, mask) for mode in self.modes], dim=-1)


def _weighted_mean(hidden: Tensor, weights: Tensor) -> Tensor:
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


def _by_position(hidden: Tensor, mask: Tensor) -> Tensor:
    positions = torch.arange(1, hidden.shape[1] + 1, device=hidden.device).view(1, -1, 1)  # (1, L, 1)
    return _weighted_mean(hidden, mask * positions)


def _last(hidden: Tensor, mask: Tensor) -> Tensor:
    rows = torch.arange(len(hidden), device=hidden.device)
    return hidden[rows, mask.squeeze(-1).sum(dim=1).long() - 1]


_POOLINGS = {
    "cls": lambda hidden, _mask: hidden[:, 0],
    "max": lambda hidden, mask: hidden.masked_fill(mask == 0, float("-inf")).max(dim=1).values,
    "mean": _weighted_mean,
    "mean_sqrt_len_tokens": lambda hidden, mask: (hidden * mask).sum(dim=1) / mask.sum(dim=1).sqrt(),
    "weightedmean": _by_position,
    "lasttoken": _last,
}
"""Mode -> function of (B, L, H) hidden states and (B, L, 1) mask."""


class Dense(nn.Module):
    """A linear layer, an activation, and perhaps the input added."""

    def __init__(self, config: Mapping[str, Any], activation: nn.Module) -> None:
        super().__init__()
        num_in, num_out = int(config["in_features"]), int(config["out_features"])
        self.linear = nn.Linear(num_in, num_out, bias=bool(config.get("bias", True)))
        self.activation = activation
        self.source = config.get("module_input_name") or "sentence_embedding"
        self.target = config.get("module_output_name") or self.source
        self.adds_input = bool(config.get("use_residual", False))
        if self.adds_input and num_in != num_out:
            self.residual = nn.Linear(num_in, num_out, bias=False)

    def forward(self, features: Features) -> None:
        """Add or replace the target, (B, out_features)."""
        values = features[self.source]
        result = self.activation(self.linear(values))
        if self.adds_input:
            result = result + (self.residual(values) if hasattr(self, "residual") else values)
        features[self.target] = result


class LayerNorm(nn.Module):
    """Layer normalisation of the pooled vector."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dimension)

    def forward(self, features: Features) -> None:
        """Replace ``sentence_embedding``, (B, H)."""
        features["sentence_embedding"] = self.norm(features["sentence_embedding"])


class Normalize(nn.Module):
    """Vectors of length 1."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.source = config.get("module_input_name") or "sentence_embedding"
        self.target = config.get("module_output_name") or self.source

    def forward(self, features: Features) -> None:
        """Add or replace the target, of the source's shape."""
        features[self.target] = nn.functional.normalize(features[self.source], dim=-1)


def build_classifier(checkpoint: Checkpoint, trunk: Any, modules: Sequence[Module]) -> ModularClassifier:
    """Return the classifier that a trunk and a checkpoint's head modules make, in evaluation mode.

    Args:
        checkpoint: Where it is.
        trunk: The loaded transformer.
        modules: What ``st_layout.head_modules`` returned.

    Raises:
        ConfigError: A module's settings are not supported, or the modules give no scores.
        ScoringError: A module's weights are missing, of another shape, or more than it has.
    """
    head = [build_module(checkpoint, module) for module in modules if module.kind != "Dropout"]
    scored = [module for module in head if isinstance(module, Dense) and module.target == "scores"]
    if not scored:
        msg = (
            f"model {checkpoint.name!r}: modules.json says {' → '.join(module.kind for module in checkpoint.modules)}: no "
            "module writes 'scores'; expected a Dense with module_output_name 'scores' at the end"
        )
        raise ConfigError(msg)
    return ModularClassifier(trunk, head, scored[-1].linear.out_features).eval()


def build_module(checkpoint: Checkpoint, module: Module) -> nn.Module:
    """Return one module with its weights: a function of features that adds to them.

    Raises:
        ConfigError: Its settings are not supported.
        ScoringError: Its weights are missing, of another shape, or more than it has.
    """
    try:
        if module.kind == "Pooling":
            return Pooling(_pooling_modes(checkpoint, module))
        if module.kind == "Normalize":
            return Normalize(module.config)
        built: nn.Module
        if module.kind == "Dense":
            built = Dense(module.config, _activation(checkpoint, module))
        else:
            built = LayerNorm(int(module.config["dimension"]))
    except KeyError as error:
        msg = f"model {checkpoint.name!r}: {module.folder.name}/config.json ({module.kind}) lacks {error}"
        raise ScoringError(msg) from error
    _load_weights(checkpoint, module, built)
    return built


def _pooling_modes(checkpoint: Checkpoint, module: Module) -> list[str]:
    modes = pooling_modes(module.config)
    unknown = [mode for mode in modes if mode not in _POOLINGS]
    if unknown:
        msg = f"model {checkpoint.name!r}: pooling {', '.join(unknown)} is not supported, only {', '.join(_POOLINGS)}"
        raise ConfigError(msg)
    return modes


def _activation(checkpoint: Checkpoint, module: Module) -> nn.Module:
    """Return a ``Dense``'s activation: a class of ``torch.nn``, made without arguments."""
    unknown = sorted(set(module.config) - _DENSE_KEYS)
    if unknown:
        msg = f"model {checkpoint.name!r}: {module.folder.name}/config.json (Dense) sets unknown {', '.join(unknown)}"
        raise ConfigError(msg)
    path = str(module.config.get("activation_function") or "torch.nn.Tanh")
    found = getattr(nn, path.rpartition(".")[2], None)
    if not path.startswith("torch.nn.") or not isinstance(found, type) or not issubclass(found, nn.Module):
        msg = (
            f"model {checkpoint.name!r}: {module.folder.name}/config.json (Dense) names the activation {path!r}; "
            "only classes of torch.nn are supported"
        )
        raise ConfigError(msg)
    return found()


def _load_weights(checkpoint: Checkpoint, module: Module, built: nn.Module) -> None:
    """Fill a module with its file's weights, all of them and no others."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    safe, pickled = module.folder / "model.safetensors", module.folder / "pytorch_model.bin"
    where = f"model {checkpoint.name!r}: {module.folder.name} ({module.kind})"
    if not safe.is_file() and not pickled.is_file():
        msg = f"{where} holds no weights, expected model.safetensors or pytorch_model.bin; its numbers would be random"
        raise ScoringError(msg)
    try:
        weights = load_file(safe) if safe.is_file() else torch.load(pickled, map_location="cpu", weights_only=True)
        built.load_state_dict(weights)
    except (RuntimeError, SafetensorError, UnpicklingError, OSError) as error:
        msg = f"{where}: the weights do not fit its config.json: {error}"
        raise ScoringError(msg) from error


def read_tensor(path: Path, name: str) -> Tensor | None:
    """Return one tensor of a file of weights; ``None`` where it has none of that name."""
    from safetensors import safe_open

    if path.suffix != ".safetensors":
        found: Tensor | None = torch.load(path, map_location="cpu", weights_only=True).get(name)
        return found
    with safe_open(path, framework="pt") as file:
        return file.get_tensor(name) if name in file.keys() else None  # noqa: SIM118  the file is no mapping
