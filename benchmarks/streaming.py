"""What millions of pairs cost in memory: a run file is read, its pairs are scored, evaluated and written.

    python benchmarks/streaming.py --pairs 1000000 3000000 10000000
    python benchmarks/streaming.py --pairs 10000000 --bad-line

Generated documents and queries, 1,000 candidates for each query from a TREC run file, as MS MARCO's dev set has them; the
scorer is a function that counts letters, so that what is measured is what the package does around a model.  Every
number of pairs runs in a process of its own, through the steps of ``rerank-bench run``; the peak memory is that of the
process so far, after each step.  Rows of the same number of pairs in ``benchmarks/results/streaming.csv`` are replaced.
``--bad-line`` breaks a line near the end of the file instead, and says how long it takes until it is named.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from first_stage import print_table, stopwatch
from generated_texts import WordSource

from rerank_bench.errors import ParseError
from rerank_bench.pipeline.candidates import prepare_datasets
from rerank_bench.pipeline.extras import NO_EXTRAS
from rerank_bench.pipeline.request import RunConfig, resolve_request
from rerank_bench.pipeline.results import write_outcomes
from rerank_bench.pipeline.run import open_scorers
from rerank_bench.pipeline.scores import score_texts
from rerank_bench.provenance import describe_machine, peak_memory_bytes
from rerank_bench.trec_io import read_run

RESULTS = Path(__file__).parent / "results" / "streaming.csv"
NUM_DOCS = 200_000
WORDS_PER_DOC = 45
WORDS_PER_QUERY = 6
DEPTH = 1_000


def score(pairs: list[tuple[str, str]]) -> list[float]:
    """Return a number for each pair, at next to no cost."""
    return [float(len(doc)) for _, doc in pairs]


def generate(folder: Path, num_pairs: int, seed: int) -> None:
    """Write a data set in BEIR's layout, and ``run.trec`` with ``num_pairs`` lines."""
    rng = np.random.default_rng(seed)
    source = WordSource(rng)
    num_queries = num_pairs // DEPTH
    (folder / "data" / "qrels").mkdir(parents=True)
    for name, count, length in (("corpus", NUM_DOCS, WORDS_PER_DOC), ("queries", num_queries, WORDS_PER_QUERY)):
        with (folder / "data" / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for number, text in enumerate(source.texts(count, length)):
                file.write(json.dumps({"_id": f"{name[0]}{number}", "text": text}) + "\n")
    scores = np.linspace(30, 5, DEPTH).tolist()
    with (
        (folder / "run.trec").open("w", encoding="utf-8") as run,
        (folder / "data" / "qrels" / "test.tsv").open("w", encoding="utf-8") as qrels,
    ):
        qrels.write("query-id\tcorpus-id\tscore\n")
        for query in range(num_queries):
            docs = rng.choice(NUM_DOCS, DEPTH, replace=False, shuffle=False).tolist()
            lines = enumerate(zip(docs, scores, strict=True), start=1)
            run.writelines(f"q{query} Q0 c{doc} {rank} {value:.6f} generated\n" for rank, (doc, value) in lines)
            qrels.write(f"q{query}\tc{docs[int(rng.integers(DEPTH))]}\t1\n")


def work(folder: Path) -> list[dict[str, str]]:
    """Run the steps in this process; return what each took."""
    rows: list[dict[str, str]] = []

    @contextmanager
    def step(name: str) -> Iterator[None]:
        with stopwatch() as seconds:
            yield
        peak = (peak_memory_bytes() or 0) / 1e9
        cells = {"seconds": f"{seconds[0]:.1f}", "cpu_seconds": f"{seconds[1]:.1f}", "peak_gb_so_far": f"{peak:.2f}"}
        rows.append({"step": name, **cells})
        print(f"{name}: {cells}", file=sys.stderr, flush=True)

    config = RunConfig(
        models=("streaming:score",),
        datasets=(str(folder / "data"),),
        first_stage=str(folder / "run.trec"),
        depth=DEPTH,
        out=folder / "out",
    )
    request = resolve_request(config)
    (scorer,) = open_scorers(request)
    assert scorer is not None  # noqa: S101  a function reads texts
    with step("read data set and run file"):
        prepared = prepare_datasets(request)
    with step("score"):
        scoring_pass = score_texts(scorer, prepared)
    with step("evaluate, write the run folder"):
        outcomes = list(write_outcomes(request.models[0], scoring_pass, prepared, request, NO_EXTRAS))
    written = sum(path.stat().st_size for path in outcomes[0].folder.iterdir())
    rows[-1]["note"] = f"{written / 1e6:,.0f} MB on disk"
    rows[1]["note"] = f"{len(scoring_pass.scoring['jobs'])} jobs"
    return rows


def find_bad_line(folder: Path, num_pairs: int) -> None:
    """Break a line near the end of the run file, and read it."""
    bad = num_pairs - num_pairs // 100
    broken = folder / "broken.trec"
    with (folder / "run.trec").open(encoding="utf-8") as whole, broken.open("w", encoding="utf-8") as file:
        for number, line in enumerate(whole, start=1):
            file.write(line if number != bad else line.replace(" generated", ""))
    wall, processor = time.perf_counter(), time.process_time()
    try:
        read_run(broken, depth=DEPTH)
    except ParseError as error:
        seconds = f"{time.perf_counter() - wall:.1f} s, {time.process_time() - processor:.1f} s of the processor"
        print(f"after {seconds}, peak {(peak_memory_bytes() or 0) / 1e9:.2f} GB: {error}")
        return
    sys.exit(f"line {bad:,} was broken, and nothing was said")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[1_000_000, 3_000_000, 10_000_000])
    parser.add_argument("--bad-line", action="store_true", help="read a run file with one bad line instead")
    parser.add_argument("--seed", type=int, default=0, help="of texts and lists")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the CSV")
    parser.add_argument("--worker", choices=["generate", "work", "bad-line"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker == "generate":
        generate(args.folder, args.pairs[0], args.seed)
    elif args.worker == "bad-line":
        find_bad_line(args.folder, args.pairs[0])
    elif args.worker:
        (args.folder / "rows.json").write_text(json.dumps(work(args.folder)), encoding="utf-8")
    else:
        for num_pairs in args.pairs:
            measure(num_pairs, args)


def measure(num_pairs: int, args: argparse.Namespace) -> None:
    """Generate and run one number of pairs in processes of their own; print and keep the rows."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        command = [sys.executable, __file__, "--folder", temporary, "--pairs", str(num_pairs), "--seed", str(args.seed)]
        environment = {**os.environ, "RERANK_BENCH_CACHE": str(folder / "cache")}
        for worker in ("generate", "bad-line" if args.bad_line else "work"):
            subprocess.run([*command, "--worker", worker], check=True, env=environment)
        if args.bad_line:
            return
        found = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    about = {
        "load": f"{os.getloadavg()[0]:.1f}",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": describe_machine(),
    }
    rows = [{"pairs": str(num_pairs), **row, "note": row.get("note", ""), **about} for row in found]
    print_table([{name: cell for name, cell in row.items() if name != "machine"} for row in rows])
    keep_rows(rows, args.results, "pairs")


def keep_rows(rows: list[dict[str, str]], path: Path, key: str) -> None:
    """Write the CSV; rows of other values of the key stay."""
    kept = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            kept = [row for row in csv.DictReader(file) if row[key] != rows[0][key]]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(kept + rows, key=lambda row: int(row[key])))


if __name__ == "__main__":
    main()
