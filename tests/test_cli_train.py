"""``rerank-bench train`` as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_models import write_sequence_classifier
from tiny_training import list_rows, pair_rows, write_jsonl
from typer.testing import CliRunner, Result

from rerank_bench.cli.app import app


def invoke(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: object) -> Result:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def test_check_train_and_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_sequence_classifier(tmp_path / "base")
    write_jsonl(tmp_path / "lists.jsonl", list_rows(6))
    common = ("--model", "base", "--data", "lists.jsonl", "--loss", "lambda", "--device", "cpu")
    checked = invoke(monkeypatch, tmp_path, *common, "--check")
    assert checked.exit_code == 0, checked.output
    assert "lists (query=query, documents=docs, label=labels)" in checked.stdout
    assert "6 queries, documents per query: 3 to 4, pairs: 21" in checked.stdout
    assert "15 of 0, 6 of 1 (28.6% above 0)" in checked.stdout
    assert "lists.jsonl, line 3" in checked.stdout
    assert max(map(len, checked.stdout.splitlines())) <= 80
    assert not (tmp_path / "models").exists()
    shown = json.loads(invoke(monkeypatch, tmp_path, *common, "--check", "--json", "-q").stdout)
    assert shown["num_pairs"] == 21
    trained = invoke(monkeypatch, tmp_path, *common, "--max-steps", 2, "--weighting", "none", "--held-out", 2)
    assert trained.exit_code == 0, trained.output
    assert "step 2 of 2" in trained.stdout
    assert "held-out loss" in trained.stdout
    assert "rerank-bench run --model models/base-lambda" in trained.stdout
    assert (tmp_path / "models" / "base-lambda" / "model.safetensors").is_file()
    record = json.loads((tmp_path / "models" / "base-lambda" / "training.json").read_text())
    assert record["job"]["recipe"]["loss"]["weighting"] == "none"
    other = invoke(monkeypatch, tmp_path, *common, "--max-steps", 2, "--seed", 3)
    assert other.exit_code == 2
    assert 'holds another training: recipe.loss.weighting is "none" there and "ndcg2++" here' in other.stderr
    assert "recipe.seed is 12 there and 3 here" in other.stderr


def test_bad_input_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "pairs.jsonl", pair_rows(4))
    nothing = invoke(monkeypatch, tmp_path)
    assert nothing.exit_code == 2
    assert "name a --preset, or a --model with --data" in nothing.stderr
    renamed = invoke(monkeypatch, tmp_path, "-m", "demo", "--data", data, "--columns", "query=quest")
    assert renamed.exit_code == 2
    assert "unknown column 'quest'" in renamed.stderr
    with data.open("a") as file:
        file.write('{"query": "cut off')
    broken = invoke(monkeypatch, tmp_path, "-m", "demo", "--data", data)
    assert "pairs.jsonl, line 5: is not JSON" in broken.stderr
    assert "one whole object a line" in broken.stderr


def test_importing_the_room_imports_no_torch() -> None:
    code = (
        "import sys, rerank_bench.training, rerank_bench.training.presets, rerank_bench.jobs, rerank_bench.cli.train; "
        "print([m for m in ('torch', 'transformers', 'datasets', 'pandas') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "[]"
