"""A Ray cluster of two nodes on this machine."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
"""One core, and no more memory than tests need."""


@contextmanager
def two_nodes() -> Iterator[Any]:
    """Yield the cluster; more nodes may be added to it."""
    # Before Ray is imported: seconds that a head may take to start, 20 by itself, too few on a machine with much to do.
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "120")
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's workers give way to all others otherwise
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        found.add_node(**NODE)
        yield found
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # Ray leaves the logs of its nodes open
            found.shutdown()
            del found
            gc.collect()
