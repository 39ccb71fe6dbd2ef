"""The leaderboard's tables as JSON-able records: what ``rerank-bench leaderboard --json`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rerank_bench.reporting.columns import PRIMARY_MEASURE
from rerank_bench.reporting.tables import Cell, Table, build_tables

if TYPE_CHECKING:
    import pandas as pd


def to_records(
    frame: pd.DataFrame, *, view: str = "end_to_end", measure: str = PRIMARY_MEASURE
) -> list[dict[str, Any]]:
    """Return the tables of one view as JSON-able records, one per table: what ``--json`` prints.

    Each holds ``view``, ``measure``, ``protocol_version``, ``depth``, ``first_stages``, ``differences``, ``columns`` and
    ``entries``; an entry's ``cells`` stand in the order of the columns, ``None`` where there is no value.

    Raises:
        ConfigError, DataError: As ``build_tables``.
    """
    return [_table_record(table) for table in build_tables(frame, view=view, measure=measure)]


def _table_record(table: Table) -> dict[str, Any]:
    columns = ("name", "is_mean", "num_datasets", "num_queries", "first_stage", "ceiling")
    return {
        "view": table.view,
        "measure": table.measure,
        "protocol_version": table.protocol_version,
        "depth": table.depth,
        "first_stages": list(table.first_stages),
        "differences": list(table.differences),
        "columns": [{name: getattr(column, name) for name in columns} for column in table.columns],
        "entries": [
            {
                "model": entry.label,
                "is_baseline": entry.is_baseline,
                "cells": [_cell_record(cell) for cell in entry.cells],
            }
            for entry in (*table.models, *table.baselines)
        ],
    }


def _cell_record(cell: Cell | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    return {
        "value": cell.value,
        "delta": cell.delta,
        "interval": None if cell.interval is None else list(cell.interval),
        "is_best": cell.is_best,
        "is_close": cell.is_close,
    }
