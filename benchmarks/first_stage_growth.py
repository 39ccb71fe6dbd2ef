"""How indexing, search and memory grow with the number of documents.

    python benchmarks/gooaq.py --folder scratch
    python benchmarks/first_stage_growth.py scratch

Takes the answers that ``gooaq.py`` generated, the first 10,000 to all of them, and the same 1,000 questions each time.
Every size runs in a process of its own, so that its peak memory is its own.  Half of the sizes' steps are
threaded: processor seconds say how much work there is, those of the wall clock how long it took on this machine.
Writes ``benchmarks/results/first_stage_growth.csv`` and draws ``docs/first_stage_growth.png``.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from first_stage import print_table, stopwatch

from rerank_bench.first_stage.analysis import AnalyzerConfig
from rerank_bench.first_stage.bm25 import BM25Config, build_index, weigh
from rerank_bench.first_stage.index_store import index_key, read_inverted, write_inverted
from rerank_bench.first_stage.inverted_index import invert
from rerank_bench.first_stage.tokenization import tokenize_collection
from rerank_bench.provenance import describe_machine, peak_memory_bytes
from rerank_bench.records import Collection

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "first_stage_growth.csv"
PLOT = ROOT / "docs" / "first_stage_growth.png"
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000)
NUM_QUERIES = 1_000
DEPTH = 100


def read_rows(folder: Path, count: int, column: str) -> pa.Array:
    """Return the first rows of a column of the generated repository."""
    chunks, left = [], count
    for path in sorted((folder / "repository" / "pair").glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(columns=[column]) if left else ():
            chunks.append(batch.column(0).slice(0, left).cast(pa.large_string()))
            left -= len(chunks[-1])
            if not left:
                break
    return pa.concat_arrays(chunks)


def work(folder: Path, num_docs: int) -> dict[str, str]:
    """Index, store, map and search in this process."""
    config = BM25Config()
    build_index(Collection(["0", "1"], ["tiny text", "another text"]), config).search(["text"], depth=1)  # compiles
    queries = read_rows(folder, NUM_QUERIES, "question").to_pylist()
    texts = read_rows(folder, num_docs, "answer")
    key = index_key("growth", num_docs, AnalyzerConfig())
    with stopwatch() as indexing:
        inverted = invert(tokenize_collection(texts, config.analyzer))
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "index"
        with stopwatch() as writing:
            write_inverted(path, key, inverted)
        size = path.stat().st_size
        with stopwatch() as mapping:
            index = weigh(read_inverted(path, key), config)
        with stopwatch() as searching:
            index.search(queries, depth=DEPTH)
    per_query = 1000 / NUM_QUERIES
    return {
        "docs": str(num_docs),
        "terms": str(len(inverted.vocabulary)),
        "postings": str(len(inverted.docs)),
        "index_seconds": f"{indexing[0]:.2f}",
        "index_cpu_seconds": f"{indexing[1]:.2f}",
        "index_cpu_us_per_doc": f"{1e6 * indexing[1] / num_docs:.1f}",
        "write_cpu_seconds": f"{writing[1]:.2f}",
        "map_seconds": f"{mapping[0]:.2f}",
        "map_cpu_seconds": f"{mapping[1]:.2f}",
        "search_ms_per_query": f"{searching[0] * per_query:.2f}",
        "search_cpu_ms_per_query": f"{searching[1] * per_query:.2f}",
        "peak_gb": f"{(peak_memory_bytes() or 0) / 1e9:.2f}",
        "disk_gb": f"{size / 1e9:.3f}",
    }


def draw(rows: Sequence[dict[str, str]], path: Path) -> None:
    """Draw indexing, search and memory over the number of documents, both axes logarithmic."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    docs = np.asarray([float(row["docs"]) for row in rows])
    panels = {
        "indexing": ("index_cpu_seconds", "processor seconds"),
        "search, 1 of 1,000 questions": ("search_cpu_ms_per_query", "processor ms per question"),
        "peak memory": ("peak_gb", "GB"),
    }
    figure, axes = plt.subplots(1, len(panels), figsize=(10, 3.2), layout="constrained")
    for axis, (title, (column, unit)) in zip(axes, panels.items(), strict=True):
        values = np.asarray([float(row[column]) for row in rows])
        axis.loglog(docs, values, "o-", color="#1f5fa8", label="measured")
        axis.loglog(docs, values[-1] * docs / docs[-1], ":", color="#888888", label="linear in documents")
        axis.set(title=title, xlabel="documents", ylabel=unit)
        axis.grid(visible=True, alpha=0.3)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what gooaq.py --folder left")
    parser.add_argument("--docs", type=int, nargs="+", default=SIZES, help="numbers of documents")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the CSV")
    parser.add_argument("--plot", type=Path, default=PLOT, help="the picture")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker is not None:
        print(json.dumps(work(args.folder, args.worker)))
        return
    rows = []
    for num_docs in args.docs:
        print(f"{num_docs:,} documents …", file=sys.stderr, flush=True)
        command = [sys.executable, __file__, str(args.folder), "--worker", str(num_docs)]
        row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        about = {"load": f"{os.getloadavg()[0]:.1f}", "date": f"{datetime.now(UTC):%Y-%m-%d}"}
        rows.append({**row, **about, "machine": describe_machine()})
    print_table(rows)
    with args.results.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    draw(rows, args.plot)


if __name__ == "__main__":
    main()
