"""The quickstart on small data: its printed commands do the same, nothing is done twice, a kill costs little."""

from __future__ import annotations

import dataclasses
import inspect
import json
import random
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import words
from typer.testing import CliRunner
from watcher import Watcher

from rerank_bench.cli.app import app
from rerank_bench.cli.quickstart import quickstart as cli_quickstart
from rerank_bench.cli.render_quickstart import fold, verdict_in_words
from rerank_bench.data import datasets
from rerank_bench.data.fingerprints import with_fingerprints
from rerank_bench.data.manifests import Manifest
from rerank_bench.errors import ConfigError
from rerank_bench.gate.verdicts import Level, Trip, Verdict
from rerank_bench.jobs import docstring_data, quickstart
from rerank_bench.jobs.quickstart import DEFAULT_STEPS, QuickstartConfig, QuickstartReport, run_quickstart
from rerank_bench.progress import use_reporter
from rerank_bench.records import Dataset
from rerank_bench.reporting.summary import to_records
from rerank_bench.storage import file_sha256
from rerank_bench.training.docstrings import Docstring
from rerank_bench.training.presets import PRESETS

TINY = Path(__file__).parents[1] / "data" / "tiny"
WEIGHTS = Path("reranker/model.safetensors")
STEPS = 3
TRAIN_OPTIONS = "--eval-steps 2 --limit 12 --held-out 5"


def make_small(patch: pytest.MonkeyPatch, base: Path, cache: Path) -> None:
    """Give this process a small pydocs, few docstrings and a tiny base model: what the commands read, not what they do."""
    small = with_fingerprints(dataclasses.replace(datasets.load_dataset(TINY), name="pydocs"))

    def load_small(_manifest: Manifest) -> Dataset:
        return small

    rng = random.Random(5)
    found = [Docstring(f"m.f{number}", "", words(rng, 4), words(rng, 10)) for number in range(30)]
    preset = PRESETS["pydocs"]
    recipe = dataclasses.replace(
        preset.recipe, model=str(base), batch_size=4, mini_batch=None, max_length=32, precision="float32", log_steps=1
    )
    data = dataclasses.replace(preset.data, held_out=6, limit=20)
    torch.set_num_threads(1)  # other tests change it, and with it the last bits
    patch.setenv("RERANK_BENCH_CACHE", str(cache))
    patch.setattr(datasets, "load_from_manifest", load_small)
    patch.setattr(docstring_data, "collect_docstrings", lambda **_: found)
    patch.setitem(PRESETS, "pydocs", dataclasses.replace(preset, recipe=recipe, data=data, device="cpu"))
    patch.setattr(quickstart, "EVAL_STEPS", 2)
    patch.setattr(quickstart, "HELD_OUT", 5)


@pytest.fixture(scope="module")
def tour(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> QuickstartReport:
    """A finished one; not to be changed."""
    folder = tmp_path_factory.mktemp("tour")
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch, tiny_base, folder / "cache")
        return run_quickstart(QuickstartConfig(folder=folder / "tour", max_steps=STEPS))


