"""Shards in processes of their own, merged, against the run in one piece."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import write_sequence_classifier
from typer.testing import CliRunner, Result

from rerank_bench.cli.app import app
from rerank_bench.errors import ConfigError
from rerank_bench.pipeline.shards import RANKS, SCHEMA_VERSION, Shard, _first_stage_device, device_of_rank, parse_shard
from rerank_bench.trec_io import read_run

DATA = Path(__file__).parents[1] / "data"
FOLDERS = (DATA / "tiny", DATA / "workshop")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "80"})


def options(model: Path, out: Path) -> list[str]:
    datasets = [text for folder in FOLDERS for text in ("-d", str(folder))]
    return ["-m", str(model), *datasets, "--depth", "3,6", "--device", "cpu", "--out", str(out), "-q"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sequence_classifier(tmp_path_factory.mktemp("models") / "reranker", seed=2)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A folder with the three parts of a run, each scored by a process that knows itself by its rank alone."""
    root = tmp_path_factory.mktemp("shards")
    names = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"), ("RANK", "WORLD_SIZE"))
    processes = []
    for rank, (rank_name, size_name) in enumerate(names):
        own = {rank_name: str(rank), size_name: "3", "RERANK_BENCH_CACHE": str(root / f"cache{rank}")}
        inherited = {name: value for name, value in os.environ.items() if name not in {n for r in RANKS for n in r}}
        command = [sys.executable, "-m", "rerank_bench", "run", *options(model, root / "out"), "--shard", "auto"]
        processes.append(subprocess.Popen(command, env=inherited | own, cwd=root, stderr=subprocess.PIPE))
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    (folder,) = (root / "out").iterdir()
    return folder


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    """The parts, to be damaged."""
    return Path(shutil.copytree(shards, tmp_path / "out" / shards.name))


def without_times(value: Any) -> Any:
    """Return a result without what differs from run to run: times, speeds, and what was asked for on the way."""
    volatile = ("seconds", "share", "per_second", "utilisation", "_bytes", "utc_time", "command", "jobs", "folder")
    if isinstance(value, dict):
        return {
            name: without_times(inner)
            for name, inner in value.items()
            if not name.endswith(volatile) or name == "truncated_share"
        }
    return [without_times(inner) for inner in value] if isinstance(value, list) else value


def approximately(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(approximately(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(approximately, one, other))
    return bool(one == pytest.approx(other, abs=1e-6)) if isinstance(one, float) else bool(one == other)


def test_merged_shards_are_the_run_in_one_piece(copy: Path, model: Path, tmp_path: Path) -> None:
    merged = invoke("merge", copy, "--json", "-q")
    assert merged.exit_code == 0, merged.output
    whole = invoke("run", *options(model, tmp_path / "whole"), "--json")
    assert whole.exit_code == 0, whole.output
    for one, other in zip(json.loads(merged.stdout), json.loads(whole.stdout), strict=True):
        assert one["datasets"].keys() == {"tiny", "workshop"}
        assert approximately(without_times(one), without_times(other))
    rows = [(root / "leaderboard.csv").read_text().count("\n") for root in (copy.parent, tmp_path / "whole")]
    assert rows[0] == rows[1] > 1
    folder, other_folder = (next(root.glob("*@6")) for root in (copy.parent, tmp_path / "whole"))
    files = sorted(path.name for path in (folder).iterdir())
    assert files == sorted(path.name for path in (other_folder).iterdir())
    for name in ("tiny.run.trec.gz", "workshop.run.trec.gz", "tiny.missed.trec.gz"):
        one, other = (read_run(place / name) for place in (folder, other_folder))
        assert one.keys() == other.keys()
        for query_id, docs in one.items():
            np.testing.assert_allclose(docs.scores, other[query_id].scores, atol=1e-5)


def test_every_query_is_in_one_shard(shards: Path) -> None:
    sizes = [len(np.load(shards / f"{number}-of-3.npz")["scores"]) for number in (1, 2, 3)]
    counts = json.loads((shards / "1-of-3.json").read_text())["same"]["datasets"]
    assert counts.keys() == {"tiny", "workshop"}
    assert min(sizes) > 0
    assert max(sizes) < sum(sizes) / 2


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    meta = json.loads(path.read_text())
    change(meta)
    path.write_text(json.dumps(meta))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda same: same["model"].update(fingerprint="0"),
            "model.fingerprint differs",
        ),
        (lambda same: same["datasets"]["tiny"].update(qrels="0"), "datasets.tiny.qrels differs"),
        (lambda same: same["datasets"]["tiny"].update(candidates="0"), "datasets.tiny.candidates differs"),
        (lambda same: same.update(protocol_version=0), "protocol_version differs"),
        (lambda same: same["code"].update(rerank_bench="0"), "code.rerank_bench differs"),
        (lambda same: same["code"]["versions"].update(torch="0"), "code.versions.torch differs"),
        (lambda same: same["request"].update(depth=[3]), "request.depth differs"),
        (lambda same: same.update(shards=4), "shards differs"),
    ],
)
def test_parts_of_different_runs_are_refused(copy: Path, change: Callable[[Any], object], message: str) -> None:
    edit(copy / "2-of-3.json", lambda meta: change(meta["same"]))
    result = invoke("merge", copy, "-q")
    assert result.exit_code == 5
    assert message in result.stderr


