"""Leaderboard rows as tables of values: which columns, which order, what is best, what cannot be told from it.

Nothing is rendered here; ``terminal.py``, ``markdown.py``, ``summary.py`` and the plots all draw what ``build_tables`` returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rerank_bench.errors import ConfigError, DataError, describe_unknown
from rerank_bench.records import VIEWS
from rerank_bench.reporting.columns import FIRST_STAGE_SUFFIX, MEASURE_COLUMNS, PRIMARY_MEASURE, Row
from rerank_bench.reporting.comparability import ComparableRows, ModelKey, model_key, split_comparable
from rerank_bench.reporting.labels import label_models, shorten_datasets
from rerank_bench.reporting.leaderboard import rows_from_frame

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One data set, one suite, or the mean of the data sets shown."""

    name: str
    title: str
    """Short, unlike any other column's of the table."""
    is_mean: bool
    num_datasets: int
    num_queries: int
    first_stage: float
    ceiling: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One model's value in one column."""

    value: float
    delta: float
    """value − first stage, from unrounded numbers."""
    interval: tuple[float, float] | None
    """95% interval of the delta; kept for the primary measure only."""
    row: Row | None
    """The row behind it; ``None`` for a mean computed here."""
    is_best: bool = False
    is_close: bool = False
    """Whether the interval touches the best's, so that the two cannot be told apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model or baseline: a line of the table."""

    label: str
    """The model's name, with settings in brackets where the leaderboard has it under several; unique."""
    is_baseline: bool
    cells: tuple[Cell | None, ...]
    """Aligned with the table's columns."""
    rows: tuple[Row, ...]
    """Its rows of single data sets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Values that compare within each column."""

    view: str
    measure: str
    protocol_version: int
    depth: int
    first_stages: tuple[str, ...]
    columns: tuple[Column, ...]
    models: tuple[Entry, ...]
    """Best first."""
    baselines: tuple[Entry, ...]
    differences: tuple[str, ...]
    """Why this table stands apart from the first one; empty for the first."""

    @property
    def has_intervals(self) -> bool:
        """Whether any value comes with an interval."""
        return any(cell is not None and cell.interval is not None for entry in self.models for cell in entry.cells)


def build_tables(frame: pd.DataFrame, *, view: str = "end_to_end", measure: str = PRIMARY_MEASURE) -> list[Table]:
    """Return the tables of one view, those that the most rows agree on first.

    Models are ordered by their mean over the data sets that all of them have.  The means come first among the columns:
    the suites' where the leaderboard has them (with an interval), else a mean of the data sets that all models share.

    Raises:
        ConfigError: Unknown view or measure, or a measure that the view does not have.
        DataError: No row has that view.
    """
    if view not in VIEWS:
        raise ConfigError(describe_unknown("view", [view], VIEWS))
    if measure not in MEASURE_COLUMNS:
        message = describe_unknown("measure", [measure], MEASURE_COLUMNS)
        msg = f"{message}. A leaderboard holds these; other measures stand in result.json"
        raise ConfigError(msg)
    rows = [row for row in rows_from_frame(frame) if row["view"] == view]
    if not rows:
        msg = f"no row has the view {view!r}; run a model first"
        raise DataError(msg)
    with_measure = [row for row in rows if row[MEASURE_COLUMNS[measure]] is not None]
    if not with_measure:
        found = [name for name, column in MEASURE_COLUMNS.items() if any(row[column] is not None for row in rows)]
        msg = f"no row of the view {view!r} has the measure {measure!r}, only {', '.join(found)}; choose one of these"
        raise ConfigError(msg)
    labels = label_models(with_measure)
    return [_build_table(group, labels, view, measure) for group in split_comparable(with_measure)]


def _build_table(group: ComparableRows, labels: Mapping[ModelKey, str], view: str, measure: str) -> Table:
    titles = shorten_datasets(list(group.variant_by_dataset))
    columns = [_column(f"{name} (mean)", variant, measure) for name, variant in group.variant_by_suite.items()]
    columns += [_column(titles[name], variant, measure) for name, variant in group.variant_by_dataset.items()]
    rows_by_key: dict[ModelKey, list[Row]] = {}
    for row in group.rows:
        rows_by_key.setdefault(model_key(row), []).append(row)
    entries = [_entry(labels[key], rows, columns, measure) for key, rows in rows_by_key.items()]
    models = [entry for entry in entries if not entry.is_baseline]
    shared = _shared(models or entries, columns)
    if not group.variant_by_suite and len(shared) > 1:
        columns, entries = _with_mean(columns, entries, shared)
        shared = [position + 1 for position in shared]
    ordered = sorted(entries, key=lambda entry: _order(entry, shared))
    first_stages = sorted({stage for row in group.rows for stage in row["first_stage"].split("+")})
    return Table(
        view=view,
        measure=measure,
        protocol_version=group.rows[0]["protocol_version"],
        depth=group.rows[0]["depth"],
        first_stages=tuple(first_stages),
        columns=tuple(columns),
        models=_with_marks([entry for entry in ordered if not entry.is_baseline]),
        baselines=tuple(entry for entry in ordered if entry.is_baseline),
        differences=group.differences,
    )


