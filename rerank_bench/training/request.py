"""What one ``train`` is asked to do: a recipe, where the data are, and what is measured on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from rerank_bench.errors import ConfigError, describe_unknown
from rerank_bench.records import VIEWS, View
from rerank_bench.training.recipe import LossRecipe, Recipe

DropContaminated = Literal["none", "queries", "all"]
DOCSTRINGS = "docstrings"
"""Data source: the docstrings of the installed packages."""
MEAN = "nDCG@10"
"""Name of the mean over all evaluation data sets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSet:
    """One evaluation while training, as ``rerank-bench run`` would do it."""

    name: str
    """A data set, a folder, or a suite."""
    view: View = "end_to_end"
    first_stage: str = "bm25"
    depth: int = 100
    limit: int | None = None
    """Only the first N queries."""

    def describe(self) -> dict[str, Any]:
        """Return every field, JSON-able."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def parse_evaluation(text: str) -> EvaluationSet:
    """Return the evaluation of ``NAME`` or ``NAME,view=…,first-stage=…,depth=…,limit=…``.

    Raises:
        ConfigError: An unknown option, or a value that it does not take.
    """
    name, *options = (part.strip() for part in text.split(","))
    values: dict[str, Any] = {}
    for option in options:
        key, _, value = option.partition("=")
        field_name = key.replace("-", "_")
        known = [n.replace("_", "-") for n in EvaluationSet.__dataclass_fields__ if n != "name"]
        if key not in known:
            raise ConfigError(describe_unknown(f"option of the evaluation {name!r}", [key], known))
        if field_name in {"depth", "limit"}:
            if not value.isdecimal() or int(value) < 1:
                msg = f"evaluation {name!r}: {key} is {value!r}, expected a whole number of at least 1"
                raise ConfigError(msg)
            values[field_name] = int(value)
        else:
            values[field_name] = value
    if values.get("view", "end_to_end") not in VIEWS:
        raise ConfigError(describe_unknown("view", [values["view"]], VIEWS))
    return EvaluationSet(name=name, **values)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRequest:
    """Where the training data are and what of them is used."""

    sources: tuple[str, ...] = ()
    """Files; or one hub data set ``owner/name``; or ``docstrings``."""
    config: str | None = None
    """Hub: the configuration."""
    split: str = "train"
    """Hub: the split."""
    revision: str | None = None
    """Hub: branch, tag or commit."""
    columns: tuple[str, ...] = ()
    """``ROLE=NAME`` texts; see ``shapes.parse_columns``."""
    first_rows: int | None = None
    """Only so many rows from the start, before anything is set aside."""
    held_out: int | Path | None = None
    """So many examples set aside for ``loss`` and ``average_precision``, or a file with them."""
    split_seed: int = 12
    """Draws the examples that are set aside."""
    limit: int | None = None
    """Only so many training examples, after all else."""
    drop_unusable: bool = False
    """Leave out rows with empty texts and groups that the loss learns nothing from, instead of stopping at them."""
    drop_contaminated: DropContaminated = "none"
    """Leave out examples with a query (``queries``), or also with a document (``all``), of the evaluation data sets."""

    def __post_init__(self) -> None:
        for name in ("first_rows", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                msg = f"{name} is {value}, expected at least 1"
                raise ConfigError(msg)
        if isinstance(self.held_out, int) and self.held_out < 1:
            msg = f"held_out is {self.held_out}, expected at least 1 example, or a file"
            raise ConfigError(msg)
        if self.drop_contaminated not in get_args(DropContaminated):
            known = get_args(DropContaminated)
            raise ConfigError(describe_unknown("choice for drop_contaminated", [self.drop_contaminated], known))

    def describe(self) -> dict[str, Any]:
        """Return every field, JSON-able."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {
            "sources": list(self.sources),
            "columns": list(self.columns),
            "held_out": str(self.held_out) if isinstance(self.held_out, Path) else self.held_out,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequest:
    """Everything that one ``train`` is asked to do."""

    recipe: Recipe
    data: DataRequest = field(default_factory=DataRequest)
    evaluations: tuple[EvaluationSet, ...] = ()
    eval_dtype: str = "auto"
    """Precision of the evaluations' scores, as ``rerank-bench run --dtype`` takes it."""
    best_by: str | None = None
    """Value that chooses the checkpoint: ``nDCG@10`` (the mean), ``NAME nDCG@10``, ``NAME RR@10``, ``loss``,
    ``average_precision``, ``accuracy`` or ``f1``; ``None`` keeps the last."""
    device: str = "auto"
    """``auto`` or ``cpu``."""
    log_to: tuple[str, ...] = ()
    """Where the log goes beside ``log.csv``: ``tensorboard``, ``wandb``, ``trackio``."""
    preset: str | None = None
    """Name of the preset that it came from."""


