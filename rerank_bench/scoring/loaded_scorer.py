"""A model that is ready to score texts: the public ``load_scorer``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import ConfigError, ScoringError, describe_unknown
from rerank_bench.scoring.checkpoints import Checkpoint
from rerank_bench.scoring.device_list import check_kind_on_devices, check_present, describe_devices, threads_per_process
from rerank_bench.scoring.engine import score_indexed
from rerank_bench.scoring.engine_result import EngineResult
from rerank_bench.scoring.model_files import find_checkpoint
from rerank_bench.scoring.ray_options import check_kind_on_ray, describe_engine
from rerank_bench.scoring.scorer import FAMILIES, LABEL_FAMILIES, AnyScorer, PairNamer, ScorerConfig
from rerank_bench.scoring.specs import ModelSpec, parse_model_spec


@dataclass(frozen=True, slots=True, eq=False)
class LoadedScorer:
    """A model that is ready to score texts."""

    scorer: AnyScorer
    spec: ModelSpec
    config: ScorerConfig

    @property
    def fingerprint(self) -> str:
        """SHA-256, hex, of all that decides a score."""
        return self.scorer.fingerprint

    def describe(self) -> dict[str, Any]:
        """Return what a result records of the model, JSON-able."""
        return {
            "spec": self.spec.text,
            **self.scorer.describe(),
            **describe_devices(self.config.devices),
            **describe_engine(self.config.ray),
            "fingerprint": self.fingerprint,
        }

    @property
    def cpu_threads(self) -> int | None:
        """Threads of torch in each process that scores on a CPU; ``None`` on an accelerator, and where others compute."""
        if self.scorer.describe().get("device") != "cpu":
            return None
        if self.config.devices:
            return threads_per_process(self.config.devices)
        if self.config.ray is not None:
            return self.config.ray.cores
        import torch

        return torch.get_num_threads()

    def score(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Return (N,) float32: the raw logit of each (query_text, doc_text), in the given order.

        Raises:
            InvalidScoreError: A logit is NaN or infinite.
        """
        queries = [query_text for query_text, _ in pairs]
        docs = [doc_text for _, doc_text in pairs]
        rows = np.repeat(np.arange(len(pairs), dtype=np.int64)[:, None], 2, axis=1)  # (N, 2)
        return self.score_indexed(queries, docs, rows).scores

    def score_indexed(
        self,
        queries: Sequence[str],
        docs: Sequence[str],
        pairs: NDArray[np.int64],
        *,
        pair_name: PairNamer | None = None,
        description: str = "score",
    ) -> EngineResult:
        """Score pairs given as indices into texts; see ``engine.score_indexed``."""
        outcome = score_indexed(
            self.scorer,
            queries,
            docs,
            pairs,
            batch_tokens=self.config.batch_tokens,
            pair_name=pair_name,
            description=description,
        )
        return outcome if self.cpu_threads is None else outcome.computed_with((self.cpu_threads,))


def load_scorer(spec: str | ModelSpec, *, config: ScorerConfig | None = None, **options: Any) -> LoadedScorer:
    """Return a model that is ready to score texts.

    Args:
        spec: ``demo``, a folder, a hub id, ``module:callable`` or a URL; see ``parse_model_spec``.
        config: How to load and run it; ``None`` for the defaults.
        **options: Fields of ``ScorerConfig`` that replace those of ``config``.

    Raises:
        ConfigError: The spec or an option is wrong, or the spec ranks ids and reads no text.
        ScoringError: The checkpoint cannot be scored with.
        EnvironmentMissingError: A device, an extra or the network is absent.
    """
    model = parse_model_spec(spec) if isinstance(spec, str) else spec
    config = _with_options(config or ScorerConfig(), options)
    if not model.scores_texts:
        msg = f"model {model.text!r} ranks documents by id and reads no text; use rank_baseline for it"
        raise ConfigError(msg)
    check_kind_on_devices(model, config.devices)
    check_kind_on_ray(model, config.ray)
    check_present(config.devices)
    if model.kind == "callable":
        from rerank_bench.scoring.callables import CallableScorer

        return LoadedScorer(CallableScorer.load(model.value), model, config)
    if model.kind == "external":
        from rerank_bench.scoring.external import ExternalScorer

        return LoadedScorer(ExternalScorer.load(model.value, config), model, config)
    if config.ray is not None:
        from rerank_bench.scoring.ray_cluster import place_on_ray

        config = place_on_ray(config)
    return load_checkpoint(find_checkpoint(model, config), model, config)


def load_checkpoint(checkpoint: Checkpoint, model: ModelSpec, config: ScorerConfig) -> LoadedScorer:
    """Return the model of a checkpoint that was found.

    Args:
        checkpoint: As ``find_checkpoint`` returns it.
        model: What the user wrote.
        config: How to load and run it.

    Raises:
        ConfigError: An option does not go with the checkpoint.
        ScoringError: The checkpoint cannot be scored with.
        EnvironmentMissingError: A device or an extra is absent.
    """
    _check_family_options(checkpoint, config)
    if config.ray is not None:
        from rerank_bench.scoring.fleet_scorers import load_on_ray

        return LoadedScorer(load_on_ray(checkpoint, model, config), model, config)
    if config.devices:
        from rerank_bench.scoring.fleet_scorers import load_on_devices

        return LoadedScorer(load_on_devices(checkpoint, model, config), model, config)
    return LoadedScorer(_family_class(checkpoint).load(checkpoint, config), model, config)


def _with_options(config: ScorerConfig, options: dict[str, Any]) -> ScorerConfig:
    known = ScorerConfig.__dataclass_fields__
    unknown = [name for name in options if name not in known]
    if unknown:
        raise ConfigError(describe_unknown("scorer option", unknown, known))
    return replace(config, **options)


_FAMILIES_BY_OPTIONS = {
    ("instruction",): ("causal-lm", "seq2seq", "sequence-classifier"),
    ("template",): ("causal-lm", "seq2seq", "sequence-classifier", "onnx"),
    ("positive_token", "negative_token"): ("causal-lm", "seq2seq"),
    ("positive_label",): LABEL_FAMILIES,
}
"""Options that some families alone take: those that are asked in words, and those that answer with labels."""


def _check_family_options(checkpoint: Checkpoint, config: ScorerConfig) -> None:
    """Raise where an option would be left out in silence.

    Raises:
        ConfigError: An option for families of another kind.
    """
    for options, families in _FAMILIES_BY_OPTIONS.items():
        given = [name for name in options if getattr(config, name) is not None]
        if given and checkpoint.family not in families:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            msg = (
                f"{names} is for models of the families {', '.join(families[:-1])} and {families[-1]}; {checkpoint.name!r} is a "
                f"{checkpoint.family}. Drop it, or run that model apart"
            )
            raise ConfigError(msg)


def _family_class(checkpoint: Checkpoint) -> Any:
    from importlib import import_module

    module_name, _, class_name = FAMILIES[checkpoint.family].partition(":")
    try:
        return getattr(import_module(module_name), class_name)
    except ImportError as error:
        msg = f"family {checkpoint.family!r} of model {checkpoint.name!r} cannot be loaded: {error}"
        raise ScoringError(msg) from error
