"""GooAQ at its real size, generated: from the download to the leaderboard through the code of the real one.

    python benchmarks/gooaq.py
    python benchmarks/gooaq.py --rows 100000 --folder scratch

A hub on this machine serves a repository of the same name, commit, layout and number of rows as the one that the data
set ``gooaq-dev`` is pinned to; its answers are generated (``generated_texts.py``, lengths like those of real answers,
some of them twice), and a question repeats some words of its answer.  Three processes then do what three commands of a
user would: the first downloads, splits, indexes and searches; the second finds all of that in the caches and searches at
another depth; the third reranks a sample with a tiny model, and evaluates all questions.  The table says what a step took
by the wall clock and of the processor, and the process's peak memory.  ``benchmarks/results/gooaq.csv`` is replaced.

Needs the packages of the tests: hub and model are theirs.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from first_stage import print_table, stopwatch
from generated_texts import WordSource, sentence
from numpy.typing import NDArray

from rerank_bench.data import datasets
from rerank_bench.data.datasets import load_dataset
from rerank_bench.data.manifests import load_manifest
from rerank_bench.first_stage.bm25 import BM25Config
from rerank_bench.first_stage.index_store import indexes_folder, open_index
from rerank_bench.pipeline.candidates import build_candidates
from rerank_bench.pipeline.run import run
from rerank_bench.provenance import describe_machine, peak_memory_bytes
from rerank_bench.records import Collection, Dataset

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "gooaq.csv"
DATASET = "gooaq-dev"
ROWS = 3_012_496
ROWS_PER_PART = 50_000
NUM_FILES = 4
MEAN_WORDS, SD_WORDS, MIN_WORDS, MAX_WORDS = 45, 14, 8, 110
"""Of an answer: some 60 tokens, as those of GooAQ have."""
SHARED_WORDS, OTHER_WORDS = 4, 3
"""Of a question: so many are its answer's."""
REPEATED_SHARE = 0.02
SAMPLE_QUERIES = 100

T = TypeVar("T")


