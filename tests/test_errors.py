"""Messages for unknown names, and the exit codes of the tree."""

from __future__ import annotations

from rerank_bench import errors
from rerank_bench.errors import RerankBenchError, describe_unknown


def test_unknown_names_are_answered_with_the_nearest_and_the_list() -> None:
    message = describe_unknown("measure", ["ndgc@10", "zzz"], ["nDCG@10", "RR@10"])
    assert message == (
        "unknown measure 'ndgc@10'; did you mean 'nDCG@10'? unknown measure 'zzz'. Known: RR@10, nDCG@10"
    )


def test_a_long_list_is_not_printed() -> None:
    assert "Known" not in describe_unknown("word", ["x"], [f"name{i}" for i in range(30)])


def test_every_class_stands_in_the_drawn_tree_with_its_exit_code() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, RerankBenchError)]
    lines = {
        line.split()[0].split("(")[0]: line.split()[1:]
        for line in str(errors.__doc__).splitlines()
        if line.startswith("  ")
    }
    for cls in classes:
        assert str(cls.exit_code) in lines[cls.__name__][:3] or cls is RerankBenchError, cls
