"""Run the command line in this process, and send it a real signal when it first calls a certain function.

python signalled.py rerank_bench.storage._default_mode 15 run -m first-stage ...
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import Any


def main() -> None:
    # A job in the background, or under nohup, has handed down that these are ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    target, number, *arguments = sys.argv[1:]
    module_name, _, name = target.rpartition(".")
    module = importlib.import_module(module_name)
    original = getattr(module, name)

    def probe(*args: Any, **kwargs: Any) -> Any:
        setattr(module, name, original)
        os.kill(os.getpid(), int(number))
        return original(*args, **kwargs)

    setattr(module, name, probe)
    sys.argv = ["rerank-bench", *arguments]
    from rerank_bench.cli.app import main as run_command

    run_command()


if __name__ == "__main__":
    main()