@pytest.fixture
def small(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with small data and a cache of its own."""
    make_small(monkeypatch, tiny_base, tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def typed(command: str) -> Any:
    """What a printed command prints with ``--json``, and not otherwise."""
    program, *arguments = shlex.split(command)
    assert program == "rerank-bench"
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code in {0, 1}, done.output
    return json.loads(done.stdout)


def without_circumstances(result: dict[str, Any]) -> dict[str, Any]:
    """A result without times, speeds and the way it was asked for."""
    kept = {name: value for name, value in result.items() if name not in {"provenance", "scoring"}}
    blocks = {name: {k: v for k, v in block.items() if k != "timing"} for name, block in result["datasets"].items()}
    return dict(json.loads(json.dumps(kept | {"datasets": blocks})))


def test_the_printed_commands_do_the_same(tour: QuickstartReport, small: Path) -> None:
    commands = [step.command for step in tour.steps]
    assert commands == [
        "rerank-bench candidates pydocs --depth 30 --out candidates.trec.gz",
        f"rerank-bench train --preset pydocs --max-steps {STEPS} {TRAIN_OPTIONS} --out reranker",
        "rerank-bench run --model first-stage --model demo --model reranker --depth 30 --out runs",
        "rerank-bench leaderboard runs/leaderboard.csv",
        "rerank-bench gate --baseline runs/first-stage --run runs/reranker",
    ]
    candidates, training, results, tables, gates = [typed(command) for command in commands]
    assert candidates == tour.candidates
    assert (small / "candidates.trec.gz").read_bytes() == (tour.folder / "candidates.trec.gz").read_bytes()
    assert file_sha256(small / WEIGHTS) == file_sha256(tour.folder / WEIGHTS)
    assert training["values"] == tour.training["values"]
    assert [result["model"]["name"] for result in results] == ["first-stage", "demo", "reranker"]
    for result, outcome in zip(results, tour.run.outcomes, strict=True):
        assert without_circumstances(result) == without_circumstances(dict(outcome.result))
    assert tables == to_records(tour.page.frame)
    assert sorted(path.name for path in (small / "runs" / "plots").iterdir()) == sorted(p.name for p in tour.page.plots)
    (gate,) = gates
    assert gate == tour.gate.as_dict()
    first_stage, _, reranker = [result["datasets"]["pydocs"]["views"]["end_to_end"] for result in results]
    assert gate["result"]["primary"]["baseline"] == first_stage["measures"]["nDCG@10"]["reranked"]
    assert gate["result"]["primary"]["run"] == reranker["measures"]["nDCG@10"]["reranked"]


def test_what_is_finished_is_not_done_again(small: Path) -> None:
    config = QuickstartConfig(folder=small / "tour", max_steps=STEPS)
    first = run_quickstart(config)
    before = (config.folder / WEIGHTS).stat()
    watcher = Watcher()
    with use_reporter(watcher):
        second = run_quickstart(config)
    assert (config.folder / WEIGHTS).stat().st_mtime_ns == before.st_mtime_ns
    assert second.training == first.training
    assert f"{config.folder / 'reranker'} is trained already" in watcher.notes
    timings = [outcome.result["datasets"]["pydocs"]["timing"] for outcome in second.run.outcomes[1:]]
    assert all(timing["num_pairs_from_store"] == timing["num_pairs"] > 0 for timing in timings)
    assert second.gate.as_dict() == first.gate.as_dict()
    assert Path.cwd() == small


@dataclasses.dataclass
class Interrupter(Watcher):
    """Ctrl-C as soon as a note begins as said."""

    at: str = ""

    def note(self, message: str) -> None:
        super().note(message)
        if message.startswith(self.at):
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", ["step 3/3: loss", "5 of 5"])
def test_an_interrupted_tour_goes_on(at: str, tour: QuickstartReport, small: Path) -> None:
    config = QuickstartConfig(folder=Path("tour"), max_steps=STEPS)
    with use_reporter(Interrupter(at=at)), pytest.raises(KeyboardInterrupt):
        run_quickstart(config)
    assert Path.cwd() == small
    watcher = Watcher()
    with use_reporter(watcher):
        report = run_quickstart(config)
    assert file_sha256(config.folder / WEIGHTS) == file_sha256(tour.folder / WEIGHTS)
    assert report.gate.as_dict() == tour.gate.as_dict()
    if at.startswith("step 3"):
        assert "reranker: going on from step 2" in watcher.notes
        assert report.training["resumed_from"] == 2
    else:
        assert "tour/reranker is trained already" in watcher.notes


def test_a_folder_that_holds_something_else_is_refused(tour: QuickstartReport, small: Path) -> None:
    shutil.copytree(tour.folder / "reranker", small / "tour" / "reranker")
    with pytest.raises(ConfigError, match=r"tour/reranker was trained with max_steps 3, not 1; seed 12, not 7; choose"):
        run_quickstart(QuickstartConfig(folder=Path("tour"), max_steps=1, seed=7))
    (small / "notes").mkdir()
    (small / "notes" / "mine.txt").touch()
    with pytest.raises(ConfigError, match=r"notes: holds mine\.txt, which no quickstart wrote; choose a new folder"):
        run_quickstart(QuickstartConfig(folder=Path("notes")))
    with pytest.raises(ConfigError, match=r"notes/mine\.txt: is a file; choose a new folder"):
        run_quickstart(QuickstartConfig(folder=Path("notes/mine.txt")))


def test_on_the_command_line(small: Path) -> None:
    done = CliRunner().invoke(app, ["quickstart", "--max-steps", "1", "--seed", "7", "--out", "a tour"])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert "  cd 'a tour'" in lines
    assert "  rerank-bench train --preset pydocs --max-steps 1 --eval-steps 2 --seed 7 \\" in lines
    assert "      --limit 4 --held-out 5 --out reranker" in lines
    assert [line for line in lines if len(line) > 80] == []
    for line in lines:
        label, _, place = line.partition(" ")
        if label in {"checkpoint", "results", "leaderboard", "picture"}:
            assert Path(place.strip()).exists(), line
    assert (small / "a tour" / "runs" / "plots").is_dir()
    shown = CliRunner().invoke(
        app, ["quickstart", "--max-steps", "1", "--seed", "7", "--out", "a tour", "--json", "-q"]
    )
    assert shown.stderr == ""
    assert json.loads(shown.stdout)["gate"]["run"] == "runs/reranker (reranker)"
    refused = CliRunner().invoke(app, ["quickstart", "--out", "a tour"])
    assert refused.exit_code == 2
    assert f"a tour/reranker was trained with max_steps 1, not {DEFAULT_STEPS}; seed 7, not 12" in refused.stderr
    described = inspect.signature(cli_quickstart).parameters["max_steps"].annotation
    assert f"default: {DEFAULT_STEPS}," in str(described)


@pytest.mark.parametrize(
    ("verdict", "trip", "words"),
    [
        ("improved", None, "The new reranker is better than the first stage."),
        ("pass", None, "that it is better is not shown"),
        ("inconclusive", None, "cannot tell the new reranker from the first stage"),
        ("regressed", None, "is worse than the first stage"),
        ("improved", ("ties", "fail"), "Something is wrong with the new reranker"),
        ("regressed", ("below_first_stage", "fail"), "is worse than the first stage"),
        ("inconclusive", ("below_first_stage", "fail"), "is below the first stage"),
        ("inconclusive", ("below_random", "fail"), "is below the first stage"),
        ("inconclusive", ("truncation", "warn"), "cannot tell the new reranker from the first stage"),
    ],
)
def test_the_verdict_in_words(
    verdict: Verdict, trip: tuple[str, Level] | None, words: str, tour: QuickstartReport
) -> None:
    assert tour.gate.result is not None
    trips = [Trip(tripwire=trip[0], dataset="pydocs", level=trip[1], message="…")] if trip else []
    gate = dataclasses.replace(tour.gate, trips=trips, result=dataclasses.replace(tour.gate.result, verdict=verdict))
    assert words in verdict_in_words(gate)


def test_a_long_command_is_cut_where_a_shell_joins_it_again() -> None:
    command = "rerank-bench train --preset pydocs --max-steps 200 --eval-steps 50 --held-out 25 --out reranker"
    folded = fold(command, 60)
    assert max(map(len, folded.splitlines())) <= 60
    read = subprocess.run(["sh", "-c", f"printf '%s\\n' {folded}"], check=True, capture_output=True, text=True).stdout
    assert read.splitlines() == shlex.split(command)
    assert fold(command, 2 + len(command)) == f"  {command}"
