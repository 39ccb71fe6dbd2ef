"""Reports as JUnit XML: one test suite per gate, one test case for its primary question and one per data set.

The elements and attributes are those that the common readers agree on (the JUnit task of Apache Ant, Jenkins' xUnit
plugin, GitLab): ``testsuites``, ``testsuite``, ``properties``, ``testcase``, ``failure``, ``skipped``, ``system-out``.
An undecided gate is a skipped test, as it is no green; under ``--strict`` it is a failure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from rerank_bench.gate.verdicts import GateReport
from rerank_bench.gate.wording import (
    DatasetLine,
    dataset_lines,
    dataset_titles,
    headline,
    overall_problems,
    report_text,
)

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML 1.0 document may hold, not even escaped."""


def render_junit(reports: Sequence[GateReport]) -> str:
    """Return the XML of all gates of one invocation."""
    root = ET.Element("testsuites", name="rerank-bench gate")
    suites = [_suite(root, report) for report in reports]
    for total in ("tests", "failures", "errors"):
        root.set(total, str(sum(int(suite.get(total, "0")) for suite in suites)))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(root: ET.Element, report: GateReport) -> ET.Element:
    lines = dataset_lines(report)
    primary_problems = overall_problems(report)
    is_failed_primary = bool(primary_problems) or (report.is_undecided and report.is_strict)
    suite = ET.SubElement(
        root,
        "testsuite",
        name=_clean(report.name),
        tests=str(1 + len(lines)),
        failures=str(is_failed_primary + sum(bool(line.problems) for line in lines)),
        errors="0",
        skipped=str(int(report.is_undecided and not report.is_strict)),
        time="0",
        timestamp=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in {"mode": report.mode, "verdict": report.verdict, **report.settings}.items():
        ET.SubElement(properties, "property", name=name, value=_clean(str(value)))
    _primary_case(suite, report, primary_problems)
    for line in lines:
        _dataset_case(suite, report, line)
    return suite


def _primary_case(suite: ET.Element, report: GateReport, problems: Sequence[str]) -> None:
    case = _case(suite, report, f"{report.measure}, mean over the data sets")
    if problems:
        _fail(case, report.verdict, problems)
    elif report.is_undecided and report.is_strict:
        _fail(case, report.verdict, [headline(report)])
    elif report.is_undecided:
        ET.SubElement(case, "skipped", message=_clean(headline(report)))
    ET.SubElement(case, "system-out").text = _clean(report_text(report))


def _dataset_case(suite: ET.Element, report: GateReport, line: DatasetLine) -> None:
    case = _case(suite, report, line.name)
    if line.problems:
        _fail(case, "data set", line.problems)
    if line.cells:
        pairs = zip(dataset_titles(report)[1:], line.cells, strict=True)
        ET.SubElement(case, "system-out").text = _clean("; ".join(f"{title} {cell}" for title, cell in pairs))


def _case(suite: ET.Element, report: GateReport, name: str) -> ET.Element:
    return ET.SubElement(
        suite, "testcase", classname=_clean(f"rerank-bench.{report.name}"), name=_clean(name), time="0"
    )


def _fail(case: ET.Element, kind: str, problems: Sequence[str]) -> None:
    failure = ET.SubElement(case, "failure", message=_clean(problems[0]), type=kind)
    failure.text = _clean("\n".join(problems))


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