def generate(folder: Path, num_rows: int, seed: int) -> None:
    """Write ``README.md`` and the files of the config ``pair`` as the hub's repository holds them."""
    rng = np.random.default_rng(seed)
    source = WordSource(rng)
    readme = ["---", "configs:", "- config_name: pair", "  data_files:", "  - split: train", "    path: pair/train-*"]
    (folder / "pair").mkdir(parents=True)
    (folder / "README.md").write_text("\n".join([*readme, "---", ""]), encoding="utf-8")
    per_file = -(-num_rows // NUM_FILES)
    for number in range(NUM_FILES):
        path = folder / "pair" / f"train-{number:05}-of-{NUM_FILES:05}.parquet"
        schema = pa.schema([("question", pa.string()), ("answer", pa.string())])
        with pq.ParquetWriter(path, schema) as writer:
            first, behind = number * per_file, min((number + 1) * per_file, num_rows)
            for start in range(first, behind, ROWS_PER_PART):
                questions, answers = generate_rows(source, rng, min(ROWS_PER_PART, behind - start))
                writer.write_table(pa.table({"question": questions, "answer": answers}, schema=schema))


def generate_rows(source: WordSource, rng: np.random.Generator, count: int) -> tuple[list[str], list[str]]:
    """Return questions and their answers."""
    lengths = np.clip(rng.normal(MEAN_WORDS, SD_WORDS, count), MIN_WORDS, MAX_WORDS).astype(np.int64)
    answers = source.texts_of_lengths(lengths)
    for row in np.flatnonzero(rng.random(count) < REPEATED_SHARE).tolist():
        answers[row] = answers[row // 2]
    others: NDArray[np.object_] = source.draw((count, OTHER_WORDS))
    places = rng.random((count, SHARED_WORDS))
    questions = []
    for answer, own, where in zip(answers, others.tolist(), places.tolist(), strict=True):
        words = answer[:-1].lower().split()
        questions.append(sentence([*own, *(words[int(place * len(words))] for place in where)]))
    return questions, answers


@contextmanager
def served(folder: Path) -> Iterator[dict[str, str]]:
    """Serve the repository from a process of its own; yield the variables that point to it."""
    command = [sys.executable, __file__, "--worker", "hub", "--folder", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as hub:
        assert hub.stdout is not None  # noqa: S101  it was asked for
        assert hub.stdin is not None  # noqa: S101
        try:
            yield json.loads(hub.stdout.readline())
        finally:
            hub.stdin.close()  # which ends it


def serve(folder: Path) -> None:
    """Serve the repository at the commit that the data set's manifest names, until the standard input is closed."""
    sys.path.insert(0, str(ROOT / "tests"))
    from loopback_hub import LoopbackHub

    source = load_manifest(DATASET).hub_source
    repository = folder / "repository"
    files = {
        path.relative_to(repository).as_posix(): path.read_bytes() for path in repository.rglob("*") if path.is_file()
    }
    with LoopbackHub() as hub:
        hub.add_repository(source.repository, {"README.md": b""})
        hub.repositories["dataset", source.repository].files_by_commit[source.revision] = files
        print(json.dumps(hub.environment(folder / "hub")), flush=True)
        sys.stdin.read()


class Steps:
    """Runs steps and keeps what each took."""

    def __init__(self, use: str) -> None:
        self._use = use
        self.rows: list[dict[str, str]] = []

    def take(self, step: str, action: Callable[[], T], note: Callable[[T], str] = lambda _: "") -> T:
        """Return what the action returns."""
        print(f"{self._use}: {step} …", file=sys.stderr, flush=True)
        with stopwatch() as seconds:
            result = action()
        self._add(step, seconds, note(result))
        return result

    def total(self, step: str, started: tuple[float, float]) -> None:
        """Add a row with the time since ``started``, by the wall clock and of the processor."""
        self._add(step, [time.perf_counter() - started[0], time.process_time() - started[1]], "")

    def _add(self, step: str, seconds: list[float], note: str) -> None:
        self.rows.append(
            {
                "use": self._use,
                "step": step,
                "seconds": f"{seconds[0]:.1f}",
                "cpu_seconds": f"{seconds[1]:.1f}",
                "peak_gb_so_far": f"{(peak_memory_bytes() or 0) / 1e9:.2f}",
                "note": note,
            }
        )


def first_use(folder: Path) -> list[dict[str, str]]:
    """Download, split, index, search; compiling the loops, which happens once per installation, stands apart."""
    steps = Steps("first")
    steps.take("compile", compile_loops)
    started = time.perf_counter(), time.process_time()
    dataset = steps.take(
        "download, split, distinct answers",
        lambda: load_dataset(DATASET),
        lambda loaded: f"{len(loaded.collection):,} documents, {len(loaded.queries):,} questions",
    )
    search(steps, "index", dataset, 100)
    steps.total("whole first stage", started)
    steps.take(
        "the same through the index on disk, lists written",
        lambda: build_candidates(dataset, depth=100),
        lambda found: f"{sum(map(len, found.by_query.values())):,} candidates",
    )
    (folder / "corpus.txt").write_text(dataset.fingerprints["corpus"], encoding="utf-8")
    return steps.rows


def expect_rows(num_rows: int) -> None:
    """Let the manifest name as many rows as were generated: a smaller number is for trying this script."""
    manifest = load_manifest(DATASET)
    table = {**manifest.table, "gooaq": {**manifest.table["gooaq"], "rows": num_rows}}
    changed = dataclasses.replace(manifest, table=table)
    vars(datasets)["load_manifest"] = lambda _name: changed


def search(steps: Steps, step: str, dataset: Dataset, depth: int) -> None:
    """Open the index and search all questions; the index is let go afterwards."""
    index = steps.take(
        step, lambda: open_index(dataset, BM25Config()), lambda _: f"{index_bytes() / 1e9:.2f} GB on disk"
    )
    steps.take(f"search, top {depth:,}", lambda: index.search(list(dataset.queries.values()), depth=depth))


def index_bytes() -> int:
    return sum(path.stat().st_size for path in indexes_folder().iterdir())


def compile_loops() -> None:
    from rerank_bench.first_stage.bm25 import build_index

    collection = Collection(["0", "1"], ["a tiny text", "another text"])
    build_index(collection, BM25Config()).search(["tiny text"], depth=1)


def second_use(folder: Path) -> list[dict[str, str]]:
    """Find data set and index in the caches, and search at another depth."""
    steps = Steps("second")
    steps.take("compile", compile_loops)
    started = time.perf_counter(), time.process_time()
    dataset = steps.take("data set from the prepared cache", lambda: load_dataset(DATASET))
    if dataset.fingerprints["corpus"] != (folder / "corpus.txt").read_text(encoding="utf-8"):
        sys.exit("the second process reads another corpus than the first")
    search(steps, "index mapped", dataset, 1_000)
    steps.total("whole first stage", started)
    return steps.rows


def rerank(folder: Path) -> list[dict[str, str]]:
    """Rerank a sample of the questions with a tiny model, and evaluate all of them with the baselines."""
    steps = Steps("run")
    options: dict[str, Any] = {"datasets": [DATASET], "scorer": {"device": "cpu"}}

    def measured(*models: str, **more: Any) -> str:
        report = run(models, out=folder / "runs" / "+".join(Path(m).name for m in models), **options, **more)
        block = report.outcomes[-1].result["datasets"][DATASET]
        values = block["views"]["end_to_end"]["measures"]["nDCG@10"]
        return (
            f"{block['counts']['pairs']:,} pairs; nDCG@10 {values['first_stage']:.3f}, then {values['reranked']:.3f}; "
            f"ceiling {values['ceiling']:.3f}"
        )

    model = write_model(folder)
    steps.take(
        f"tiny model over {SAMPLE_QUERIES} questions, evaluated", lambda: measured(model, limit=SAMPLE_QUERIES), str
    )
    steps.take("first stage, random, oracle evaluated", lambda: measured("first-stage", "random", "oracle"), str)
    return steps.rows


def write_model(folder: Path) -> str:
    sys.path.insert(0, str(ROOT / "tests"))
    from tiny_models import write_sequence_classifier

    return str(write_sequence_classifier(folder / "tiny"))


USES: dict[str, Callable[[Path], list[dict[str, str]]]] = {"first": first_use, "second": second_use, "run": rerank}
"""What a process of its own does, in this order."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", type=int, default=ROWS, help=f"questions with their answers; the manifest says {ROWS:,}"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the texts")
    parser.add_argument("--folder", type=Path, help="empty; kept afterwards, with the repository that was generated")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the CSV")
    parser.add_argument("--worker", choices=["hub", "generate", *USES], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        rows = measure(folder.resolve(), args)
    print_table([{name: cell for name, cell in row.items() if name not in {"date", "machine"}} for row in rows])
    write_csv(rows, args.results)


def work(args: argparse.Namespace) -> None:
    """Do one process's part."""
    if args.worker == "hub":
        serve(args.folder)
    elif args.worker == "generate":
        generate(args.folder / "repository", args.rows, args.seed)
    else:
        if args.rows != ROWS:
            expect_rows(args.rows)
        rows = USES[args.worker](args.folder)
        (args.folder / f"{args.worker}.json").write_text(json.dumps(rows), encoding="utf-8")


def measure(folder: Path, args: argparse.Namespace) -> list[dict[str, str]]:
    """Run all processes, one after the other, and return the CSV's rows."""
    command = [sys.executable, __file__, "--folder", str(folder), "--rows", str(args.rows), "--seed", str(args.seed)]
    if not (folder / "repository").exists():
        print("generate …", file=sys.stderr, flush=True)
        subprocess.run([*command, "--worker", "generate"], check=True)
    rows: list[dict[str, str]] = []
    with served(folder) as variables:
        for use in USES:
            environment = {**os.environ, **variables, "RERANK_BENCH_CACHE": str(folder / "cache")}
            subprocess.run([*command, "--worker", use], check=True, env=environment, cwd=folder)
            rows += json.loads((folder / f"{use}.json").read_text(encoding="utf-8"))
    load = f"{os.getloadavg()[0]:.1f}"
    about = {"rows": str(args.rows), "load": load, "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    return [{**row, **about, "machine": describe_machine()} for row in rows]


def write_csv(rows: list[dict[str, str]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