NONE = "none"
"""On the command line: no evaluation, or no value to choose by, where a preset has one."""


def parse_choices(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as a user writes them turned into the fields' own types.

    ``evaluate`` texts become ``evaluations``, ``held_out`` a number or a path; ``none`` empties ``evaluate`` and ``best_by``.

    Raises:
        ConfigError: An evaluation cannot be read.
    """
    chosen: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    evaluate = chosen.pop("evaluate", None)
    if evaluate:
        chosen["evaluations"] = [] if evaluate == (NONE,) else [parse_evaluation(text) for text in evaluate]
    held_out = chosen.get("held_out")
    if held_out is not None:
        chosen["held_out"] = int(held_out) if held_out.isdecimal() else Path(held_out)
    return chosen


def override(base: TrainingRequest | None, values: Mapping[str, Any]) -> TrainingRequest:
    """Return a request with some fields replaced.

    Args:
        base: A preset; ``None`` for the defaults of a training on own data, which must at least name ``model``.
        values: Field -> value; ``None`` keeps what the base says.  Fields are those of ``TrainingRequest``, ``Recipe``,
            ``DataRequest`` (with ``data_`` before ``config``, ``split`` and ``revision``) and ``LossRecipe`` (its name is
            ``loss``).  Another loss than the base's begins from that loss's defaults.

    Raises:
        ConfigError: No model is named, or a value is out of range.
    """
    given = {name: value for name, value in values.items() if value is not None and value != ()}
    if base is None:
        if "model" not in given:
            msg = "nothing says what to train: name a --preset, or a --model with --data"
            raise ConfigError(msg)
        base = TrainingRequest(recipe=Recipe(model=given["model"]))
    own = _names(TrainingRequest) - {"recipe", "data"}
    recipe_values = {name: given[name] for name in _names(Recipe) - {"loss"} if name in given}
    data_values = {name: given[_data_option(name)] for name in _names(DataRequest) if _data_option(name) in given}
    unknown = given.keys() - own - _names(Recipe) - set(map(_data_option, _names(DataRequest))) - _names(LossRecipe)
    if unknown:
        raise ConfigError(describe_unknown("field of a training", sorted(unknown), own | _names(Recipe)))
    return replace(
        base,
        recipe=replace(base.recipe, loss=_override_loss(base.recipe.loss, given), **recipe_values),
        data=replace(base.data, **data_values),
        **{name: _as_field(name, given[name]) for name in own if name in given},
    )


def _as_field(name: str, value: Any) -> Any:
    if name == "evaluations":
        return tuple(value)
    return None if name == "best_by" and value == NONE else value


def _override_loss(loss: LossRecipe, given: Mapping[str, Any]) -> LossRecipe:
    options = {name: given[name] for name in _names(LossRecipe) - {"name"} if name in given}
    name = given.get("loss", loss.name)
    return replace(loss, **options) if name == loss.name else LossRecipe(name=name, **options)


def _data_option(name: str) -> str:
    return f"data_{name}" if name in {"config", "split", "revision"} else name


def _names(record: type[Any]) -> set[str]:
    return {entry.name for entry in fields(record)}
