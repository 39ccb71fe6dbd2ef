"""The floors of the house: a module imports only what stands below it; nothing heavy is loaded without need."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rerank_bench

PACKAGE = Path(rerank_bench.__file__).parent

# Top floor first. A module may import from any floor below its own, and from its own room.
FLOORS: list[set[str]] = [
    {"cli"},
    {"jobs"},  # hands the pipeline's evaluation to the trainer; the quickstart goes from candidates to the gate
    {"forensics", "gate", "planning"},
    {"comparison", "doctor", "pipeline", "training"},
    {"data", "first_stage", "scoring", "evaluation", "reporting"},
    {"provenance", "trec_io", "locks"},
    {"ranking", "storage"},
    {"records"},
    {"errors", "progress"},
]
FLOOR_OF = {room: number for number, floor in enumerate(FLOORS) for room in floor}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "rerank_bench"


def modules() -> list[Path]:
    return sorted(
        p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE or p.name not in {"__init__.py", "__main__.py"}
    )


def internal_imports(path: Path) -> set[str]:
    """Names of our own modules that a file imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("rerank_bench.")}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "rerank_bench":
                found |= {f"rerank_bench.{alias.name}" for alias in node.names if not alias.name.startswith("_")}
            elif node.module and node.module.startswith("rerank_bench."):
                found.add(node.module)
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for imported in internal_imports(path):
        target = room_of(imported)
        assert target == room or FLOOR_OF[target] > FLOOR_OF[room], f"{room} must not import {imported}"


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, rerank_bench; print([m for m in ('torch', 'numpy', 'pandas', 'typer') if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "[]"
