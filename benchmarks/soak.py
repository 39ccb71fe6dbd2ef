"""Whether hours of work leave anything behind: memory, files, threads, processes, figures, temporary files, cache.

    nice python benchmarks/soak.py --minutes 12

One process works through rounds; each makes a new data set and runs everything on it that a user would: a run that is
interrupted, the same one resumed, scored afresh without the store, and taken from the store; baselines, the gate, a
comparison, the leaderboard's page; once in ten rounds also a plan, two processes (``--devices cpu,cpu``), and an emptied
cache.  Every round checks that all four runs of the model gave the same bytes.  The table has the trend of each quantity
after a warm-up with its 95% interval; exit code 1 when one grows or a round went wrong.

Before the rounds the model meets every number of rows that a batch may have: oneDNN keeps a kernel for each, and would
otherwise meet the rarer ones in the course of hours.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from scoring_inputs import generate_pairs, generate_words, write_checkpoint
from soak_samples import QUANTITIES, ROUNDS_PER_BLOCK, find_trend, render_trends, take_sample

from rerank_bench import progress
from rerank_bench.comparison.compare import compare
from rerank_bench.gate.gating import check_gate
from rerank_bench.pipeline.cache import clear_cache, describe_cache
from rerank_bench.pipeline.request import RunConfig
from rerank_bench.pipeline.run import run
from rerank_bench.planning.plan import plan_run
from rerank_bench.provenance import describe_machine
from rerank_bench.reporting.page import render_page
from rerank_bench.scoring.loaded_scorer import load_scorer
from rerank_bench.scoring.packing import CPU_ROW_TOKENS
from rerank_bench.storage import CACHE_VARIABLE

NUM_QUERIES, NUM_DOCS, DEPTH = 8, 160, 20
NUM_NAMES = 7
"""Data sets have the names of older ones, with other texts."""
INTERRUPT_AFTER = 40
"""Pairs."""
NUM_SPECIAL_TOKENS = 3
"""Of a pair."""


class _Interrupting:
    """A reporter that ends scoring as Ctrl-C would, after some pairs."""

    @contextlib.contextmanager
    def task(self, description: str, _total: int | None, _unit: str) -> Iterator[progress.Advance]:
        """Follow a task."""
        done = 0

        def advance(units: int) -> None:
            nonlocal done
            done += units
            if description.startswith("score") and done >= INTERRUPT_AFTER:
                raise KeyboardInterrupt

        yield advance

    def note(self, _message: str) -> None:
        """Keep nothing."""


class Soak:
    """The rounds, in the working directory.

    Args:
        folder: The working directory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.num_runs = 0
        self.num_pairs = 0
        self._rng = np.random.default_rng(7)
        self._words = generate_words(self._rng)
        write_checkpoint(folder / "model", self._words, "tiny")

    def meet_row_counts(self) -> None:
        """Score batches of every number of tokens, in steps of ``CPU_ROW_TOKENS``, up to the model's own budget."""
        scorer = load_scorer(str(self.folder / "model"), device="cpu")
        num_words = CPU_ROW_TOKENS - NUM_SPECIAL_TOKENS - 1  # one token each
        for num_pairs in range(1, scorer.scorer.default_batch_tokens // CPU_ROW_TOKENS + 1):
            # Texts of their own: equal pairs are scored once.
            scorer.score(
                [(word, " ".join(self._words[n : n + num_words])) for n, word in enumerate(self._words[:num_pairs])]
            )

    def round(self, number: int) -> None:
        """Do everything once.

        Raises:
            RuntimeError: Two runs that should be equal are not.
        """
        data = self._write_data(f"set-{number % NUM_NAMES}")
        out = self.folder / "out"
        if number % ROUNDS_PER_BLOCK == 0:
            clear_cache(scores=True, candidates=True)
        with progress.use_reporter(_Interrupting()), contextlib.suppress(KeyboardInterrupt):
            self._run(data, "resumed")
            msg = "the run was not interrupted"
            raise RuntimeError(msg)
        self._run(data, "resumed")
        self._run(data, "fresh", use_cache=False)
        self._run(data, "stored", limit=None)
        run(["first-stage", "random"], [data], out=out / "baselines", depth=DEPTH)
        check_gate(baseline=out / "baselines" / "first-stage", run=out / "stored" / "model")
        compare([out / "baselines" / "random", out / "stored" / "model"])
        if number % ROUNDS_PER_BLOCK == ROUNDS_PER_BLOCK // 2:
            render_page(out / "stored" / "leaderboard.csv", out=out / "page")
            plan_run(RunConfig(models=("model",), datasets=(str(data),), depth=2 * DEPTH, scorer={"device": "cpu"}))
            describe_cache()
            self._run(data, "devices", use_cache=False, scorer={"devices": ("cpu", "cpu"), "batch_tokens": 800})
        self._check_equal(out)
        shutil.rmtree(out)
        shutil.rmtree(data)

    def _run(
        self,
        data: Path,
        name: str,
        *,
        use_cache: bool = True,
        limit: int | None = NUM_QUERIES,  # all of them: such a result is not drawn, which takes a third of a round
        scorer: Mapping[str, object] = MappingProxyType({"device": "cpu", "batch_tokens": 800}),
    ) -> None:
        report = run(
            ["model"],
            [data],
            out=self.folder / "out" / name,
            depth=DEPTH,
            use_cache=use_cache,
            limit=limit,
            scorer=dict(scorer),
        )
        self.num_runs += 1
        self.num_pairs += report.outcomes[0].result["scoring"]["jobs"][0]["num_pairs"]

    def _check_equal(self, out: Path) -> None:
        runs = {path.parent.parent.name: path.read_bytes() for path in out.glob("*/model/*.run.trec.gz")}
        for name, content in runs.items():
            if content != runs["fresh"]:
                msg = f"the run {name!r} differs from the one that was scored afresh"
                raise RuntimeError(msg)

    def _write_data(self, name: str) -> Path:
        folder = self.folder / name
        (folder / "qrels").mkdir(parents=True)
        pairs = generate_pairs(self._words, NUM_DOCS, self._rng)
        queries = [{"_id": f"q{n}", "text": pair[0]} for n, pair in enumerate(pairs[:: NUM_DOCS // NUM_QUERIES])]
        docs = [{"_id": f"d{n}", "text": doc} for n, (_, doc) in enumerate(pairs)]
        for file, rows in (("queries", queries), ("corpus", docs)):
            (folder / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        judged = [f"q{n}\td{m}\t1" for n in range(len(queries)) for m in self._rng.choice(NUM_DOCS, 2, replace=False)]
        lines = "\n".join(["query-id\tcorpus-id\tscore", *judged])
        (folder / "qrels" / "test.tsv").write_text(lines + "\n", encoding="utf-8")
        return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--csv", type=Path, help="One line per round is written there.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as place:
        folder = Path(place)
        temporary = folder / "temporary"
        temporary.mkdir()
        os.environ[CACHE_VARIABLE] = str(folder / "cache")
        os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
        os.environ["OMP_NUM_THREADS"] = "1"  # before torch: two threads beside other work mostly wait for one another
        os.chdir(folder)
        samples, seconds = _work(Soak(folder), folder / "cache", temporary, options.minutes, options.csv)
    trends = {name: find_trend([sample[name] for sample in samples], QUANTITIES[name]) for name in QUANTITIES}
    print(f"{len(samples)} rounds, median {np.median(seconds):.2f} s; {describe_machine()}")
    print(render_trends(trends))
    growing = [name for name, trend in trends.items() if trend.verdict == "grows"]
    unclear = [name for name, trend in trends.items() if trend.verdict == "unclear"]
    if growing or unclear:
        parts = [f"{label}: {', '.join(names)}" for label, names in (("grows", growing), ("unclear", unclear)) if names]
        print("; ".join(parts))
    else:
        print("nothing grows")
    sys.exit(bool(growing))


def _work(
    soak: Soak, cache: Path, temporary: Path, minutes: float, log: Path | None
) -> tuple[list[dict[str, float]], list[float]]:
    """Return the samples and the seconds of every round."""
    samples: list[dict[str, float]] = []
    seconds: list[float] = []
    soak.meet_row_counts()
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        writer = None
        if log is not None:
            file = stack.enter_context(log.open("w", encoding="utf-8", newline=""))
            writer = csv.DictWriter(file, ["round", "seconds", *QUANTITIES])
            writer.writeheader()
        while time.monotonic() - started < 60 * minutes:
            before = time.monotonic()
            soak.round(len(samples))
            seconds.append(time.monotonic() - before)
            samples.append(take_sample(cache, temporary))
            if writer is not None:
                writer.writerow({"round": len(samples), "seconds": round(seconds[-1], 2), **samples[-1]})
                file.flush()
    print(f"{soak.num_runs:,} runs of the model over {soak.num_pairs:,} pairs")
    return samples, seconds


if __name__ == "__main__":
    main()
