"""A recipe: everything that decides what a training does, in one frozen record.

The command line, the presets (``presets.py``) and the Python API all make one of these; the job's folder keeps it as JSON.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from rerank_bench.errors import ConfigError, describe_unknown

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Schedule = Literal["linear", "cosine", "constant_with_warmup", "constant"]
LossName = Literal["bce", "mse", "margin-mse", "pairwise-mse", "lambda", "listnet", "cross-entropy"]
Weighting = Literal["ndcg2++", "ndcg2", "ndcg1", "lambdarank", "none"]
LogBase = Literal["binary", "natural"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRecipe:
    """Which loss, with what; an option that the loss does not have is an error."""

    name: LossName = "bce"
    pos_weight: float | None = None
    """``bce``: what a positive counts relative to a negative, above 0; ``None`` is 1."""
    weighting: Weighting = "ndcg2++"
    """``lambda``: see ``lambda_loss``; ``none`` is RankNet."""
    sigma: float = 1.0
    """``lambda``: steepness of the logistic function, above 0."""
    eps: float = 1e-10
    """``lambda``: lower bound of the highest DCG."""
    k: int | None = None
    """``lambda``: pairs with neither document in the best k are left out; ``None`` takes all."""
    log_base: LogBase = "binary"
    """``lambda``: bits or nats."""

    def __post_init__(self) -> None:
        for option, kind, known in (
            ("name", "loss", get_args(LossName)),
            ("weighting", "weighting", get_args(Weighting)),
            ("log_base", "log base", get_args(LogBase)),
        ):
            if getattr(self, option) not in known:
                raise ConfigError(describe_unknown(kind, [getattr(self, option)], known))
        _check_positive("pos_weight", self.pos_weight)
        _check_positive("sigma", self.sigma)
        _check_positive("eps", self.eps)
        _check_positive("k", self.k)
        defaults = type(self).__dataclass_fields__
        owner = {"pos_weight": "bce"} | dict.fromkeys(("weighting", "sigma", "eps", "k", "log_base"), "lambda")
        lost = [n for n, loss in owner.items() if loss != self.name and getattr(self, n) != defaults[n].default]
        if lost:
            msg = f"{', '.join(lost)}: not an option of the loss {self.name!r} (but of {owner[lost[0]]!r}); drop it"
            raise ConfigError(msg)

    def describe(self) -> dict[str, Any]:
        """Return the name and the options that the loss has, JSON-able."""
        options = {"bce": ("pos_weight",), "lambda": ("weighting", "sigma", "eps", "k", "log_base")}
        return {"name": self.name, **{name: getattr(self, name) for name in options.get(self.name, ())}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What one training does; the same recipe and data give the same weights."""

    model: str
    """Base model: a folder, a hub id, or ``demo``."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    trust_remote_code: bool = False
    """Whether Python code that comes with the base model may run."""
    code_revision: str | None = None
    """Commit of that code where it lies in another repository."""
    loss: LossRecipe = field(default_factory=LossRecipe)
    batch_size: int = 16
    """Examples (pairs, or queries with their documents) per optimizer step, over all processes."""
    accumulation: int = 1
    """Parts that a batch is computed in, one backward pass each; divides ``batch_size``."""
    mini_batch: int | None = None
    """Pairs per forward pass; ``None``: all pairs of a part at once.  Changes memory and speed, not the loss."""
    epochs: float = 1.0
    max_steps: int | None = None
    """Optimizer steps at most; also ends the learning rate's schedule.  ``None``: as ``epochs`` says."""
    learning_rate: float = 2e-5
    """Highest rate of AdamW."""
    head_learning_rate: float | None = None
    """That of the head and the pooler, where it is another: a new head learns fast, what the trunk knows is to be kept."""
    schedule: Schedule = "linear"
    warmup: float = 0.1
    """Share of the steps in which the rate rises, 0 to below 1."""
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    max_length: int | None = None
    """Tokens per pair; ``None``: what the base model's files say."""
    dropout: float | None = None
    """Share of activations and attention weights left out at random, 0 to below 1; ``None``: as the base model's config
    says.  Few steps learn more with 0."""
    freeze_embeddings: bool = False
    """Whether the tokens' embeddings stay as they are: half the parameters of a small model, more of a multilingual one, whose
    gradients are as large however few tokens a batch has.  A step of 20 pairs with MiniLM-L6 on two cores takes 0.89 of the time."""
    copy_segment: bool = False
    """Whether the embedding of the second segment, the document's, starts as that of the first: an encoder of single texts knows
    only the first."""
    precision: Precision = "auto"
    """Of the forward pass: ``auto`` is bfloat16 where the device has units for it, else float32.  Weights and optimizer
    are float32 always."""
    gradient_checkpointing: bool = False
    """Less memory, about a third more time."""
    group_by_length: bool = False
    """Whether batches are drawn from examples of similar length: faster, but another order than the published recipes'."""
    seed: int = 12
    """Of the new head, the order of the examples and dropout."""
    log_steps: int = 50
    eval_steps: int | None = None
    """Steps between evaluations, each with a checkpoint; ``None``: only at the end, and a checkpoint every 500."""
    patience: int | None = None
    """Evaluations without a better value after which the training ends; ``None``: never."""
    keep_checkpoints: int = 2
    """How many of the last checkpoints stay, beside the best one."""

    def __post_init__(self) -> None:
        for name in (
            *("batch_size", "accumulation", "mini_batch", "epochs", "max_steps", "learning_rate"),
            *("head_learning_rate", "max_grad_norm"),
            *("max_length", "log_steps", "eval_steps", "patience", "keep_checkpoints"),
        ):
            _check_positive(name, getattr(self, name))
        for option, known in (("precision", get_args(Precision)), ("schedule", get_args(Schedule))):
            if getattr(self, option) not in known:
                raise ConfigError(describe_unknown(option, [getattr(self, option)], known))
        if not 0 <= self.warmup < 1:
            msg = f"warmup is {self.warmup}, expected a share of the steps: 0 to below 1"
            raise ConfigError(msg)
        if self.dropout is not None and not 0 <= self.dropout < 1:
            msg = f"dropout is {self.dropout}, expected a share: 0 to below 1"
            raise ConfigError(msg)
        if self.weight_decay < 0:
            msg = f"weight_decay is {self.weight_decay}, expected at least 0"
            raise ConfigError(msg)
        if self.batch_size % self.accumulation:
            msg = f"accumulation is {self.accumulation}, which does not divide batch_size {self.batch_size}"
            raise ConfigError(msg)

    def describe(self) -> dict[str, Any]:
        """Return every field, JSON-able."""
        return {**asdict(self), "loss": self.loss.describe()}


def _check_positive(name: str, value: float | None) -> None:
    if value is not None and not (math.isfinite(value) and value > 0):
        msg = f"{name} is {value}, expected a number above 0"
        raise ConfigError(msg)
