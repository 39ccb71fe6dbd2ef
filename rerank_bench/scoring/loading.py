"""Loading a checkpoint with transformers, strictly: what transformers would repair in silence is an error here.

transformers fills missing or misshapen weights with random numbers and only logs it, and makes up a tokenizer of five
tokens for a folder without one.  Both would give scores, and wrong ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from rerank_bench.errors import ConfigError, ScoringError
from rerank_bench.scoring.adapters import adapter_weights, merge_adapter, num_labels_of, whole_weights
from rerank_bench.scoring.checkpoints import TOKENIZER_FILES, Checkpoint
from rerank_bench.scoring.remote_code import check_allowed
from rerank_bench.scoring.scorer import ScorerConfig

if TYPE_CHECKING:
    import torch


_FILE_ERRORS = (ValueError, OSError, RuntimeError, KeyError, TypeError, AttributeError, ImportError)
"""What transformers lets through when a file of a checkpoint is not as it should be."""


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' progress bar and load report inside the block; we report both ourselves."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    had_bar = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bar:
            logging.enable_progress_bar()


def load_tokenizer(checkpoint: Checkpoint, config: ScorerConfig, *, pads_with_eos: bool = False) -> Any:
    """Return the checkpoint's tokenizer.

    Args:
        checkpoint: Where it is.
        config: Whether remote code may run.
        pads_with_eos: Whether the end-of-text token may pad where none is named, as decoders that mask it allow.

    Raises:
        ScoringError: The folder holds none, it cannot be read, or it has no token to pad with.
    """
    from transformers import AutoTokenizer

    folder = checkpoint.tokenizer_folder
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        msg = (
            f"model {checkpoint.name!r}: {folder} holds no tokenizer; expected one of "
            f"{', '.join(TOKENIZER_FILES)}. Copy the tokenizer files of the base model there"
        )
        raise ScoringError(msg)
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, **code_options(config))
    except _FILE_ERRORS as error:
        msg = f"model {checkpoint.name!r}: the tokenizer in {folder} cannot be loaded: {error}"
        raise ScoringError(msg) from error
    if tokenizer.pad_token_id is None and pads_with_eos and tokenizer.eos_token_id is not None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        msg = (
            f"model {checkpoint.name!r}: the tokenizer has no padding token, so pairs cannot be batched; "
            "set pad_token in tokenizer_config.json to the token that the model was trained with"
        )
        raise ScoringError(msg)
    if checkpoint.st_transformer.get("do_lower_case"):
        _apply_lower_case(checkpoint.name, tokenizer)
    return tokenizer


def _apply_lower_case(name: str, tokenizer: Any) -> None:
    """Let the tokenizer lower-case first, as ``do_lower_case`` in the Sentence Transformers settings asks."""
    from tokenizers import normalizers

    if not tokenizer.is_fast:
        msg = f"model {name!r}: do_lower_case needs a fast tokenizer (tokenizer.json), which the checkpoint lacks"
        raise ScoringError(msg)
    backend = tokenizer.backend_tokenizer
    rest = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *rest])


def restore_buffers(model: Any) -> None:
    """Compute anew what a model with code of its own keeps beside its weights, such as rotary tables.

    transformers 5 makes a model without memory and leaves buffers that are in no checkpoint uninitialised, unless the model's
    ``_init_weights`` fills them, as code written for earlier versions does not.
    """
    import torch
    from transformers.initialization import no_init_weights

    computed = {name for name, _ in model.named_buffers()} - set(model.state_dict())
    if type(model).__module__.startswith("transformers.") or not computed:
        return
    with quiet_transformers(), no_init_weights():
        fresh = type(model)(model.config)
    with torch.no_grad():
        for name in computed:
            model.get_buffer(name).copy_(fresh.get_buffer(name))


def load_model(checkpoint: Checkpoint, config: ScorerConfig, auto_class: str, *, unused: tuple[str, ...] = ()) -> Any:
    """Return the model in evaluation mode, float32, on the CPU, every weight taken from the checkpoint.

    Args:
        checkpoint: Where it is.
        config: Whether remote code may run.
        auto_class: Name of the transformers class, such as ``AutoModelForSequenceClassification``.
        unused: Prefixes of weights that the family does not use and that may be absent.

    Raises:
        ConfigError: The checkpoint needs remote code, which was not allowed.
        ScoringError: Weights are missing or of another shape, or transformers cannot load the files.
    """
    import torch
    import transformers
    from safetensors import SafetensorError

    check_allowed(checkpoint.name, checkpoint.config, allow_code=config.trust_remote_code)
    weights = {} if checkpoint.adapter is None else adapter_weights(checkpoint.adapter)
    num_labels = num_labels_of(weights) if auto_class.endswith("ForSequenceClassification") else None
    try:
        with quiet_transformers():
            model, info = getattr(transformers, auto_class).from_pretrained(
                checkpoint.trunk,
                dtype=torch.float32,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported by us, all at once, instead of by an exception
                **({} if num_labels is None else {"num_labels": num_labels}),
                **code_options(config),
            )
        restore_buffers(model)
    except (SafetensorError, UnpicklingError, *_FILE_ERRORS) as error:
        msg = f"model {checkpoint.name!r} ({checkpoint.architecture}) cannot be loaded: {error}"
        raise ScoringError(msg) from error
    has_other_code = "auto_map" in checkpoint.config and not config.trust_remote_code
    _check_complete(checkpoint, info, unused, replaced=whole_weights(weights), has_other_code=has_other_code)
    if checkpoint.adapter is not None:
        with quiet_transformers():
            model = merge_adapter(model, checkpoint.adapter, weights, checkpoint.name)
    for parameter in model.parameters():
        # Out of the mapped file into memory of torch's own alignment: kernels differ in the last bit by alignment,
        # and the same weights must give the same scores from any file.
        parameter.data = parameter.data.clone()
    return model.eval()


def code_options(config: ScorerConfig) -> dict[str, Any]:
    """Return what transformers is told of code that comes with the checkpoint."""
    pinned = {} if config.code_revision is None else {"code_revision": config.code_revision}
    return {"trust_remote_code": config.trust_remote_code, **pinned}


def _check_complete(
    checkpoint: Checkpoint,
    info: dict[str, Any],
    unused: tuple[str, ...],
    *,
    replaced: Collection[str],
    has_other_code: bool,
) -> None:
    """Raise unless every weight is in the checkpoint, or replaced by an adapter."""
    missing = sorted(key for key in info["missing_keys"] if not key.startswith(unused) and key not in replaced)
    mismatched = [entry for entry in info["mismatched_keys"] if entry[0] not in replaced]
    misshapen = sorted((name, tuple(found), tuple(wanted)) for name, found, wanted in mismatched)
    if misshapen:
        name, found, wanted = misshapen[0]
        msg = (
            f"model {checkpoint.name!r}: {len(misshapen)} weights have another shape than config.json says "
            f"(first: {name!r} is {found}, expected {wanted}); config.json and weights are of two checkpoints"
        )
        raise ScoringError(msg)
    if missing:
        head = [key for key in missing if any(part in key for part in ("classifier", "score", "head", "pooler"))]
        what = "the classification head is missing" if head else "weights are missing"
        reason = "this may be a base model that is still to be trained"
        if has_other_code:
            reason = "if its weights are for Python code of its own, read that, then pass --trust-remote-code"
        msg = (
            f"model {checkpoint.name!r}: {what}: {len(missing)} of the weights that {checkpoint.architecture} needs are "
            f"not in the checkpoint (first: {', '.join(repr(key) for key in missing[:3])}) and would be random "
            f"numbers. Expected a fine-tuned reranker; {reason}"
        )
        raise ScoringError(msg)


def place_model(model: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Return the model on its device, the trunk in ``dtype``, everything after the trunk in float32.

    Only parameters are converted: rotary frequencies and other buffers keep their precision.  A hook hands the
    trunk's hidden states on as float32, and another one does the same for a pooler inside the trunk.

    Raises:
        ConfigError: The architecture does not say where its trunk ends, and ``dtype`` is not float32.
    """
    import torch

    if dtype != torch.float32:
        trunk = getattr(model, model.base_model_prefix or " ", None)
        if trunk is None:
            msg = (
                f"{type(model).__name__} does not say where its trunk ends, so the head cannot be kept in float32 "
                f"while the trunk runs in {dtype}; use --dtype float32"
            )
            raise ConfigError(msg)
        lower_trunk(trunk, dtype)
    return model.to(device)


def lower_trunk(trunk: Any, dtype: torch.dtype) -> None:
    """Convert a trunk's parameters, all but its pooler's, and let it hand on float32."""
    pooler = getattr(trunk, "pooler", None)
    kept = {id(parameter) for parameter in pooler.parameters()} if pooler is not None else set()
    for parameter in trunk.parameters():
        if id(parameter) not in kept and parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    if pooler is not None:
        pooler.register_forward_pre_hook(lambda _module, inputs: tuple(_as_float32(value) for value in inputs))
    trunk.register_forward_hook(_outputs_as_float32)


def _as_float32(value: Any) -> Any:
    import torch

    return value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _outputs_as_float32(_module: Any, _inputs: Any, output: Any) -> Any:
    if isinstance(output, tuple):
        return tuple(_as_float32(value) for value in output)
    for name in ("last_hidden_state", "pooler_output"):
        if output.get(name) is not None:
            output[name] = _as_float32(output[name])
    return output
