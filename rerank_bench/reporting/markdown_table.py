"""Tables in Markdown, for every page and report."""

from __future__ import annotations

from collections.abc import Sequence


def escape_markdown(text: str) -> str:
    """Return text that a Markdown table cell shows as it is."""
    for letter in "\\|*`<[]":
        text = text.replace(letter, f"\\{letter}")
    return " ".join(text.split())


def render_markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]], *, num_left: int) -> str:
    """Return a Markdown table whose first ``num_left`` columns are aligned to the left, the others to the right."""
    rules = [":---" if position < num_left else "---:" for position in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rules, *lines))
