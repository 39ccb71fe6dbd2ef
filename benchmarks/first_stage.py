"""Speed and memory of the first stage against bm25s and rank-bm25, on the same generated documents in the same run.

    python benchmarks/first_stage.py --docs 1000000
    python benchmarks/first_stage.py --docs 3000000 --peers rerank-bench

Documents hold 45 words whose frequencies follow Zipf's law; stop words are as frequent as in English.  Every
contestant runs in a process of its own, so that its peak memory is its own; all use the same stop words and stemmer.
Indexing includes tokenizing.  Ours runs on all cores, theirs on one: processor seconds stand beside those of the wall
clock, for the latter mean little while other work runs on the machine.  Compilation (ours) is timed apart, as its result
is kept on disk.
Prints a table and replaces the rows of the same number of documents in ``benchmarks/results/first_stage.csv``.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from generated_texts import WordSource

from rerank_bench.first_stage.analysis import AnalyzerConfig, split_words, stem_words
from rerank_bench.first_stage.bm25 import BM25Config, Matches, build_index
from rerank_bench.provenance import describe_machine, peak_memory_bytes
from rerank_bench.records import Collection

RESULTS = Path(__file__).parent / "results" / "first_stage.csv"
WORDS_PER_DOC = 45
WORDS_PER_QUERY = 6
DEPTH = 100
COMPARED_QUERIES = 3
PARTNER = {"bm25s": "rerank-bench", "rank-bm25": "rerank-bench okapi"}
"""Peer -> the contestant of ours that must give its scores."""


def generate(folder: Path, num_docs: int, num_queries: int, seed: int) -> None:
    """Write ``docs.arrow`` (one column, one batch) and ``queries.json``."""
    source = WordSource(np.random.default_rng(seed))
    chunks = [
        pa.array(source.texts(min(50_000, num_docs - start), WORDS_PER_DOC), type=pa.large_string())
        for start in range(0, num_docs, 50_000)
    ]
    batch = pa.record_batch([pa.concat_arrays(chunks)], names=["text"])
    with pa.OSFile(str(folder / "docs.arrow"), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    (folder / "queries.json").write_text(json.dumps(source.texts(num_queries, WORDS_PER_QUERY)), encoding="utf-8")


@contextlib.contextmanager
def stopwatch() -> Iterator[list[float]]:
    """Yield a list that holds the block's wall-clock and processor seconds once it has ended."""
    seconds: list[float] = []
    wall, processor = time.perf_counter(), time.process_time()
    yield seconds
    seconds += [time.perf_counter() - wall, time.process_time() - processor]


def times(stage: str, seconds: list[float]) -> dict[str, float]:
    """Return a stopwatch's seconds under their names."""
    return {f"{stage}_seconds": seconds[0], f"{stage}_cpu_seconds": seconds[1]}


def load_texts(folder: Path) -> pa.Array:
    """Return the documents, mapped from the file."""
    return pa.ipc.open_file(pa.memory_map(str(folder / "docs.arrow"))).get_batch(0).column(0)


def run_ours(variant: str, folder: Path, queries: list[str]) -> dict[str, Any]:
    """Index and search with this package."""
    config = BM25Config(variant="okapi" if variant == "rerank-bench okapi" else "lucene")
    start = time.perf_counter()
    build_index(Collection(["0"], ["a tiny text"]), config).search(["tiny", "text"], depth=1)
    compile_seconds = time.perf_counter() - start
    texts = load_texts(folder)
    collection = Collection(pa.array(np.arange(len(texts)).astype(str)), texts)
    with stopwatch() as index_times:
        index = build_index(collection, config)
    with stopwatch() as search_times:
        matches = index.search(queries, depth=DEPTH)
    return {
        "compile_seconds": compile_seconds,
        **times("index", index_times),
        **times("search", search_times),
        "queries": len(queries),
        "best_scores": [best_scores(found) for found in matches[:COMPARED_QUERIES]],
    }


def best_scores(matches: Matches) -> list[float]:
    """Return the ten best scores, best first."""
    scores: list[float] = np.sort(matches.scores)[::-1][:10].tolist()
    return scores


def run_bm25s(folder: Path, queries: list[str]) -> dict[str, Any]:
    """Index and search with bm25s as its documentation shows it."""
    import bm25s
    import Stemmer

    texts = load_texts(folder).to_pylist()
    stemmer = Stemmer.Stemmer("english")
    with stopwatch() as index_times:
        tokens = bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False)
        retriever = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
        retriever.index(tokens, show_progress=False)
    with stopwatch() as search_times:
        query_tokens = bm25s.tokenize(queries, stopwords="en", stemmer=stemmer, show_progress=False)
        _, scores = retriever.retrieve(query_tokens, k=DEPTH, show_progress=False)
    return {
        **times("index", index_times),
        **times("search", search_times),
        "queries": len(queries),
        "best_scores": scores[:COMPARED_QUERIES, :10].tolist(),
    }


