"""What ``doctor`` found, for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rerank_bench.doctor.examination import Examination

FACTS = {
    "name": "model",
    "revision": "revision",
    "url": "address",
    "family": "family",
    "layout": "layout",
    "architecture": "architecture",
    "adapter_base": "adapter of",
    "head": "head",
    "pooling": "pooling",
    "similarity": "similarity",
    "template": "template",
    "instruction": "instruction",
    "query_prompt": "query prompt",
    "doc_prompt": "document prompt",
    "query_marker": "query marker",
    "doc_marker": "document marker",
    "query_expansion": "queries filled up to",
    "skipped_tokens": "tokens not compared",
    "positive_token": "positive token",
    "negative_token": "negative token",
    "labels": "labels",
    "positive_label": "positive label",
    "query_length": "query length",
    "max_length": "max length",
    "dtype": "dtype",
    "attention": "attention",
    "device": "device",
    "num_parameters": "parameters",
    "saved_activation": "saved activation",
}
"""Field of a model's description -> what a person reads; those that are absent or empty are left out."""

STYLES = {"ok": "green", "note": "cyan", "warning": "yellow", "failure": "bold red"}


def render_examination(console: Console, found: Examination) -> None:
    """Print the model's facts, then a line per check."""
    facts = Table.grid(padding=(0, 2))
    for field, label in FACTS.items():
        value = found.model.get(field)
        if value not in (None, "", []):
            facts.add_row(label, Text(_shown(value)))
    facts.add_row("loaded in", Text(f"{found.load_seconds:.1f} s"))
    console.print(facts)
    console.print()
    checks = Table.grid(padding=(0, 2))
    for check in found.checks:
        checks.add_row(Text(check.status, style=STYLES[check.status]), check.name, Text(check.detail))
    console.print(checks)


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(part) for part in value)
    return f"{value:,}" if isinstance(value, int) else str(value)
