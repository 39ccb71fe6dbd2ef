"""The project gates itself: two short runs, held against the baselines of tests/baselines by the gate it ships.

Called by ``nox -s tests`` (and so in CI) as ``python tests/self_gate.py``; the exit code is the gate's.  The documents of
``pydocs`` belong to the running Python: with others than the baseline's its gate is left out, and a line says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
GATES = "tests/baselines/gates.toml"
OUT = "runs/self"


def main() -> int:
    """Make the runs, judge them, and return the exit code."""
    _rerank_bench("run", "-m", "trigram_overlap:score", "-d", "tests/data/workshop")
    _rerank_bench("run", "-m", "demo", "-d", "pydocs", "--depth", "20")
    gates = ["workshop-scores", "workshop"]
    baseline, here = (_corpus_fingerprint(path) for path in ("tests/baselines/pydocs.json", f"{OUT}/demo/result.json"))
    if baseline == here:
        gates.append("pydocs")
    else:
        print(  # noqa: T201  a script
            f"gate pydocs left out: its baseline is of corpus {baseline[:12]}…, this Python's is {here[:12]}…",
            file=sys.stderr,
        )
    return _call("gate", "--config", GATES, *(part for gate in gates for part in ("--gate", gate))).returncode


def _corpus_fingerprint(path: str) -> str:
    content = json.loads((ROOT / path).read_text(encoding="utf-8"))
    return str(content["datasets"]["pydocs"]["fingerprints"]["corpus"])


def _rerank_bench(*arguments: str) -> None:
    _call(
        *arguments, "--no-cache", "--quiet", "--out", OUT, "--leaderboard", f"{OUT}/leaderboard.csv"
    ).check_returncode()


def _call(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    places = [str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]  # where the scorer stands
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    return subprocess.run([sys.executable, "-m", "rerank_bench", *arguments], cwd=ROOT, env=environment, check=False)


if __name__ == "__main__":
    sys.exit(main())