def test_parts_of_another_protocol_are_refused_and_of_other_versions_are_named(copy: Path) -> None:
    for path in copy.glob("*.json"):
        edit(path, lambda meta: meta["same"]["code"]["versions"].update(torch="0.1"))
    result = invoke("merge", copy)
    assert result.exit_code == 0, result.output
    assert "the parts were scored with versions.torch 0.1, here" in " ".join(result.stderr.split())
    for path in copy.glob("*.json"):
        edit(path, lambda meta: meta["same"].update(protocol_version=0))
    result = invoke("merge", copy, "-q")
    assert result.exit_code == 5
    assert "protocol_version differs: 0 in" in " ".join(result.stderr.split())
    assert "in this rerank-bench" in " ".join(result.stderr.split())


def test_parts_of_data_that_have_changed_are_refused(copy: Path) -> None:
    for path in copy.glob("*.json"):
        edit(path, lambda meta: meta["same"]["datasets"]["workshop"].update(corpus="0"))
    result = invoke("merge", copy, "-q")
    assert result.exit_code == 5
    assert "datasets.workshop.corpus differs: '0' in" in result.stderr
    assert "the data that are here now" in " ".join(result.stderr.split())


def test_a_dense_first_stage_is_merged_where_its_device_is(copy: Path) -> None:
    """On another device its lists might be others, and making them anew may take hours."""
    for path in copy.glob("*.json"):
        assert json.loads(path.read_text())["same"]["request"]["first_stage_device"] is None
        edit(path, lambda meta: meta["same"]["request"].update(first_stage_device="mps"))
    result = invoke("merge", copy, "-q")
    assert result.exit_code == 3
    assert "the lists of its first stage were made on mps; merge where that is" in " ".join(result.stderr.split())
    dense = {"name": "dense:e", "model": {"device": "cuda"}}
    assert _first_stage_device([{"name": "bm25"}, {"name": "fusion", "lists": [{"name": "bm25"}, dense]}]) == "cuda"


def test_what_is_missing_or_double_or_damaged_is_named(copy: Path) -> None:
    def message() -> str:
        result = invoke("merge", copy, "-q")
        assert result.exit_code == 2
        return " ".join(result.stderr.split())

    shutil.copy(copy / "2-of-3.json", copy / "again-2-of-3.json")
    assert "shard 2 of 3 is there 2 times (2-of-3.json, again-2-of-3.json)" in message()
    (copy / "again-2-of-3.json").unlink()

    whole = (copy / "2-of-3.npz").read_bytes()
    (copy / "2-of-3.npz").write_bytes(whole[:-9])
    assert "2-of-3.npz: its checksum is not the one in 2-of-3.json; run that shard anew" in message()
    (copy / "2-of-3.npz").unlink()
    assert "2-of-3.npz: no such file, though 2-of-3.json is there" in message()
    (copy / "2-of-3.npz").write_bytes(whole)

    shutil.copy(copy / "1-of-3.npz", copy / "2-of-3.npz")
    sha256 = json.loads((copy / "1-of-3.json").read_text())["sha256"]
    edit(copy / "2-of-3.json", lambda meta: meta.update(sha256=sha256))
    sizes = {len(np.load(copy / f"{number}-of-3.npz")["scores"]) for number in (1, 3)}
    if len(sizes) > 1:
        assert "2-of-3.npz: scores has shape" in message()
    edit(copy / "3-of-3.json", lambda meta: meta.update(schema_version=0))
    assert f"3-of-3.json: schema version is 0, expected {SCHEMA_VERSION}" in message()
    edit(copy / "3-of-3.json", lambda meta: meta.update(schema_version=SCHEMA_VERSION) or meta.pop("scoring"))
    assert "3-of-3.json: lacks 'scoring'" in message()
    (copy / "3-of-3.json").unlink()
    (copy / "1-of-3.json").unlink()
    assert "2 of 3 shards are missing (1/3, 3/3)" in message()
    (copy / "2-of-3.json").unlink()
    assert "holds no part" in message()
    shutil.rmtree(copy)
    assert "no such folder" in message()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shard", "0/2"], "expected i/n with i from 1 to n"),
        (["--shard", "3/2"], "--shard is '3/2'"),
        (["--shard", "half"], "--shard is 'half'"),
        (["--shard", "1/2", "-m", "random"], "random ranks ids and takes no time"),
        (["--shard", "1/2", "--measure-latency"], "measure a whole run"),
        (["--shard", "4000/5000"], "fewer queries than shards"),
        (["--shard", "1/2", "--dry-run"], "--dry-run plans the whole run"),
    ],
)
def test_a_wrong_request_is_named(model: Path, arguments: list[str], message: str, tmp_path: Path) -> None:
    result = invoke("run", *options(model, tmp_path / "out"), *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_ranks_of_launchers(monkeypatch: pytest.MonkeyPatch) -> None:
    for names in RANKS:
        for name in names:
            monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="neither RANK/WORLD_SIZE nor SLURM_PROCID/SLURM_NTASKS is set"):
        parse_shard("auto")
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert parse_shard("auto") == Shard(2, 4)
    monkeypatch.setenv("RANK", "0")  # torchrun under SLURM: its own ranks count
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert parse_shard("auto") == Shard(1, 8)
    monkeypatch.setenv("RANK", "8")
    with pytest.raises(ConfigError, match="RANK is '8' and WORLD_SIZE is '8', expected a rank below the size"):
        parse_shard("auto")
    assert device_of_rank("cuda:1") == "cuda:1"
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert device_of_rank("cpu") == "cpu"
