"""``python -m rerank_bench``: the same as the ``rerank-bench`` command."""

from rerank_bench.cli.app import main

if __name__ == "__main__":
    main()
