"""Where a result comes from: versions, commit, command line, machine, time."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rerank_bench

RECORDED_DISTRIBUTIONS = (
    "datasets",
    "ir-measures",
    "numba",
    "numpy",
    "onnxruntime",
    "PyStemmer",
    "pytrec-eval-terrier",
    "scipy",
    "tokenizers",
    "torch",
    "transformers",
)
"""The distributions whose version may move a value."""


def describe_invocation(command: str | None = None) -> dict[str, Any]:
    """Return the provenance block of a result: JSON-able, without importing any of the libraries named.

    Args:
        command: The command line; ``None`` takes this process's when it is rerank-bench itself, else says ``python``.
    """
    return {
        "rerank_bench": rerank_bench.__version__,
        "python": platform.python_version(),
        "versions": library_versions(RECORDED_DISTRIBUTIONS),
        "commit": commit_of(Path(rerank_bench.__file__).parent),
        "command": command if command is not None else command_line(),
        "utc_time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "machine": describe_machine(),
    }


def library_versions(distributions: tuple[str, ...]) -> dict[str, str | None]:
    """Return distribution name -> installed version, ``None`` where it is not installed."""
    versions: dict[str, str | None] = {}
    for name in distributions:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def command_line() -> str:
    """Return this process's command line as a user would type it; paths of the interpreter are left out."""
    program = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
    if program == "__main__.py":
        program = "rerank-bench"
    return shlex.join([program, *sys.argv[1:]]) if program == "rerank-bench" else program


def commit_of(folder: Path) -> str | None:
    """Return the commit of the checkout that the package runs from, ``+changes`` when the tree differs from it.

    ``None`` for an installed wheel, or when git is absent.
    """
    if not (folder.parent / ".git").exists():
        return None
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+changes" if changed else commit


def _git(folder: Path, *arguments: str) -> str:
    finished = subprocess.run(  # noqa: S603  fixed arguments, no shell
        ["git", "-C", str(folder), *arguments],  # noqa: S607  the user's own git
        check=True,
        capture_output=True,
        text=True,
        timeout=10,
    )
    return finished.stdout.strip()


def describe_machine() -> str:
    """Return processor, number of usable cores and system, such as ``"AMD EPYC, 2 cores, Linux"``."""
    return f"{processor_name()}, {num_usable_cores()} cores, {platform.system()}"


def num_usable_cores() -> int:
    """Return how many cores this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_name() -> str:
    """Return what the processor calls itself."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory_bytes() -> int | None:
    """Return the largest resident size that this process has had so far; ``None`` where the system keeps no record."""
    status = Path("/proc/self/status")
    if status.exists():
        # Before getrusage: on Linux its maximum is inherited from the process that started this one.
        for line in status.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