def run_rank_bm25(folder: Path, queries: list[str], num_queries: int) -> dict[str, Any]:
    """Index and search with rank-bm25, its words split and stemmed as ours are."""
    from rank_bm25 import BM25Okapi

    config = AnalyzerConfig()
    texts = load_texts(folder).to_pylist()
    term_of: dict[str, str | None] = {}

    def terms(text: str) -> list[str]:
        words = split_words(text, config)
        for word in words:
            if word not in term_of:
                term_of[word] = stem_words([word], config)[0]
        return [term for word in words if (term := term_of[word]) is not None]

    with stopwatch() as index_times:
        ranker = BM25Okapi([terms(text) for text in texts])
    found = []
    with stopwatch() as search_times:
        for query in queries[:num_queries]:
            scores = ranker.get_scores(terms(query))
            best = np.argsort(scores)[::-1][:DEPTH]  # as its get_top_n does
            found.append(scores[best[:10]].tolist())
    return {
        **times("index", index_times),
        **times("search", search_times),
        "queries": num_queries,
        "best_scores": found[:COMPARED_QUERIES],
    }


def run_contestant(name: str, folder: Path, slow_queries: int) -> None:
    """Run one contestant in this process and write ``<name>.json``."""
    queries = json.loads((folder / "queries.json").read_text(encoding="utf-8"))
    runners: dict[str, Callable[[], dict[str, Any]]] = {
        "rerank-bench": lambda: run_ours(name, folder, queries),
        "rerank-bench okapi": lambda: run_ours(name, folder, queries),
        "bm25s": lambda: run_bm25s(folder, queries),
        "rank-bm25": lambda: run_rank_bm25(folder, queries, slow_queries),
    }
    result = runners[name]() | {"peak_bytes": peak_memory_bytes()}
    (folder / f"{name}.json").write_text(json.dumps(result), encoding="utf-8")


def check_scores(results: dict[str, dict[str, Any]]) -> None:
    """Stop if a peer's best scores differ from ours by more than 1e-5 of their size: then the times mean nothing."""
    for peer, ours in PARTNER.items():
        if peer in results and ours in results:
            for theirs, mine in zip(results[peer]["best_scores"], results[ours]["best_scores"], strict=False):
                if not np.allclose(theirs[: len(mine)], mine, rtol=1e-5):
                    sys.exit(f"{peer} and {ours} disagree: {theirs} and {mine}")


def rows_of(results: dict[str, dict[str, Any]], num_docs: int) -> list[dict[str, str]]:
    """Return the CSV's rows."""
    rows = []
    for name, result in results.items():
        ours = results.get(PARTNER.get(name, name), result)
        per_query = result["search_seconds"] / result["queries"]
        ours_per_query = ours["search_seconds"] / ours["queries"]
        rows.append(
            {
                "docs": str(num_docs),
                "contestant": name,
                "index_seconds": f"{result['index_seconds']:.1f}",
                "index_times_ours": f"{result['index_seconds'] / ours['index_seconds']:.1f}",
                "search_ms_per_query": f"{1000 * per_query:.2f}",
                "search_times_ours": f"{per_query / ours_per_query:.1f}",
                "index_cpu_seconds": f"{result['index_cpu_seconds']:.1f}",
                "search_cpu_ms_per_query": f"{1000 * result['search_cpu_seconds'] / result['queries']:.2f}",
                "peak_gb": f"{result['peak_bytes'] / 1e9:.2f}",
                "compile_seconds": f"{result.get('compile_seconds', math.nan):.1f}".replace("nan", ""),
                "queries": str(result["queries"]),
                "date": datetime.now(UTC).strftime("%Y-%m-%d"),
                "machine": describe_machine(),
            }
        )
    return rows


def write_rows(rows: list[dict[str, str]], path: Path) -> None:
    """Write the CSV; rows of other numbers of documents stay."""
    kept = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            kept = [row for row in csv.DictReader(file) if row["docs"] != rows[0]["docs"]]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(kept + rows, key=lambda row: int(row["docs"])))


def print_table(rows: list[dict[str, str]]) -> None:
    columns = [column for column in rows[0] if column not in {"date", "machine"}]
    widths = [max(len(column), *(len(row[column]) for row in rows)) for column in columns]
    for row in [dict(zip(columns, columns, strict=True)), *rows]:
        print("  ".join(row[column].rjust(width) for column, width in zip(columns, widths, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=int, default=1_000_000, help="number of documents")
    parser.add_argument("--queries", type=int, default=1_000, help="number of queries")
    parser.add_argument("--slow-queries", type=int, default=5, help="number of queries for rank-bm25")
    parser.add_argument("--seed", type=int, default=0, help="seed of documents and queries")
    parser.add_argument("--peers", nargs="+", default=["rerank-bench", "rerank-bench okapi", "bm25s", "rank-bm25"])
    parser.add_argument("--results", type=Path, default=RESULTS, help="the CSV")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker == "generate":
        generate(args.folder, args.docs, args.queries, args.seed)
        return
    if args.worker:
        run_contestant(args.worker, args.folder, args.slow_queries)
        return
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        shared = [sys.executable, __file__, "--folder", folder, "--docs", str(args.docs)]
        shared += ["--queries", str(args.queries), "--slow-queries", str(args.slow_queries), "--seed", str(args.seed)]
        for name in ["generate", *args.peers]:
            print(f"{name} …", file=sys.stderr, flush=True)
            subprocess.run([*shared, "--worker", name], check=True)
            if name != "generate":
                results[name] = json.loads((Path(folder) / f"{name}.json").read_text(encoding="utf-8"))
    check_scores(results)
    rows = rows_of(results, args.docs)
    print_table(rows)
    write_rows(rows, args.results)


if __name__ == "__main__":
    main()
