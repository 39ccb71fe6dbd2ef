"""The same explanation on a terminal, in Markdown, as JSON and as a page: nothing cut, nothing that a text could break."""

from __future__ import annotations

import io
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console
from run_builder import write_run, write_world
from sample_worlds import AFTER, BEFORE, CANDIDATES, DOCS, QRELS, QUERIES, random_scores, random_world

from rerank_bench.forensics.explain import explain_pair, explain_run, select_queries
from rerank_bench.forensics.html import render_html, write_html
from rerank_bench.forensics.json_form import explanation_to_json
from rerank_bench.forensics.markdown import render_markdown
from rerank_bench.forensics.records import Explanation
from rerank_bench.forensics.terminal import render_terminal
from rerank_bench.forensics.wording import snippet

EVIL = '<script>alert("1")</script> & [bold]b[/bold] | `x` <img src=x onerror=alert(1)> \x1b[31m'


@pytest.fixture
def evil(tmp_path: Path) -> Explanation:
    """Texts, and a model's name, that look like markup of every kind."""
    docs, queries = DOCS | {"best": EVIL, "d11": "\n"}, QUERIES | {"q-fell": EVIL}
    world = write_world(tmp_path / "hand", docs=docs, queries=queries, qrels=QRELS, candidates=CANDIDATES)
    first = write_run(tmp_path / "a", {"hand": world}, {"hand": BEFORE}, name="<b>m</b> [red]")
    second = write_run(tmp_path / "b", {"hand": world}, {"hand": AFTER}, name="<b>m</b> [red]")
    return explain_pair(first, second)


def on_terminal(explanation: Explanation, width: int = 80, **options: object) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, **options)  # type: ignore[arg-type]
    console.print(render_terminal(explanation, width=width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("kind", ["diff", "inspect"])
def test_the_terminal_is_kept_to_its_width(random_runs: tuple[Path, Path], kind: str, width: int) -> None:
    explanation = explain_pair(*random_runs) if kind == "diff" else explain_run(random_runs[0])
    text = on_terminal(select_queries(explanation, worst=5, best=5), width)
    assert max(map(len, text.splitlines())) <= width


def test_the_terminal_says_what_the_records_hold(before: Path, after: Path) -> None:
    text = on_terminal(select_queries(explain_pair(before, after)))
    flat = " ".join(text.split())
    for words in (
        "settings max_length 512 → 8",
        "the first relevant document stands lower 1 -0.1620",
        "1 -0.8100 hand · q-fell A 1.0000 → B 0.1900",
        "“mend a chain”",
        "best (grade 2) fell from rank 1 to 15.",
        "B is 0.8100 below the ideal: 0.0000 not retrieved, 0.8100 misranked",
        "+ 2 1 1 15 9 3 best how to mend a broken chain",
        "↑ – 3 3 1 1 50 twin how to mend a broken chain",
    ):
        assert words in flat, words


def test_no_query_to_show_is_said(before: Path) -> None:
    assert "No query to show" in on_terminal(select_queries(explain_pair(before, before)))


def test_without_colours_nothing_is_lost(before: Path, after: Path) -> None:
    explanation = select_queries(explain_pair(before, after))
    coloured = on_terminal(explanation, force_terminal=True, color_system="standard")
    assert "\x1b[31m" in coloured
    assert "\x1b[" not in on_terminal(explanation, no_color=True)


def test_texts_are_no_markup_on_a_terminal(evil: Explanation) -> None:
    text = on_terminal(select_queries(evil, worst=5), width=300)
    assert "[bold]b[/bold]" in text
    assert "<b>m</b> [red]" in text
    assert "(empty text)" in text
    assert "\x1b" not in text


def test_texts_are_no_markup_in_markdown(evil: Explanation) -> None:
    text = render_markdown(select_queries(evil, worst=5))
    assert "\\<script\\>alert" in text
    assert "<script" not in text.replace("\\<script", "")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    for row in rows:
        assert row.replace("\\|", "").count("|") in {4, 6, 7, 9, 10}, row  # the widths of its tables


class Page(HTMLParser):
    """Collects tags and texts, and what would leave the page."""

    VOID = frozenset({"meta", "input", "img", "br", "link"})
    OPTIONAL = frozenset({"td", "th", "tr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open_tags: list[str] = []
        self.wrong: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.unreachable: list[str] = []
        """Controls without a label or a name, and boxes that scroll but take no focus."""
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [name for name, _ in attrs if name in {"src", "href", "srcset"} or name.startswith("on")]
        given = dict(attrs)
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag in {"input", "select"} and "label" not in self.open_tags:
            self.unreachable.append(tag)
        if given.get("class") == "wide" and (given.get("tabindex") != "0" or not given.get("aria-label")):
            self.unreachable.append("wide")
        if tag not in self.VOID | self.OPTIONAL:
            self.open_tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.OPTIONAL and (not self.open_tags or self.open_tags.pop() != tag):
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_is_whole_and_asks_for_nothing(evil: Explanation) -> None:
    text = render_html(evil)
    page = Page(text)
    assert (page.open_tags, page.wrong, page.references) == ([], [], [])
    assert len(page.ids) == len(set(page.ids)) > 5
    assert page.unreachable == []
    assert page.tags.count("details") == page.tags.count("summary")
    assert page.tags.count("script") == page.tags.count("style") == 1
    assert "img" not in page.tags
    assert "b" in page.tags
    assert "http" not in text.replace("http-equiv", "")
    assert "url(" not in text
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    assert '<script>alert("1")</script> & [bold]b[/bold] | `x` <img src=x onerror=alert(1)>' in "".join(page.texts)


def test_the_page_holds_every_query(random_runs: tuple[Path, Path], tmp_path: Path) -> None:
    explanation = explain_pair(*random_runs)
    write_html(tmp_path / "page.html", explanation)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count('<details class="q"') == len(explanation.queries)
    for query in explanation.queries:
        assert f'data-s="{query.dataset}" data-d="{query.delta:.6f}"' in text


def test_a_page_of_thirteen_data_sets_would_stay_under_two_megabytes(tmp_path: Path) -> None:
    worlds = {f"Nano{n}": random_world(tmp_path / f"Nano{n}", n, 50, num_docs=40, depth=10) for n in range(2)}
    run = write_run(tmp_path / "run", worlds, {name: random_scores(world, 1) for name, world in worlds.items()})
    text = render_html(explain_pair(run, run))
    assert text.count('<details class="q"') == 2 * 50
    assert len(text.encode()) * 13 / 2 < 2_000_000


def test_json_holds_what_is_shown(before: Path, after: Path) -> None:
    shown = select_queries(explain_pair(before, after), query_ids=["q-missed", "q-fell"])
    found = json.loads(json.dumps(explanation_to_json(shown), allow_nan=False))
    assert [query["query_id"] for query in found["queries"]] == ["q-fell", "q-missed"]
    assert found["queries"][0]["relevant"][0]["text"] == DOCS["best"]
    assert found["queries"][1]["after_loss"] == {"ideal": 1.0, "not_retrieved": 1.0, "misranked": 0.0}
    assert found["shares"]["entered"]["queries"] == 1
    assert found["datasets"]["hand"]["delta"] == pytest.approx(shown.overall.summary.delta)
    assert found["mean"] is None
    assert found["slices"]["rank in the first stage"]["missed"]["interval"] is None


def test_a_snippet_is_one_line_and_says_that_it_is_cut() -> None:
    assert snippet("one\n\n two\tthree") == "one two three"
    assert snippet("word " * 100, 20) == "word word word word…"
    assert snippet(" \n") == "(empty text)"
