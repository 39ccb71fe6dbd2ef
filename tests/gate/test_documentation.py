"""docs/gate.md says what the code does."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from rerank_bench.gate.config import GateConfig, Tripwires, read_gates

DOCS = (Path(__file__).parents[2] / "docs" / "gate.md").read_text(encoding="utf-8")


def table_keys(heading: str) -> dict[str, str]:
    """Return key -> default of the first table under a heading that has both."""
    section = DOCS.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`[a-z_`, ]+) \|\s*([^|]*?)\s*\|", section, flags=re.MULTILINE)
    return {key: default.strip('` "') for keys, default in rows for key in re.findall(r"[a-z_]+", keys)}


def test_every_key_is_documented_with_its_default() -> None:
    documented = table_keys("Configuration")
    assert set(documented) == {item.name for item in fields(GateConfig)} - {"name"}
    for item in fields(GateConfig):
        if documented.get(item.name):
            assert documented[item.name] == str(item.default).replace("False", "false"), item.name


def test_every_tripwire_is_documented_with_its_level_and_its_limit() -> None:
    defaults = Tripwires()
    levels = {item.name: getattr(defaults, item.name) for item in fields(Tripwires) if not item.name.startswith("max_")}
    assert table_keys("Tripwires") == levels
    for item in fields(Tripwires):
        if item.name.startswith("max_"):
            assert f"`{item.name}` ({getattr(defaults, item.name):g})" in DOCS


def test_the_example_of_a_configuration_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", DOCS, flags=re.DOTALL)
    (tmp_path / "pyproject.toml").write_text(example)
    gates = read_gates(tmp_path / "pyproject.toml")
    assert {name: (gate.mode, gate.margin, gate.tripwires.truncation) for name, gate in gates.items()} == {
        "nanobeir": ("quality", 0.01, "warn"),
        "engine": ("repro", 0.01, "off"),
    }


def test_the_workflow_is_short() -> None:
    (workflow,) = re.findall(r"```yaml\n(.*?)```", DOCS, flags=re.DOTALL)
    assert len(workflow.splitlines()) < 25
    assert "\t" not in workflow


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    example = re.findall(r"```python\n(import.*?)```", DOCS, flags=re.DOTALL)[0]
    exec(compile(example, "gate.md", "exec"), {})  # noqa: S102  our own text
