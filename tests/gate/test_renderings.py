"""JUnit, markdown and annotations: what CI services are given, for every outcome."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from gated_runs import bury_relevant

from rerank_bench.gate.annotations import annotation, github_lines
from rerank_bench.gate.config import GateConfig, Tripwires
from rerank_bench.gate.gating import judge
from rerank_bench.gate.junit import render_junit
from rerank_bench.gate.markdown import COMMENT_MARK, render_comment, render_summary
from rerank_bench.gate.verdicts import GateReport
from rerank_bench.gate.wording import headline, report_text

MakeRun = Callable[..., Path]
Reports = dict[str, GateReport]


@pytest.fixture
def reports(make_run: MakeRun) -> Reports:
    """One report of each kind."""
    good, other = make_run("good|<b>"), make_run("other", seed=5, truncated_share=0.7)
    bad = make_run("bad", spoil=lambda d, n, s: bury_relevant(d, n, s) if d == "beta" else s)
    lacking = make_run("lacking")
    (lacking / "beta.queries.csv").write_text(
        "".join(ln for ln in (lacking / "beta.queries.csv").read_text().splitlines(True) if ",beta-1," not in ln)
    )

    def gate(name: str, run: Path, **options: object) -> GateReport:
        return judge(GateConfig(name=name, baseline=str(good), run=str(run), **options))  # type: ignore[arg-type]

    return {
        "won": gate("gate", good),
        "undecided": gate("undecided", other, margin=0.01),
        "strict": gate("strict", other, margin=0.01, strict=True),
        "lost": gate("lost & found", bad),
        "tripped": gate("tripped", lacking),
        "repro": gate("repro", other, mode="repro", max_score_difference=0.5, tripwires=Tripwires(truncation="off")),
    }


ALLOWED_ATTRIBUTES = {
    "testsuites": {"name", "tests", "failures", "errors"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"},
    "properties": set(),
    "property": {"name", "value"},
    "testcase": {"classname", "name", "time"},
    "failure": {"message", "type"},
    "skipped": {"message"},
    "system-out": set(),
}
CHILDREN = {
    "testsuites": ["testsuite"],
    "testsuite": ["properties", "testcase"],
    "properties": ["property"],
    "testcase": ["skipped", "failure", "system-out"],
}
"""Element -> what it may hold, in this order: what the schemas of Ant, Jenkins and GitLab have in common."""


def check_element(element: ET.Element) -> None:
    assert set(element.attrib) == ALLOWED_ATTRIBUTES[element.tag], element.tag
    order = CHILDREN.get(element.tag, [])
    tags = [child.tag for child in element]
    assert tags == sorted(tags, key=order.index), f"{element.tag} holds {tags}"
    assert not order or not (element.text or "").strip()
    for child in element:
        check_element(child)


def test_junit_keeps_to_the_common_schema(reports: Reports) -> None:
    text = render_junit(list(reports.values()))
    root = ET.fromstring(text)  # noqa: S314  our own text
    check_element(root)
    for suite in root:
        cases = suite.findall("testcase")
        assert int(suite.attrib["tests"]) == len(cases)
        assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure"))
        assert int(suite.attrib["skipped"]) == len(suite.findall("testcase/skipped"))
        assert len({(case.attrib["classname"], case.attrib["name"]) for case in cases}) == len(cases)
    assert int(root.attrib["tests"]) == sum(int(suite.attrib["tests"]) for suite in root) == 3 * len(reports)
    assert int(root.attrib["failures"]) == len(root.findall("*/testcase/failure"))


def outcomes(report: GateReport) -> dict[str, str]:
    (suite,) = ET.fromstring(render_junit([report]))  # noqa: S314  our own text
    return {
        case.attrib["name"]: next((tag for tag in ("failure", "skipped") if case.find(tag) is not None), "passed")
        for case in suite.findall("testcase")
    }


def test_junit_has_a_case_for_the_mean_and_for_each_data_set(reports: Reports) -> None:
    mean = "nDCG@10, mean over the data sets"
    assert outcomes(reports["won"]) == {mean: "passed", "alpha": "passed", "beta": "passed"}
    assert outcomes(reports["undecided"]) == {mean: "skipped", "alpha": "passed", "beta": "passed"}
    assert outcomes(reports["strict"]) == {mean: "failure", "alpha": "passed", "beta": "passed"}
    assert outcomes(reports["lost"]) == {mean: "failure", "alpha": "passed", "beta": "failure"}
    assert outcomes(reports["tripped"]) == {mean: "passed", "alpha": "passed", "beta": "failure"}
    assert outcomes(reports["repro"]) == {mean: "failure", "alpha": "failure", "beta": "failure"}


def test_a_lost_gate_has_a_failed_case(reports: Reports) -> None:
    for report in reports.values():
        assert ("failure" in outcomes(report).values()) == (report.exit_code != 0)


def test_markdown_says_outcome_figures_and_data_sets(reports: Reports) -> None:
    page = render_summary(list(reports.values()))
    headings = [line for line in page.splitlines() if line.startswith("### ")]
    assert [heading.split()[1] for heading in headings] == ["✅", "⚠️", "⚠️", "❌", "❌", "❌"]
    assert "the smallest drop this gate can see: 0." in page
    assert "| beta ❌ | 16 |" in page
    assert "good\\|\\<b\\>" in page  # a model's name breaks no table and adds no tag
    for line in page.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


def test_the_comment_can_be_found_again_and_folds_long_tables(make_run: MakeRun, reports: Reports) -> None:
    assert render_comment([reports["won"]]).splitlines()[0] == COMMENT_MARK
    assert "<details>" not in render_comment([reports["won"]])
    names = ["alpha", "beta", "gamma", "delta"]
    run = make_run("many", datasets=names, sizes=dict.fromkeys(names, 5))
    report = judge(GateConfig(baseline=str(run), run=str(run)))
    assert "<details><summary>4 data sets</summary>" in render_comment([report])
    assert "<details>" not in render_summary([report])


def test_annotations(reports: Reports) -> None:
    lines = {name: github_lines([report]) for name, report in reports.items()}
    assert lines["won"] == []
    assert [line.split("::")[1].split(" ")[0] for line in lines["undecided"]] == ["warning", "warning", "warning"]
    assert lines["strict"][0].startswith("::error title=rerank-bench gate strict::gate strict undecided")
    assert lines["lost"][0].startswith("::error title=rerank-bench gate lost & found::gate lost & found lost · ")
    assert any(
        line.startswith("::error title=rerank-bench gate tripped%3A beta::missing_queries") for line in lines["tripped"]
    )


def test_an_annotation_is_one_line_whatever_it_says() -> None:
    assert annotation("error", "a: b, c", "50%\r\nis\nlost") == "::error title=a%3A b%2C c::50%25%0D%0Ais%0Alost"


def test_text_holds_what_the_issue_asks_for(reports: Reports) -> None:
    for name in ("won", "undecided", "strict", "lost"):
        text = report_text(reports[name])
        for part in ("n = 40 in 2 data sets", "the smallest drop this gate can see: ", "90% interval", "one-sided p"):
            assert part in text
    assert headline(reports["tripped"]) == "gate tripped lost · tripwire missing_queries; nothing could be judged"
    assert headline(reports["won"]).startswith("gate won · pass: ")
    assert "changed in" in report_text(reports["repro"])
    assert "tripwire truncation (warn), alpha: 70% of the model's inputs" in report_text(reports["undecided"])
