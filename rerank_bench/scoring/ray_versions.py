"""Every worker of a cluster runs what the process runs that started it: another version may give other last bits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from rerank_bench.errors import EnvironmentMissingError
from rerank_bench.scoring.ray_worker import COMPARED, RayWorker


@lru_cache(maxsize=1)
def _here() -> dict[str, Any]:
    return RayWorker().introduce()


def check_versions(introduction: Mapping[str, Any], where: str) -> None:
    """Raise unless a worker has the versions of this process.

    Args:
        introduction: What ``RayWorker.introduce`` returned there.
        where: What an error calls the worker.

    Raises:
        EnvironmentMissingError: They differ; both are named, the most telling difference first.
    """
    here, there = _here(), introduction
    differing = [name for name in COMPARED if here["versions"][name] != there["versions"].get(name)]
    if differing:
        parts = [
            f"{name} {there['versions'].get(name) or 'is not installed'} there, {here['versions'][name] or 'none'} here"
            for name in differing
        ]
        msg = (
            f"the worker on {where} runs other versions than the process that started the run: {'; '.join(parts)}. Scores "
            "could differ by machine; install the same versions everywhere"
        )
        raise EnvironmentMissingError(msg)
    if here["code"] != there["code"]:
        msg = (
            f"the worker on {where} runs other code of rerank-bench than the process that started the run, both of version "
            f"{here['versions']['rerank-bench']}; install the same commit everywhere"
        )
        raise EnvironmentMissingError(msg)
