from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rerank_bench.errors import ConfigError, InvalidScoreError, ScoringError
from rerank_bench.scoring.loaded_scorer import load_scorer

SOURCE = """
import math

def overlap(pairs):
    return [len(set(query.lower().split()) & set(doc.lower().split())) for query, doc in pairs]

class Weighted:
    @staticmethod
    def score(pairs):
        return (len(doc) / 10 for _, doc in pairs)

def too_few(pairs):
    return [1.0] * (len(pairs) - 1)

def words(pairs):
    return ["high"] * len(pairs)

def not_a_number(pairs):
    return [math.nan if doc == "bad" else 1.0 for _, doc in pairs]

constant = 3
"""
PAIRS = [("stop a program", "A program to stop"), ("stop", "list"), ("sort a list", "list")]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's in the working directory; its name is new for every test."""
    name = f"scorers_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    return name


def test_a_function_scores(module: str) -> None:
    path = list(sys.path)
    loaded = load_scorer(f"{module}:overlap")
    assert sys.path == path
    scores = loaded.score(PAIRS)
    assert scores.dtype == np.float32
    assert scores.tolist() == [3.0, 0.0, 1.0]
    described = loaded.describe()
    assert (described["name"], described["family"]) == (f"{module}:overlap", "callable")
    assert described["signature"] == "(pairs)"


def test_the_fingerprint_follows_the_source(module: str, tmp_path: Path) -> None:
    before = load_scorer(f"{module}:overlap").fingerprint
    assert load_scorer(f"{module}:too_few").fingerprint != before
    with (tmp_path / f"{module}.py").open("a") as file:
        file.write("# changed\n")
    assert load_scorer(f"{module}:overlap").fingerprint != before


def test_an_edited_function_is_the_one_that_scores(module: str, tmp_path: Path) -> None:
    before = load_scorer(f"{module}:overlap")
    with (tmp_path / f"{module}.py").open("a") as file:
        file.write("\n\ndef overlap(pairs):\n    return [7.0 for _ in pairs]\n")
    after = load_scorer(f"{module}:overlap")
    assert after.score(PAIRS).tolist() == [7.0, 7.0, 7.0]
    assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("too_few", r"returned shape \(2,\) for 3 pairs, expected \(3,\)"),
        ("words", r"returned list, expected 3 numbers"),
        ("Weighted.score", r"returned generator, expected 3 numbers"),
    ],
)
def test_a_wrong_return_is_an_error(name: str, message: str, module: str) -> None:
    with pytest.raises(ScoringError, match=rf"model '{module}:{name}' {message}"):
        load_scorer(f"{module}:{name}").score(PAIRS)


def test_nan_names_the_pair(module: str) -> None:
    with pytest.raises(InvalidScoreError, match=r"query 'a', document 'bad': score is nan"):
        load_scorer(f"{module}:not_a_number").score([("a", "good"), ("a", "bad")])


def test_what_is_not_there_is_named(module: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown name 'overlpa'; did you mean 'overlap'"):
        load_scorer(f"{module}:overlpa")
    with pytest.raises(ConfigError, match=r"'constant' is of type int, expected a function that takes a list"):
        load_scorer(f"{module}:constant")
    with pytest.raises(
        ConfigError, match=r"module 'absent_module' cannot be imported \(No module named 'absent_module'"
    ):
        load_scorer("absent_module:score")


def test_tokenising_and_then_starting_processes_neither_warns_nor_hangs(tmp_path: Path, classifier: object) -> None:
    folder = classifier("bert")  # type: ignore[operator]  # the fixture is a function
    code = (
        "import subprocess, sys\n"
        "from rerank_bench.scoring.loaded_scorer import load_scorer\n"
        "scorer = load_scorer(sys.argv[1], device='cpu')\n"
        "scorer.score([('stop', 'a list %d' % i) for i in range(300)])\n"
        "subprocess.run(['git', '--version'], check=True, stdout=subprocess.DEVNULL)\n"
        "scorer.score([('stop', 'a list %d' % i) for i in range(300)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], check=True, capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert (done.stdout, done.stderr) == ("", "")
