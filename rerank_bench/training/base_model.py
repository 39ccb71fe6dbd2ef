"""The model that a training starts from: a trunk whose weights are all there, under a head with one logit.

transformers fills what a checkpoint lacks with random numbers.  For the head of a base model that is what is wanted, from
the recipe's seed; in the trunk it is an error.
"""

from __future__ import annotations

from typing import Any

from rerank_bench.errors import ConfigError, ScoringError
from rerank_bench.progress import note
from rerank_bench.scoring.checkpoints import Checkpoint
from rerank_bench.scoring.lengths import resolve_max_length
from rerank_bench.scoring.loading import code_options, load_tokenizer, quiet_transformers, restore_buffers
from rerank_bench.scoring.model_files import find_checkpoint
from rerank_bench.scoring.remote_code import check_allowed
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.specs import parse_model_spec
from rerank_bench.training.recipe import Recipe

SAVED_ACTIVATION = "torch.nn.modules.linear.Identity"
"""Written into config.json for Sentence Transformers, whose scores are then the raw logits, like ours."""


def load_base(recipe: Recipe) -> tuple[Any, Any, int]:
    """Return (model with one logit in float32 on the CPU, tokenizer, tokens per pair).

    Raises:
        ConfigError: The spec is not one of a model's files, its own code may not run or is not pinned, ``max_length`` is more
            than it has positions for, or it has no second segment to copy the first to.
        ScoringError: Weights of the trunk or the tokenizer are missing, or transformers cannot load the files.
        EnvironmentMissingError: The demo package, the network or the access is absent.
    """
    config = ScorerConfig(
        family="sequence-classifier",
        revision=recipe.revision,
        trust_remote_code=recipe.trust_remote_code,
        code_revision=recipe.code_revision,
        max_length=recipe.max_length,
    )
    spec = parse_model_spec(recipe.model)
    if spec.kind not in {"demo", "local", "hub"}:
        msg = f"model {recipe.model!r} cannot be trained; expected a folder with weights, a hub id, or demo"
        raise ConfigError(msg)
    checkpoint = find_checkpoint(spec, config)
    check_allowed(checkpoint.name, checkpoint.config, allow_code=recipe.trust_remote_code)
    tokenizer = load_tokenizer(checkpoint, config)
    if getattr(tokenizer, "chat_template", None):
        note(f"{checkpoint.name}: trained on query and document alone; the tokenizer's chat template is left out")
        tokenizer.chat_template = None  # else whoever loads the trained model would put pairs into it
    model = _load_classifier(checkpoint, recipe, config)
    if recipe.freeze_embeddings:
        model.get_input_embeddings().requires_grad_(requires_grad=False)
    if recipe.copy_segment:
        _copy_first_segment(model, checkpoint)
    max_length = resolve_max_length(checkpoint, config, tokenizer, model)
    tokenizer.model_max_length = max_length  # saved with the checkpoint: whoever loads it cuts pairs as it was trained
    return model, tokenizer, max_length


def _load_classifier(checkpoint: Checkpoint, recipe: Recipe, config: ScorerConfig) -> Any:
    import torch
    import transformers

    torch.manual_seed(recipe.seed)
    try:
        with quiet_transformers():
            model, info = transformers.AutoModelForSequenceClassification.from_pretrained(
                checkpoint.trunk,
                num_labels=1,
                dtype=torch.float32,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # a head of another width is replaced; a trunk is refused below
                **code_options(config),
                **_dropout_options(checkpoint, recipe, code_options(config)),
            )
        restore_buffers(model)
    except (ValueError, OSError, RuntimeError, KeyError, TypeError, AttributeError, ImportError) as error:
        msg = f"model {checkpoint.name!r} ({checkpoint.architecture}) cannot be loaded for training: {error}"
        raise ScoringError(msg) from error
    absent = [*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])]
    prefix = f"{model.base_model_prefix}."
    lacking = sorted(key for key in absent if not _is_of_head(key, prefix))
    if lacking:
        msg = (
            f"model {checkpoint.name!r}: {len(lacking)} weights of the trunk that {type(model).__name__} needs are not in "
            f"the checkpoint, or have another shape (first: {', '.join(map(repr, lacking[:3]))}); training would start from "
            "random numbers. Is it the right model_type?"
        )
        raise ScoringError(msg)
    if absent:
        note(f"{checkpoint.name}: new head from seed {recipe.seed} ({', '.join(sorted(absent)[:4])})")
    model.config.sentence_transformers = {"activation_fn": SAVED_ACTIVATION}
    return model


def _copy_first_segment(model: Any, checkpoint: Checkpoint) -> None:
    import torch

    found = (module for name, module in model.named_modules() if name.endswith("token_type_embeddings"))
    table = next(
        (module.weight for module in found if isinstance(module, torch.nn.Embedding)), None
    )  # (segments, width)
    if table is None or len(table) == 1:
        msg = f"model {checkpoint.name!r} ({checkpoint.architecture}) has no embedding of a second segment; drop --copy-segment"
        raise ConfigError(msg)
    with torch.no_grad():
        table[1] = table[0]


def _is_of_head(name: str, prefix: str) -> bool:
    return not name.startswith(prefix) or ".pooler." in name


def head_parameters(model: Any) -> list[Any]:
    """Return the parameters of the head and the pooler, which a base model lacks or never trained."""
    prefix = f"{model.base_model_prefix}."
    return [parameter for name, parameter in model.named_parameters() if _is_of_head(name, prefix)]


EAGER_TOKENS = 128
"""Pairs of at most so many tokens."""


def attend_eagerly(model: Any, max_length: int) -> None:
    """Let a model that trains on a CPU compute attention as plain matrix products where its pairs are short.

    The backward pass of torch's fused attention took 23% of a step there (MiniLM-L6, bfloat16, 93 tokens, one thread); with
    plain products the step takes 0.78 of the time.
    """
    if max_length <= EAGER_TOKENS and hasattr(model, "set_attn_implementation"):
        model.set_attn_implementation("eager")


DROPOUT_FIELDS = (
    *(
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "classifier_dropout",
        "hidden_dropout",
        "attention_dropout",
    ),
    *("embedding_dropout", "mlp_dropout", "pooler_dropout", "dropout", "seq_classif_dropout"),
    *("dropout_rate", "resid_pdrop", "embd_pdrop", "attn_pdrop"),
)
"""Names that transformers' configs have for it."""


def _dropout_options(checkpoint: Checkpoint, recipe: Recipe, code: dict[str, Any]) -> dict[str, float]:
    """Return the fields of the config that the recipe's dropout replaces.

    Raises:
        ConfigError: The config has none of the known names.
    """
    import transformers

    if recipe.dropout is None:
        return {}
    config = transformers.AutoConfig.from_pretrained(checkpoint.trunk, local_files_only=True, **code)
    found = [name for name in DROPOUT_FIELDS if hasattr(config, name)]
    if not found:
        msg = (
            f"model {checkpoint.name!r} ({checkpoint.architecture}) has no dropout that is known here; drop the option"
        )
        raise ConfigError(msg)
    return dict.fromkeys(found, recipe.dropout)
