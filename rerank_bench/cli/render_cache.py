"""What ``rerank-bench cache`` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


def render_cache(console: Console, description: Mapping[str, Any]) -> None:
    """Print the folder, its parts with their sizes, and the stored scores of each model."""
    scores, candidates = description["scores"], description["candidates"]
    console.print(f"cache       {description['folder']}", soft_wrap=True, markup=False)
    console.print(f"scores      {format_bytes(scores['bytes'])}, {_counted(len(scores['stores']), 'file')}")
    console.print(f"candidates  {format_bytes(candidates['bytes'])}, {_counted(len(candidates['lists']), 'list')}")
    indexes, vectors = description["indexes"], description["vectors"]
    console.print(f"indexes     {format_bytes(indexes['bytes'])}, {_counted(indexes['collections'], 'collection')}")
    console.print(f"vectors     {format_bytes(vectors['bytes'])}, {_counted(vectors['collections'], 'collection')}")
    training = description["training"]
    console.print(f"training    {format_bytes(training['bytes'])}, {_counted(training['files'], 'file')}")
    if not scores["stores"]:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model", overflow="fold")
    for title in ("scores", "size"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("file", overflow="fold")
    for store in sorted(scores["stores"], key=lambda store: (store["name"] or "", store["file"])):
        num_scores = "damaged" if store["scores"] is None else f"{store['scores']:,}"
        table.add_row(store["name"] or "–", num_scores, format_bytes(store["bytes"]), store["file"])
    console.print(table)


def format_bytes(number: int) -> str:
    """Return a size such as ``512 bytes`` or ``1.5 MB`` (of 1,000,000 bytes)."""
    if number < 1_000:
        return f"{number} bytes"
    for unit in ("kB", "MB"):
        number_of_units = number / (1_000 if unit == "kB" else 1_000_000)
        if number_of_units < 999.5:
            return f"{number_of_units:,.1f} {unit}"
    return f"{number / 1_000_000_000:,.1f} GB"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
