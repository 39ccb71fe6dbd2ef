"""Print the docstrings of source files, as JSON; a script for a fresh interpreter, which needs nothing but itself.

``docstrings.py`` starts one per core.  Files are parsed, never imported.  On stdin stands a JSON list of [distribution,
path inside the distribution, file]; on stdout comes a JSON list of [number in that list, dotted name, signature, first
paragraph, rest], in order; the rest may be empty.  A file that cannot be read or parsed (templates, other versions' syntax) gives nothing.
"""

from __future__ import annotations

import ast
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

MAX_FILE_CHARS = 1_000_000
"""Longer files are generated tables."""

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def main() -> None:
    """Read the list of files, print what they say."""
    warnings.simplefilter("ignore")  # invalid escapes in other people's strings
    files = json.load(sys.stdin)
    found = [
        [number, *parts]
        for number, (_, inside, path) in enumerate(files)
        for parts in docstrings_of(Path(path), inside)
    ]
    json.dump(found, sys.stdout)


def docstrings_of(path: Path, inside: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield (dotted name, signature, first paragraph, rest or an empty text) of every docstring, in file order."""
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
    if len(source) > MAX_FILE_CHARS or ('"""' not in source and "'''" not in source):
        return
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    yield from _walk(tree, _module_name(inside))


def _module_name(inside: str) -> str:
    parts = list(Path(inside).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _walk(node: Documented, name: str) -> Iterator[tuple[str, str, str, str]]:
    doc = ast.get_docstring(node)
    first, _, rest = (doc or "").partition("\n\n")
    if first.strip():
        yield name, _signature(node), " ".join(first.split()), rest.strip()
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _walk(child, f"{name}.{child.name}")


def _signature(node: Documented) -> str:
    """Return ``(a, b=1)`` without annotations; empty for modules and classes."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return ""
    arguments = node.args
    everyone = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    for argument in everyone:
        if argument is not None:
            argument.annotation = None
    return f"({ast.unparse(arguments)})"


if __name__ == "__main__":
    main()
