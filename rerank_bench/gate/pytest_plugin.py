"""The pytest plugin: a gate as a test.  pytest loads this module in every session, so it imports nothing heavy.

::

    def test_the_model_is_no_worse(rerank_bench_gate):
        rerank_bench_gate(baseline="baselines/nanobeir.json", run="runs/nanobeir/my-model", margin=0.01)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from rerank_bench.gate.verdicts import GateReport


class Gate(Protocol):
    """What the fixture returns."""

    def __call__(self, **options: Any) -> GateReport:
        """Hold a run against a baseline; see ``rerank_bench_gate``."""


@pytest.fixture
def rerank_bench_gate(record_property: Any) -> Gate:
    """Return a function that holds a run against a baseline, and fails the test when the gate is lost.

    Its arguments are those of ``rerank_bench.check_gate``; with ``strict=True`` an inconclusive verdict fails too.
    Relative paths are relative to the working directory.  It returns the report, whose verdict and difference also stand
    among the properties of the test in pytest's own JUnit file.  Runs that do not compare raise ``ComparisonError``.
    """

    def gate(**options: Any) -> GateReport:
        __tracebackhide__ = True
        from rerank_bench.gate.gating import check_gate
        from rerank_bench.gate.wording import report_text

        report = check_gate(**options)
        record_property("rerank_bench_verdict", report.verdict)
        record_property("rerank_bench_difference", report.difference)
        if report.exit_code:
            pytest.fail(report_text(report), pytrace=False)
        return report

    return gate