def _column(title: str, variant: Sequence[Row], measure: str) -> Column:
    row = variant[0]
    is_suite = row["kind"] == "suite"
    ceilings = [r["ceiling"] for r in variant if r["ceiling"] is not None] if measure == PRIMARY_MEASURE else []
    return Column(
        name=row["dataset"],
        title=title,
        is_mean=is_suite,
        num_datasets=len(row["datasets"].split(";")) if is_suite else 1,
        num_queries=row["num_queries"],
        first_stage=row[MEASURE_COLUMNS[measure] + FIRST_STAGE_SUFFIX],
        ceiling=ceilings[0] if ceilings else None,
    )


def _entry(label: str, rows: Sequence[Row], columns: Sequence[Column], measure: str) -> Entry:
    # A suite may have the name of a data set, so the kind is part of what finds the row.
    row_by_column = {(row["kind"] == "suite", row["dataset"]): row for row in rows}
    found = [row_by_column.get((column.is_mean, column.name)) for column in columns]
    return Entry(
        label=label,
        is_baseline=rows[0]["family"] == "baseline",
        cells=tuple(_cell(row, measure) if row else None for row in found),
        rows=tuple(row for row in rows if row["kind"] == "dataset"),
    )


def _cell(row: Row, measure: str) -> Cell:
    column = MEASURE_COLUMNS[measure]
    has_interval = measure == PRIMARY_MEASURE and row["ci_low"] is not None and row["ci_high"] is not None
    return Cell(
        value=row[column],
        delta=row[column] - row[column + FIRST_STAGE_SUFFIX],
        interval=(row["ci_low"], row["ci_high"]) if has_interval else None,
        row=row,
    )


def _shared(entries: Sequence[Entry], columns: Sequence[Column]) -> list[int]:
    """Return the positions of the data sets in which every entry has a value."""
    return [
        position
        for position, column in enumerate(columns)
        if not column.is_mean and all(entry.cells[position] is not None for entry in entries)
    ]


def _with_mean(
    columns: Sequence[Column], entries: Sequence[Entry], shared: Sequence[int]
) -> tuple[list[Column], list[Entry]]:
    """Return columns and entries with the mean of the shared data sets in front."""
    chosen = [columns[position] for position in shared]
    ceilings = [column.ceiling for column in chosen if column.ceiling is not None]
    column = Column(
        name="mean",
        title=f"mean of {len(shared)}",
        is_mean=True,
        num_datasets=len(shared),
        num_queries=sum(c.num_queries for c in chosen),
        first_stage=_mean(c.first_stage for c in chosen),
        ceiling=_mean(ceilings) if len(ceilings) == len(chosen) else None,
    )
    extended = []
    for entry in entries:
        cells = [cell for position in shared if (cell := entry.cells[position]) is not None]
        mean = None
        if len(cells) == len(shared):
            mean = Cell(
                value=_mean(c.value for c in cells), delta=_mean(c.delta for c in cells), interval=None, row=None
            )
        extended.append(replace(entry, cells=(mean, *entry.cells)))
    return [column, *columns], extended


def _order(entry: Entry, shared: Sequence[int]) -> tuple[Any, ...]:
    """Return the sort key: the mean over the shared data sets, else over the entry's own; then the label."""
    own = [cell for cell in entry.cells if cell is not None]
    over = [cell for position in shared if (cell := entry.cells[position]) is not None] or own
    return -_mean(cell.value for cell in over), entry.label


def _with_marks(models: Sequence[Entry]) -> tuple[Entry, ...]:
    """Return the entries with the best of each column marked, and those whose interval touches the best's."""
    marked = [
        _mark_column([entry.cells[position] for entry in models])
        for position in range(len(models[0].cells) if models else 0)
    ]
    return tuple(
        replace(entry, cells=tuple(column[number] for column in marked)) for number, entry in enumerate(models)
    )


def _mark_column(cells: Sequence[Cell | None]) -> list[Cell | None]:
    present = [cell for cell in cells if cell is not None]
    if len(present) < 2:  # the only one is no best
        return list(cells)
    best_value = max(cell.value for cell in present)
    best = next(cell for cell in present if cell.value == best_value)
    return [
        cell
        and replace(
            cell, is_best=cell.value == best_value, is_close=cell.value != best_value and _intervals_touch(cell, best)
        )
        for cell in cells
    ]


def _intervals_touch(cell: Cell, best: Cell) -> bool:
    """Return whether the intervals of the values overlap: those of the deltas, moved by the first-stage value."""
    if cell.interval is None or best.interval is None:
        return False
    highest = cell.value - cell.delta + cell.interval[1]
    lowest = best.value - best.delta + best.interval[0]
    return highest >= lowest


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def pairs_per_second(rows: Sequence[Row]) -> float | None:
    """Return all pairs over the time that they take at their rows' speeds.

    ``None`` where one row was never timed, or none has a speed: the scores may all have been stored before.
    """
    if any(row["pairs_per_second"] is None and row["score_seconds"] is None for row in rows):
        return None
    timed = [(row["num_pairs"], row["num_pairs"] / row["pairs_per_second"]) for row in rows if row["pairs_per_second"]]
    return sum(pairs for pairs, _ in timed) / sum(seconds for _, seconds in timed) if timed else None
