"""What a gate is asked to do: from ``[tool.rerank-bench.gate]`` of a pyproject.toml, from a TOML file, from the caller.

The table of a pyproject.toml and the top of a file of gates look alike.  Keys at the top are one gate, or, beside a table
``gates``, the defaults of every gate in it::

    alpha = 0.05
    [gates.nanobeir]
    baseline = "baselines/nanobeir.json"
    run = "runs/nanobeir/my-model"
    [gates.engine]
    mode = "repro"
    …

Paths in a file are relative to the file's folder.  Unknown keys are errors; all problems of a file are said at once.
"""

from __future__ import annotations

import dataclasses
import math
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rerank_bench.data.toml_schema import Key, Schema, check_table, flag, map_of, number, one_of, table_of, text
from rerank_bench.errors import ConfigError, DataError, ParseError, describe_unknown
from rerank_bench.gate.quality import Thresholds
from rerank_bench.gate.verdicts import LEVELS, MODES, Level, Mode
from rerank_bench.records import VIEWS, View

PYPROJECT = "pyproject.toml"
PYPROJECT_TABLE = ("tool", "rerank-bench", "gate")
DEFAULT_NAME = "gate"
MIN_ALPHA = 0.001
"""10,000 sign flips and resamples say nothing of rarer things."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tripwires:
    """What trips without statistics, and how hard: ``fail`` loses the gate, ``warn`` says it, ``off`` does not look."""

    not_finite: Level = "fail"
    """A score or a value is NaN or infinite."""
    missing_queries: Level = "fail"
    """Queries of the data set, or of the baseline, that the run has no values or no ranking for."""
    constant_scores: Level = "fail"
    """All candidates of a query have one score, in over ``max_constant_share`` of the queries."""
    ties: Level = "fail"
    """Equal scores stand on both sides of rank 10, in over ``max_ties_share`` of the queries."""
    below_first_stage: Level = "fail"
    """The mean over the data sets is below the first stage's."""
    below_random: Level = "fail"
    """A data set's mean is below that of its candidates in random order."""
    truncation: Level = "warn"
    """Over ``max_truncated_share`` of the model's inputs were cut to the longest length."""
    max_constant_share: float = 0.05
    max_ties_share: float = 0.05
    max_truncated_share: float = 0.5

    def __post_init__(self) -> None:
        problems: list[str] = []
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if item.name.startswith("max_"):
                if not 0 <= value <= 1:
                    problems.append(f"tripwires.{item.name} is {value}, expected a share between 0 and 1")
            elif value not in LEVELS:
                problems.append(f"tripwires.{item.name} is {value!r}, expected one of {', '.join(LEVELS)}")
        if problems:
            raise ConfigError("; ".join(problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class GateConfig:
    """One gate."""

    name: str = DEFAULT_NAME
    baseline: str = ""
    """A baseline file, a run folder, its ``result.json``, or ``results.csv:MODEL[@SUITE]``."""
    run: str = ""
    """A run folder, or its ``result.json``."""
    mode: Mode = "quality"
    measure: str = "nDCG@10"
    view: View = "end_to_end"
    min_drop: float = 0.005
    alpha: float = 0.05
    margin: float = 0.02
    strict: bool = False
    tolerance: float = 0.002
    """``repro``: the largest |difference of means| that counts as reproduced."""
    max_score_difference: float | None = None
    """``repro``: the largest difference of one pair's scores; ``None``: any."""
    tripwires: Tripwires = field(default_factory=Tripwires)

    def __post_init__(self) -> None:
        problems = []
        if self.mode not in MODES:
            problems.append(f"mode is {self.mode!r}, expected one of {', '.join(MODES)}")
        if self.view not in VIEWS:
            problems.append(f"view is {self.view!r}, expected one of {', '.join(VIEWS)}")
        if not MIN_ALPHA <= self.alpha < 0.5:
            problems.append(f"alpha is {self.alpha}, expected a share of at least {MIN_ALPHA} and below 0.5")
        for name in ("min_drop", "margin", "tolerance", "max_score_difference"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                problems.append(f"{name} is {value}, expected a number of at least 0")
        if self.margin < self.min_drop:
            problems.append(
                f"margin is {self.margin:g} and min_drop {self.min_drop:g}, expected a margin of at least min_drop: "
                f"a drop between the two would be neither regressed nor pass, however many queries there are"
            )
        if problems:
            raise ConfigError(f"gate {self.name!r}: " + "; ".join(problems))

    @property
    def thresholds(self) -> Thresholds:
        """What ``quality`` judges by."""
        return Thresholds(min_drop=self.min_drop, alpha=self.alpha, margin=self.margin)


_LEVEL = one_of(*LEVELS)
_TRIPWIRE_SCHEMA: Schema = {
    item.name: Key(number if item.name.startswith("max_") else _LEVEL, is_required=False)
    for item in dataclasses.fields(Tripwires)
}
_GATE_SCHEMA = {
    name: Key(check, is_required=False)
    for name, check in {
        "baseline": text,
        "run": text,
        "mode": one_of(*MODES),
        "measure": text,
        "view": one_of(*VIEWS),
        "min_drop": number,
        "alpha": number,
        "margin": number,
        "strict": flag,
        "tolerance": number,
        "max_score_difference": number,
        "tripwires": table_of(_TRIPWIRE_SCHEMA),
    }.items()
}
_FILE_SCHEMA: Schema = _GATE_SCHEMA | {"gates": Key(map_of(table_of(_GATE_SCHEMA)), is_required=False)}


def resolve_gates(config: str | Path | None = None, names: Sequence[str] = (), **overrides: Any) -> list[GateConfig]:
    """Return the gates to judge.

    Args:
        config: A file of gates; ``None`` takes the table of the pyproject.toml in the working directory, if there is one.
        names: Only these gates of the file.
        **overrides: Fields of ``GateConfig`` that replace the file's; ``None`` replaces nothing.

    Raises:
        ConfigError: A name is unknown, a value out of range, or one run is given for several gates.
        DataError: The file does not exist.
        ParseError: It cannot be read, or holds unknown keys.
    """
    found = read_gates(config) if config is not None else _gates_of_pyproject()
    if names:
        unknown = [name for name in names if name not in found]
        if unknown:
            raise ConfigError(f"{config or PYPROJECT}: " + describe_unknown("gate", unknown, list(found)))
        found = {name: found[name] for name in names}
    given = {name: value for name, value in overrides.items() if value is not None}
    if len(found) > 1 and {"baseline", "run"} & set(given):
        msg = (
            f"a baseline or a run was named for one gate, but there are {', '.join(found)}; choose one with --gate NAME"
        )
        raise ConfigError(msg)
    gates = [dataclasses.replace(gate, **given) for gate in found.values()] or [GateConfig(**given)]
    for gate in gates:
        lacking = [name for name in ("baseline", "run") if not getattr(gate, name)]
        if lacking:
            msg = (
                f"gate {gate.name!r} has no {' and no '.join(lacking)}; name "
                f"{' and '.join(f'--{name}' for name in lacking)}, or set it in [{'.'.join(PYPROJECT_TABLE)}] of {PYPROJECT}"
            )
            raise ConfigError(msg)
    return gates


def parse_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a caller in Python as fields of ``GateConfig``, checked as a file's keys are.

    Raises:
        ConfigError: An option is unknown or of a wrong type; all are named.
    """
    problems: list[str] = []
    check_table("the options of a gate", dict(options), _GATE_SCHEMA, problems)
    if problems:
        raise ConfigError("; ".join(problems))
    tripwires = {"tripwires": Tripwires(**options["tripwires"])} if "tripwires" in options else {}
    return {**options, **tripwires}


def _gates_of_pyproject() -> dict[str, GateConfig]:
    path = Path(PYPROJECT)
    return read_gates(path) if path.exists() else {}


def read_gates(path: str | Path) -> dict[str, GateConfig]:
    """Return gate's name -> gate, of a pyproject.toml (none where it has no such table) or of a file of gates.

    Raises:
        DataError: The file does not exist.
        ParseError: It is not TOML, or holds unknown keys or values of a wrong type.
        ConfigError: A value is out of range.
    """
    path = Path(path)
    try:
        table: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        msg = f"{path}: no such file; a file of gates is TOML, see docs/gate.md"
        raise DataError(msg) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ParseError(path, None, f"is not TOML: {error}") from error
    where = ""
    if path.name == PYPROJECT:
        where = ".".join(PYPROJECT_TABLE)
        for key in PYPROJECT_TABLE:
            table = table.get(key, {}) if isinstance(table, dict) else {}
        if not table:
            return {}
    problems: list[str] = []
    check_table(where, table, _FILE_SCHEMA, problems)
    if problems:
        raise ParseError(path, None, "; ".join(problems))
    defaults = {key: value for key, value in table.items() if key != "gates"}
    named = table.get("gates") or {DEFAULT_NAME: {}}
    try:
        return {name: _gate(name, defaults, own, path.parent) for name, own in named.items()}
    except ConfigError as error:
        msg = f"{path}: {error}"
        raise ConfigError(msg) from error


def _gate(name: str, defaults: Mapping[str, Any], own: Mapping[str, Any], folder: Path) -> GateConfig:
    fields = {**defaults, **own}
    tripwires = Tripwires(**{**defaults.get("tripwires", {}), **own.get("tripwires", {})})
    for place in ("baseline", "run"):
        if place in fields:
            fields[place] = os.path.normpath(folder / fields[place])
    return GateConfig(**fields | {"name": name, "tripwires": tripwires})
