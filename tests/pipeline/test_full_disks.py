"""Real file systems that are full or read-only under a run: small ones in memory, mounted for one process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tiny_models import write_sequence_classifier

TINY = Path(__file__).parents[1] / "data" / "tiny"
KILOBYTES = 256
"""Of the mounted file system."""
MOUNTED = """
mount -t tmpfs -o size={size}k tmpfs "$PLACE" && {prepare} || exit 99
"$@"
code=$?
find "$PLACE" -type f > "$PLACE.files"
exit $code
"""
"""The file system is gone when the shell ends, so what lay there is listed before."""

COMMAND = [
    *(sys.executable, "-m", "rerank_bench", "run", "-d", str(TINY)),
    *("--device", "cpu", "--depth", "5", "--batch-tokens", "1"),
]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sequence_classifier(tmp_path_factory.mktemp("models") / "reranker", seed=2)


def _call(folder: Path, command: Sequence[str], **variables: str) -> subprocess.CompletedProcess[str]:
    own = {"PLACE": "place", "RERANK_BENCH_CACHE": "cache", "OMP_NUM_THREADS": "1", "COLUMNS": "400"}
    environment = os.environ | own | variables
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def _in_shell(prepare: str, command: Sequence[str]) -> list[str]:
    script = MOUNTED.format(size=KILOBYTES, prepare=prepare)
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", *command]


@pytest.fixture(scope="module")
def fresh(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return what a run that nothing disturbs writes."""
    folder = tmp_path_factory.mktemp("fresh")
    finished = _call(folder, [*COMMAND, "-m", str(model), "--out", "out", "--no-cache"])
    assert finished.returncode == 0, finished.stderr
    return runs_in(folder / "out")


@pytest.fixture(scope="session")
def can_mount(tmp_path_factory: pytest.TempPathFactory) -> bool:
    place = tmp_path_factory.mktemp("place")
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run(
        _in_shell("true", ["true"]), env=os.environ | {"PLACE": str(place)}, capture_output=True, check=False
    )
    return tried.returncode == 0


@pytest.fixture
def run(tmp_path: Path, *, can_mount: bool) -> Run:
    """Run the command line, with a file system of its own at ``place`` if ``prepare`` is given."""
    (tmp_path / "place").mkdir()

    def call(spec: object, *options: str, prepare: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, "-m", str(spec), *options]
        if prepare:
            if not can_mount:
                pytest.skip("this user may mount nothing")
            command = _in_shell(prepare, command)
        return _call(tmp_path, command, **variables)

    return call


def filled(free_kilobytes: int) -> str:
    return f'head -c {1024 * (KILOBYTES - free_kilobytes)} /dev/zero > "$PLACE/filler"'


def listed(tmp_path: Path) -> list[str]:
    return [Path(line).name for line in (tmp_path / "place.files").read_text().splitlines()]


def runs_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*/*.run.trec.gz")}


def job_of(folder: Path) -> dict[str, int]:
    (path,) = folder.glob("*/result.json")
    (job,) = json.loads(path.read_text())["scoring"]["jobs"]
    return dict(job)


@pytest.mark.parametrize("prepare", [filled(96), 'mount -o remount,ro "$PLACE"'], ids=["full", "read-only"])
def test_a_cache_that_cannot_be_written_costs_nothing_but_the_cache(
    run: Run, model: Path, fresh: dict[str, bytes], tmp_path: Path, prepare: str
) -> None:
    finished = run(model, "--out", "out", prepare=prepare, RERANK_BENCH_CACHE="place")
    assert finished.returncode == 0, finished.stderr
    assert "scores of" in finished.stderr
    assert "place/scores/" in finished.stderr
    assert "are not stored from here on" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert not [name for name in listed(tmp_path) if name.endswith(".tmp")]
    assert runs_in(tmp_path / "out") == fresh


def test_a_results_folder_that_fills_up_is_named_and_the_scores_are_kept(
    run: Run, model: Path, fresh: dict[str, bytes], tmp_path: Path
) -> None:
    stopped = run(model, "--out", "place/out", prepare=filled(8))
    assert stopped.returncode == 3, stopped.stderr
    assert "place/out/" in stopped.stderr
    assert "cannot be written (No space left on device)" in stopped.stderr
    assert not {"result.json", "leaderboard.csv"} & set(listed(tmp_path))
    assert not [name for name in listed(tmp_path) if name.endswith(".tmp")]
    assert run(model, "--out", "resumed").returncode == 0
    job = job_of(tmp_path / "resumed")
    assert job["num_pairs_from_store"] == job["num_pairs"] > 0
    assert runs_in(tmp_path / "resumed") == fresh


def test_a_leaderboard_on_a_full_disk_is_as_it_was(run: Run, tmp_path: Path) -> None:
    assert run("random", "--out", "before", "--leaderboard", "results.csv").returncode == 0
    before = (tmp_path / "results.csv").read_bytes()
    prepare = 'cp results.csv "$PLACE" && { cat /dev/zero > "$PLACE/filler" 2> /dev/null || true; }'
    stopped = run("first-stage", "--out", "out", "--leaderboard", "place/results.csv", prepare=prepare)
    assert stopped.returncode == 3, stopped.stderr
    assert "place/results.csv: cannot be written (No space left on device)" in stopped.stderr
    assert "It is as it was before" in stopped.stderr
    assert (tmp_path / "out" / "first-stage" / "result.json").exists(), "what was measured stays"
    assert run("first-stage", "--out", "out", "--leaderboard", "results.csv").returncode == 0
    assert (tmp_path / "results.csv").read_bytes().startswith(before.splitlines()[0])
    assert len((tmp_path / "results.csv").read_bytes().splitlines()) == 2 * len(before.splitlines()) - 1


@pytest.mark.slow
def test_a_home_that_cannot_be_written_is_no_obstacle(
    run: Run, model: Path, fresh: dict[str, bytes], tmp_path: Path
) -> None:
    home = str(tmp_path / "place")
    nowhere = {"RERANK_BENCH_CACHE": "", "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": "", "HF_HOME": ""}
    finished = run(model, "--out", "out", prepare='mount -o remount,ro "$PLACE"', HOME=home, **nowhere)
    assert finished.returncode == 0, finished.stderr
    assert "set RERANK_BENCH_CACHE to another folder" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert runs_in(tmp_path / "out") == fresh


def test_a_file_in_the_place_of_the_cache_folder_is_said(
    run: Run, model: Path, fresh: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("not a folder")
    finished = run(model, "--out", "out")
    assert finished.returncode == 0, finished.stderr
    assert "are not kept for the next time: cache/candidates/" in finished.stderr
    assert "are not stored from here on: cache/scores/" in finished.stderr
    assert (tmp_path / "cache").read_text() == "not a folder"
    assert runs_in(tmp_path / "out") == fresh
